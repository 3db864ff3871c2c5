package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"writ.dev/writ/client"
)

// T1, T42: an answer that a revocation cuts does not look like one that has
// ended, in a tunnel as little as outside: its connection is reset.
func TestAttackCutAnswerCannotPassForWhole(t *testing.T) {
	for name, open := range map[string]string{
		"in a tunnel": "CONNECT plain.acme.test:80 HTTP/1.1\r\nHost: plain.acme.test:80\r\n",
		"outside":     "",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(rw, "the first half~")
				_ = http.NewResponseController(rw).Flush()
				<-r.Context().Done()
			})
			nc, err := net.Dial("tcp", w.proxyAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			auth := "Proxy-Authorization: " + basic(w.session.Token) + "\r\n\r\n"
			request := "GET http://plain.acme.test/v1/x HTTP/1.0\r\nHost: plain.acme.test\r\n" + auth
			if open != "" {
				_, _ = io.WriteString(nc, open+auth)
				if err := readConnectAnswer(nc); err != nil {
					t.Fatal(err)
				}
				request = "GET /v1/x HTTP/1.0\r\nHost: plain.acme.test\r\n\r\n"
			}
			_, _ = io.WriteString(nc, request)
			r := bufio.NewReader(nc)
			if _, err := r.ReadString('~'); err != nil {
				t.Fatal(err)
			}
			must[*client.Revocation](t)(w.admin.EndSession(t.Context(), string(w.session.Session.ID), client.Because{Reason: "test"}))
			_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
			if rest, err := io.ReadAll(r); err == nil {
				t.Errorf("the answer ended as if it were whole, with %q", rest)
			}
		})
	}
}

// T43: a request to the API that announces a body and does not send it holds
// its connection for a bounded time, although nobody reads the body; and one
// without a body lasts as long as it likes.
func TestAttackUnsentBodyToTheAPI(t *testing.T) {
	const limit = 100 * time.Millisecond
	ask := func(t *testing.T, addr, head string) (string, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, head+"Host: localhost\r\n\r\n")
		_ = nc.SetReadDeadline(time.Now().Add(2 * bodyTime))
		b, err := io.ReadAll(nc)
		return string(b), err
	}
	s := httptest.NewServer(boundBodies(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(3 * limit):
		case <-r.Context().Done():
			_, _ = io.WriteString(rw, "cut")
		}
	}), limit))
	defer s.Close()
	addr := s.Listener.Addr().String()
	for _, framing := range []string{"Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"} {
		if got, err := ask(t, addr, "POST / HTTP/1.1\r\n"+framing); err != nil || !strings.Contains(got, "Connection: close") {
			t.Errorf("%q is still held: %v %q", framing, err, got)
		}
	}
	if got, err := ask(t, addr, "GET / HTTP/1.1\r\nConnection: close\r\n"); err != nil || strings.Contains(got, "cut") {
		t.Errorf("a request without a body: %v %q", err, got)
	}
	if full() {
		w := newWorld(t)
		if _, err := ask(t, w.server.apiAt.Addr().String(), "POST /v1/grants HTTP/1.1\r\nContent-Length: 1000\r\n"); err != nil {
			t.Errorf("the server itself still holds it: %v", err)
		}
	}
}
