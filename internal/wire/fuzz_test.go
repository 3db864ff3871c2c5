package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"testing"
)

// FuzzReadRequest: nothing panics, and what is accepted has one reading: put
// on the wire again, this package and net/http both read the same method,
// target, host, framing and body.
func FuzzReadRequest(f *testing.F) {
	for _, s := range []string{
		line + "\r\n",
		line + "A: b\r\n c\r\n\r\n",
		"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
		"GET http://a.test/x?y=%zz HTTP/1.1\r\nHost: a.test\r\nX-Y: \xff\r\n\r\n",
		"GET http://[::ffff:1.2.3.4]:1/ HTTP/1.0\r\n\r\n",
		"POST /a%2f HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a:1\r\nConnection: close, upgrade\r\nUpgrade: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		req, body, err := readAll(bytes.NewReader(in))
		if err != nil {
			return
		}
		out := req.AppendHead(nil)
		if req.Length == Chunked {
			var b bytes.Buffer
			w := httputil.NewChunkedWriter(&b)
			w.Write(body)
			w.Close()
			out = append(append(out, b.Bytes()...), "\r\n"...)
		} else {
			out = append(out, body...)
		}

		again, body2, err := readAll(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("own output refused: %v\n%q", err, out)
		}
		if again.Method != req.Method || again.Target != req.Target || again.Host != req.Host || again.Length != req.Length || !bytes.Equal(body, body2) {
			t.Fatalf("read twice, two requests:\n%q", out)
		}

		std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			t.Fatalf("net/http refuses what was accepted: %v\n%q", err, out)
		}
		host := req.Host
		if req.Form == Absolute || req.Form == Authority {
			host = req.Authority
		}
		if std.Method != req.Method || std.RequestURI != req.Target || std.Host != host || std.ProtoMinor != req.Minor {
			t.Fatalf("net/http reads %s %s %s, this %s %s %s\n%q", std.Method, std.RequestURI, std.Host, req.Method, req.Target, host, out)
		}
		if std.ContentLength != req.Length {
			t.Fatalf("net/http reads the length %d, this %d\n%q", std.ContentLength, req.Length, out)
		}
		stdBody, err := io.ReadAll(std.Body)
		if err != nil || !bytes.Equal(stdBody, body) {
			t.Fatalf("net/http reads the body %q (%v), this %q", stdBody, err, body)
		}
	})
}
