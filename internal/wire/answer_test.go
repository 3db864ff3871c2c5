package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scripted is a connection on which the answer is known beforehand.
type scripted struct {
	in  io.Reader
	out bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// ask sends q and reads the answer that in holds. reusable tells whether the
// connection would have been kept.
func ask(q *OutRequest, in io.Reader) (r *InResponse, body []byte, reusable bool, err error) {
	nc := &scripted{in: in}
	tr := &Transport{Dial: func(context.Context, string) (net.Conn, error) { return nc, nil }}
	defer tr.Close()
	if r, err = tr.RoundTrip(context.Background(), "a", q); err == nil {
		body, err = io.ReadAll(r.Body)
	}
	return r, body, len(tr.idle["a"]) == 1, err
}

func get(method string) *OutRequest {
	return &OutRequest{Method: method, Target: "/", Header: Header{{"Host", "a.test"}}}
}

// T14: an answer with two readings is refused, whatever was meant.
func TestTrapT14RefusedAnswers(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	chunked := ok + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"half a head", ok + "A: b\r\n", io.ErrUnexpectedEOF},
		{"half a status line", "HTTP/1.1 20", io.ErrUnexpectedEOF},
		{"garbage", "\x15\x03\x01\x00\x02\x02\x46", errStatusLine},
		{"SSH", "SSH-2.0-OpenSSH\r\n", errStatusLine},
		{"empty line first", "\r\n" + ok + "\r\n", errStatusLine},
		{"ICY", "ICY 200 OK\r\n\r\n", errStatusLine},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", errStatusLine},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", errStatusLine},
		{"lower case", "http/1.1 200 OK\r\n\r\n", errStatusLine},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", errStatusLine},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", errStatusLine},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", errStatusLine},
		{"status below 100", "HTTP/1.1 099 OK\r\n\r\n", errStatusLine},
		{"status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", errStatusLine},

		{"bare LF after the status line", "HTTP/1.1 200 OK\nA: b\r\n\r\n", errAnswerHead},
		{"bare LF after a field", ok + "A: b\nC: d\r\n\r\n", errAnswerHead},
		{"bare LF ends the head", ok + "\n", errAnswerHead},
		{"bare CR in a value", ok + "A: b\rC: d\r\n\r\n", errAnswerHead},
		{"bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", errAnswerHead},
		{"NUL in a value", ok + "A: b\x00\r\n\r\n", errAnswerHead},
		{"folded line", ok + "A: b\r\n c\r\n\r\n", errAnswerHead},
		{"folded first line", ok + "\tA: b\r\n\r\n", errAnswerHead},
		{"space before the colon", ok + "A : b\r\n\r\n", errAnswerHead},
		{"no colon", ok + "A\r\n\r\n", errAnswerHead},
		{"no name", ok + ": b\r\n\r\n", errAnswerHead},
		{"name with a space", ok + "A b: c\r\n\r\n", errAnswerHead},

		{"both framings", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errAnswerFrames},
		{"both framings, length 0", ok + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", errAnswerFrames},
		{"two lengths", ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", errAnswerLength},
		{"length list", ok + "Content-Length: 3, 3\r\n\r\nabc", errAnswerLength},
		{"length with a sign", ok + "Content-Length: +3\r\n\r\nabc", errAnswerLength},
		{"negative length", ok + "Content-Length: -1\r\n\r\nabc", errAnswerLength},
		{"hexadecimal length", ok + "Content-Length: 0x3\r\n\r\nabc", errAnswerLength},
		{"length too large", ok + "Content-Length: 9007199254740993\r\n\r\nabc", errAnswerLength},
		{"empty length", ok + "Content-Length: \r\n\r\n", errAnswerLength},
		{"two codings", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", errAnswerCoding},
		{"two coding fields", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errAnswerCoding},
		{"identity", ok + "Transfer-Encoding: identity\r\n\r\n", errAnswerCoding},
		{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errAnswerCoding},
		{"body of an interim answer", "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc" + ok + "\r\n", errAnswerHead},
		{"not asked to switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", errSwitched},

		{"short body", ok + "Content-Length: 3\r\n\r\nab", io.ErrUnexpectedEOF},
		{"no size", chunked + "\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size with a sign", chunked + "+3\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size with 0x", chunked + "0x3\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size after a space", chunked + " 3\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size that overflows", chunked + "10000000000000003\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size above 2^53", chunked + "20000000000001\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"size with a bare LF", chunked + "3\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"extension with a bare LF", chunked + "3;a\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"extension with a bare CR", chunked + "3;a\rb\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"long extension", chunked + "3;" + strings.Repeat("a", 5<<10) + "\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"very long extension", chunked + "3;" + strings.Repeat("a", 50<<10) + "\r\nabc\r\n0\r\n\r\n", errAnswerChunk},
		{"chunk longer than its size", chunked + "3\r\nabcd\r\n0\r\n\r\n", errAnswerChunk},
		{"chunk ends with LF", chunked + "3\r\nabc\n0\r\n\r\n", errAnswerChunk},
		{"no last chunk", chunked + "3\r\nabc\r\n", io.ErrUnexpectedEOF},
		{"half a last chunk", chunked + "3\r\nabc\r\n0\r\n", io.ErrUnexpectedEOF},
		{"chunk cut off", chunked + "3\r\na", io.ErrUnexpectedEOF},
		{"folded trailer", chunked + "0\r\nA: b\r\n c\r\n\r\n", errAnswerChunk},
		{"no trailer", chunked + "0\r\nabc\r\n\r\n", errAnswerChunk},
		{"many trailers", chunked + "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 70) + "\r\n", errAnswerChunk},
		{"long head", ok + "A: " + strings.Repeat("b", 256<<10) + "\r\n\r\n", errAnswerLong},
		{"long status line", "HTTP/1.1 200 " + strings.Repeat("b", 256<<10), errAnswerLong},
		{"endless interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\nA: "+strings.Repeat("b", 1000)+"\r\n\r\n", 300) + ok + "\r\n", errAnswerLong},
		{"many fields", ok + strings.Repeat("A: b\r\n", 1001) + "\r\n", errAnswerFields},
	} {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(tc.in)
			if slow && len(tc.in) < 1000 {
				in = iotest.OneByteReader(in)
			}
			r, body, reusable, err := ask(get("GET"), in)
			if !errors.Is(err, tc.want) || reusable {
				t.Errorf("%s: got %+v, %q, %v, reusable %v; want %v", tc.name, r, body, err, reusable, tc.want)
			}
			if errors.Is(err, ErrNotSent) {
				t.Errorf("%s: the error says that nothing was sent", tc.name)
			}
		}
	}
}

// What real servers send, however it is cut into reads.
func TestAcceptedAnswers(t *testing.T) {
	type result struct {
		Status   int
		Length   int64
		Body     string
		Reusable bool
	}
	ok := "HTTP/1.1 200 OK\r\n"
	chunked := ok + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, method, in string
		want             result
	}{
		{"length", "GET", ok + "Content-Length: 3\r\n\r\nabc", result{200, 3, "abc", true}},
		{"no reason", "GET", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", result{404, 0, "", true}},
		{"no space after the status", "GET", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", result{404, 0, "", true}},
		{"reason beyond ASCII", "GET", "HTTP/1.1 404 Nicht gef\xfcnden\r\nContent-Length: 0\r\n\r\n", result{404, 0, "", true}},
		{"status of nobody", "GET", "HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", result{999, 0, "", true}},
		{"until the end", "GET", ok + "\r\nabc", result{200, Unknown, "abc", false}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", result{200, 3, "abc", false}},
		{"HTTP/1.0 until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", result{200, Unknown, "abc", false}},
		{"equal lengths", "GET", ok + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", result{200, 3, "abc", true}},
		{"close", "GET", ok + "Content-Length: 3\r\nConnection: Keep-Alive, CLOSE\r\n\r\nabc", result{200, 3, "abc", false}},
		{"surplus", "GET", ok + "Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK", result{200, 3, "abc", false}},
		{"surplus without a body", "GET", ok + "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK", result{200, 0, "", false}},
		{"surplus after chunks", "GET", chunked + "0\r\n\r\nx", result{200, Unknown, "", false}},
		{"chunks", "GET", chunked + "3\r\nabc\r\n02\r\nde\r\n0\r\n\r\n", result{200, Unknown, "abcde", true}},
		{"chunked in capitals", "GET", ok + "transfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", result{200, Unknown, "abc", true}},
		{"padded size", "GET", chunked + "3  \r\nabc\r\n0\r\n\r\n", result{200, Unknown, "abc", true}},
		{"extensions", "GET", chunked + "3;a=\"b\";c\r\nabc\r\n0;d\r\n\r\n", result{200, Unknown, "abc", true}},
		{"trailers", "GET", chunked + "A\r\n0123456789\r\n000\r\nX-Sum: 1\r\nX-More:\r\n\r\n", result{200, Unknown, "0123456789", true}},
		{"HEAD", "HEAD", ok + "Content-Length: 3\r\n\r\n", result{200, 3, "", true}},
		{"HEAD with chunks", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", result{200, Unknown, "", true}},
		{"HEAD with a body", "HEAD", ok + "Content-Length: 3\r\n\r\nabc", result{200, 3, "", false}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", result{204, 0, "", true}},
		{"204 of length 0", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", result{204, 0, "", true}},
		{"204 that declares a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", result{204, 0, "", false}},
		{"204 with chunks", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", result{204, 0, "", false}},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", result{304, 100, "", true}},
		{"after interim ones", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", result{200, 1, "x", true}},
	} {
		for i, cut := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
		} {
			r, body, reusable, err := ask(get(tc.method), cut(strings.NewReader(tc.in)))
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			got := result{r.Status, r.Length, string(body), reusable}
			if i > 0 && got.Reusable {
				// A surplus that has not arrived yet is found by take, see
				// TestTrapT14SurplusIsNobodysAnswer.
				got.Reusable = tc.want.Reusable
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("%s: %s", tc.name, d)
			}
		}
	}
}

// Each point at which an answer can be cut into two reads, and each at which
// it can break off.
func TestAnswerSplitAtEachByte(t *testing.T) {
	answer := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
	for i := range len(answer) + 1 {
		r, body, reusable, err := ask(get("GET"), io.MultiReader(strings.NewReader(answer[:i]), strings.NewReader(answer[i:])))
		if err != nil || r.Status != 200 || string(body) != "hello world" || !reusable {
			t.Fatalf("split at %d: %v, %q, %v, reusable %v", i, r, body, err, reusable)
		}
		if i == len(answer) {
			break
		}
		if _, body, reusable, err = ask(get("GET"), strings.NewReader(answer[:i])); err == nil || reusable {
			t.Fatalf("broken off at %d: %q, %v, reusable %v", i, body, err, reusable)
		}
	}
}

// Header keeps spelling and order; 103 can be seen, 100 cannot.
func TestAnswerHeader(t *testing.T) {
	var interim []string
	q := get("GET")
	q.Interim = func(status int, h Header) { interim = append(interim, fmt.Sprint(status, h)) }
	r, _, _, err := ask(q, strings.NewReader("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+
		"HTTP/1.1 201 So  be it\r\nx-b: 1\r\nX-A:\t 2 \r\nx-B: \xe4\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{{"x-b", "1"}, {"X-A", "2"}, {"x-B", "\xe4"}, {"Content-Length", "0"}}
	if d := cmp.Diff(want, r.Header); d != "" || r.Reason != "So  be it" || r.Minor != 1 {
		t.Errorf("%s\nreason %q", d, r.Reason)
	}
	if d := cmp.Diff([]string{"103 [{Link </a>}]"}, interim); d != "" {
		t.Error(d)
	}
}

// T41: what has arrived of a stream is given at once; many small chunks that
// are there together are one read.
func TestTrapT41ChunksAreNotWaitedFor(t *testing.T) {
	in, out := io.Pipe()
	pieces := []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n", // all of it
		"3\r\ndef",           // without its CR LF
		"\r\n3\r\n",          // only the next size
		"ghi\r\n0\r\n",       // the last size without the end
		"X: trailer\r\n\r\n", // the end
	}
	next := make(chan bool, 1)
	go func() {
		for _, p := range pieces {
			<-next
			io.WriteString(out, p)
		}
	}()
	nc := &scripted{in: in}
	tr := &Transport{Dial: func(context.Context, string) (net.Conn, error) { return nc, nil }}
	next <- true
	r, err := tr.RoundTrip(t.Context(), "a", get("GET"))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for i, want := range []string{"abc", "def", "ghi", ""} {
		switch i {
		case 1:
			next <- true
		case 2:
			next <- true
			next <- true
		case 3:
			next <- true
		}
		n, err := r.Body.Read(buf)
		if string(buf[:n]) != want || (err == io.EOF) != (i == 3) || err != nil && err != io.EOF {
			t.Fatalf("read %d: %q, %v; want %q", i, buf[:n], err, want)
		}
	}
	if len(tr.idle["a"]) != 1 {
		t.Error("the connection was not kept")
	}
}

// The length of an answer can be huge; its framing is followed to the byte.
func TestLongAnswers(t *testing.T) {
	const size = 5<<20 + 7
	for _, head := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n", size), "Transfer-Encoding: chunked\r\n\r\n", "\r\n"} {
		body := io.LimitReader(&loop{}, size)
		if strings.HasPrefix(head, "T") {
			data := body
			pr, pw := io.Pipe()
			go func() {
				buf := make([]byte, 70000)
				for i := 0; ; i++ {
					n, err := io.ReadFull(data, buf[:1+i*977%len(buf)])
					fmt.Fprintf(pw, "%x\r\n%s\r\n", n, buf[:n])
					if err != nil {
						if n > 0 {
							io.WriteString(pw, "0\r\n\r\n")
						}
						return
					}
				}
			}()
			body = pr
		}
		want, _ := io.ReadAll(io.LimitReader(&loop{}, size))
		_, got, reusable, err := ask(get("GET"), io.MultiReader(strings.NewReader("HTTP/1.1 "+fmt.Sprint(http.StatusOK)+" OK\r\n"+head), body))
		if err != nil || !bytes.Equal(got, want) || reusable != (head != "\r\n") {
			t.Errorf("%q: %d bytes of %d, %v, reusable %v", head, len(got), size, err, reusable)
		}
	}
}

func TestKeepAliveField(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=5": 5 * time.Second, "max=100, Timeout = 60": time.Minute, "timeout=0": 1,
		"timeout=99999999": time.Hour, "timeout=-1": 0, "timeout=x": 0, "timeout": 0, "max=5": 0, "": 0,
	} {
		if got := keepAlive(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
