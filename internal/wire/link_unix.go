//go:build unix

package wire

import (
	"io"
	"syscall"
)

const canTry = true

// tryRead is one read of the descriptor, which never blocks: Go's sockets do
// not. It reports true whatever came of it, so that nobody waits.
func (l *link) tryRead(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), l.into)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			l.why = errNothing
		case err != nil:
			l.why = err
		case n == 0:
			l.why = io.EOF
		default:
			l.got = n
		}
		return true
	}
}
