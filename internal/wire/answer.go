package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Limits of a response's head. The interim responses before it count as well.
const (
	MaxAnswerHead   = 256 << 10
	maxAnswerFields = 1000
)

// The faults of a response. An upstream's answer is judged as strictly as a
// client's request where it has two readings, since what was left over of one
// answer would be taken for the beginning of the next one, on a connection
// that other sessions use too. Where real servers are sloppy in a way that
// has one reading, it is accepted: the client gets our own framing, not theirs.
var (
	errStatusLine   = refuse(http.StatusBadGateway, "the answer does not begin with an HTTP/1.1 or HTTP/1.0 status line")
	errAnswerLong   = refuse(http.StatusBadGateway, "the answer's head is larger than 256 KiB")
	errAnswerFields = refuse(http.StatusBadGateway, "the answer has more than 1000 header fields")
	errAnswerHead   = refuse(http.StatusBadGateway, "the answer's head has a line that is malformed or folded")
	errAnswerLength = refuse(http.StatusBadGateway, "the answer's Content-Length is not one plain decimal number")
	errAnswerFrames = refuse(http.StatusBadGateway, "the answer has both Content-Length and Transfer-Encoding")
	errAnswerCoding = refuse(http.StatusBadGateway, "the answer's Transfer-Encoding is not exactly 'chunked' in HTTP/1.1")
	errAnswerChunk  = refuse(http.StatusBadGateway, "the answer's chunks are malformed")
	errSwitched     = refuse(http.StatusBadGateway, "the answer switches to a protocol that was not asked for")
)

// InResponse is an upstream's answer, parsed once.
type InResponse struct {
	Status int
	Reason string
	Minor  int    // HTTP/1.Minor: 0 or 1
	Header Header // every field as sent, framing included

	// Length is the body's; Unknown when only its end tells. In an answer that
	// has no body (to HEAD, 304) it is what the fields declare.
	Length int64
	// Body is never nil. It ends with io.EOF only when it is whole. It must be
	// read to its end or closed; then the connection is free for the next
	// request, or closed.
	Body io.ReadCloser
	// Upgraded is the connection after a 101, with what the upstream already
	// sent in the new protocol still to be read. The caller closes it.
	Upgraded net.Conn

	close   bool          // the connection ends after this answer
	chunked bool          // RFC 9112, section 7.1
	none    bool          // it has no body
	keep    time.Duration // how long the upstream keeps an unused connection, if it says; else 0

	body   answerBody
	fields [16]Field // what Header uses while it fits: one allocation less
}

// answers reads responses. It holds a connection's buffers while an exchange
// is under way, and no longer: idle connections have none.
type answers struct {
	lines
	used int // bytes of heads so far in this exchange
}

var answerReaders = sync.Pool{New: func() any {
	return &answers{lines: lines{br: bufio.NewReaderSize(nil, 16<<10), head: make([]byte, 0, 2<<10), spans: make([]span, 0, 32)}}
}}

func newAnswers(r io.Reader) *answers {
	a := answerReaders.Get().(*answers)
	a.br.Reset(r)
	a.used = 0
	return a
}

// release gives the buffers back; nothing may use a afterwards.
func (a *answers) release() {
	a.lines.release()
	answerReaders.Put(a)
}

// read reads one response's head, an interim one's or the final one's.
func (a *answers) read(method string) (*InResponse, error) {
	a.head, a.spans = a.head[:0], a.spans[:0]
	// What speaks something else is told apart at its first bytes; it may
	// never send a line.
	const begin = "HTTP/"
	if have, err := a.br.Peek(len(begin)); !strings.HasPrefix(begin, string(have)) {
		return nil, errStatusLine
	} else if err != nil {
		return nil, unexpected(err)
	}
	if _, err := a.line(MaxAnswerHead-a.used, errAnswerLong); err != nil {
		return nil, answerFault(err)
	}
	statusEnd := len(a.head)
	minor, status, ok := splitStatusLine(a.head)
	if !ok {
		return nil, errStatusLine
	}
	for {
		start, err := a.line(MaxAnswerHead-a.used-len(a.head)-2*len(a.spans), errAnswerLong)
		if err != nil {
			return nil, answerFault(err)
		}
		if len(a.head) == start {
			break
		}
		if len(a.spans) == maxAnswerFields {
			return nil, errAnswerFields
		}
		// A space before the colon, which a proxy would have to take out
		// (RFC 9112, section 5.1), is refused with the rest: what that field
		// says is for nobody to guess. A folded line (section 5.2) likewise.
		if a.field(start) != nil {
			return nil, errAnswerHead
		}
	}
	a.used += len(a.head) + 2*len(a.spans) + len("\r\n\r\n")
	// One string holds the whole head; all others are parts of it.
	head := string(a.head)
	r := &InResponse{Status: status, Minor: minor, Length: Unknown, Body: http.NoBody}
	if reason := len("HTTP/1.1 200 "); statusEnd > reason {
		r.Reason = head[reason:statusEnd]
	}
	r.Header = r.fields[:0]
	if len(a.spans) > len(r.fields) {
		r.Header = make(Header, 0, len(a.spans)+4)
	}
	for _, s := range a.spans {
		r.Header = append(r.Header, Field{head[s.name:s.colon], head[s.value:s.end]})
	}
	if fault := r.frame(method); fault != nil {
		return nil, fault
	}
	return r, nil
}

// answerFault gives what is wrong with a line in the words for answers.
func answerFault(err error) error {
	switch err {
	case errBareLF, errControl:
		return errAnswerHead
	}
	return err
}

// splitStatusLine reads "HTTP/1.1 200 OK" (RFC 9112, section 4). Servers that
// leave the reason away often leave the space before it away too.
func splitStatusLine(line []byte) (minor, status int, ok bool) {
	const fixed = len("HTTP/1.1 200")
	if len(line) < fixed || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[7] > '1' || line[7] < '0' || line[8] != ' ' ||
		len(line) > fixed && line[fixed] != ' ' {
		return 0, 0, false
	}
	for _, c := range line[9:fixed] {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		status = status*10 + int(c-'0')
	}
	return int(line[7] - '0'), status, status >= 100
}

// frame reads the fields that decide about framing and connection (RFC 9112,
// sections 6.3 and 9.3).
func (r *InResponse) frame(method string) *Error {
	var lengths, codings int
	r.close = r.Minor == 0
	for i := range r.Header {
		f := &r.Header[i]
		switch n := f.Name; len(n) {
		case 10:
			if strings.EqualFold(n, "Connection") {
				for e := range elements(f.Value) {
					r.close = r.close || strings.EqualFold(e, "close")
				}
			} else if strings.EqualFold(n, "Keep-Alive") {
				r.keep = keepAlive(f.Value)
			}
		case 14:
			if strings.EqualFold(n, "Content-Length") {
				// Equal ones are one (RFC 9110, section 8.6): some servers and
				// the frameworks on them both write it. They have one reading
				// here, and the client gets a single one.
				length, err := parseLength(f.Value)
				if err != nil || lengths > 0 && length != r.Length {
					return errAnswerLength
				}
				r.Length = length
				lengths++
			}
		case 17:
			if strings.EqualFold(n, "Transfer-Encoding") {
				// No other coding was asked for: TE is never sent.
				if codings++; codings > 1 || !strings.EqualFold(f.Value, "chunked") || r.Minor == 0 {
					return errAnswerCoding
				}
			}
		}
	}
	if codings > 0 && lengths > 0 { // RFC 9112, section 6.1
		return errAnswerFrames
	}
	r.chunked = codings > 0
	switch {
	case r.Status < 200:
		// An interim response ends with its head. Framing in it would be a
		// second reading (RFC 9110, section 8.6, RFC 9112, section 6.1).
		r.none = true
		if r.chunked || r.Length > 0 {
			return errAnswerHead
		}
	case r.Status == http.StatusNoContent:
		r.none = true
		r.close = r.close || r.chunked || r.Length > 0 // is there a body or not?
		r.Length = 0
	case method == "HEAD", r.Status == http.StatusNotModified:
		r.none = true
	case r.Length == 0:
		r.none = true
	case r.Length == Unknown && !r.chunked:
		r.close = true // the connection's end ends the body
	}
	return nil
}

// keepAlive reads the seconds in "timeout=5, max=100". The upstream closes an
// unused connection after that; a request sent at that very moment would be
// lost, and it is never sent twice.
func keepAlive(value string) time.Duration {
	for e := range elements(value) {
		name, digits, _ := strings.Cut(e, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		if n, err := parseLength(strings.TrimSpace(digits)); err == nil {
			return max(time.Duration(min(n, 3600))*time.Second, 1)
		}
	}
	return 0
}
