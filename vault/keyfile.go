package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"writ.dev/writ"
	"writ.dev/writ/internal/durable"
)

// CreateKeyFile writes a new key, 32 random bytes readable by the owner alone,
// and leaves a file that is there alone: an overwritten key is data lost for
// good. It fails with writ.KindConflict then.
func CreateKeyFile(path string) error {
	key := make([]byte, rootKeySize)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	defer wipe(key)
	return createPrivate(path, key, "key file")
}

// OpenKeyFile is the provider whose key lies in the file. It refuses a file
// that others can read, or that is not plainly a file.
func OpenKeyFile(path string) (KeyProvider, error) {
	key, err := readPrivate(path, rootKeySize, "key file")
	if err != nil {
		return nil, err
	}
	if len(key) != rootKeySize {
		wipe(key)
		return nil, writ.Errorf(writ.KindInvalid, "the key file %s has not 32 bytes", shown(path)).
			WithFix("restore it from your backup; without it the secrets it protects cannot be opened")
	}
	return newLocalKey("file", key)
}

// shown is a path in a message.
func shown(path string) string { return writ.Printable(path, 200) }

// createPrivate writes a file of mode 0600 that was not there before: the name
// appears with the whole content or not at all.
func createPrivate(path string, content []byte, what string) error {
	err := durable.Create(path, content)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return writ.Errorf(writ.KindConflict, "the %s %s is already there", what, shown(path)).WithFix("use it, or name another place; it is never overwritten")
	}
	return writ.Errorf(writ.KindUnavailable, "the %s %s cannot be written", what, shown(path)).
		WithWhy("%s", reasonOf(err)).WithFix("make its folder writable for the user who runs the server").WithCause(err)
}

// readPrivate reads a file of at most limit bytes that only its owner can
// read. What it checks is what it reads: the checks are on the open file, and
// a link, which could be pointed elsewhere later, is refused.
func readPrivate(path string, limit int64, what string) ([]byte, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, cannotRead(path, what, err)
	}
	if named.Mode()&fs.ModeSymlink != 0 || !named.Mode().IsRegular() {
		return nil, writ.Errorf(writ.KindInvalid, "the %s %s is not a plain file", what, shown(path)).WithFix("name the file itself, not a link to it")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cannotRead(path, what, err)
	}
	defer func() { _ = f.Close() }()
	opened, err := f.Stat()
	if err != nil {
		return nil, cannotRead(path, what, err)
	}
	if !os.SameFile(named, opened) {
		return nil, writ.Errorf(writ.KindInvalid, "the %s %s was replaced while it was opened", what, shown(path)).WithFix("find out what else writes there, and start again")
	}
	if why, fix := exposed(opened); why != "" {
		return nil, writ.Errorf(writ.KindInvalid, "the %s %s %s", what, shown(path), why).WithFix(fix, shown(path))
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, cannotRead(path, what, err)
	}
	return content, nil
}

func cannotRead(path, what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return writ.Errorf(writ.KindNotFound, "there is no %s %s", what, shown(path)).WithFix("name the one this data was made with").WithCause(err)
	}
	return writ.Errorf(writ.KindUnavailable, "the %s %s cannot be read", what, shown(path)).
		WithWhy("%s", reasonOf(err)).WithFix("make it readable for the user who runs the server, and for nobody else").WithCause(err)
}

// reasonOf is the operating system's reason without the path around it.
func reasonOf(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	return writ.Printable(fmt.Sprint(err), 100)
}
