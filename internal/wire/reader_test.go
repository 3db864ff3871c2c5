package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const line = "GET / HTTP/1.1\r\nHost: api.acme.test\r\n"

// T14: each of these has two readings somewhere, or none.
func TestTrapT14Refusals(t *testing.T) {
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, in string
		status   int
	}{
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"bare LF after a field", line + "A: b\nC: d\r\n\r\n", 400},
		{"bare LF ends the head", line + "\n", 400},
		{"bare CR in a value", line + "A: b\rC: d\r\n\r\n", 400},
		{"CR CR LF", line + "A: b\r\r\n\r\n", 400},
		{"empty line first", "\r\n" + line + "\r\n", 400},
		{"folded line", line + "A: b\r\n c\r\n\r\n", 400},
		{"folded line with a tab", line + "A: b\r\n\tc\r\n\r\n", 400},
		{"first field folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		{"space before the colon", line + "A : b\r\n\r\n", 400},
		{"tab before the colon", line + "A\t: b\r\n\r\n", 400},
		{"no colon", line + "A\r\n\r\n", 400},
		{"no name", line + ": b\r\n\r\n", 400},
		{"name with a slash", line + "A/b: c\r\n\r\n", 400},
		{"name with a non-ASCII byte", line + "\xc3\xa4: c\r\n\r\n", 400},
		{"NUL in a value", line + "A: b\x00c\r\n\r\n", 400},
		{"DEL in a value", line + "A: b\x7f\r\n\r\n", 400},
		{"escape in a value", line + "A: \x1b[31m\r\n\r\n", 400},
		{"NUL in a name", line + "A\x00: b\r\n\r\n", 400},

		{"two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"tab between the parts", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"non-ASCII target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bad escape in the path", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"short escape in the path", "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no version", "GET /\r\n\r\n", 400},
		{"HTTP/0.9", "GET / \r\n\r\n", 400},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		{"lower-case http", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", 400},
		{"SOCKS5", "\x05\x01\x00", 400},
		{"binary", "\x00\x00", 400},
		{"method with a colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"method too long", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 501},

		{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"userinfo", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"query without path", "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"empty authority", "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"escaped authority", "GET http://%61/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"backslash in the authority", `GET http://a\b/ HTTP/1.1` + "\r\nHost: a\r\n\r\n", 400},
		{"empty port", "GET http://a:/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"port with a zero in front", "GET http://a:080/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"port too large", "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"zone id", "GET http://[fe80::1%25eth0]/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT to a path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT to a URL", "CONNECT https://a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT with userinfo", "CONNECT u@a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT with a body", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400},

		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two Hosts", line + "Host: api.acme.test\r\n\r\n", 400},
		{"two Hosts in other case", line + "hOST: b\r\n\r\n", 400},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		{"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
		{"Host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		{"Host in another script", "GET / HTTP/1.1\r\nHost: \xd0\xb0\r\n\r\n", 400},

		{"two lengths", line + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"two equal lengths", line + "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", 400},
		{"length list", line + "Content-Length: 3, 3\r\n\r\nabc", 400},
		{"plus", line + "Content-Length: +3\r\n\r\nabc", 400},
		{"minus", line + "Content-Length: -3\r\n\r\nabc", 400},
		{"hexadecimal length", line + "Content-Length: 0x3\r\n\r\nabc", 400},
		{"empty length", line + "Content-Length:\r\n\r\n", 400},
		{"length above 2^53", line + "Content-Length: 9007199254740993\r\n\r\n", 413},
		{"length that overflows", line + "Content-Length: 18446744073709551617\r\n\r\n", 413},
		{"long length that is no number", line + "Content-Length: 99999999999999999999x\r\n\r\n", 400},
		{"length and coding", line + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"coding and length", line + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
		{"two codings", line + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"gzip, chunked", line + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"identity", line + "Transfer-Encoding: identity\r\n\r\n", 501},
		{"chunked spelled otherwise", line + "Transfer-Encoding: Chunked\r\n\r\n", 501},
		{"xchunked", line + "Transfer-Encoding: xchunked\r\n\r\n", 501},
		{"chunked with a vertical tab", line + "Transfer-Encoding: \x0bchunked\r\n\r\n", 400},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"announced trailer", line + "Trailer: A\r\n\r\n", 400},
		{"unknown expectation", line + "Expect: 200-ok\r\n\r\n", 417},
		{"two expectations", line + "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 417},
		{"Connection names Host", line + "Connection: close, hOst\r\n\r\n", 400},
		{"Connection names Content-Length", line + "Connection: content-length\r\n\r\n", 400},
		{"Connection is no list", line + "Connection: a b\r\n\r\n", 400},

		{"target too long", "GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\n", 414},
		{"endless request line", "GET /" + strings.Repeat("a", 128<<10), 414},
		{"head too large", line + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 66), 431},
		{"endless field", line + "A: " + strings.Repeat("b", 128<<10), 431},
		{"too many fields", line + strings.Repeat("A: b\r\n", 200), 431},

		{"chunk extension", chunked + "3;a=b\r\nabc\r\n0\r\n\r\n", 400},
		{"space after the chunk size", chunked + "3 \r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with plus", chunked + "+3\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with 0x", chunked + "0x3\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with underscore", chunked + "1_0\r\nabc\r\n0\r\n\r\n", 400},
		{"empty chunk size", chunked + "\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with bare LF", chunked + "3\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with CR only", chunked + "3\rabc\r\n0\r\n\r\n", 400},
		{"chunk size that overflows", chunked + "10000000000000003\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk above 2^53", chunked + "20000000000001\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk data too long", chunked + "3\r\nabcd\r\n0\r\n\r\n", 400},
		{"chunk data without CR", chunked + "3\r\nabc\n0\r\n\r\n", 400},
		{"trailer", chunked + "3\r\nabc\r\n0\r\nA: b\r\n\r\n", 400},
		{"bare LF at the end", chunked + "0\r\n\n", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(tc.in), iotest.OneByteReader(strings.NewReader(tc.in))} {
				_, _, err := readAll(in)
				var refusal *Error
				if !errors.As(err, &refusal) {
					t.Fatalf("got %v, want a refusal", err)
				}
				if refusal.Status != tc.status {
					t.Errorf("refused with %d (%s), want %d", refusal.Status, refusal.Reason, tc.status)
				}
			}
		})
	}
}

// readAll reads one request and its body.
func readAll(r io.Reader) (*Request, []byte, error) {
	req, err := NewReader(r).ReadRequest()
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(req.Body)
	return req, body, err
}

func TestReadRequest(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want string // what matters of it
	}{
		{line + "\r\n", `GET 0 "" "" "/" "api.acme.test" 0 "" ""`},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", `OPTIONS 3 "" "" "*" "a" 0 "" ""`},
		{"GET http://A.test:80/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n", `GET 1 "http" "A.test:80" "/x?y" "a.test" 0 "" ""`},
		{"GET HTTPS://[::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", `GET 1 "https" "[::1]:8443" "/" "[::1]:8443" 0 "" ""`},
		{"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", `CONNECT 2 "" "a.test:443" "" "a.test:443" 0 "" ""`},
		{"CONNECT a.test:443 HTTP/1.0\r\n\r\n", `CONNECT 2 "" "a.test:443" "" "" 0 "" "" close`},
		{"POST /a%2Fb//c;d?x=%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", `POST 0 "" "" "/a%2Fb//c;d?x=%zz" "a" 3 "" "abc"`},
		{"POST / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding:  chunked \r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n000\r\n\r\n", `POST 0 "" "" "/" "a" -1 "" "abc0123456789"`},
		{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", `PUT 0 "" "" "/" "a" 0 "" ""`},
		{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\nx", `PUT 0 "" "" "/" "a" 1 "" "x" continue`},
		{line + "Connection: , keep-alive,Upgrade\r\nUpgrade: websocket\r\n\r\n", `GET 0 "" "" "/" "api.acme.test" 0 "websocket" ""`},
		{line + "Upgrade: websocket\r\n\r\n", `GET 0 "" "" "/" "api.acme.test" 0 "" ""`},
		{line + "Connection: Close\r\n\r\n", `GET 0 "" "" "/" "api.acme.test" 0 "" "" close`},
		{line + strings.Repeat("A: b\r\n", 199) + "\r\n", `GET 0 "" "" "/" "api.acme.test" 0 "" ""`},
	} {
		req, body, err := readAll(iotest.HalfReader(strings.NewReader(tc.in)))
		if err != nil {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		got := fmt.Sprintf("%s %d %q %q %q %q %d %q %q", req.Method, req.Form, req.Scheme, req.Authority, req.Path, req.Host, req.Length, req.Upgrade, body)
		if req.Continue {
			got += " continue"
		}
		if req.Close {
			got += " close"
		}
		if got != tc.want {
			t.Errorf("%q:\n got %s\nwant %s", tc.in, got, tc.want)
		}
	}
}

func TestHeaderKeepsSpellingAndOrder(t *testing.T) {
	in := "GET / HTTP/1.1\r\nhOsT: a\r\nX-b:  1\t\r\nx-B: \xff caf\xc3\xa9\r\nA:\r\n\r\n"
	req, _, err := readAll(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{{"hOsT", "a"}, {"X-b", "1"}, {"x-B", "\xff caf\xc3\xa9"}, {"A", ""}}
	if d := cmp.Diff(want, req.Header); d != "" {
		t.Error(d)
	}
	if got := req.Header.Get("X-B"); got != "1" {
		t.Errorf("Get gives %q", got)
	}
	if got := req.Header.Values("x-b"); len(got) != 2 || req.Header.Count("X-B") != 2 {
		t.Errorf("Values gives %q", got)
	}
	h := req.Header.Clone()
	h.Set("x-b", "new")
	if d := cmp.Diff(Header{{"hOsT", "a"}, {"x-b", "new"}, {"A", ""}}, h); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, req.Header); d != "" {
		t.Error("the clone shares its fields:", d)
	}
}

// T24: what an upstream may take for the credential's own field is replaced.
func TestTrapT24SetReplacesEverySpelling(t *testing.T) {
	h := Header{{"x-api-key", "1"}, {"X_Api_Key", "2"}, {"Accept", "*/*"}, {"X-API-KEY", "3"}}
	h.Set("X-Api-Key", "mine")
	h.Set("Via", "new")
	if d := cmp.Diff(Header{{"X-Api-Key", "mine"}, {"Accept", "*/*"}, {"Via", "new"}}, h); d != "" {
		t.Error(d)
	}
}

func TestReaderGoesOnAfterEachBody(t *testing.T) {
	in := "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
		"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300000) +
		"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, read := range []bool{true, false} {
		r := NewReader(strings.NewReader(in))
		var targets []string
		var reqs []*Request
		var end error
		for end == nil {
			req, err := r.ReadRequest()
			if end = err; err != nil {
				break
			}
			targets, reqs = append(targets, req.Target), append(reqs, req)
			if read {
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					t.Fatal(err)
				}
			}
		}
		if read && (!slices.Equal(targets, []string{"/1", "/2", "/3", "/4", "/5"}) || end != io.EOF) {
			t.Errorf("read %v, then %v", targets, end)
		}
		// Unread, the long body is not dropped: the connection ends.
		if !read && (!slices.Equal(targets, []string{"/1", "/2", "/3", "/4"}) || end != errUndrained) {
			t.Errorf("read %v, then %v", targets, end)
		}
		for i, req := range reqs {
			if want := fmt.Sprintf("/%d", i+1); req.Target != want {
				t.Errorf("an older request now reads %s, want %s", req.Target, want)
			}
			if req.Length == 0 {
				continue
			}
			if _, err := req.Body.Read(make([]byte, 1)); !errors.Is(err, ErrBodyClosed) {
				t.Errorf("%s: an older body still reads: %v", req.Target, err)
			}
		}
	}
}

func TestTruncatedStream(t *testing.T) {
	whole := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	for n := range len(whole) {
		_, _, err := readAll(strings.NewReader(whole[:n]))
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if err != want {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
	if _, _, err := readAll(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")); err != io.ErrUnexpectedEOF {
		t.Errorf("short body: %v", err)
	}
}

// A client that does not speak HTTP hears so after its first line, not after
// a timeout.
func TestRefusedAtTheFirstLine(t *testing.T) {
	for _, in := range []string{"SSH-2.0-OpenSSH_9.6\r\n", "EHLO a\r\n", "\x16\x03"} {
		r, w := io.Pipe()
		go w.Write([]byte(in))
		_, _, err := readAll(r)
		var refusal *Error
		if !errors.As(err, &refusal) {
			t.Errorf("%q: %v", in, err)
		}
		r.Close()
	}
}
