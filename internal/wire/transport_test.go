package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// origin is an upstream whose connections a test serves by hand.
type origin struct {
	*Transport
	dials atomic.Int32
}

// newOrigin listens, with or without TLS, and has serve speak on each
// connection, the n-th since the beginning. At the test's end nothing may run
// any more.
func newOrigin(t *testing.T, secure bool, serve func(n int, nc net.Conn)) *origin {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	o := &origin{}
	o.Transport = &Transport{Dial: func(ctx context.Context, key string) (net.Conn, error) {
		o.dials.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
	if secure {
		cert := testCertificate(t)
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(leaf)
		o.TLS = func(string) *tls.Config { return &tls.Config{RootCAs: roots, ServerName: "a"} }
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer nc.Close()
				serve(n, nc)
			})
		}
	})
	t.Cleanup(func() {
		o.Close()
		l.Close()
		wait.Wait()
	})
	return o
}

// readHeadOf reads a request's head as the upstream gets it.
func readHeadOf(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String(), err
		}
	}
}

func both(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Run("plain", func(t *testing.T) { test(t, false) })
	t.Run("TLS", func(t *testing.T) { test(t, true) })
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// finish reads the answer whole.
func finish(t *testing.T, r *InResponse, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// T11: what is sent is what was decided about, to the byte.
func TestTrapT11RequestIsSentAsGiven(t *testing.T) {
	fields := Header{{"host", "API.acme.test:443"}, {"x-B", "1"}, {"X-a", "2"}, {"x-b", "\xe4"}, {"Empty", ""}}
	const head = "host: API.acme.test:443\r\nx-B: 1\r\nX-a: 2\r\nx-b: \xe4\r\nEmpty: \r\n"
	with := func(more ...Field) Header { return append(fields.Clone(), more...) }
	big := strings.Repeat("0123456789abcdef", 5000)
	for _, tc := range []struct {
		name string
		q    OutRequest
		want string
	}{
		{"as it came", OutRequest{Method: "GET", Target: "/a%2f..//%7E?q=%zz;&=[]'\"<>", Header: fields}, "GET /a%2f..//%7E?q=%zz;&=[]'\"<> HTTP/1.1\r\n" + head + "\r\n"},
		{"nothing of the connection's", OutRequest{Method: "get", Target: "*", Header: append(Header{{"Expect", "100-continue"}, {"TE", "trailers"},
			{"Connection", "close"}, {"Keep-Alive", "1"}, {"Proxy-Connection", "x"}, {"trailer", "X"}, {"Upgrade", "x"}, {"Transfer-Encoding", "gzip"}}, fields...)},
			"get * HTTP/1.1\r\n" + head + "\r\n"},
		{"length in its place", OutRequest{Method: "PUT", Target: "/", Body: strings.NewReader("abc"), Length: 3,
			Header: append(Header{{"content-LENGTH", "77"}}, with(Field{"Content-Length", "78"})...)}, "PUT / HTTP/1.1\r\ncontent-LENGTH: 3\r\n" + head + "\r\nabc"},
		{"length at the end", OutRequest{Method: "POST", Target: "/", Body: strings.NewReader("abc"), Length: 3, Header: fields},
			"POST / HTTP/1.1\r\n" + head + "Content-Length: 3\r\n\r\nabc"},
		{"length without body", OutRequest{Method: "POST", Target: "/", Header: with(Field{"Content-length", "0"})}, "POST / HTTP/1.1\r\n" + head + "Content-length: 0\r\n\r\n"},
		{"empty body", OutRequest{Method: "POST", Target: "/", Body: strings.NewReader(""), Header: fields}, "POST / HTTP/1.1\r\n" + head + "Content-Length: 0\r\n\r\n"},
		{"no body", OutRequest{Method: "POST", Target: "/", Header: fields}, "POST / HTTP/1.1\r\n" + head + "\r\n"},
		{"close", OutRequest{Method: "GET", Target: "/", Header: fields, Close: true}, "GET / HTTP/1.1\r\n" + head + "Connection: close\r\n\r\n"},
		{"upgrade", OutRequest{Method: "GET", Target: "/", Header: fields, Upgrade: "websocket"}, "GET / HTTP/1.1\r\n" + head + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"chunks", OutRequest{Method: "POST", Target: "/", Header: with(Field{"Content-Length", "3"}), Length: Chunked,
			Body: io.MultiReader(strings.NewReader("abc"), strings.NewReader(big[:70000]))},
			"POST / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n8000\r\n" + big[:32768] + "\r\n8000\r\n" + big[32768:65536] + "\r\n1170\r\n" + big[65536:70000] + "\r\n0\r\n\r\n"},
		{"chunks, end with the last data", OutRequest{Method: "POST", Target: "/", Header: fields, Length: Chunked, Body: iotest.DataErrReader(strings.NewReader("abc"))},
			"POST / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"no chunks", OutRequest{Method: "POST", Target: "/", Header: fields, Length: Chunked, Body: strings.NewReader("")},
			"POST / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"long", OutRequest{Method: "POST", Target: "/", Header: fields, Length: int64(len(big)), Body: iotest.HalfReader(strings.NewReader(big))},
			"POST / HTTP/1.1\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)) + big},
		{"as long as is sent whole", OutRequest{Method: "POST", Target: "/", Header: fields, Length: MaxWhole, Body: strings.NewReader(big[:MaxWhole])},
			"POST / HTTP/1.1\r\n" + head + "Content-Length: 65536\r\n\r\n" + big[:MaxWhole]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := make(chan string, 1)
			o := newOrigin(t, false, func(_ int, nc net.Conn) {
				in := make([]byte, len(tc.want))
				n, _ := io.ReadFull(nc, in)
				got <- string(in[:n])
				io.WriteString(nc, okAnswer)
				// Whatever comes now is too much.
				rest, _ := io.ReadAll(nc)
				got <- string(rest)
			})
			r, err := o.RoundTrip(t.Context(), "a", &tc.q)
			if body := finish(t, r, err); body != "ok" {
				t.Errorf("body %q", body)
			}
			o.Close()
			if d := cmp.Diff(tc.want, <-got); d != "" {
				t.Error(d)
			}
			if rest := <-got; rest != "" {
				t.Errorf("sent after the end: %q", rest)
			}
		})
	}
}

// T25: nothing that ends a line gets out, and the error does not repeat it.
func TestTrapT25InvalidRequestsAreNotSent(t *testing.T) {
	host := Field{"Host", "a"}
	const mark = "s3cr3t"
	for _, q := range []OutRequest{
		{Method: "", Target: "/", Header: Header{host}},
		{Method: "G T", Target: "/", Header: Header{host}},
		{Method: "CONNECT", Target: "a:1", Header: Header{host}},
		{Method: "GET", Target: "", Header: Header{host}},
		{Method: "GET", Target: "/" + mark + " HTTP/1.1\r\nA: b", Header: Header{host}},
		{Method: "GET", Target: "/\xe4" + mark, Header: Header{host}},
		{Method: "GET", Target: "/", Header: Header{host, {"A", mark + "\r\nB: c"}}},
		{Method: "GET", Target: "/", Header: Header{host, {"A", mark + "\n"}}},
		{Method: "GET", Target: "/", Header: Header{host, {"A", mark + "\x00"}}},
		{Method: "GET", Target: "/", Header: Header{host, {"A:" + mark, "b"}}},
		{Method: "GET", Target: "/", Header: Header{host, {"", mark}}},
		{Method: "GET", Target: "/", Header: Header{{"A", mark}}},
		{Method: "GET", Target: "/", Header: Header{host, {"hOST", mark}}},
		{Method: "GET", Target: "/", Header: Header{host}, Upgrade: mark + "\r\nA: b"},
		{Method: "GET", Target: "/", Header: Header{host}, Length: 3},
		{Method: "GET", Target: "/", Header: Header{host}, Length: -2, Body: strings.NewReader("a")},
	} {
		tr := &Transport{Dial: func(context.Context, string) (net.Conn, error) {
			t.Errorf("dials for %+v", q)
			return nil, errors.New("no")
		}}
		_, err := tr.RoundTrip(t.Context(), "a", &q)
		if !errors.Is(err, ErrNotSent) || strings.Contains(err.Error(), mark) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// A real server: each method and framing, one connection for all.
func TestAgainstNetHTTP(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		var conns atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("X-Got", fmt.Sprintf("%s %s %d %x", r.Method, r.RequestURI, n, h.Sum(nil)))
			switch r.URL.Path {
			case "/none":
				w.WriteHeader(204)
			case "/same":
				w.Header().Set("Content-Length", "5")
				w.WriteHeader(304)
			case "/hints":
				w.Header().Set("Link", "</a>")
				w.WriteHeader(103)
				io.WriteString(w, "hinted")
			case "/stream":
				w.Header().Set("Trailer", "X-Sum")
				for i := range 100 {
					fmt.Fprintf(w, "%d,", i)
					w.(http.Flusher).Flush()
				}
				w.Header().Set("X-Sum", "1")
			case "/big":
				io.Copy(w, io.LimitReader(&loop{}, 300<<10))
			default:
				io.WriteString(w, "ok")
			}
		}))
		s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
			if st == http.StateNew {
				conns.Add(1)
			}
		}
		s.EnableHTTP2 = false
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		defer s.Close()
		tr := &Transport{Dial: func(ctx context.Context, key string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", key)
		}}
		if secure {
			conf := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			conf.ServerName, conf.NextProtos = "example.com", nil
			tr.TLS = func(string) *tls.Config { return conf }
		}
		defer tr.Close()
		key := s.Listener.Addr().String()
		big, _ := io.ReadAll(io.LimitReader(&loop{}, 300<<10))
		n := 0
		for _, body := range [][]byte{nil, {}, []byte("abc"), big[:MaxWhole], big[:MaxWhole+1], big} {
			for _, chunked := range []bool{false, true} {
				for _, path := range []string{"/", "/none", "/same", "/hints", "/stream", "/big"} {
					for _, method := range []string{"GET", "HEAD", "POST"} {
						q := &OutRequest{Method: method, Target: path + "?a=b", Header: Header{{"Host", "example.com"}}}
						if body != nil {
							q.Body, q.Length = bytes.NewReader(body), int64(len(body))
						}
						if body != nil && chunked {
							q.Length = Chunked
						}
						r, err := tr.RoundTrip(t.Context(), key, q)
						got := finish(t, r, err)
						want := map[string]string{"/": "ok", "/hints": "hinted", "/big": string(big), "/stream": "0,"}[path]
						if method == "HEAD" {
							want = ""
						}
						if got != want && !(path == "/stream" && strings.HasPrefix(got, want) && strings.HasSuffix(got, ",99,") != (method == "HEAD")) {
							t.Errorf("%s %s: %d bytes, want %d", method, path, len(got), len(want))
						}
						if is, want := r.Header.Get("X-Got"), fmt.Sprintf("%s %s %d %x", method, q.Target, len(body), sha256.Sum256(body)); is != want {
							t.Errorf("%s %s: the server got %s, want %s", method, path, is, want)
						}
						n++
					}
				}
			}
		}
		if c := conns.Load(); c != 1 {
			t.Errorf("%d connections for %d requests", c, n)
		}
	})
}

// Many at once, with the pool's bounds.
func TestConcurrentUse(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		o := newOrigin(t, secure, func(_ int, nc net.Conn) {
			<-serve(nc, Timeouts{}, func(c *Conn, req *Request) {
				body, _ := io.ReadAll(req.Body)
				w := c.Respond(req)
				w.WriteHead(200, Header{{"X-Path", req.Path}}, Unknown)
				w.Write(body)
				w.End()
			})
		})
		o.MaxIdlePerHost = 8
		var wait sync.WaitGroup
		for i := range 32 {
			wait.Go(func() {
				for j := range 50 {
					path, body := fmt.Sprintf("/%d/%d", i, j), strings.Repeat(fmt.Sprint(i), j*j*40)
					q := &OutRequest{Method: "POST", Target: path, Header: Header{{"Host", "a"}}, Body: strings.NewReader(body), Length: int64(len(body))}
					if j%3 == 0 {
						q.Length = Chunked
					}
					r, err := o.RoundTrip(t.Context(), "a", q)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(r.Body)
					if err != nil || string(got) != body || r.Header.Get("X-Path") != path {
						t.Errorf("%s: got %d bytes of %d for %s, %v", path, len(got), len(body), r.Header.Get("X-Path"), err)
					}
				}
			})
		}
		wait.Wait()
		if n := len(o.idle["a"]); n < 1 || n > 8 {
			t.Errorf("%d idle connections", n)
		}
	})
}

// The connection used last is taken first; old ones go, also while nobody asks.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends atomic.Int32
		var used []int
		var n int
		keep := ""
		tr := &Transport{IdleTimeout: 10 * time.Second, MaxIdlePerHost: 2, Dial: func(context.Context, string) (net.Conn, error) {
			client, server := net.Pipe()
			id := n
			n++
			go func() {
				br := bufio.NewReader(server)
				for {
					if _, err := readHeadOf(br); err != nil {
						ends.Add(1)
						return
					}
					fmt.Fprintf(server, "HTTP/1.1 200 OK\r\n%sX-Conn: %d\r\nContent-Length: 2\r\n\r\nok", keep, id)
				}
			}()
			return client, nil
		}}
		start := func(key string) *InResponse {
			r, err := tr.RoundTrip(t.Context(), key, get("GET"))
			if err != nil {
				t.Fatal(err)
			}
			var id int
			fmt.Sscan(r.Header.Get("X-Conn"), &id)
			used = append(used, id)
			return r
		}
		expect := func(wantUsed []int, wantEnds int32) {
			t.Helper()
			synctest.Wait()
			if e := ends.Load(); !slices.Equal(used, wantUsed) || e != wantEnds {
				t.Errorf("used %v, %d ended; want %v, %d", used, e, wantUsed, wantEnds)
			}
			used = nil
		}
		a, b, c := start("a"), start("a"), start("a")
		other := start("b")
		finish(t, other, nil)
		for _, r := range []*InResponse{a, b, c} { // the third finds two idle ones
			finish(t, r, nil)
		}
		expect([]int{0, 1, 2, 3}, 1)
		for range 3 {
			finish(t, start("a"), nil)
			<-time.After(4 * time.Second)
		}
		expect([]int{1, 1, 1}, 1+2) // connection 0 and b's are 12 s old
		<-time.After(10 * time.Second)
		expect(nil, 4) // nobody asked
		// The upstream says how long it waits; a request that crosses with its
		// end would be lost.
		keep = "Keep-Alive: timeout=5, max=100\r\n"
		finish(t, start("a"), nil)
		<-time.After(4400 * time.Millisecond)
		finish(t, start("a"), nil)
		<-time.After(4600 * time.Millisecond)
		finish(t, start("a"), nil)
		tr.Close()
		expect([]int{4, 4, 5}, 6)
		finish(t, start("a"), nil) // after Close nothing is kept
		expect([]int{6}, 7)
	})
}

// The head, with the secret in it, does not stay in memory of ours.
func TestHeadIsZeroedAfterTheWrite(t *testing.T) {
	for _, fail := range []bool{false, true} {
		rec := &recorder{scripted: scripted{in: strings.NewReader(okAnswer)}, fail: fail}
		tr := &Transport{Dial: func(context.Context, string) (net.Conn, error) { return rec, nil }}
		q := get("POST")
		q.Header.Add("Authorization", "Bearer s3cr3t")
		q.Body, q.Length = strings.NewReader("s3cr3t"), 6
		q.Sent = func() {
			if bytes.Contains(rec.given, []byte("s3cr3t")) {
				t.Error("while the answer is awaited, the secret is still there")
			}
		}
		r, err := tr.RoundTrip(t.Context(), "a", q)
		if (err != nil) != fail || errors.Is(err, ErrNotSent) != fail {
			t.Fatal(r, err)
		}
		if len(rec.given) == 0 || bytes.Contains(rec.given[:cap(rec.given)], []byte("s3cr3t")) {
			t.Errorf("failing %v: the secret is still there: %q", fail, rec.given)
		}
		tr.Close()
	}
}

// recorder keeps the memory that it was given to write.
type recorder struct {
	scripted
	given []byte
	fail  bool
}

func (r *recorder) Write(p []byte) (int, error) {
	r.given = p
	if r.fail {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}
