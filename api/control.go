package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/client/run"
	"writ.dev/writ/internal/proctree"
	"writ.dev/writ/ledger"
	"writ.dev/writ/signin"
)

const (
	// attachWithin is how long an attached session may wait for its control
	// stream: `writ run` opens it right after the session.
	attachWithin = 30 * time.Second
	// helloWithin is how long an opened stream may wait for its first line.
	helloWithin = 10 * time.Second
	// endWithin bounds ending a session whose stream is gone, in a context that
	// outlives the request.
	endWithin = 10 * time.Second
	// ackWithin is how long a run has to report its program's end. Whoever
	// revoked waits no longer than that either.
	ackWithin = 5 * time.Second
)

// Causes that end a session by itself. They are what the ledger says.
const (
	causeExited     = "program exited"
	causeLost       = "control stream lost"
	causeExpired    = "session expired"
	causeUnattached = "no control stream was opened"
	causeRestart    = "server restarted"
	causeShutdown   = "server stopped"
)

// children keeps the control streams. A session that was started attached
// lives no longer than its stream.
type children struct {
	ctx    context.Context // ends with the server
	cancel context.CancelFunc

	mu      sync.Mutex
	streams map[writ.Ref]*proctree.Process // guarded by mu: sessions with a stream, and who holds it; nil is unknown
	waiting map[writ.Ref]*time.Timer       // guarded by mu: sessions without one yet
	closed  bool                           // guarded by mu
	running sync.WaitGroup
}

func newChildren() *children {
	c := &children{streams: map[writ.Ref]*proctree.Process{}, waiting: map[writ.Ref]*time.Timer{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// expect ends the session unless its stream is opened in time.
func (c *children) expect(ref writ.Ref, end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.waiting[ref] = time.AfterFunc(attachWithin, func() {
		c.mu.Lock()
		_, still := c.waiting[ref]
		delete(c.waiting, ref)
		c.mu.Unlock()
		if still {
			end()
		}
	})
}

// open takes the session's one place for a stream.
func (c *children) open(ref writ.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.streams[ref]; c.closed || taken {
		return false
	}
	if t := c.waiting[ref]; t != nil {
		t.Stop()
		delete(c.waiting, ref)
	}
	c.streams[ref] = nil
	c.running.Add(1)
	return true
}

func (c *children) done(ref writ.Ref) {
	c.mu.Lock()
	delete(c.streams, ref)
	c.mu.Unlock()
	c.running.Done()
}

// heldBy notes which process holds the session's stream.
func (c *children) heldBy(ref writ.Ref, p proctree.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.streams[ref]; open {
		c.streams[ref] = &p
	}
}

// runs lists the processes that hold streams: the roots of live runs.
func (c *children) runs() []proctree.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []proctree.Process
	for _, p := range c.streams {
		if p != nil {
			all = append(all, *p)
		}
	}
	return all
}

// attached reports whether the session has a stream, or is still waited for.
func (c *children) attached(ref writ.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, streams := c.streams[ref]
	return streams || c.waiting[ref] != nil
}

// Close ends every control stream and the session behind it, and waits for
// that until ctx ends. The programs below the streams end with them.
func (s *Server) Close(ctx context.Context) error {
	c := s.children
	c.mu.Lock()
	c.closed = true
	for ref, t := range c.waiting {
		t.Stop()
		delete(c.waiting, ref)
	}
	c.mu.Unlock()
	c.cancel()
	done := make(chan struct{})
	go func() { c.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// control serves one control stream. The caller is a session.
func (s *Server) control(c *signin.Caller) *stream {
	return raw(func(w http.ResponseWriter, r *http.Request) {
		ref := writ.Ref{Org: c.Org, ID: c.Session.ID}
		if err := controllable(r, c.Session); err != nil {
			s.fail(r.Context(), w, err)
			return
		}
		if !s.children.open(ref) {
			s.fail(r.Context(), w, writ.Errorf(writ.KindConflict, "the session has a control stream already").WithFix("start a session of its own for each run"))
			return
		}
		defer s.children.done(ref)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			s.fail(r.Context(), w, writ.Errorf(writ.KindInternal, "the connection cannot be taken over").WithCause(err))
			return
		}
		defer conn.Close()
		if a, ok := w.(*answer); ok {
			a.hijacked.Store(true)
			a.status = http.StatusSwitchingProtocols
		}
		if a := attempt(r); a.Client.Addr().Unmap().IsLoopback() {
			// Asked of the kernel: the run's own word for its pid could name another's.
			if p, err := proctree.Owner(a.Client, a.Server); err == nil {
				s.children.heldBy(ref, p)
			}
		}
		_ = conn.SetDeadline(time.Time{}) // the server's deadlines were for requests
		if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + run.ControlProtocol + "\r\n\r\n")); err != nil {
			s.endSession(ref, c, causeLost)
			return
		}
		h := &holding{s: s, caller: c, ref: ref, stream: run.NewControlStream(conn, rw.Reader), got: make(chan run.ControlMessage)}
		h.serve()
	})
}

func controllable(r *http.Request, session *writ.Session) error {
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), run.ControlProtocol) || r.ProtoMajor != 1:
		return writ.Errorf(writ.KindInvalid, "this address is for an upgrade to %s over HTTP/1.1", run.ControlProtocol).WithFix("use writ run")
	case !session.Attached:
		return writ.Errorf(writ.KindConflict, "the session was not started to be held by a control stream").WithFix("start it with attached: true")
	}
	return nil
}

// holding is one control stream while it stands.
type holding struct {
	s      *Server
	caller *signin.Caller
	ref    writ.Ref
	stream *run.ControlStream
	lease  *broker.Lease
	got    chan run.ControlMessage
}

// serve holds the stream until it is lost, the session ends or the server
// stops, and ends the session in any case.
func (h *holding) serve() {
	ctx, cancel := context.WithCancel(h.s.children.ctx)
	defer cancel()
	h.lease = h.s.Flights.Attach(ctx, h.ref.Org, h.ref.ID)
	// What nobody has answered for by then is not confirmed down.
	defer h.lease.Lose()

	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for {
			m, err := h.stream.Receive()
			if err != nil {
				return
			}
			select {
			case h.got <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	cause := ""
	if h.s.Gate.Again(ctx, h.caller) != nil {
		// Ended between the gate and the lease: no revocation has found this stream.
		h.end(lost)
		cause = causeLost
	} else {
		cause = h.hold(ctx, lost)
	}
	if cause != "" {
		h.s.endSession(h.ref, h.caller, cause)
	}
	h.stream.Close()
	cancel()
	<-lost
}

// hold waits for what ends the stream, and gives the cause for which the
// session ends with it; "" when the session's own end was the cause.
func (h *holding) hold(ctx context.Context, lost <-chan struct{}) (cause string) {
	ping := time.NewTicker(run.ControlPing)
	defer ping.Stop()
	hello := time.NewTimer(helloWithin)
	defer hello.Stop()
	expiry := time.NewTimer(h.caller.Session.Expires.Go().Sub(h.s.Clock()))
	defer expiry.Stop()
	for {
		select {
		case <-h.lease.Context().Done():
			if h.s.children.ctx.Err() != nil && !h.lease.WasCut() {
				return causeShutdown
			}
			h.end(lost)
			return ""
		case <-lost:
			if !h.lease.WasCut() {
				h.lease.Close() // nothing was asked of the run, and the session ends now
				return causeLost
			}
			return ""
		case m := <-h.got:
			hello.Stop()
			if m.Type != run.ControlEnded {
				continue
			}
			// The program has ended by itself. An end that was on its way to it has
			// found its aim.
			if m.AllGone {
				h.lease.Close()
			}
			if h.lease.WasCut() {
				return ""
			}
			return causeExited
		case <-hello.C:
			return causeLost
		case <-ping.C:
			if h.stream.Send(run.ControlMessage{Type: run.ControlPinged}) != nil {
				return causeLost
			}
		case <-expiry.C:
			h.s.endSession(h.ref, h.caller, causeExpired)
			h.end(lost)
			return ""
		}
	}
}

// end has the run end its program, and closes the lease when it says that
// nothing of it is left.
func (h *holding) end(lost <-chan struct{}) {
	id := string(h.ref.ID)
	if h.stream.Send(run.ControlMessage{Type: run.ControlEnd, ID: id, Cause: h.cause()}) != nil {
		return
	}
	ack := time.NewTimer(ackWithin)
	defer ack.Stop()
	for {
		select {
		case m := <-h.got:
			if m.Type != run.ControlEnded || m.ID != id && m.ID != "" {
				continue
			}
			if m.AllGone {
				h.lease.Close()
			}
			return
		case <-lost:
			return
		case <-ack.C:
			return
		}
	}
}

// causeWithin bounds looking up why a session ended: ending it comes first.
const causeWithin = 250 * time.Millisecond

// cause is why the session ended, for the person whose program is stopped: what
// its ledger entry says.
func (h *holding) cause() string {
	const unknown = "the session was ended"
	ctx, cancel := context.WithTimeout(context.Background(), causeWithin)
	defer cancel()
	seq, err := h.s.Store.EntryOf(ctx, h.ref.Org, h.ref.ID)
	if err != nil {
		return unknown
	}
	e, err := h.s.Store.Entry(ctx, h.ref.Org, seq)
	if err != nil {
		return unknown
	}
	change, err := ledger.DecodeChange(e)
	if err != nil || !slices.Contains(change.Inactive, h.ref.ID) {
		return unknown
	}
	cause := strings.ReplaceAll(change.Act, "-", " ")
	if by := h.s.label(ctx, h.ref.Org, change.By.Identity); by != "" {
		cause += " by " + by
	}
	if change.Cause != "" {
		cause += ": " + change.Cause
	}
	return cause
}

// endSession ends a session for a cause of the server's own. It is done even
// when the request that noticed is gone.
func (s *Server) endSession(ref writ.Ref, by *signin.Caller, cause string) {
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	actor := writ.Actor{}
	if by != nil {
		actor = by.Actor()
	}
	if _, _, err := s.Store.EndSession(ctx, actor, ref, cause); err != nil && writ.KindOf(err) != writ.KindNotFound {
		s.log.Error("a session whose run is gone could not be ended", "session", ref.ID, "cause", err)
	}
}
