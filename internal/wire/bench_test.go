package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
)

const benchRequest = "POST /v1/chat/completions?stream=true HTTP/1.1\r\nHost: api.acme.test\r\nUser-Agent: acme-sdk/1.2.3 python/3.12\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nContent-Type: application/json\r\nX-Request-Id: 0a1b2c3d4e5f\r\n" +
	"Authorization: Bearer placeholder-0123456789abcdef\r\nConnection: keep-alive\r\nContent-Length: 16\r\n\r\n" + `{"model":"tiny"}`

// loop repeats the request for ever.
type loop struct{ at int }

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, benchRequest[l.at:])
	l.at = (l.at + n) % len(benchRequest)
	return n, nil
}

func BenchmarkReadRequest(b *testing.B) {
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		r := NewReader(&loop{})
		buf := make([]byte, 512)
		for b.Loop() {
			req, err := r.ReadRequest()
			if err != nil {
				b.Fatal(err)
			}
			if n, err := req.Body.Read(buf); n != 16 || err != io.EOF {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		b.ReportAllocs()
		r := bufio.NewReader(&loop{})
		buf := make([]byte, 512)
		for b.Loop() {
			req, err := http.ReadRequest(r)
			if err != nil {
				b.Fatal(err)
			}
			if n, _ := io.ReadFull(req.Body, buf[:16]); n != 16 {
				b.Fatal(n)
			}
			req.Body.Close()
		}
	})
}

// BenchmarkServe is a kept connection with one request after the other, over
// loopback TCP, against net/http's server with the same answer.
func BenchmarkServe(b *testing.B) {
	answer := []byte(`{"id":"msg_01","type":"message","role":"assistant","content":[]}`)
	client := func(b *testing.B, addr string) {
		b.ReportAllocs()
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		buf, in := make([]byte, 4<<10), []byte(benchRequest)
		for b.Loop() {
			if _, err := nc.Write(in); err != nil {
				b.Fatal(err)
			}
			for n := 0; !bytes.HasSuffix(buf[:n], answer); {
				m, err := nc.Read(buf[n:])
				if err != nil {
					b.Fatal(err)
				}
				n += m
			}
		}
	}
	b.Run("wire", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serve(nc, Timeouts{}, func(c *Conn, req *Request) {
				io.Copy(io.Discard, req.Body)
				c.Respond(req).Send(200, Header{{"Content-Type", "application/json"}}, answer)
			})
		}()
		client(b, l.Addr().String())
	})
	b.Run("net-http", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			w.Write(answer)
		})}
		go s.Serve(l)
		defer s.Close()
		client(b, l.Addr().String())
	})
}
