package wire

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxWhole is up to which length a body is read before its request is sent, so
// that both are one write, no goroutine is needed, and a body that breaks off
// means that nothing was sent.
const MaxWhole = 64 << 10

// OutRequest is a request to an upstream. It is sent in HTTP/1.1, with the
// target byte for byte and the fields in their order and spelling. Nothing is
// added but the framing, and of the fields that belong to a connection none is
// taken from Header: Content-Length is written where Header has it, or at the
// end, with the value that is Length's.
type OutRequest struct {
	Method string
	Target string
	Header Header // with exactly one Host

	// Body has Length bytes, or ends by itself if Length is Chunked; nil is no
	// body, and no framing either. Its reads must end when ctx does. It is
	// never closed, and it may still be read after RoundTrip or the end of the
	// answer, if that came before the end of the body.
	Body   io.Reader
	Length int64

	Close   bool   // end the connection after this exchange
	Upgrade string // the protocol to ask for, or ""

	// Sent, if set, is called by RoundTrip when all was sent and only the
	// answer is waited for; not for a body that is Chunked or longer than
	// MaxWhole.
	Sent func()
	// Interim, if set, is called by RoundTrip for each 1xx answer but 100 and 101.
	Interim func(status int, h Header)
}

// streams reports whether the body is sent by a goroutine of its own.
func (q *OutRequest) streams() bool {
	return q.Body != nil && (q.Length == Chunked || q.Length > MaxWhole)
}

// The faults of a request. They name no value: it may hold the secret.
var (
	errOutMethod = errors.New("wire: the method to send is not one, or is CONNECT")
	errOutTarget = errors.New("wire: the target to send has a control, space or non-ASCII byte")
	errOutHost   = errors.New("wire: a request to send has exactly one Host field")
	errOutLength = errors.New("wire: a request to send has a length and no body, or the reverse")
	errOutField  = errors.New("wire: a field to send has an invalid name or value")
)

// check is the gate that no CR, LF or NUL passes on its way to an upstream.
func (q *OutRequest) check() error {
	if !isToken(q.Method) || q.Method == "CONNECT" {
		return errOutMethod
	}
	for i := range len(q.Target) {
		if c := q.Target[i]; c <= ' ' || c >= 0x7f {
			return errOutTarget
		}
	}
	if q.Target == "" {
		return errOutTarget
	}
	if q.Length < Chunked || q.Body == nil && q.Length != 0 {
		return errOutLength
	}
	if q.Upgrade != "" && !validValue(q.Upgrade) {
		return errOutField
	}
	hosts := 0
	for i := range q.Header {
		f := &q.Header[i]
		if !isToken(f.Name) || !validValue(f.Value) {
			return errOutField
		}
		if len(f.Name) == len("Host") && strings.EqualFold(f.Name, "Host") {
			hosts++
		}
	}
	if hosts != 1 {
		return errOutHost
	}
	return nil
}

// outBuffer holds a request's head, and its body if that is small, until they
// were written. Then it is zeroed: the head has the secret in it.
type outBuffer struct{ b []byte }

var outBuffers = sync.Pool{New: func() any { return &outBuffer{make([]byte, 0, 4<<10)} }}

func newOutBuffer() *outBuffer { return outBuffers.Get().(*outBuffer) }

func (o *outBuffer) wipe() {
	clear(o.b)
	o.b = o.b[:0]
}

func (o *outBuffer) release() {
	o.wipe()
	if cap(o.b) <= MaxWhole+8<<10 {
		outBuffers.Put(o)
	}
}

// build writes the request into the buffer, with its body unless that is
// streamed. The buffer is made large enough before: growing would leave a copy
// behind.
func (o *outBuffer) build(q *OutRequest) error {
	if err := q.check(); err != nil {
		return err
	}
	const framing = len(" HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: \r\nContent-Length: 9007199254740992\r\n\r\n")
	need := framing + len(q.Method) + 1 + len(q.Target) + len(q.Upgrade)
	for i := range q.Header {
		need += len(q.Header[i].Name) + len(q.Header[i].Value) + len(": \r\n")
	}
	whole := q.Body != nil && !q.streams()
	if whole {
		need += int(q.Length)
	}
	if cap(o.b) < need {
		o.b = make([]byte, 0, max(need, 2*cap(o.b)))
	}
	b := o.appendHead(q)
	if !whole {
		o.b = b
		return nil
	}
	n, err := readExactly(q.Body, b[len(b):len(b)+int(q.Length)])
	o.b = b[:len(b)+n]
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequestBody, err)
	}
	return nil
}

func (o *outBuffer) appendHead(q *OutRequest) []byte {
	b := append(o.b[:0], q.Method...)
	b = append(b, ' ')
	b = append(b, q.Target...)
	b = append(b, " HTTP/1.1\r\n"...)
	// A request without a body has no framing (RFC 9112, section 6.3), unless
	// its sender wrote a length of 0, as it should where a body was to be
	// expected (RFC 9110, section 8.6).
	length := q.Length >= 0
	for i := range q.Header {
		f := &q.Header[i]
		if len(f.Name) == len("Content-Length") && strings.EqualFold(f.Name, "Content-Length") {
			if length {
				length = false
				b = appendLength(b, f.Name, q.Length)
			}
			continue
		}
		if framing(f.Name) || expecting(f.Name) {
			continue
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	switch {
	case q.Length == Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length && q.Body != nil:
		b = appendLength(b, "Content-Length", q.Length)
	}
	if q.Upgrade != "" {
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, q.Upgrade...)
		b = append(b, "\r\n"...)
	} else if q.Close {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// expecting reports whether the field asks for something in the answer that is
// not awaited here: a 100 (Continue), trailers, other codings.
func expecting(name string) bool {
	switch len(name) {
	case len("TE"):
		return strings.EqualFold(name, "TE")
	case len("Expect"):
		return strings.EqualFold(name, "Expect")
	}
	return false
}

func appendLength(b []byte, name string, n int64) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

var errBodyLonger = errors.New("wire: the body is longer than its length")

// readExactly fills p and demands that the body ends there.
func readExactly(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if n < len(p) {
		return n, unexpected(err)
	}
	var more [1]byte
	for err == nil {
		var m int
		if m, err = r.Read(more[:]); m > 0 {
			return n, errBodyLonger
		}
	}
	if err != io.EOF {
		return n, err
	}
	return n, nil
}

// sender sends a request's body while the answer is awaited.
type sender struct {
	conn *upstream
	body io.Reader
	left int64 // of the length; Chunked if its end tells

	stop  atomic.Bool           // the rest is not wanted
	last  atomic.Bool           // the last byte is being written, or was
	cause atomic.Pointer[error] // why the connection was broken off from here
	whole bool                  // all was sent; read after done
	done  chan struct{}
}

func newSender(c *upstream, q *OutRequest) *sender {
	return &sender{conn: c, body: q.Body, left: q.Length, done: make(chan struct{})}
}

// The body is read in pieces of bodyPiece; a chunk's head stands before one.
const (
	bodyPiece = 32 << 10
	chunkHead = len("8000\r\n")
	lastChunk = "0\r\n\r\n"
)

var pieces = sync.Pool{New: func() any { return new([chunkHead + bodyPiece + len("\r\n") + len(lastChunk)]byte) }}

// run sends the body. A write that fails is left to the reading side, which
// finds an answer that came before the end, or fails likewise.
func (s *sender) run(x *exchange) {
	defer close(s.done)
	buf := pieces.Get().(*[chunkHead + bodyPiece + len("\r\n") + len(lastChunk)]byte)
	defer pieces.Put(buf)
	for !s.stop.Load() {
		n, err := s.body.Read(buf[chunkHead : chunkHead+bodyPiece])
		if s.left != Chunked {
			if int64(n) > s.left {
				err = errBodyLonger
			} else if s.left -= int64(n); err == io.EOF && s.left > 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		if err != nil && err != io.EOF {
			// What was sent must not pass for whole.
			cause := fmt.Errorf("%w: %w", ErrRequestBody, err)
			s.cause.Store(&cause)
			x.breakOff()
			return
		}
		if n > 0 && s.stop.Load() {
			return
		}
		if s.left == 0 || err == io.EOF {
			s.last.Store(true)
		}
		if out := s.frame(buf[:], n, err == io.EOF); len(out) > 0 {
			if _, err := s.conn.nc.Write(out); err != nil {
				return
			}
		}
		if err == io.EOF {
			s.whole = true
			return
		}
	}
	s.whole = s.left == 0 // only the body's own end was not seen
}

// frame puts n bytes of the body into their chunk, if there are chunks.
func (s *sender) frame(buf []byte, n int, last bool) []byte {
	out := buf[chunkHead : chunkHead+n]
	if s.left != Chunked {
		return out
	}
	if n > 0 {
		size := strconv.AppendInt(buf[:0:chunkHead], int64(n), 16)
		size = append(size, "\r\n"...)
		start := chunkHead - len(size)
		copy(buf[start:], size)
		out = append(buf[start:chunkHead+n], "\r\n"...)
	}
	if last {
		out = append(out, lastChunk...)
	}
	return out
}

// wait reports whether all was sent. An upstream may answer the last byte
// before run has come back from writing it: if the caller has something to win
// by that, it waits for run, but never for more of the body.
func (s *sender) wait(patient bool) bool {
	if patient && s.last.Load() {
		late := time.NewTimer(lateWrite)
		defer late.Stop()
		select {
		case <-s.done:
		case <-late.C:
		}
	}
	select {
	case <-s.done:
		return s.whole
	default:
		return false
	}
}
