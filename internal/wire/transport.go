package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ErrNotSent is wrapped by RoundTrip's error when no byte of the request can
// have reached the upstream. Without it, the upstream may have got all of it.
var ErrNotSent = errors.New("wire: nothing of the request was sent")

// ErrRequestBody is wrapped by errors that come from reading the request's
// body: it was not the upstream that failed.
var ErrRequestBody = errors.New("wire: the request's body could not be read")

type notSent struct{ cause error }

func (e *notSent) Error() string   { return e.cause.Error() }
func (e *notSent) Unwrap() []error { return []error{ErrNotSent, e.cause} }

// Transport is the client's side of HTTP/1.1: it sends requests as they are
// told and keeps connections for the next ones. It is safe for concurrent use;
// its fields must not change once it was used.
//
// A request is never sent twice. Connections that the upstream has closed are
// found before a byte is sent on them and replaced; once a byte may have left,
// a failure is the caller's to know about, whatever the method: one allow, one
// request.
type Transport struct {
	// Dial opens a connection, without TLS, to the destination that key names.
	Dial func(ctx context.Context, key string) (net.Conn, error)
	// TLS gives the configuration for the destination, with its ServerName; nil
	// means none. Without a function, there is no TLS.
	TLS func(key string) *tls.Config

	MaxIdlePerHost   int           // unused connections kept for one key; 128
	IdleTimeout      time.Duration // how long they are kept; 90 s, or less if the upstream says so
	MoveTimeout      time.Duration // between two reads or writes that make progress; 10 min (T43)
	HandshakeTimeout time.Duration // for TLS; 15 s

	mu     sync.Mutex
	idle   map[string][]*upstream // the latest used last; guarded by mu
	timer  *time.Timer            // runs sweep while there are idle ones; guarded by mu
	timing bool                   // it is set; guarded by mu
	closed bool                   // guarded by mu
}

// upstream is a connection to an upstream, used by one exchange at a time or
// idle.
type upstream struct {
	t    *Transport
	key  string
	nc   net.Conn // link, or TLS over it
	link *link
	cut  func() // abort(nc)

	until int64 // when it is too old to be used again, by elapsed; written before it becomes idle
	one   [1]byte
}

func or[T time.Duration | int](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// connect opens a connection.
func (t *Transport) connect(ctx context.Context, key string) (*upstream, error) {
	nc, err := t.Dial(ctx, key)
	if err != nil {
		return nil, err
	}
	l := newLink(nc, or(t.MoveTimeout, 10*time.Minute))
	c := &upstream{t: t, key: key, nc: l, link: l}
	if t.TLS != nil {
		if conf := t.TLS(key); conf != nil {
			secure := tls.Client(l, conf)
			ctx, cancel := context.WithTimeout(ctx, or(t.HandshakeTimeout, 15*time.Second))
			defer cancel()
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = nc.Close()
				return nil, fmt.Errorf("tls: %w", err)
			}
			c.nc = secure
		}
	}
	c.cut = func() { abort(c.nc) }
	return c, nil
}

// take gives an idle connection that is still good, or nil. The one that was
// used last is taken first: it is the least likely to be closed meanwhile, and
// the others grow old and go.
func (t *Transport) take(key string) *upstream {
	for {
		t.mu.Lock()
		stack := t.idle[key]
		if len(stack) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := stack[len(stack)-1]
		stack[len(stack)-1] = nil
		if len(stack) == 1 {
			delete(t.idle, key)
		} else {
			t.idle[key] = stack[:len(stack)-1]
		}
		t.mu.Unlock()
		if elapsed() < c.until && c.quiet() {
			return c
		}
		_ = c.nc.Close()
	}
}

// put makes c idle, or closes it. Whatever still comes on it, a surplus of the
// last answer or the end, is found by take.
func (t *Transport) put(c *upstream, keep time.Duration) {
	life := or(t.IdleTimeout, 90*time.Second)
	if keep > 0 {
		// Half a second early, so that the upstream's close does not cross
		// with a request; of a life that short, half of it.
		life = min(life, max(keep-500*time.Millisecond, keep/2))
	}
	c.until = elapsed() + int64(life)
	t.mu.Lock()
	if t.closed || len(t.idle[c.key]) >= or(t.MaxIdlePerHost, 128) {
		t.mu.Unlock()
		_ = c.nc.Close()
		return
	}
	defer t.mu.Unlock()
	if t.idle == nil {
		t.idle = map[string][]*upstream{}
	}
	t.idle[c.key] = append(t.idle[c.key], c)
	if t.timing {
		return
	}
	t.timing = true
	if t.timer == nil {
		t.timer = time.AfterFunc(life, t.sweep)
	} else {
		t.timer.Reset(life)
	}
}

// sweep closes the connections that nobody used for too long.
func (t *Transport) sweep() {
	var old []*upstream
	now := elapsed()
	t.mu.Lock()
	t.timing = false
	for key, stack := range t.idle {
		kept := stack[:0]
		for _, c := range stack {
			if c.until <= now {
				old = append(old, c)
			} else {
				kept = append(kept, c)
			}
		}
		clear(stack[len(kept):])
		if len(kept) == 0 {
			delete(t.idle, key)
		} else {
			t.idle[key] = kept
		}
	}
	if len(t.idle) > 0 {
		// Ones with less time are found too late by at most this, which only
		// keeps a descriptor: take looks at the time itself.
		t.timing = true
		t.timer.Reset(max(or(t.IdleTimeout, 90*time.Second)/4, time.Second))
	}
	t.mu.Unlock()
	for _, c := range old {
		_ = c.nc.Close()
	}
}

// Close closes the idle connections. Exchanges under way go on, and later ones
// are possible; their connections are not kept.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	idle := t.idle
	t.idle = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	for _, stack := range idle {
		for _, c := range stack {
			_ = c.nc.Close()
		}
	}
}

// quiet reports whether nothing can be read from the connection: no byte that
// an answer left over, no alert, no end. What TLS itself says in passing (a
// session ticket) is taken in.
func (c *upstream) quiet() bool {
	c.link.probing = true
	n, err := c.nc.Read(c.one[:])
	c.link.probing = false
	return n == 0 && errors.Is(err, errNothing)
}

// truncated reports whether the io.EOF that nc gave may hide a missing rest:
// over TLS the stream's end counts only when the upstream said so in a closing
// alert, since an end of TCP can be made by anybody on the way (RFC 9112,
// section 9.8).
func (c *upstream) truncated() bool { return c.nc != net.Conn(c.link) && c.link.ended }
