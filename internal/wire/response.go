package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ErrNoBody is what Write gives when the response cannot have a body.
var ErrNoBody = errors.New("wire: this response has no body")

// Unknown is the length of a response body that only its end tells.
const Unknown = -1

// Response writes the answer to one request: any number of Interim, then
// WriteHead, any number of Write, then End. A response that is not ended, or
// ended short of its length, breaks the connection off, so that the client
// cannot take it for whole.
type Response struct {
	// FlushEach sends each Write on at once (T41).
	FlushEach bool
	// LastOne ends the connection after this response.
	LastOne bool

	c   *Conn
	req *Request // nil when it could not be read

	begun, done, keep bool
	switched          bool  // 2xx to CONNECT, or 101
	none              bool  // it has no body
	chunked           bool  // RFC 9112, section 7.1
	left              int64 // of the declared length; Unknown when chunked or ended by closing
}

// Respond begins the answer to req, the request that ReadRequest gave last,
// or nil to answer a request that could not be read.
func (c *Conn) Respond(req *Request) *Response {
	c.resp = &Response{c: c, req: req}
	return c.resp
}

// Interim passes a 1xx response on (RFC 9110, section 15.2). 100 is the
// connection's own business and 101 is Switch's; HTTP/1.0 has none.
func (w *Response) Interim(status int, h Header) error {
	if w.begun || status <= 101 || status > 199 {
		return errUnplanned
	}
	if err := checkHeader(h); err != nil {
		return err
	}
	if w.req == nil || w.req.Minor == 0 {
		return nil
	}
	w.c.wmu.Lock()
	defer w.c.wmu.Unlock()
	w.writeStatus(status)
	w.writeFields(h)
	w.c.w.WriteString("\r\n")
	return w.c.w.Flush()
}

// WriteHead sends the status and the fields, and decides the framing. length
// is the body's, or Unknown. Framing and connection fields in h are left out:
// they are the connection's own. An invalid field name or value is an error,
// and then nothing was written.
func (w *Response) WriteHead(status int, h Header, length int64) error {
	if w.begun || status < 200 || status > 999 || length < Unknown {
		return errUnplanned
	}
	if err := checkHeader(h); err != nil {
		return err
	}
	c := w.c
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.answered = true
	w.begun = true
	w.frame(status, length)
	w.writeStatus(status)
	w.writeFields(h)
	if h.Count("Date") == 0 { // RFC 9110, section 6.6.1
		c.w.WriteString("Date: ")
		c.w.WriteString(date(time.Now()))
		c.w.WriteString("\r\n")
	}
	switch {
	case w.switched || status == http.StatusNoContent || status == http.StatusNotModified:
	case length >= 0:
		c.w.WriteString("Content-Length: ")
		c.w.Write(strconv.AppendInt(c.w.AvailableBuffer(), length, 10))
		c.w.WriteString("\r\n")
	case w.chunked:
		c.w.WriteString("Transfer-Encoding: chunked\r\n")
	}
	if !w.keep && !w.switched {
		c.w.WriteString("Connection: close\r\n")
	}
	_, err := c.w.WriteString("\r\n")
	return err
}

// frame decides about body and connection (RFC 9112, sections 6.3 and 9.3).
func (w *Response) frame(status int, length int64) {
	q := w.req
	w.keep = q != nil && !q.Close && !w.LastOne
	w.left = length
	if q != nil && q.Length != 0 {
		if q.Continue && !w.c.continued {
			w.keep = false // the client may send the body now or never
		}
		if q.body.unread() > MaxDrain {
			w.keep = false
		}
	}
	switch {
	case q != nil && q.Method == "CONNECT" && status < 300: // RFC 9110, section 9.3.6
		w.none, w.switched = true, true
	case status == http.StatusNoContent, status == http.StatusNotModified, q != nil && q.Method == "HEAD":
		w.none = true
	case length >= 0:
	case q == nil || q.Minor == 0:
		w.keep = false // the end of the connection ends the body
	default:
		w.chunked = true
	}
}

// Switch answers 101 to a request with an Upgrade field, naming the protocol
// the upstream agreed to, and ends the response: Detach is next.
func (w *Response) Switch(protocol string, h Header) error {
	if w.begun || w.req == nil || w.req.Upgrade == "" {
		return errUnplanned
	}
	if err := checkHeader(append(h[:len(h):len(h)], Field{"Upgrade", protocol})); err != nil {
		return err
	}
	c := w.c
	// What the client sends once it has read this is the new protocol's, and not
	// for the watch to take in.
	c.stopWatch()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.answered = true
	w.begun, w.switched, w.none = true, true, true
	w.writeStatus(http.StatusSwitchingProtocols)
	w.writeFields(h)
	c.w.WriteString("Connection: Upgrade\r\nUpgrade: ")
	c.w.WriteString(protocol)
	c.w.WriteString("\r\n\r\n")
	err := c.w.Flush()
	w.done = err == nil
	return err
}

// Write sends a part of the body.
func (w *Response) Write(p []byte) (int, error) {
	switch {
	case !w.begun || w.done:
		return 0, errUnplanned
	case len(p) == 0:
		return 0, nil // an empty chunk would end the body
	case w.none:
		return 0, ErrNoBody
	case w.left >= 0 && int64(len(p)) > w.left:
		return 0, fmt.Errorf("wire: more than the declared length was written")
	}
	out := w.c.w
	if w.chunked {
		out.Write(strconv.AppendInt(out.AvailableBuffer(), int64(len(p)), 16))
		out.WriteString("\r\n")
	}
	n, err := out.Write(p)
	if w.left >= 0 {
		w.left -= int64(n)
	}
	if w.chunked && err == nil {
		_, err = out.WriteString("\r\n")
	}
	if err == nil && w.FlushEach {
		err = out.Flush()
	}
	return n, err
}

// Flush sends on what was written.
func (w *Response) Flush() error {
	if !w.begun {
		return errUnplanned
	}
	return w.c.w.Flush()
}

// End ends the response. Short of the declared length it is an error, and the
// connection will be broken off.
func (w *Response) End() error {
	switch {
	case w.done:
		return nil
	case !w.begun:
		return errUnplanned
	case w.left > 0 && !w.none:
		return io.ErrUnexpectedEOF
	}
	if w.chunked {
		w.c.w.WriteString("0\r\n\r\n")
	}
	err := w.c.w.Flush()
	w.done = err == nil
	return err
}

// Send is a whole response.
func (w *Response) Send(status int, h Header, body []byte) error {
	if err := w.WriteHead(status, h, int64(len(body))); err != nil {
		return err
	}
	if !w.none {
		if _, err := w.Write(body); err != nil {
			return err
		}
	}
	return w.End()
}

func (w *Response) writeStatus(status int) {
	out := w.c.w
	out.WriteString("HTTP/1.1 ")
	out.Write(strconv.AppendInt(out.AvailableBuffer(), int64(status), 10))
	out.WriteByte(' ')
	out.WriteString(http.StatusText(status))
	out.WriteString("\r\n")
}

// writeFields writes what checkHeader has accepted.
func (w *Response) writeFields(h Header) {
	out := w.c.w
	for _, f := range h {
		if framing(f.Name) {
			continue
		}
		out.WriteString(f.Name)
		out.WriteString(": ")
		out.WriteString(f.Value)
		out.WriteString("\r\n")
	}
}

// framing reports whether the field belongs to the connection.
func framing(name string) bool {
	switch len(name) {
	case 7:
		return strings.EqualFold(name, "Upgrade") || strings.EqualFold(name, "Trailer")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// checkHeader is the gate that no CR, LF or NUL passes: it looks at every
// field before the first byte is written.
func checkHeader(h Header) error {
	for _, f := range h {
		if !isToken(f.Name) {
			return errors.New("wire: a response field has an invalid name")
		}
		if !validValue(f.Value) {
			return fmt.Errorf("wire: the response field %s has an invalid value", f.Name)
		}
	}
	return nil
}

// stamp is a formatted second.
type stamp struct {
	second int64
	text   string
}

var lastStamp atomic.Pointer[stamp]

// date is now as an HTTP date (RFC 9110, section 5.6.7), formatted once a
// second.
func date(now time.Time) string {
	if s := lastStamp.Load(); s != nil && s.second == now.Unix() {
		return s.text
	}
	s := &stamp{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastStamp.Store(s)
	return s.text
}
