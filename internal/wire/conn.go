package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Timeouts of a connection. The zero value of each means its default.
type Timeouts struct {
	Keep  time.Duration // from one request's end to the next one's first byte; 2 min
	Head  time.Duration // for a whole head, from its first byte; 20 s
	Read  time.Duration // between two reads of a body that make progress; 2 min
	Write time.Duration // between two writes that make progress; 1 min
	Drain time.Duration // for dropping the rest of a body nobody read; 5 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Keep, 2 * time.Minute},
		{&t.Head, 20 * time.Second},
		{&t.Read, 2 * time.Minute},
		{&t.Write, time.Minute},
		{&t.Drain, 5 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return t
}

// Conn is the server's side of one client connection. One goroutine serves
// it: ReadRequest, Respond, and so on in turn. Cut may be called by any.
type Conn struct {
	nc net.Conn
	t  Timeouts
	r  *Reader
	w  *bufio.Writer

	// How long a read may take: until, if set, else idle from now. Written by
	// the serving goroutine while nobody reads, and by drain.
	idle  time.Duration
	until time.Time
	dmu   sync.Mutex // guards both against a body read still under way

	wmu       sync.Mutex // guards w until answered: a body's first Read may send 100 (Continue)
	answered  bool       // the present request's final status line was written
	continued bool       // its 100 (Continue) was sent

	req    *Request  // the present one; nil before the first
	resp   *Response // the present one; nil before Respond
	watch  *watch
	over   bool        // no further request may be read
	unread bool        // the client may still be sending: close slowly
	gone   bool        // detached
	cut    atomic.Bool // broken off
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}

// NewConn serves nc, which it owns from now on.
func NewConn(nc net.Conn, t Timeouts) *Conn {
	c := &Conn{nc: nc, t: t.withDefaults()}
	c.r = NewReader(connReader{c})
	c.w = writers.Get().(*bufio.Writer)
	c.w.Reset(connWriter{c})
	return c
}

// connReader renews the read deadline before each read.
type connReader struct{ c *Conn }

func (r connReader) Read(p []byte) (int, error) {
	c := r.c
	c.dmu.Lock()
	until := c.until
	if until.IsZero() && c.idle > 0 {
		until = time.Now().Add(c.idle)
	}
	err := c.nc.SetReadDeadline(until)
	c.dmu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// writeStep is the most that is given to the connection at once: a client
// that takes 16 KiB within the write timeout makes progress.
const writeStep = 16 << 10

// connWriter renews the write deadline before each step.
type connWriter struct{ c *Conn }

func (w connWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		step := p[:min(len(p), writeStep)]
		if err := w.c.nc.SetWriteDeadline(time.Now().Add(w.c.t.Write)); err != nil {
			return n, err
		}
		m, err := w.c.nc.Write(step)
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}

// reading sets what the next reads may take: idle each, or idle for all of
// them together; 0 is for ever.
func (c *Conn) reading(idle time.Duration, whole bool) {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	c.idle, c.until = idle, time.Time{}
	if whole {
		c.until = time.Now().Add(idle)
		// A read under way in another goroutine is bounded as well.
		_ = c.nc.SetReadDeadline(c.until)
	}
}

// ReadRequest reads the next request. io.EOF and ErrIdle end the connection
// without an answer, an *Error with one (see Refuse), and so does any other
// error without.
func (c *Conn) ReadRequest() (*Request, error) {
	if err := c.settle(); err != nil {
		return nil, err
	}
	c.reading(c.t.Keep, false)
	if err := c.r.await(); err != nil {
		c.over = true
		var refusal *Error
		switch {
		case errors.As(err, &refusal):
			c.unread = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, ErrIdle
		}
		return nil, err
	}
	c.reading(c.t.Head, true)
	req, err := c.r.readHead()
	if err != nil {
		c.over, c.unread = true, true
		return nil, slow(err, errHeadSlow)
	}
	c.reading(c.t.Read, false)
	c.wmu.Lock()
	c.answered, c.continued = false, false
	c.wmu.Unlock()
	c.req = req
	if req.Continue {
		req.body.first = c.sendContinue
	}
	return req, nil
}

// settle ends what belongs to the request before: its response must be
// finished, its body is dropped. io.EOF when the connection is over.
func (c *Conn) settle() error {
	c.stopWatch()
	if c.over {
		return io.EOF
	}
	if c.req == nil {
		return nil
	}
	if c.resp == nil || !c.resp.done {
		c.over = true
		return errUnplanned
	}
	if !c.resp.keep {
		c.over = true
		c.unread = c.req.Length != 0 && c.req.body.unread() != 0
		return io.EOF
	}
	c.req, c.resp = nil, nil
	c.reading(c.t.Drain, true)
	if err := c.r.finish(); err != nil {
		c.over, c.unread = true, true
		return io.EOF
	}
	return nil
}

// sendContinue is what a waiting body's first Read does (RFC 9110, section
// 10.1.1): only now does the client begin to send it.
func (c *Conn) sendContinue() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.answered {
		return errContinue
	}
	c.continued = true
	if _, err := c.w.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
		return err
	}
	return c.w.Flush()
}

// Buffered is how many bytes came after the request and its body.
func (c *Conn) Buffered() int { return c.r.Buffered() }

// Detach ends the HTTP on the connection and gives it up without deadlines,
// after a 2xx to CONNECT or a 101. It refuses when the client had already
// sent bytes of the new protocol: it cannot have known the answer, and nobody
// has read them (T14). The caller closes the returned connection; Cut still
// breaks it off.
func (c *Conn) Detach() (net.Conn, error) {
	c.stopWatch()
	if c.over || c.resp == nil || !c.resp.done || !c.resp.switched {
		return nil, errUnplanned
	}
	c.over = true
	c.reading(c.t.Drain, true)
	if err := c.r.finish(); err != nil {
		return nil, err
	}
	if c.Buffered() > 0 {
		return nil, errEarly
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c.gone = true
	c.release()
	return c.nc, nil
}

// Cut breaks the connection off at once, from any goroutine: what the kernel
// has not sent is dropped, and the client sees a reset, not an end. The
// serving goroutine must still call Close.
func (c *Conn) Cut() {
	if c.cut.CompareAndSwap(false, true) {
		abort(c.nc)
	}
}

// abort closes the connection below a TLS one without its closing alert, so
// that a truncated answer cannot pass for a whole one.
func abort(nc net.Conn) {
	for {
		inner, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = inner.NetConn()
	}
	if tcp, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}

// Close ends the connection; the serving goroutine calls it last. A response
// that was begun and not ended is broken off.
func (c *Conn) Close() error {
	c.stopWatch()
	if c.gone || c.r == nil {
		return nil
	}
	defer c.release()
	if c.resp != nil && c.resp.begun && !c.resp.done {
		c.Cut()
	}
	if c.cut.Load() {
		return nil
	}
	if c.unread || c.req != nil && c.req.Length != 0 && c.req.body.unread() != 0 {
		c.linger()
	}
	return c.nc.Close()
}

// lingerTime is how long Close reads on, so that a client that is still
// sending gets to read the answer before a reset overtakes it (RFC 9112,
// section 9.6).
const lingerTime = 500 * time.Millisecond

func (c *Conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.reading(lingerTime, true)
	if c.req != nil {
		c.req.body.sever()
	}
	_, _ = io.CopyN(io.Discard, c.nc, MaxDrain)
}

// release gives the buffers back, once nobody can use them any more. The
// connection is closed or has a deadline in the past, so that a body's read
// under way ends and sever does not wait.
func (c *Conn) release() {
	if c.req != nil {
		c.req.body.sever()
	}
	c.r.release()
	c.w.Reset(nil)
	writers.Put(c.w)
	c.r, c.w = nil, nil
}

// watch is a goroutine that waits for the client to hang up.
type watch struct {
	stopped atomic.Bool
	done    chan struct{}
}

// Watch calls gone, in a goroutine of its own, when the client hangs up
// before the next ReadRequest, Detach or Close. It can watch only once the
// body was read to its end (until then the body's reads notice) and while
// nothing was sent after it; else it reports false.
func (c *Conn) Watch(gone func()) bool {
	if c.over || c.req == nil || c.watch != nil || c.Buffered() > 0 {
		return false
	}
	if c.req.Length != 0 && c.req.body.unread() != 0 {
		return false
	}
	c.reading(0, false)
	w := &watch{done: make(chan struct{})}
	c.watch = w
	go func() {
		defer close(w.done)
		// A first byte of the next request is left where it is.
		if _, err := c.r.br.Peek(1); err != nil && !w.stopped.Load() {
			gone()
		}
	}()
	return true
}

// stopWatch ends the watch and waits until it has let go of the reader.
func (c *Conn) stopWatch() {
	w := c.watch
	if w == nil {
		return
	}
	c.watch = nil
	w.stopped.Store(true)
	c.dmu.Lock()
	c.until = time.Unix(1, 0)
	_ = c.nc.SetReadDeadline(c.until)
	c.dmu.Unlock()
	<-w.done
}
