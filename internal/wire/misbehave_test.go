package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// T14: what an upstream sends beyond its answer is nobody's, whenever it comes
// and in whatever TLS record.
func TestTrapT14SurplusIsNobodysAnswer(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, together := range []bool{true, false} {
			surplus := make(chan bool, 1)
			sent := make(chan bool, 1)
			o := newOrigin(t, secure, func(n int, nc net.Conn) {
				br := bufio.NewReader(nc)
				for {
					if _, err := readHeadOf(br); err != nil {
						return
					}
					late := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
					if !together {
						io.WriteString(nc, okAnswer)
						<-surplus
						io.WriteString(nc, late)
						sent <- true
					} else {
						io.WriteString(nc, okAnswer+late)
					}
				}
			})
			for i := range 5 {
				// Without room for more than the answer's two bytes, TLS keeps
				// the rest of the record to itself.
				r, err := o.RoundTrip(t.Context(), "a", get("GET"))
				if body := finish(t, r, err); body != "ok" {
					t.Fatalf("request %d got %q", i, body)
				}
				if !together {
					surplus <- true
					<-sent
				}
			}
			if n := o.dials.Load(); n != 5 {
				t.Errorf("together %v: %d connections for 5 requests", together, n)
			}
			o.Close()
		}
	})
}

// A surplus that only TLS has read is found as well.
func TestSurplusInsideTLS(t *testing.T) {
	o := newOrigin(t, true, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		for {
			if _, err := readHeadOf(br); err != nil {
				return
			}
			// One record of 16 KiB: the reader's buffer takes all but the end.
			body := bytes.Repeat([]byte("x"), 16<<10-len("HTTP/1.1 200 OK\r\nContent-Length: 16000\r\n\r\n"))
			nc.Write(append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 16000\r\n\r\n"), body...))
		}
	})
	for range 3 {
		r, err := o.RoundTrip(t.Context(), "a", get("GET"))
		if err != nil {
			t.Fatal(err)
		}
		// Small reads, so that the buffer asks TLS for no more than it needs.
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, make([]byte, 100)); n != 16000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := o.dials.Load(); n != 3 {
		t.Errorf("%d connections for 3 requests", n)
	}
}

// A kept connection that the upstream closed is replaced before anything is
// sent on it.
func TestDeadIdleConnectionIsReplaced(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, how := range []string{"close", "reset", "408"} {
			end, ended := make(chan bool), make(chan bool)
			o := newOrigin(t, secure, func(_ int, nc net.Conn) {
				if _, err := readHeadOf(bufio.NewReader(nc)); err != nil {
					return
				}
				io.WriteString(nc, okAnswer)
				<-end
				switch how {
				case "reset":
					abort(nc)
				case "408":
					io.WriteString(nc, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				}
				nc.Close()
				ended <- true
			})
			for i := range 4 {
				r, err := o.RoundTrip(t.Context(), "a", get("POST"))
				if body := finish(t, r, err); body != "ok" {
					t.Fatalf("%s: request %d got %q", how, i, body)
				}
				end <- true
				<-ended
			}
			if n := o.dials.Load(); n != 4 {
				t.Errorf("%s: %d connections for 4 requests", how, n)
			}
		}
	})
}

// One allow, one request: once a byte has left nothing is sent again, whatever
// the method and however the connection came to be.
func TestNoReplay(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "POST"} {
			for _, pooled := range []bool{false, true} {
				seen := make(chan string, 10)
				o := newOrigin(t, secure, func(n int, nc net.Conn) {
					br := bufio.NewReader(nc)
					for i := 0; ; i++ {
						head, err := readHeadOf(br)
						if err != nil {
							return
						}
						seen <- head
						if pooled && n == 0 && i == 0 {
							io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
							continue
						}
						return // closes without an answer
					}
				})
				if pooled {
					r, err := o.RoundTrip(t.Context(), "a", get("GET"))
					finish(t, r, err)
					<-seen
				}
				q := get(method)
				if method == "PUT" {
					q.Body, q.Length = strings.NewReader("abc"), 3
				}
				r, err := o.RoundTrip(t.Context(), "a", q)
				if err == nil || errors.Is(err, ErrNotSent) {
					t.Fatalf("%s, pooled %v: %v, %v", method, pooled, r, err)
				}
				if n := o.dials.Load(); len(seen) != 1 || n != 1 {
					t.Errorf("%s, pooled %v: the upstream saw %d requests on %d connections", method, pooled, len(seen), n)
				}
			}
		}
	})
}

// frail is a connection whose n-th write fails, after it has let some bytes by.
type frail struct {
	net.Conn
	writes, failAt, let int
}

func (f *frail) Write(p []byte) (int, error) {
	if f.writes++; f.writes == f.failAt {
		n, _ := f.Conn.Write(p[:f.let])
		return n, errors.New("broken pipe")
	}
	return f.Conn.Write(p)
}

// A kept connection that takes no byte was dead; if it took a single one, the
// request counts as sent.
func TestRetryOnlyWhileNothingLeft(t *testing.T) {
	for _, let := range []int{0, 1} {
		o := newOrigin(t, false, func(_ int, nc net.Conn) {
			br := bufio.NewReader(nc)
			for _, err := readHeadOf(br); err == nil; _, err = readHeadOf(br) {
				io.WriteString(nc, okAnswer)
			}
		})
		dial := o.Dial
		o.Dial = func(ctx context.Context, key string) (net.Conn, error) {
			nc, err := dial(ctx, key)
			return &frail{Conn: nc, failAt: 2, let: let}, err
		}
		r, err := o.RoundTrip(t.Context(), "a", get("GET"))
		finish(t, r, err)
		// The upstream waits for the rest of what it got one byte of.
		patience := map[int]time.Duration{0: time.Minute, 1: 100 * time.Millisecond}[let]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		r, err = o.RoundTrip(ctx, "a", get("GET"))
		cancel()
		if let == 0 {
			if body := finish(t, r, err); body != "ok" || o.dials.Load() != 2 {
				t.Errorf("got %q over %d connections", body, o.dials.Load())
			}
		} else if err == nil || errors.Is(err, ErrNotSent) || o.dials.Load() != 1 {
			t.Errorf("got %v, %v over %d connections", r, err, o.dials.Load())
		}
	}
}

// endless is a body that goes on until it is told to stop.
type endless struct{ stop chan struct{} }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.stop:
		return 0, io.EOF
	default:
		return len(p), nil
	}
}

// An answer that comes before the body's end is passed on. An error ends the
// sending; a success does not, since it may depend on the rest.
func TestEarlyAnswer(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, closes := range []bool{false, true} {
			o := newOrigin(t, secure, func(_ int, nc net.Conn) {
				br := bufio.NewReader(nc)
				if _, err := readHeadOf(br); err != nil {
					return
				}
				io.CopyN(io.Discard, br, 100_000)
				io.WriteString(nc, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\ntoo big")
				if !closes {
					io.Copy(io.Discard, br) // until the client ends the connection
				}
			})
			body := endless{make(chan struct{})}
			r, err := o.RoundTrip(t.Context(), "a", &OutRequest{Method: "POST", Target: "/", Header: Header{{"Host", "a"}}, Body: body, Length: Chunked})
			if !closes || err == nil { // a reset may overtake the answer
				if got := finish(t, r, err); r.Status != 413 || got != "too big" {
					t.Errorf("got %d, %q", r.Status, got)
				}
			}
			if len(o.idle) > 0 {
				t.Error("the connection was kept in the middle of a request")
			}
			close(body.stop)
		}
		// Both ways at once.
		o := newOrigin(t, secure, func(_ int, nc net.Conn) {
			br := bufio.NewReader(nc)
			if _, err := readHeadOf(br); err != nil {
				return
			}
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				size, err := br.ReadString('\n')
				if err != nil {
					return
				}
				data, err := br.ReadString('\n')
				if err != nil {
					return
				}
				io.WriteString(nc, size+data)
				if size == "0\r\n" {
					br.ReadByte()
					return
				}
			}
		})
		pr, pw := io.Pipe()
		r, err := o.RoundTrip(t.Context(), "a", &OutRequest{Method: "POST", Target: "/", Header: Header{{"Host", "a"}}, Body: pr, Length: Chunked})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for i := range 10 {
			word := fmt.Sprint("word ", i)
			io.WriteString(pw, word)
			if n, err := r.Body.Read(buf); string(buf[:n]) != word || err != nil {
				t.Fatalf("%q, %v", buf[:n], err)
			}
		}
		pw.Close()
		if n, err := r.Body.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("%q, %v", buf[:n], err)
		}
	})
}

// An upstream that answers a success early and wholly does not get the
// connection back, nor hold up the answer.
func TestEarlySuccessEndsTheConnection(t *testing.T) {
	o := newOrigin(t, false, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		if _, err := readHeadOf(br); err != nil {
			return
		}
		io.WriteString(nc, okAnswer)
		io.Copy(io.Discard, br)
	})
	pr, pw := io.Pipe()
	r, err := o.RoundTrip(t.Context(), "a", &OutRequest{Method: "POST", Target: "/", Header: Header{{"Host", "a"}}, Body: pr, Length: 100_000})
	if got := finish(t, r, err); got != "ok" || len(o.idle) != 0 {
		t.Errorf("got %q; kept %v", got, o.idle)
	}
	pw.CloseWithError(ErrBodyClosed)
}

// A request body that breaks off never passes for whole.
func TestBrokenRequestBody(t *testing.T) {
	cause := errors.New("the client went away")
	for _, tc := range []struct {
		name    string
		body    io.Reader
		length  int64
		notSent bool
	}{
		{"small and broken off", io.MultiReader(strings.NewReader("abc"), errReader{cause}), 5, true},
		{"small and short", strings.NewReader("abc"), 5, true},
		{"small and long", strings.NewReader("abcdef"), 5, true},
		{"small and broken at the end", io.MultiReader(strings.NewReader("abcde"), errReader{cause}), 5, true},
		{"chunked and broken off", io.MultiReader(strings.NewReader("abc"), errReader{cause}), Chunked, false},
		{"large and broken off", io.MultiReader(io.LimitReader(&loop{}, 90_000), errReader{cause}), 100_000, false},
		{"large and short", io.LimitReader(&loop{}, 90_000), 100_000, false},
		{"large and long", io.LimitReader(&loop{}, 110_000), 100_000, false},
	} {
		got := make(chan error, 1)
		o := newOrigin(t, false, func(_ int, nc net.Conn) {
			<-serve(nc, Timeouts{}, func(c *Conn, req *Request) {
				_, err := io.Copy(io.Discard, req.Body)
				got <- err
				c.Respond(req).Send(200, nil, nil)
			})
		})
		r, err := o.RoundTrip(t.Context(), "a", &OutRequest{Method: "POST", Target: "/", Header: Header{{"Host", "a"}}, Body: tc.body, Length: tc.length})
		if !errors.Is(err, ErrRequestBody) || errors.Is(err, ErrNotSent) != tc.notSent {
			t.Errorf("%s: %v, %v", tc.name, r, err)
		}
		if tc.notSent {
			if o.dials.Load() != 0 {
				t.Errorf("%s: a connection was made", tc.name)
			}
		} else if err := <-got; err == nil {
			t.Errorf("%s: the upstream read a whole body", tc.name)
		}
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// Over TLS, an end that the upstream did not announce may be anybody's (RFC
// 9112, section 9.8).
func TestTruncationOverTLS(t *testing.T) {
	for _, announced := range []bool{false, true} {
		o := newOrigin(t, true, func(_ int, nc net.Conn) {
			readHeadOf(bufio.NewReader(nc))
			io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\npart")
			if !announced {
				nc.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, nc)
			}
		})
		r, err := o.RoundTrip(t.Context(), "a", get("GET"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if string(body) != "part" || (err == nil) != announced {
			t.Errorf("announced %v: %q, %v", announced, body, err)
		}
	}
}

// Every wait ends when the context does, and says why.
func TestContextEndsEveryWait(t *testing.T) {
	cause := errors.New("revoked")
	both(t, func(t *testing.T, secure bool) {
		for _, phase := range []string{"before", "dial", "head", "half a head", "body", "upload", "upgraded"} {
			reached := make(chan bool)
			o := newOrigin(t, secure, func(_ int, nc net.Conn) {
				br := bufio.NewReader(nc)
				if _, err := readHeadOf(br); err != nil {
					return
				}
				switch phase {
				case "half a head":
					io.WriteString(nc, "HTTP/1.1 200 OK\r\nA: ")
				case "body":
					io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
				case "upgraded":
					io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhi")
				case "upload":
					reached <- true
					<-reached // reads nothing, so that the writing waits
					return
				}
				reached <- true
				if _, err := br.ReadByte(); err == nil {
					t.Errorf("%s: more was sent", phase)
				}
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			q := get("POST")
			switch phase {
			case "before":
				cancel(cause)
			case "dial":
				o.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
					reached <- true
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}
			case "upload":
				q.Body, q.Length = endless{nil}, Chunked
			case "upgraded":
				q.Upgrade = "websocket"
			}
			cut := make(chan bool)
			go func() {
				defer close(cut)
				if phase == "before" {
					return
				}
				<-reached
				cancel(cause)
			}()
			r, err := o.RoundTrip(ctx, "a", q)
			if err == nil && phase == "body" {
				_, err = io.ReadAll(r.Body)
			}
			if err == nil && phase == "upgraded" {
				buf := make([]byte, 10)
				n, _ := r.Upgraded.Read(buf)
				if _, err = r.Upgraded.Read(buf); string(buf[:n]) != "hi" || err == nil {
					t.Errorf("read %q, %v", buf[:n], err)
				}
				r.Upgraded.Close()
				err = cause // what a raw connection says is its own business
			}
			<-cut
			if phase == "upload" {
				close(reached)
			}
			if !errors.Is(err, cause) || errors.Is(err, ErrNotSent) != (phase == "before" || phase == "dial") {
				t.Errorf("%s: %v", phase, err)
			}
			if len(o.idle) > 0 {
				t.Errorf("%s: the connection was kept", phase)
			}
		}
	})
}

// A context that ends after its exchange leaves the connection to the next.
func TestContextEndsWithItsExchange(t *testing.T) {
	o := newOrigin(t, false, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		for _, err := readHeadOf(br); err == nil; _, err = readHeadOf(br) {
			io.WriteString(nc, okAnswer)
		}
	})
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := o.RoundTrip(ctx, "a", get("GET"))
		finish(t, r, err)
		cancel()
	}
	if n := o.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// T43: a connection ends when nothing moves for long, and only then.
func TestTrapT43UpstreamIdleDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		tr := &Transport{MoveTimeout: 10 * time.Second, Dial: func(context.Context, string) (net.Conn, error) { return client, nil }}
		go func() {
			readHeadOf(bufio.NewReader(server))
			io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			for range 20 {
				<-time.After(8 * time.Second)
				io.WriteString(server, "x")
			}
		}()
		r, err := tr.RoundTrip(t.Context(), "a", get("GET"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		body, err := io.ReadAll(r.Body)
		var timeout net.Error
		if len(body) != 20 || !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(began) < 169*time.Second || time.Since(began) > 170*time.Second {
			t.Errorf("%d bytes, %v, after %v", len(body), err, time.Since(began))
		}
		server.Close()
	})
}

// Close takes what has arrived, and does not wait for what has not.
func TestCloseOfAnAnswer(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, answer string
		read         int
		kept         bool
	}{
		{"unread", okAnswer, 0, true},
		{"half read", okAnswer, 1, true},
		{"chunks", chunked + "3\r\nabc\r\n0\r\n\r\n", 3, true},
		{"without its end", chunked + "3\r\nabc\r\n", 3, false},
		{"not all there", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 0, false},
		{"more than is dropped", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 2*MaxDrain, make([]byte, 2*MaxDrain)), 0, false},
		{"malformed", chunked + "x\r\n", 0, false},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nab", 1, false},
	} {
		o := newOrigin(t, false, func(_ int, nc net.Conn) {
			br := bufio.NewReader(nc)
			for _, err := readHeadOf(br); err == nil; _, err = readHeadOf(br) {
				io.WriteString(nc, tc.answer)
			}
		})
		r, err := o.RoundTrip(t.Context(), "a", get("GET"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r.Body, make([]byte, tc.read)); err != nil {
			t.Fatal(err)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err != ErrBodyClosed {
			t.Errorf("%s: read after Close: %d, %v", tc.name, n, err)
		}
		if kept := len(o.idle["a"]) == 1; kept != tc.kept {
			t.Errorf("%s: kept %v", tc.name, kept)
		}
		r.Body.Close()
	}
}

// Close ends a Read under way in another goroutine.
func TestCloseEndsARead(t *testing.T) {
	o := newOrigin(t, false, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		readHeadOf(br)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
		br.ReadByte()
	})
	r, err := o.RoundTrip(t.Context(), "a", get("GET"))
	if err != nil {
		t.Fatal(err)
	}
	began, end := make(chan bool), make(chan error)
	go func() {
		r.Body.Read(make([]byte, 1))
		began <- true
		_, err := r.Body.Read(make([]byte, 1))
		end <- err
	}()
	<-began
	r.Body.Close()
	if err := <-end; err == nil || err == io.EOF {
		t.Errorf("the read gives %v", err)
	}
	if len(o.idle) > 0 {
		t.Error("the connection was kept")
	}
}

// T42: after a 101 the connection is the caller's, with what came along.
func TestTrapT42Upgrade(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		o := newOrigin(t, secure, func(_ int, nc net.Conn) {
			br := bufio.NewReader(nc)
			head, _ := readHeadOf(br)
			if !strings.HasSuffix(head, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") {
				t.Errorf("asked with %q", head)
			}
			io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nX: y\r\n\r\nearly")
			io.Copy(nc, br)
		})
		q := get("GET")
		q.Upgrade = "websocket"
		r, err := o.RoundTrip(t.Context(), "a", q)
		if err != nil || r.Status != 101 || r.Header.Get("X") != "y" {
			t.Fatal(r, err)
		}
		io.WriteString(r.Upgraded, " and late")
		got := make([]byte, len("early and late"))
		if _, err := io.ReadFull(r.Upgraded, got); string(got) != "early and late" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if err := r.Upgraded.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, upgrade := range []string{"h2c", "websocket, h2c", ""} {
		q := get("GET")
		q.Upgrade = "websocket"
		in := "HTTP/1.1 101 Switching Protocols\r\n"
		if upgrade != "" {
			in += "Upgrade: " + upgrade + "\r\n"
		}
		if r, _, _, err := ask(q, strings.NewReader(in+"\r\n")); !errors.Is(err, errSwitched) {
			t.Errorf("%q: %v, %v", upgrade, r, err)
		}
	}
}

// An upstream that does not speak TLS, or does not finish, is not waited for.
func TestHandshake(t *testing.T) {
	for _, silent := range []bool{false, true} {
		o := newOrigin(t, false, func(_ int, nc net.Conn) {
			if !silent {
				io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
			}
			io.Copy(io.Discard, nc)
		})
		o.TLS = func(string) *tls.Config { return &tls.Config{ServerName: "a"} }
		if silent {
			o.HandshakeTimeout = 50 * time.Millisecond
		}
		_, err := o.RoundTrip(t.Context(), "a", get("GET"))
		if !errors.Is(err, ErrNotSent) || errors.Is(err, context.DeadlineExceeded) != silent || !strings.Contains(err.Error(), "tls:") {
			t.Errorf("silent %v: %v", silent, err)
		}
	}
}
