package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"sync"
)

// Limits of a request's head.
const (
	MaxHead   = 64 << 10 // bytes, the empty line included
	MaxFields = 200
	maxTarget = 16 << 10
	maxMethod = 32
	maxLine   = maxMethod + 1 + maxTarget + len(" HTTP/1.1\r\n")
)

// Reader reads requests from a stream, one after the other. It is for one
// goroutine, but a body may be read by another.
type Reader struct {
	lines
	prev *Request
}

// lines reads a message's head, a request's or a response's, line by line.
type lines struct {
	br    *bufio.Reader
	head  []byte // the head being read, lines without their CR LF
	spans []span // where its fields are
}

// span is where one field is in head.
type span struct{ name, colon, value, end int32 }

var readers = sync.Pool{New: func() any {
	return &Reader{lines: lines{br: bufio.NewReaderSize(nil, 4<<10), head: make([]byte, 0, 2<<10), spans: make([]span, 0, 32)}}
}}

// NewReader reads requests from r.
func NewReader(r io.Reader) *Reader {
	rd := readers.Get().(*Reader)
	rd.br.Reset(r)
	return rd
}

// release gives the buffers back. Nothing may use r afterwards; bodies have
// been ended before.
func (r *Reader) release() {
	r.lines.release()
	r.prev = nil
	readers.Put(r)
}

func (r *lines) release() {
	r.br.Reset(nil)
	clear(r.head[:cap(r.head)]) // it may hold a session's token
	if cap(r.head) > 8<<10 {
		r.head = make([]byte, 0, 2<<10)
	}
}

// Buffered is how many bytes were sent after the request and its body. After
// a CONNECT or an upgrade it must be 0: those bytes would be read as the new
// protocol's by one side only (T14).
func (r *Reader) Buffered() int { return r.br.Buffered() }

// ReadRequest reads the next request's head. Of the previous body it first
// drops what was not read, if that is no more than 256 KiB. At the stream's
// clean end it gives io.EOF; a refusal is an *Error.
func (r *Reader) ReadRequest() (*Request, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	if err := r.await(); err != nil {
		return nil, err
	}
	return r.readHead()
}

// await waits for the first byte of a request.
func (r *Reader) await() error {
	b, err := r.br.Peek(1)
	if err != nil {
		return err
	}
	switch c := b[0]; {
	case token[c]:
		return nil
	case c == 0x16: // a TLS record of type handshake (RFC 8446, section 5.1)
		return errTLS
	case c == 4 || c == 5:
		return errSOCKS
	}
	return errNotHTTP
}

// readHead reads one head. Each line is judged when it is there, so that a
// client that speaks something else hears of it at once.
func (r *Reader) readHead() (*Request, error) {
	r.head, r.spans = r.head[:0], r.spans[:0]
	if _, err := r.line(maxLine, errTargetLong); err != nil {
		return nil, err
	}
	method, target, minor, refusal := splitRequestLine(r.head)
	if refusal != nil {
		return nil, refusal
	}
	for {
		start, err := r.line(MaxHead-len(r.head)-2*len(r.spans), errHeadLong)
		if err != nil {
			return nil, err
		}
		if len(r.head) == start {
			break
		}
		if len(r.spans) == MaxFields {
			return nil, errManyFields
		}
		if refusal := r.field(start); refusal != nil {
			return nil, refusal
		}
	}
	// One string holds the whole head; all others are parts of it.
	head := string(r.head)
	q := &Request{Method: head[:method], Target: head[method+1 : target], Minor: minor}
	q.Header = q.fields[:0]
	if len(r.spans) > len(q.fields) {
		q.Header = make(Header, 0, len(r.spans)+4)
	}
	for _, s := range r.spans {
		q.Header = append(q.Header, Field{head[s.name:s.colon], head[s.value:s.end]})
	}
	if refusal := q.parseTarget(); refusal != nil {
		return nil, refusal
	}
	if refusal := q.frame(); refusal != nil {
		return nil, refusal
	}
	q.Body = http.NoBody
	if q.Length != 0 {
		q.body.init(r.br, q.Length)
		q.Body = &q.body
	}
	r.prev = q
	return q, nil
}

// line appends the next line to the head, without its CR LF, and says where
// it begins.
func (r *lines) line(limit int, tooLong *Error) (start int, err error) {
	start = len(r.head)
	for {
		piece, err := r.br.ReadSlice('\n')
		if len(r.head)-start+len(piece) > limit {
			return 0, tooLong
		}
		r.head = append(r.head, piece...)
		if err == nil {
			break
		}
		if err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		}
		if err != bufio.ErrBufferFull {
			return 0, err
		}
	}
	end := len(r.head) - len("\r\n")
	if end < start || r.head[end] != '\r' {
		return 0, errBareLF
	}
	r.head = r.head[:end]
	if !validValue(r.head[start:]) { // a bare CR among others
		return 0, errControl
	}
	return start, nil
}

// splitRequestLine finds the ends of method and target (RFC 9112, section 3).
// Exactly one space stands between the parts; the target has none.
func splitRequestLine(line []byte) (method, target, minor int, refusal *Error) {
	method, target = bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if method <= 0 || target <= method+1 || !isToken(line[:method]) {
		return 0, 0, 0, errRequestLine
	}
	switch version := line[target+1:]; {
	case string(version) == "HTTP/1.1":
		minor = 1
	case string(version) == "HTTP/1.0":
	case string(line) == "PRI * HTTP/2.0": // RFC 9113, section 3.4
		return 0, 0, 0, errHTTP2
	case bytes.HasPrefix(version, []byte("HTTP/")):
		return 0, 0, 0, errVersion
	default:
		return 0, 0, 0, errRequestLine
	}
	if method > maxMethod {
		return 0, 0, 0, errMethodLength
	}
	if target-method-1 > maxTarget {
		return 0, 0, 0, errTargetLong
	}
	return method, target, minor, nil
}

// field reads the line at start as name ":" OWS value OWS (RFC 9112, section
// 5). A space before the colon makes the name no token (section 5.1).
func (r *lines) field(start int) *Error {
	line := r.head[start:]
	if line[0] == ' ' || line[0] == '\t' {
		return errFold
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 || !isToken(line[:colon]) {
		return errFieldName
	}
	value, end := colon+1, len(line)
	for value < end && (line[value] == ' ' || line[value] == '\t') {
		value++
	}
	for end > value && (line[end-1] == ' ' || line[end-1] == '\t') {
		end--
	}
	r.spans = append(r.spans, span{
		name: int32(start), colon: int32(start + colon), value: int32(start + value), end: int32(start + end),
	})
	return nil
}

// finish ends the previous request's body, so that the next head is what
// follows it.
func (r *Reader) finish() error {
	prev := r.prev
	r.prev = nil
	if prev == nil || prev.Length == 0 {
		return nil
	}
	return prev.body.end()
}
