package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/mask"
	"writ.dev/writ/internal/wire"
)

// passThrough carries a WebSocket (RFC 6455) once the upstream agreed to it:
// the frames are the program's and the upstream's own. The use lasts as long
// as the connection, and a revocation ends it with close code 1008 (T42).
func (x *exchange) passThrough(ctx context.Context, u *broker.Use, r *wire.InResponse, m *mask.Set, out *writ.Outcome) {
	x.replied, x.broken = true, true
	upstream := r.Upgraded
	defer func() { _ = upstream.Close() }()
	header := x.answerHeader(u, r, m, out)
	if err := x.conn.Respond(x.req).Switch("websocket", header); err != nil {
		out.Error = "the client's side broke off"
		return
	}
	down, err := x.conn.Detach()
	if err != nil {
		out.Error = "the client sent frames before the upgrade was agreed"
		return
	}
	defer func() { _ = down.Close() }()

	toClient := &frameWriter{w: down}
	x.farewell.set(toClient.closePolicy)
	defer x.farewell.set(nil)
	stop := context.AfterFunc(ctx, func() {
		if u.WasCut() {
			x.farewell.say()
		}
		_ = upstream.Close()
		_ = down.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() {
		_ = drainTo(upstream, &countedBody{Reader: down, n: &x.sent})
		_ = upstream.Close()
	})
	both.Go(func() {
		_ = drainTo(toClient, &countedBody{Reader: upstream, n: &x.received})
		if u.WasCut() {
			// The transport breaks the upstream off for the same reason, and may
			// do so before the close frame was written.
			x.farewell.say()
		}
		_ = down.Close()
	})
	both.Wait()
	out.Sent, out.Received = x.sent.Load(), x.received.Load()
	if !u.WasCut() {
		out.Kind = writ.Completed
	}
}

// frameWriter passes bytes on and follows the frames in them, so that a close
// frame of ours is put between two frames, never into one.
type frameWriter struct {
	w net.Conn

	mu     sync.Mutex
	head   []byte // the frame header read so far; guarded by mu
	left   uint64 // payload bytes left of the frame; guarded by mu
	closed bool   // guarded by mu
}

var errClosedByPolicy = errors.New("closed by policy")

// Write passes p on.
func (f *frameWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, errClosedByPolicy
	}
	n, err := f.w.Write(p)
	f.followLocked(p[:n])
	return n, err
}

// followLocked keeps track of where the current frame ends (RFC 6455, section 5.2).
func (f *frameWriter) followLocked(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.head = append(f.head, p[0])
		p = p[1:]
		if n, ok := frameLength(f.head); ok {
			f.left, f.head = n, f.head[:0]
		}
	}
}

// farewellTime bounds the writing of the close frame.
const farewellTime = 200 * time.Millisecond

// frameLength is how many bytes follow a whole frame header.
func frameLength(head []byte) (uint64, bool) {
	if len(head) < 2 {
		return 0, false
	}
	const masked = 0x80
	key := uint64(0)
	if head[1]&masked != 0 {
		key = 4
	}
	switch n := head[1] &^ masked; {
	case n == 126 && len(head) < 4, n == 127 && len(head) < 10:
		return 0, false
	case n == 126:
		return uint64(binary.BigEndian.Uint16(head[2:])) + key, true
	case n == 127:
		return binary.BigEndian.Uint64(head[2:]) + key, true
	default:
		return uint64(n) + key, true
	}
}

// closePolicy sends a close frame with code 1008 (policy violation), when the
// stream stands between two frames.
func (f *frameWriter) closePolicy() {
	// A client that does not read must not hold up its own end: the deadline
	// also ends a Write that is blocked under the lock.
	_ = f.w.SetWriteDeadline(time.Now().Add(farewellTime))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.left > 0 || len(f.head) > 0 {
		return
	}
	const reason = "revoked"
	frame := append([]byte{0x88, 2 + byte(len(reason)), 1008 >> 8, 1008 & 0xff}, reason...)
	_, _ = f.w.Write(frame)
}

// farewell is what is said to the client before its connection is broken off.
// Leases of a relay connection, a tunnel and a use may all be cut by one
// revocation, in any order: whoever comes first says it, the others wait.
type farewell struct {
	mu sync.Mutex
	f  func() // guarded by mu
}

func (w *farewell) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.f = f
}

func (w *farewell) say() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f != nil {
		w.f()
		w.f = nil
	}
}
