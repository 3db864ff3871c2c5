package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
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

// FuzzReadResponse: nothing panics, and what is accepted has one reading: cut
// into single bytes it reads the same, and net/http reads the same status,
// framing and body. What would be kept for the next request has nothing left.
func FuzzReadResponse(f *testing.F) {
	for _, s := range []string{
		okAnswer,
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4 \r\ndefg\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 200 OK\r\nA: b\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nKeep-Alive: timeout=5, max=1\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\n c\n\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		method := map[bool]string{false: "GET", true: "HEAD"}[head]
		stream := bytes.NewReader(in)
		r, body, reusable, err := ask(get(method), stream)
		r2, body2, reusable2, err2 := ask(get(method), iotest.OneByteReader(bytes.NewReader(in)))
		if (err == nil) != (err2 == nil) || !bytes.Equal(body, body2) || reusable && !reusable2 {
			t.Fatalf("two readings of %q: %q, %v, %v and %q, %v, %v", in, body, reusable, err, body2, reusable2, err2)
		}
		if err != nil {
			return
		}
		if r2.Status != r.Status || r2.Length != r.Length {
			t.Fatalf("two readings of %q: %d, %d and %d, %d", in, r.Status, r.Length, r2.Status, r2.Length)
		}
		if reusable && stream.Len() > 0 {
			t.Fatalf("%q: kept with %d bytes unread", in, stream.Len())
		}

		br := bufio.NewReaderSize(bytes.NewReader(in), 64<<10)
		var std *http.Response
		for {
			if std, err = http.ReadResponse(br, &http.Request{Method: method}); err != nil {
				t.Fatalf("net/http refuses what was accepted: %v\n%q", err, in)
			}
			if std.StatusCode >= 200 {
				break
			}
		}
		if std.StatusCode != r.Status || std.ProtoMinor != r.Minor {
			t.Fatalf("net/http reads %d, this %d\n%q", std.StatusCode, r.Status, in)
		}
		if bodiless := head || r.Status == 204 || r.Status == 304; !bodiless && std.ContentLength != r.Length {
			t.Fatalf("net/http reads the length %d, this %d\n%q", std.ContentLength, r.Length, in)
		}
		if std.Close && reusable {
			t.Fatalf("kept, though net/http would close\n%q", in)
		}
		stdBody, err := io.ReadAll(std.Body)
		if err != nil || !bytes.Equal(stdBody, body) {
			t.Fatalf("net/http reads the body %q (%v), this %q\n%q", stdBody, err, body, in)
		}
		for _, f := range r.Header {
			if strings.EqualFold(f.Name, "Content-Length") || strings.EqualFold(f.Name, "Transfer-Encoding") || strings.EqualFold(f.Name, "Trailer") || strings.EqualFold(f.Name, "Connection") {
				continue
			}
			if vs := std.Header[textproto.CanonicalMIMEHeaderKey(f.Name)]; !slices.Contains(vs, f.Value) {
				t.Fatalf("net/http reads %s as %q, this %q\n%q", f.Name, vs, f.Value, in)
			}
		}
	})
}
