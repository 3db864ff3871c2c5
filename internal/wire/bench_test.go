package wire

import (
	"bufio"
	"io"
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
