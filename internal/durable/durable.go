// Package durable writes small private files so that a crash leaves the old
// file or the new one, whole, and never something between.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace makes path hold content, with mode 0600, durably on return. Its
// folder is made with mode 0700 when it is missing.
func Replace(path string, content []byte) error {
	return put(path, content, os.Rename)
}

// Create is Replace for a file that must not be there: it fails with an error
// that is fs.ErrExist when it is, and leaves it alone. A link fails where a
// rename would replace.
func Create(path string, content []byte) error {
	return put(path, content, os.Link)
}

func put(path string, content []byte, place func(from, to string) error) (err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".writ-new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		// After a rename the name is gone already.
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(folder)
}

// SyncFolder makes the names in a folder durable: a file that was synced and
// whose name was not can be gone after a crash.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
