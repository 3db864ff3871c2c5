package wire

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// link is the connection to an upstream below TLS. It renews the deadlines, it
// knows what left and whether the stream ended, and it can be read without
// waiting: what only the layer below TLS can tell.
type link struct {
	net.Conn
	move time.Duration // the longest that a read or write may make no progress
	next atomic.Int64  // when the deadlines are renewed, in nanoseconds of elapsed

	wrote bool // bytes left since the exchange began; written by writers, read after the first Write of an exchange

	// For the goroutine that reads:
	ended   bool // the peer's end of the stream was read
	probing bool // Read gives errNothing instead of waiting

	raw  syscall.RawConn // nil when the connection has no descriptor
	try  func(fd uintptr) bool
	into []byte // what try reads into
	got  int    // what try read
	why  error  // what try met
}

// errNothing means that nothing has arrived. TLS takes it for a condition that
// passes (net.Error, Temporary), so a connection outlives it.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "wire: nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// began is what elapsed counts from.
var began = time.Now()

func elapsed() int64 { return int64(time.Since(began)) }

func newLink(nc net.Conn, move time.Duration) *link {
	l := &link{Conn: nc, move: move}
	l.next.Store(math.MinInt64) // at once
	if sc, ok := nc.(syscall.Conn); ok && canTry {
		if raw, err := sc.SyscallConn(); err == nil {
			l.raw, l.try = raw, l.tryRead
		}
	}
	return l
}

// NetConn is the connection below, for abort.
func (l *link) NetConn() net.Conn { return l.Conn }

// renew sets new deadlines, at most once a second: setting them costs as much
// as a small write. Progress in one direction renews both, since the deadlines
// ask whether anything moves.
func (l *link) renew() {
	now := elapsed()
	next := l.next.Load()
	if now < next || !l.next.CompareAndSwap(next, now+int64(time.Second)) {
		return
	}
	_ = l.Conn.SetDeadline(time.Now().Add(l.move))
}

// Read reads under a renewed deadline, or without waiting.
func (l *link) Read(p []byte) (n int, err error) {
	if l.probing {
		n, err = l.readNow(p)
	} else {
		l.renew()
		n, err = l.Conn.Read(p)
	}
	if err == io.EOF {
		l.ended = true
	}
	return n, err
}

// Write writes under a renewed deadline, in steps that each renew it, so that
// a large write lives as long as it moves.
func (l *link) Write(p []byte) (n int, err error) {
	for {
		l.renew()
		step := p[n:min(len(p), n+writeStep)]
		m, err := l.Conn.Write(step)
		n += m
		if m > 0 {
			l.wrote = true
		}
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// readNow reads what has arrived.
func (l *link) readNow(p []byte) (int, error) {
	if l.raw == nil {
		return l.readPast(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	l.into, l.got, l.why = p, 0, nil
	err := l.raw.Read(l.try)
	l.into = nil
	if err != nil {
		return 0, err
	}
	return l.got, l.why
}

// readPast is readNow for a connection without a descriptor: a deadline in the
// past, which lets through what the connection itself has buffered.
func (l *link) readPast(p []byte) (int, error) {
	if err := l.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return 0, err
	}
	n, err := l.Conn.Read(p)
	_ = l.Conn.SetReadDeadline(time.Now().Add(l.move))
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNothing
	}
	return n, err
}
