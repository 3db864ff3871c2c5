package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	runDirPrefix = "writ-run-"
	runDirLock   = "lock"
)

// runDir is the private folder of one run. It is 0700 and new, so that nobody
// else can have put anything into it, and it is gone when the run is over.
//
// A run that was killed leaves its folder behind. The lock tells such a folder
// from one in use: the kernel drops a flock with its holder, and it holds
// across pid namespaces that share a temporary folder, where a pid says nothing.
type runDir struct {
	path string
	lock *os.File
}

func newRunDir(parent string) (*runDir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweepRunDirs(parent)
	path, err := os.MkdirTemp(parent, runDirPrefix) // 0700
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, runDirLock), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run folder: %w", err), os.RemoveAll(path))
	}
	d := &runDir{path: path, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("run folder: %w", err), d.close())
	}
	return d, nil
}

// write puts a file into the folder: whole or not at all, and never over an
// existing one (T45), since Link refuses a name that is taken.
func (d *runDir) write(name string, data []byte) (string, error) {
	f, err := os.CreateTemp(d.path, ".new-") // 0600
	if err != nil {
		return "", fmt.Errorf("run folder: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("run folder: %w", err)
	}
	path := filepath.Join(d.path, name)
	if err := os.Link(f.Name(), path); err != nil {
		return "", fmt.Errorf("run folder: %w", err)
	}
	return path, nil
}

func (d *runDir) close() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// sweepRunDirs removes what killed runs of this user left in parent. A folder
// without a lock file is one that is being made (or something else): it stays.
func sweepRunDirs(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), runDirPrefix) {
			continue
		}
		path := filepath.Join(parent, e.Name())
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || int(st.Uid) != os.Getuid() || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(path, runDirLock), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(path) // best effort: what cannot be removed is tried again next time
		}
		lock.Close()
	}
}
