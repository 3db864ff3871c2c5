package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// RoundTrip sends one request and reads the answer's head. Interim answers are
// skipped; whatever the final status, an answer is not an error. When ctx ends
// the connection is broken off at any point, until the answer's body was read
// to its end or closed, or the upgraded connection was closed.
func (t *Transport) RoundTrip(ctx context.Context, key string, q *OutRequest) (*InResponse, error) {
	out := newOutBuffer()
	defer out.release()
	if err := out.build(q); err != nil {
		return nil, &notSent{err}
	}
	for {
		c := t.take(key)
		pooled := c != nil
		if !pooled {
			var err error
			if c, err = t.connect(ctx, key); err != nil {
				return nil, &notSent{because(ctx, err)}
			}
		}
		x := &exchange{conn: c}
		r, err := x.run(ctx, q, out)
		// A kept connection may have died since take looked at it. As long as
		// the socket took no byte, that is as if it had been found dead.
		if err == nil || !pooled || ctx.Err() != nil || !errors.Is(err, ErrNotSent) {
			return r, err
		}
	}
}

// exchange is one request on a connection and its answer.
type exchange struct {
	conn *upstream
	ctx  context.Context
	stop func() bool // takes the watch over ctx away; nil when ctx never ends
	in   *answers
	send *sender // nil when the request was sent whole before the answer was read
	keep time.Duration

	mu    sync.Mutex
	over  bool // the connection is no longer this exchange's; guarded by mu
	final bool // the connection cannot be kept whatever happens; guarded by mu
}

func (x *exchange) run(ctx context.Context, q *OutRequest, out *outBuffer) (*InResponse, error) {
	c := x.conn
	x.ctx, x.final = ctx, q.Close
	if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, c.cut)
	}
	c.link.wrote = false
	err := ctx.Err()
	if err == nil {
		_, err = c.nc.Write(out.b)
	}
	if err != nil && !c.link.wrote {
		err = x.why(err)
		x.end(false)
		return nil, &notSent{err}
	}
	out.wipe()
	if err != nil {
		// The upstream closed before it had read all. It may have answered
		// before it did.
		x.final = true
		if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			err = x.why(err)
			x.end(false)
			return nil, err
		}
	} else if q.streams() {
		x.send = newSender(c, q)
		go x.send.run(x)
	} else if q.Sent != nil {
		q.Sent()
	}
	r, readErr := x.read(q)
	if readErr != nil {
		readErr = x.why(readErr)
		x.end(false)
		if err != nil {
			readErr = fmt.Errorf("%w (after %w)", readErr, err)
		}
		return nil, readErr
	}
	return r, nil
}

// read reads the answer's head and prepares its body.
func (x *exchange) read(q *OutRequest) (*InResponse, error) {
	c := x.conn
	x.in = newAnswers(c.nc)
	var r *InResponse
	for {
		var err error
		if r, err = x.in.read(q.Method); err != nil {
			return nil, err
		}
		if r.Status >= 200 || r.Status == http.StatusSwitchingProtocols {
			break
		}
		// 100 (Continue) was not asked for and changes nothing.
		if q.Interim != nil && r.Status != http.StatusContinue {
			q.Interim(r.Status, r.Header)
		}
	}
	x.keep = r.keep
	x.mu.Lock()
	x.final = x.final || r.close
	x.mu.Unlock()
	if r.Status == http.StatusSwitchingProtocols {
		return r, x.upgrade(q, r)
	}
	if x.send != nil && r.Status >= 300 {
		// The upstream does not want the rest (RFC 9112, section 9.5). A
		// success may well be said while the body is still wanted: git's
		// progress, two-way streams.
		x.send.stop.Store(true)
	}
	if r.none {
		x.end(true)
		return r, nil
	}
	b := &r.body
	b.x, b.left, b.chunked = x, r.Length, r.chunked
	if r.chunked {
		b.left = 0
	}
	r.Body = b
	return r, nil
}

// upgrade hands the connection over after a 101, which must name the protocol
// that was asked for (RFC 9110, section 7.8).
func (x *exchange) upgrade(q *OutRequest, r *InResponse) error {
	if q.Upgrade == "" || x.send != nil || r.Header.Count("Upgrade") != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), q.Upgrade) {
		return errSwitched
	}
	u := &upgraded{Conn: x.conn.nc, x: x}
	if n := x.in.br.Buffered(); n > 0 {
		u.early = make([]byte, n)
		_, _ = io.ReadFull(x.in.br, u.early)
	}
	x.in.release()
	x.in = nil
	r.Upgraded = u
	return nil
}

// upgraded is a connection after a 101.
type upgraded struct {
	net.Conn
	x     *exchange
	early []byte // came with the 101; for the goroutine that reads
}

// Read reads, first what came with the 101.
func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		u.early = u.early[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// NetConn is the connection below.
func (u *upgraded) NetConn() net.Conn { return u.Conn }

// Close closes the connection and ends the exchange.
func (u *upgraded) Close() error {
	u.x.mu.Lock()
	u.x.over = true
	u.x.mu.Unlock()
	if u.x.stop != nil {
		u.x.stop()
	}
	return u.Conn.Close()
}

// breakOff ends the connection, if it is still this exchange's.
func (x *exchange) breakOff() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.final = true
	if !x.over {
		x.conn.cut()
	}
}

// mayKeep reports whether a clean end would leave the connection usable.
func (x *exchange) mayKeep() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.final && !x.over
}

// why gives the error that says most: what broke the connection off on this
// side is not the upstream's failure.
func (x *exchange) why(err error) error {
	if err == io.EOF {
		return err
	}
	if x.send != nil {
		if cause := x.send.cause.Load(); cause != nil {
			return *cause
		}
	}
	if err == ErrBodyClosed {
		return err
	}
	return because(x.ctx, err)
}

// because puts before err why ctx ended, if it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// lateWrite is how long the end of an answer waits for the goroutine that has
// written the request's last byte to notice that it has.
const lateWrite = time.Second

// end ends the exchange and makes the connection idle, or closes it: only a
// connection on which both messages were read and sent to their clean end, and
// on which nothing stands after that, is used again.
func (x *exchange) end(clean bool) {
	c := x.conn
	if x.in != nil {
		clean = clean && x.in.br.Buffered() == 0
		x.in.release()
		x.in = nil
	}
	sent := x.send == nil || x.send.wait(clean && x.mayKeep())
	// Once stop has said that the watch is gone, ctx can no longer break off a
	// connection that another exchange uses.
	if x.stop != nil && !x.stop() {
		clean = false
	}
	x.mu.Lock()
	x.over = true
	keep := clean && sent && !x.final
	x.mu.Unlock()
	switch {
	case keep:
		c.t.put(c, x.keep)
	case clean && sent:
		_ = c.nc.Close()
	default:
		c.cut()
	}
}
