package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"writ.dev/writ"
)

// ControlProtocol is what the control connection of a session is upgraded to:
// one JSON object a line, both ways.
const ControlProtocol = "writ-control/1"

const (
	// ControlPing is how often the server asks whether the run is there.
	ControlPing = 15 * time.Second
	// ControlSilence is after how long without a line either side takes the
	// stream for lost: three pings, and one for the way.
	ControlSilence = 4 * ControlPing

	maxControlLine   = 4 << 10
	controlWriteTime = 10 * time.Second
)

// ControlType is the kind of a ControlMessage.
type ControlType string

// What the server sends (end, ping) and what the run sends (hello, ended, pong).
const (
	ControlHello  ControlType = "hello" // first line: PID
	ControlEnd    ControlType = "end"   // end the program: ID, Cause
	ControlEnded  ControlType = "ended" // it has ended: Code, AllGone, and the ID of the end; by itself: no ID
	ControlPinged ControlType = "ping"
	ControlPong   ControlType = "pong"
)

// ControlMessage is one line of the control stream.
type ControlMessage struct {
	Type    ControlType `json:"type"`
	ID      string      `json:"id,omitempty"`       // of an end, repeated in its ended
	Cause   string      `json:"cause,omitempty"`    // for a person to read
	PID     int         `json:"pid,omitempty"`      // of the process that holds the stream: the root of the run
	Code    int         `json:"code,omitempty"`     // the program's exit code; -1 if it has not ended
	AllGone bool        `json:"all_gone,omitempty"` // no process of the run is left
}

func (m ControlMessage) check() error {
	ok := false
	switch m.Type {
	case ControlHello:
		ok = m.PID > 0
	case ControlEnd:
		ok = m.ID != ""
	case ControlEnded, ControlPinged, ControlPong:
		ok = true
	}
	if !ok {
		return errors.New("control stream: unknown or incomplete message")
	}
	return nil
}

// ControlStream reads and writes control messages. Both ends use it: the run
// through Control, the server on the connection that it has upgraded. Send may
// be called from several goroutines, Receive from one.
type ControlStream struct {
	conn net.Conn
	in   *bufio.Reader

	mu sync.Mutex // one line at a time
}

// NewControlStream takes over conn. in is the reader that may hold bytes read
// ahead of the upgrade; nil if there is none.
func NewControlStream(conn net.Conn, in *bufio.Reader) *ControlStream {
	var r io.Reader = conn
	if in != nil {
		r = in
	}
	return &ControlStream{conn: conn, in: bufio.NewReaderSize(r, maxControlLine)}
}

// Send writes one message.
func (s *ControlStream) Send(m ControlMessage) error {
	if err := m.check(); err != nil {
		return err
	}
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("control stream: %w", err)
	}
	if len(line) >= maxControlLine {
		return errors.New("control stream: message too long")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A peer that does not read must not hold up whoever wants to end it.
	if err := s.conn.SetWriteDeadline(time.Now().Add(controlWriteTime)); err != nil {
		return err
	}
	_, err = s.conn.Write(append(line, '\n'))
	return err
}

// Receive waits for the next message, for ControlSilence at most. Any error
// means that the stream is lost: a line that cannot be read is not skipped,
// since it could be an end.
func (s *ControlStream) Receive() (ControlMessage, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(ControlSilence)); err != nil {
		return ControlMessage{}, err
	}
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return ControlMessage{}, err
	}
	var m ControlMessage
	if err := json.Unmarshal(line, &m); err != nil {
		return ControlMessage{}, errors.New("control stream: a line is not a message")
	}
	return m, m.check()
}

// finish says that no more will be sent. Closing at once could reset the
// connection under the last line, if a ping lay here unread (RFC 9112, section
// 9.6, for the same reason).
func (s *ControlStream) finish() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // lost already: then nothing is to be saved
	}
}

// drain reads on until the peer closes, for lingerTime at most.
func (s *ControlStream) drain() {
	_ = s.conn.SetReadDeadline(time.Now().Add(lingerTime)) // fails only on a closed connection, as reading then does
	_, _ = io.Copy(io.Discard, s.in)
}

// Close ends the stream. A Receive that waits returns an error.
func (s *ControlStream) Close() error { return s.conn.Close() }

// Control is the run's end of the control stream. The server keeps the session
// only as long as the stream stands, and the program lives only as long as the
// session: so a lost stream ends both, each side on its own.
type Control struct {
	stream *ControlStream
}

// OpenControl opens the control stream of a session on the server's API
// address and says hello.
func OpenControl(ctx context.Context, server Server, session string) (*Control, error) {
	if err := server.check(); err != nil {
		return nil, err
	}
	conn, in, err := server.upgrade(ctx, "/v1/sessions/"+url.PathEscape(session)+"/control", server.Addr, ControlProtocol, nil)
	if err != nil {
		return nil, controlError(err)
	}
	c := &Control{stream: NewControlStream(conn, in)}
	if err := c.stream.Send(ControlMessage{Type: ControlHello, PID: os.Getpid()}); err != nil {
		c.Close()
		return nil, controlError(err)
	}
	return c, nil
}

func controlError(err error) error {
	var known *writ.Error
	if errors.As(err, &known) {
		return err
	}
	var r *refusal
	if errors.As(err, &r) && (r.response.StatusCode == 401 || r.response.StatusCode == 403) {
		return writ.Errorf(writ.KindUnauthenticated, "the server does not accept this session").
			WithFix("start the run again").WithCause(err)
	}
	return unavailable("the control stream to the Writ server cannot be opened", err).WithFix("check that it runs: writ status")
}

// Serve answers the server until it ends the session, the stream is lost, or
// ctx ends. For an end it calls kill, acknowledges with the outcome, and
// returns the error to show the user; for a lost stream likewise. It returns
// nil if ctx has ended.
func (c *Control) Serve(ctx context.Context, kill func(context.Context) Ended) *writ.Error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for {
		m, err := c.stream.Receive()
		if err == nil && m.Type == ControlEnd {
			e := kill(ctx)
			// If the line is lost the server counts the program as not ended:
			// there is nobody else to tell.
			_ = c.stream.Send(ControlMessage{Type: ControlEnded, ID: m.ID, Code: e.Code, AllGone: e.AllGone})
			c.stream.finish()
			c.stream.drain()
			return endedByServer(m.Cause, e)
		}
		if err == nil && m.Type == ControlPinged {
			err = c.stream.Send(ControlMessage{Type: ControlPong})
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return streamLost(err)
		}
	}
}

// Exited tells the server that the program has ended without having been told
// to, and that nothing more will come: an end that is on its way meanwhile has
// found its aim. The server answers by closing the stream.
func (c *Control) Exited(e Ended) error {
	err := c.stream.Send(ControlMessage{Type: ControlEnded, Code: e.Code, AllGone: e.AllGone})
	c.stream.finish()
	return err
}

func endedByServer(cause string, e Ended) *writ.Error {
	err := writ.Errorf(writ.KindDenied, "the session was ended and the program stopped")
	if !e.AllGone {
		err = writ.Errorf(writ.KindDenied, "the session was ended, but %d processes of the program could not be stopped", e.Left)
	}
	if cause != "" {
		err = err.WithWhy("%s", plain(cause))
	}
	return err
}

func streamLost(err error) *writ.Error {
	return writ.Errorf(writ.KindUnavailable, "the connection to the Writ server was lost: the session has ended and the program is stopped").
		WithFix("check the server (writ status), then start the run again").WithCause(err)
}

// Close ends the stream, and with it, on the server, the session.
func (c *Control) Close() error { return c.stream.Close() }
