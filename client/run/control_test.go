package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
)

// controlServer stands for the server's end of one control stream.
type controlServer struct {
	*ControlStream
	path, auth string
}

// openControl opens a stream to a server in this process.
func openControl(t *testing.T) (*Control, *controlServer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		s   *controlServer
		err error
	}
	ch := make(chan result, 1)
	go func() {
		s, err := acceptControl(l)
		ch <- result{s, err}
	}()
	c, err := OpenControl(t.Context(), Server{Addr: l.Addr().String(), Token: func(context.Context) (string, error) { return testToken, nil }}, "ses_7f2")
	if err != nil {
		t.Fatal(err)
	}
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { c.Close(); r.s.Close() })
	return c, r.s
}

func acceptControl(l net.Listener) (*controlServer, error) {
	conn, err := l.Accept()
	if err != nil {
		return nil, err
	}
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	// The first message comes right behind the 101: it must not be lost in the
	// reader of the upgrade.
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n{\"type\":\"ping\"}\n", r.Header.Get("Upgrade"))
	s := &controlServer{ControlStream: NewControlStream(conn, br), path: r.RequestURI, auth: r.Header.Get("Authorization")}
	return s, err
}

// closeWrite closes as a server does that has the last line; what the run has
// sent can still be read.
func (s *controlServer) closeWrite() { _ = s.conn.(*net.TCPConn).CloseWrite() }

// expectMessage reads the next message, pongs aside.
func expectMessage(t *testing.T, s *controlServer, want ControlMessage) {
	t.Helper()
	for {
		got, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if got.Type == ControlPong && want.Type != ControlPong {
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if got.Type == ControlEnded {
			s.closeWrite()
		}
		return
	}
}

func TestControlIntroducesItself(t *testing.T) {
	c, s := openControl(t)
	if s.path != "/v1/sessions/ses_7f2/control" || s.auth != "Bearer "+testToken {
		t.Errorf("%s, %s", s.path, s.auth)
	}
	expectMessage(t, s, ControlMessage{Type: ControlHello, PID: os.Getpid()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *writ.Error)
	go func() {
		done <- c.Serve(ctx, func(context.Context) Ended { t.Error("nothing was to be ended"); return Ended{} })
	}()
	expectMessage(t, s, ControlMessage{Type: ControlPong})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("after a cancel: %v", err)
	}
}

// R28, T59: an end from the server ends the program, and is acknowledged with
// what became of it.
func TestSuperviseEndsOnCommand(t *testing.T) {
	c, s := openControl(t)
	child, out := startTalking(t, `trap 'exit 8' TERM; sleep 60 & echo ready; wait`)
	readLine(t, out)
	outcome := make(chan Outcome)
	go func() { outcome <- Supervise(t.Context(), child, c) }()
	if err := s.Send(ControlMessage{Type: ControlEnd, ID: "end_1", Cause: "killed by ana@acme.dev\x1b[2J"}); err != nil {
		t.Fatal(err)
	}
	expectMessage(t, s, ControlMessage{Type: ControlHello, PID: os.Getpid()})
	expectMessage(t, s, ControlMessage{Type: ControlEnded, ID: "end_1", Code: 8, AllGone: true})
	got := <-outcome
	if got.Code != 8 || got.Err == nil || got.Err.Kind != writ.KindDenied || got.Err.Why != "killed by ana@acme.dev?[2J" {
		t.Errorf("%+v", got)
	}
}

// A lost stream ends the program: the server has ended the session by then.
func TestSuperviseEndsOnLoss(t *testing.T) {
	for name, lose := range map[string]func(*controlServer){
		"closed":  func(s *controlServer) { s.Close() },
		"garbage": func(s *controlServer) { _, _ = io.WriteString(s.conn, "{nonsense\n") },
		"unknown": func(s *controlServer) { _, _ = io.WriteString(s.conn, `{"type":"dance"}`+"\n") },
		"endless": func(s *controlServer) { _, _ = io.WriteString(s.conn, strings.Repeat("x", maxControlLine+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, s := openControl(t)
			child, out := startTalking(t, `echo ready; sleep 60`)
			readLine(t, out)
			outcome := make(chan Outcome)
			go func() { outcome <- Supervise(t.Context(), child, c) }()
			lose(s)
			got := <-outcome
			if got.Code != 143 || got.Err == nil || got.Err.Kind != writ.KindUnavailable || !strings.Contains(got.Err.Message, "was lost") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The program ends by itself: its code counts, and the server hears of it.
func TestSuperviseReportsTheProgramsEnd(t *testing.T) {
	c, s := openControl(t)
	child, _ := startTalking(t, `exit 3`)
	outcome := make(chan Outcome)
	go func() { outcome <- Supervise(t.Context(), child, c) }()
	expectMessage(t, s, ControlMessage{Type: ControlHello, PID: os.Getpid()})
	expectMessage(t, s, ControlMessage{Type: ControlEnded, Code: 3, AllGone: true})
	for {
		m, err := s.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || m.Type != ControlPong {
			t.Fatalf("behind the last line: %+v, %v", m, err)
		}
	}
	if got := <-outcome; got.Code != 3 || got.Err != nil {
		t.Errorf("%+v", got)
	}
}

func TestSuperviseCancelled(t *testing.T) {
	c, s := openControl(t)
	child, out := startTalking(t, `echo ready; sleep 60`)
	readLine(t, out)
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan Outcome)
	go func() { outcome <- Supervise(ctx, child, c) }()
	cancel()
	expectMessage(t, s, ControlMessage{Type: ControlHello, PID: os.Getpid()})
	expectMessage(t, s, ControlMessage{Type: ControlEnded, Code: 143, AllGone: true})
	if got := <-outcome; got.Code != 143 || got.Err == nil {
		t.Errorf("%+v", got)
	}
}

// A server that never closes holds up nobody for long.
func TestSuperviseDoesNotWaitForTheServer(t *testing.T) {
	c, _ := openControl(t)
	child, _ := startTalking(t, `exit 3`)
	start := time.Now()
	if got := Supervise(t.Context(), child, c); got.Code != 3 || got.Err != nil {
		t.Errorf("%+v", got)
	}
	if d := time.Since(start); d > lingerTime+5*time.Second {
		t.Errorf("took %v", d)
	}
}

// An end that crosses the program's own end is answered all the same, one way
// or the other, every time.
func TestSuperviseEndCrossesExit(t *testing.T) {
	for range 30 {
		c, s := openControl(t)
		name := fifo(t)
		child, _ := startTalking(t, `read x < "$1"; exit 3`, name)
		outcome := make(chan Outcome)
		go func() { outcome <- Supervise(t.Context(), child, c) }()
		go func() { _ = os.WriteFile(name, []byte("go\n"), 0) }()
		if err := s.Send(ControlMessage{Type: ControlEnd, ID: "end_1"}); err != nil {
			t.Fatal(err)
		}
		expectMessage(t, s, ControlMessage{Type: ControlHello, PID: os.Getpid()})
		for {
			m, err := s.Receive()
			if err != nil {
				t.Fatalf("the stream ended without an answer: %v", err)
			}
			if m.Type == ControlEnded {
				if !m.AllGone {
					t.Errorf("%+v", m)
				}
				s.closeWrite()
				break
			}
		}
		if got := <-outcome; got.Code != 3 && got.Code != 143 {
			t.Errorf("%+v", got)
		}
		// The writer of the pipe, if the program never opened it.
		if f, err := os.OpenFile(name, os.O_RDONLY|0x800, 0); err == nil { // O_NONBLOCK
			f.Close()
		}
	}
}

func TestOpenControlRefused(t *testing.T) {
	for answer, kind := range map[string]writ.ErrorKind{
		"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n":                                writ.KindUnauthenticated,
		"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n":                                        writ.KindUnavailable,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": writ.KindUnavailable,
		"SSH-2.0-OpenSSH\r\n": writ.KindUnavailable,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, answer)
			}
		}()
		_, err = OpenControl(t.Context(), Server{Addr: l.Addr().String(), Token: func(context.Context) (string, error) { return testToken, nil }}, "ses_1")
		l.Close()
		var known *writ.Error
		if !errors.As(err, &known) || known.Kind != kind {
			t.Errorf("%.20q: %v", answer, err)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%v %+v", err, err), testToken) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

// A peer that says nothing is taken for lost, and not before its time.
func TestControlSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		run, server := NewControlStream(a, nil), NewControlStream(b, nil)
		start := time.Now()
		go func() {
			<-time.After(ControlSilence - time.Second) // of the bubble's clock
			_ = server.Send(ControlMessage{Type: ControlPinged})
		}()
		if m, err := run.Receive(); err != nil || m.Type != ControlPinged {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := run.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if got, want := time.Since(start), 2*ControlSilence-time.Second; got != want {
			t.Errorf("lost after %v, want %v", got, want)
		}
		run.Close()
		server.Close()
	})
}

func TestControlMessageCheck(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := NewControlStream(a, nil)
	for _, m := range []ControlMessage{
		{}, {Type: "dance"}, {Type: ControlHello}, {Type: ControlHello, PID: -1}, {Type: ControlEnd},
		{Type: ControlEnd, ID: "e", Cause: strings.Repeat("x", maxControlLine)},
	} {
		if err := s.Send(m); err == nil { // would block on the pipe if it were sent
			t.Errorf("%.60v was sent", m)
		}
	}
}
