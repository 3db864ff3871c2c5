package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// loopback is a real connection: client side and server side.
func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// serve runs handler for each request until the connection ends, and then
// says why it did.
func serve(nc net.Conn, t Timeouts, handler func(*Conn, *Request)) <-chan error {
	end := make(chan error, 1)
	go func() {
		c := NewConn(nc, t)
		defer c.Close()
		for {
			req, err := c.ReadRequest()
			if err != nil {
				var refusal *Error
				if errors.As(err, &refusal) {
					c.Respond(nil).Send(refusal.Status, nil, []byte(refusal.Reason))
				}
				end <- err
				return
			}
			handler(c, req)
		}
	}()
	return end
}

func echo(c *Conn, req *Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		c.Respond(req).Send(400, nil, []byte(err.Error()))
		return
	}
	c.Respond(req).Send(200, Header{{"X-Target", req.Target}}, body)
}

// converse sends in and returns all that comes back until the end.
func converse(t *testing.T, in string, handler func(*Conn, *Request)) string {
	t.Helper()
	client, server := loopback(t)
	serve(server, Timeouts{Keep: 5 * time.Second}, handler)
	if _, err := io.WriteString(client, in); err != nil {
		t.Fatal(err)
	}
	client.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	out := converse(t, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"+
		"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"+
		"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"+
		"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n", echo)
	br := bufio.NewReader(strings.NewReader(out))
	for _, want := range []string{"/1", "/2", "/3"} {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		if got := res.Header.Get("X-Target"); got != want || res.Close != (want == "/3") {
			t.Errorf("answered %s (close %v), want %s", got, res.Close, want)
		}
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("answered after the close: %q", rest)
	}
}

func TestRefusalIsAnsweredAndCloses(t *testing.T) {
	out := converse(t, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nxGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", echo)
	if !strings.HasPrefix(out, "HTTP/1.1 400 Bad Request\r\n") || !strings.Contains(out, "Connection: close\r\n") ||
		!strings.HasSuffix(out, errManyLength.Reason) {
		t.Errorf("got %q", out)
	}
}

// The real clients' way of an upload: 100 only when the body is first read.
func TestContinueOnlyWhenTheBodyIsRead(t *testing.T) {
	head := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

	client, server := loopback(t)
	serve(server, Timeouts{}, echo)
	io.WriteString(client, head)
	br := bufio.NewReader(client)
	if l, err := br.ReadString('\n'); err != nil || l != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", l, err)
	}
	br.ReadString('\n')
	io.WriteString(client, "abc")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "abc" || res.Close {
		t.Errorf("got %q, close %v", body, res.Close)
	}

	// Refused without reading: no 100, and the connection ends, since the
	// client may send the body now or never.
	late := make(chan error, 1)
	out := converse(t, head, func(c *Conn, req *Request) {
		c.Respond(req).Send(403, nil, nil)
		_, err := req.Body.Read(make([]byte, 1))
		late <- err
	})
	if !strings.HasPrefix(out, "HTTP/1.1 403") || !strings.Contains(out, "Connection: close") || strings.Contains(out, "100") {
		t.Errorf("got %q", out)
	}
	if err := <-late; !errors.Is(err, errContinue) {
		t.Errorf("a read after the answer gives %v", err)
	}
}

// T14: bytes sent before the answer to CONNECT or an upgrade are refused.
func TestTrapT14DetachRefusesEarlyBytes(t *testing.T) {
	for _, tc := range []struct {
		in     string
		refuse bool
	}{
		{"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", false},
		{"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET / HTTP/1.1\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00", true},
	} {
		client, server := loopback(t)
		io.WriteString(client, tc.in)
		c := NewConn(server, Timeouts{})
		req, err := c.ReadRequest()
		if err != nil {
			t.Fatal(err)
		}
		w := c.Respond(req)
		if req.Method == "CONNECT" {
			err = errors.Join(w.WriteHead(200, nil, Unknown), w.End())
		} else {
			err = w.Switch(req.Upgrade, Header{{"Sec-WebSocket-Accept", "x"}})
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.Detach()
		if (err != nil) != tc.refuse {
			t.Errorf("%q: Detach gives %v", tc.in, err)
		}
		if err == nil {
			io.WriteString(raw, "raw")
			raw.Close()
		}
		c.Close()
		out, _ := io.ReadAll(client)
		if got := strings.HasSuffix(string(out), "\r\n\r\nraw"); got == tc.refuse {
			t.Errorf("%q: the client reads %q", tc.in, out)
		}
		if strings.Contains(string(out), "Content-Length") || strings.Contains(string(out), "chunked") {
			t.Errorf("a switched connection has framing: %q", out)
		}
		if req.Upgrade != "" && !strings.HasPrefix(string(out), "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") {
			t.Errorf("got %q", out)
		}
	}
}

// T43: a body that moves is never too slow, one that stalls is.
func TestTrapT43IdleDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		end := serve(server, Timeouts{Read: 10 * time.Second, Keep: time.Minute}, echo)
		io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
		began := time.Now()
		for range 100 {
			<-time.After(9 * time.Second) // the bubble's clock, not a real wait
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		br := bufio.NewReader(client)
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		io.Copy(io.Discard, res.Body)

		io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
		began = time.Now()
		res, err = http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 400 || time.Since(began) != 10*time.Second {
			t.Fatalf("a stalled body: %v after %v", err, time.Since(began))
		}
		if body, _ := io.ReadAll(res.Body); string(body) != errBodySlow.Reason {
			t.Errorf("got %q", body)
		}
		if err := <-end; err != io.EOF {
			t.Errorf("ended with %v", err)
		}
	})
}

// A head has a fixed time, however it drips in; waiting for one has another.
func TestHeadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		end := serve(server, Timeouts{Head: 20 * time.Second, Keep: time.Hour}, echo)
		<-time.After(59 * time.Minute)
		began := time.Now()
		dripped := make(chan bool)
		go func() {
			defer close(dripped)
			for _, err := client.Write([]byte("GET")); err == nil; _, err = client.Write([]byte("T")) {
				<-time.After(time.Second)
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || res.StatusCode != 408 || time.Since(began) != 20*time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		client.Close()
		<-dripped
		var refusal *Error
		if err := <-end; !errors.As(err, &refusal) {
			t.Errorf("ended with %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		began := time.Now()
		if err := <-serve(server, Timeouts{Keep: time.Hour}, echo); err != ErrIdle || time.Since(began) != time.Hour {
			t.Errorf("ended with %v after %v", err, time.Since(began))
		}
	})
}

// T43: a client that stops reading ends the response; one that reads slowly
// gets all of it.
func TestTrapT43IdleWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		const size = 1 << 20
		result := make(chan error, 2)
		serve(server, Timeouts{Write: 10 * time.Second}, func(c *Conn, req *Request) {
			w := c.Respond(req)
			w.WriteHead(200, nil, size)
			_, err := w.Write(bytes.Repeat([]byte("x"), size))
			result <- errors.Join(err, w.End())
		})
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		br := bufio.NewReaderSize(client, 16)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < size; {
			<-time.After(9 * time.Second)
			m, err := io.CopyN(io.Discard, res.Body, min(16<<10, int64(size-n)))
			if n += int(m); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		began := time.Now()
		if err := <-result; err == nil || time.Since(began) != 10*time.Second {
			t.Errorf("nobody reads: %v after %v", err, time.Since(began))
		}
	})
}

// T58: who hangs up while waiting for an answer is noticed.
func TestWatch(t *testing.T) {
	client, server := loopback(t)
	gone, waiting := make(chan bool, 1), make(chan bool, 1)
	end := serve(server, Timeouts{Keep: 5 * time.Second}, func(c *Conn, req *Request) {
		if req.Length > 0 {
			if c.Watch(func() {}) {
				t.Error("watches while the body is unread")
			}
			io.ReadAll(req.Body)
		}
		hung := make(chan struct{})
		if !c.Watch(func() { close(hung) }) {
			t.Error("does not watch")
		}
		if req.Target == "/wait" {
			waiting <- true
			<-hung
			gone <- true
		}
		c.Respond(req).Send(200, nil, []byte("ok"))
	})
	// A watch that ends with the request leaves the next one whole.
	br := bufio.NewReader(client)
	for range 100 {
		io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
	}
	io.WriteString(client, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	<-waiting
	client.Close()
	<-gone
	if err := <-end; err == nil {
		t.Error("the connection goes on")
	}
}

// An answer before the whole body: the client reads the answer, though it is
// still sending.
func TestEarlyAnswerIsRead(t *testing.T) {
	client, server := loopback(t)
	serve(server, Timeouts{}, func(c *Conn, req *Request) {
		c.Respond(req).Send(413, nil, []byte("too much"))
	})
	go func() {
		io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
		for _, err := client.Write(make([]byte, 64<<10)); err == nil; _, err = client.Write(make([]byte, 64<<10)) {
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if string(body) != "too much" || !res.Close {
		t.Errorf("got %q, %v, close %v", body, err, res.Close)
	}
}

// A transport that still reads a body when its request is over meets an
// error, not the next request's bytes.
func TestStaleBodyReader(t *testing.T) {
	client, server := loopback(t)
	type result struct {
		got string
		err error
	}
	stale := make(chan result, 1)
	serve(server, Timeouts{Drain: 50 * time.Millisecond}, func(c *Conn, req *Request) {
		body := req.Body
		reading := make(chan bool)
		go func() {
			var b strings.Builder
			buf := make([]byte, 10)
			for first := true; ; first = false {
				n, err := body.Read(buf)
				b.Write(buf[:n])
				if first {
					close(reading)
				}
				if err != nil {
					stale <- result{b.String(), err}
					return
				}
			}
		}()
		<-reading
		c.Respond(req).Send(200, nil, nil)
	})
	io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
	if r := <-stale; r.got != "x" || r.err == nil || r.err == io.EOF {
		t.Errorf("read %q, %v", r.got, r.err)
	}
}

// Cut breaks off at once; neither TCP nor TLS clients take it for an end.
func TestCutIsNoEnd(t *testing.T) {
	for _, secure := range []bool{false, true} {
		client, server := loopback(t)
		if secure {
			cert := testCertificate(t)
			client = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
			server = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		cut := make(chan *Conn, 1)
		end := make(chan error, 1)
		serve(server, Timeouts{}, func(c *Conn, req *Request) {
			w := c.Respond(req)
			w.FlushEach = true
			w.WriteHead(200, nil, Unknown) // HTTP/1.0: the connection's end ends the body
			_, err := w.Write([]byte("data"))
			cut <- c
			for err == nil {
				_, err = w.Write([]byte("data"))
			}
			end <- err
		})
		io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
		c := <-cut
		c.Cut()
		c.Cut() // twice is once
		<-end
		if _, err := io.Copy(io.Discard, client); err == nil {
			t.Errorf("TLS %v: the client reads an end", secure)
		}
	}
}

// A handler that fails within a response breaks it off.
func TestUnfinishedResponseBreaksOff(t *testing.T) {
	for _, length := range []int64{Unknown, 10} {
		client, server := loopback(t)
		end := serve(server, Timeouts{}, func(c *Conn, req *Request) {
			w := c.Respond(req)
			w.WriteHead(200, nil, length)
			w.Write([]byte("part"))
			w.Flush()
			if length > 0 && w.End() == nil {
				t.Error("a short response ends well")
			}
		})
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err == nil {
			_, err = io.ReadAll(res.Body)
		}
		if err == nil {
			t.Errorf("length %d: the client reads a whole response", length)
		}
		if err := <-end; err != errUnplanned {
			t.Errorf("ended with %v", err)
		}
	}
}
