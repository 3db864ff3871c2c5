package wire

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestFraming(t *testing.T) {
	for _, tc := range []struct {
		name, request string
		status        int
		length        int64
		write         string
		want          string // after the status line and Date
	}{
		{"length", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, 3, "abc", "Content-Length: 3\r\n\r\nabc"},
		{"empty", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, 0, "", "Content-Length: 0\r\n\r\n"},
		{"chunked", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Unknown, "abc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"chunked, nothing", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Unknown, "", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"1.0 with a length", "GET / HTTP/1.0\r\n\r\n", 200, 3, "abc", "Content-Length: 3\r\nConnection: close\r\n\r\nabc"},
		{"1.0 until closed", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, Unknown, "abc", "Connection: close\r\n\r\nabc"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, 3, "", "Content-Length: 3\r\n\r\n"},
		{"HEAD without a length", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Unknown, "", "\r\n"},
		{"204", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 204, 0, "", "\r\n"},
		{"304", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 304, 0, "", "\r\n"},
		{"closing client", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, 0, "", "Content-Length: 0\r\nConnection: close\r\n\r\n"},
	} {
		out := converse(t, tc.request, func(c *Conn, req *Request) {
			w := c.Respond(req)
			if err := w.WriteHead(tc.status, Header{{"Date", "x"}}, tc.length); err != nil {
				t.Error(err)
			}
			if _, err := io.WriteString(w, tc.write); err != nil {
				t.Error(err)
			}
			if tc.write == "" && w.none {
				if _, err := w.Write([]byte("x")); err != ErrNoBody {
					t.Errorf("%s: Write gives %v", tc.name, err)
				}
			}
			if err := w.End(); err != nil {
				t.Error(err)
			}
		})
		_, rest, _ := strings.Cut(out, "\r\nDate: x\r\n")
		if rest != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, rest, tc.want)
		}
	}
}

// T25: no value ends its line, no name carries a second field, and framing
// fields of the upstream's connection are not this one's.
func TestResponseCannotBeSplit(t *testing.T) {
	for _, h := range []Header{
		{{"A", "b\r\nSet-Cookie: x"}}, {{"A", "b\nc"}}, {{"A", "b\rc"}}, {{"A", "\x00"}},
		{{"A\r\nB", "c"}}, {{"A: b", "c"}}, {{"", "c"}}, {{"A ", "c"}}, {{"Good", "x"}, {"A", "b\n"}},
	} {
		out := converse(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", func(c *Conn, req *Request) {
			w := c.Respond(req)
			if w.WriteHead(200, h, 0) == nil || w.Interim(103, h) == nil || w.Switch("x", h) == nil || w.Switch("x\r\ny", nil) == nil {
				t.Errorf("%q is accepted", h)
			}
			w.Send(502, nil, nil)
		})
		if !strings.HasPrefix(out, "HTTP/1.1 502 Bad Gateway\r\nDate: ") || strings.Count(out, "\r\n") != 4 {
			t.Errorf("%q: got %q", h, out)
		}
	}
	out := converse(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", func(c *Conn, req *Request) {
		c.Respond(req).Send(200, Header{{"content-length", "99"}, {"Transfer-encoding", "chunked"}, {"Connection", "close"},
			{"Keep-Alive", "1"}, {"Upgrade", "h2c"}, {"Trailer", "A"}, {"Proxy-Connection", "x"}, {"X", "y"}}, []byte("abc"))
	})
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Header.Del("Date")
	if d := cmp.Diff(http.Header{"Content-Length": {"3"}, "X": {"y"}}, res.Header); d != "" {
		t.Error(d)
	}
}

func TestMoreThanDeclaredIsRefused(t *testing.T) {
	out := converse(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", func(c *Conn, req *Request) {
		w := c.Respond(req)
		w.WriteHead(200, nil, 3)
		if _, err := w.Write([]byte("abcd")); err == nil {
			t.Error("accepted")
		}
		w.Write([]byte("abc"))
		if err := w.End(); err != nil {
			t.Error(err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("accepted after the end")
		}
	})
	if !strings.HasSuffix(out, "\r\n\r\nabc") {
		t.Errorf("got %q", out)
	}
}

func TestInterim(t *testing.T) {
	handler := func(c *Conn, req *Request) {
		w := c.Respond(req)
		if err := w.Interim(103, Header{{"Link", "</a>; rel=preload"}}); err != nil {
			t.Error(err)
		}
		if w.Interim(100, nil) == nil || w.Interim(101, nil) == nil || w.Interim(200, nil) == nil {
			t.Error("accepted")
		}
		w.Send(200, nil, nil)
	}
	out := converse(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", handler)
	if !strings.HasPrefix(out, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q", out)
	}
	if out := converse(t, "GET / HTTP/1.0\r\n\r\n", handler); !strings.HasPrefix(out, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("HTTP/1.0 got %q", out)
	}
}

// T41: each event is on its way before the next is written.
func TestTrapT41EventsAreNotHeldBack(t *testing.T) {
	client, server := loopback(t)
	next := make(chan bool)
	serve(server, Timeouts{}, func(c *Conn, req *Request) {
		w := c.Respond(req)
		w.FlushEach = true
		w.WriteHead(200, Header{{"Content-Type", "text/event-stream"}}, Unknown)
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			<-next
		}
		w.End()
	})
	io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(res.Body)
	for i := range 3 {
		if l, err := events.ReadString('\n'); err != nil || l != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", l, err)
		}
		events.ReadString('\n')
		next <- true
	}
	if _, err := events.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}

// The next request is not read before the answer is finished.
func TestOneAnswerAtATime(t *testing.T) {
	client, server := loopback(t)
	io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c := NewConn(server, Timeouts{})
	defer c.Close()
	if _, err := c.ReadRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadRequest(); !errors.Is(err, errUnplanned) {
		t.Errorf("got %v", err)
	}
}
