//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// takeLock holds the file for the life of the process. The kernel lets go of a
// flock when the process ends, however it ends: a lock that is left over by a
// crash does not exist.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, readOnly(filepath.Dir(path), err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, readOnly(filepath.Dir(path), err)
		}
		b, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, secondServer(strings.Trim(string(b), "\n\x00 "))
	}
	// The pid is for people; what holds is the lock. A full disk must not keep
	// the server from starting, so a failed write is let pass.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}
