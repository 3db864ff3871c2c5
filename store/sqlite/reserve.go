package sqlite

import (
	"os"
	"sync"
)

// reserve is a file that only takes up space.
type reserve struct {
	path string
	size int64

	mu sync.Mutex // one of Release and Restore at a time
}

// Release implements store.Reserve.
func (r *reserve) Release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return os.Remove(r.path) == nil
}

// Restore implements store.Reserve. It writes real bytes: a sparse file would
// keep nothing back. It writes twice the size and keeps half, so that the
// space is taken again only when there is room beyond it; otherwise a full
// disk would swing between the two states.
func (r *reserve) Restore() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if info, err := os.Stat(r.path); err == nil && info.Size() == r.size {
		return true
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false
	}
	err = r.fill(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(r.path)
	}
	return err == nil
}

func (r *reserve) fill(f *os.File) error {
	zeros := make([]byte, 1<<20)
	for left := 2 * r.size; left > 0; {
		n, err := f.Write(zeros[:min(left, int64(len(zeros)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	// No sync: file systems account for the space when it is written, and what
	// the file holds does not matter.
	return f.Truncate(r.size)
}
