package wire

import (
	"errors"
	"net/http"
	"os"
)

// Error is why a request was refused. Its connection must be closed after the
// answer: either nobody knows where the next message begins, or the client may
// still send a body that was not asked for.
type Error struct {
	Status int    // the HTTP status to answer with
	Reason string // one sentence without a final stop, safe to show: it holds nothing that the client sent

	cause error
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap gives the private cause, for the log.
func (e *Error) Unwrap() error { return e.cause }

func refuse(status int, reason string) *Error { return &Error{Status: status, Reason: reason} }

// ErrIdle means that no request began within the keep-alive time. The
// connection ends without an answer, as after io.EOF.
var ErrIdle = errors.New("wire: no request within the keep-alive time")

// ErrBodyClosed is what a body gives after Close, or after its request ended.
var ErrBodyClosed = errors.New("wire: the body is closed")

// The refusals. They are shared values: nothing may change them.
var (
	errNotHTTP      = refuse(http.StatusBadRequest, "this is not HTTP: a request begins with a method")
	errTLS          = refuse(http.StatusBadRequest, "this is a TLS handshake, but the port speaks plain HTTP; use http:// in the proxy's address")
	errSOCKS        = refuse(http.StatusBadRequest, "this is SOCKS, but the port speaks HTTP; use http:// in the proxy's address")
	errHTTP2        = refuse(http.StatusHTTPVersionNotSupported, "this is HTTP/2 with prior knowledge, but the port speaks HTTP/1.1")
	errVersion      = refuse(http.StatusHTTPVersionNotSupported, "the HTTP version is neither 1.1 nor 1.0")
	errRequestLine  = refuse(http.StatusBadRequest, "the request line is not a method, a target and a version with one space between them")
	errMethodLength = refuse(http.StatusNotImplemented, "the method is longer than 32 bytes")
	errTargetLong   = refuse(http.StatusRequestURITooLong, "the request target is longer than 16 KiB")
	errTargetByte   = refuse(http.StatusBadRequest, "the request target has a control, space or non-ASCII byte, or a fragment")
	errTargetForm   = refuse(http.StatusBadRequest, "the request target is neither a path, an http or https URL with a path, nor host:port for CONNECT")
	errTargetEscape = refuse(http.StatusBadRequest, "the request target's path has a '%' without two hexadecimal digits")
	errUserinfo     = refuse(http.StatusBadRequest, "the request target has a user name or password")

	errBareLF     = refuse(http.StatusBadRequest, "a line of the head does not end with CR LF")
	errControl    = refuse(http.StatusBadRequest, "the head has a control character")
	errFold       = refuse(http.StatusBadRequest, "a header line begins with a space: folded lines have two readings")
	errFieldName  = refuse(http.StatusBadRequest, "a header line does not begin with a name and a colon right after it")
	errHeadLong   = refuse(http.StatusRequestHeaderFieldsTooLarge, "the request's head is larger than 64 KiB")
	errManyFields = refuse(http.StatusRequestHeaderFieldsTooLarge, "the request has more than 200 header fields")
	errHeadSlow   = refuse(http.StatusRequestTimeout, "the request's head did not arrive in time")

	errNoHost     = refuse(http.StatusBadRequest, "the request has no Host field")
	errManyHosts  = refuse(http.StatusBadRequest, "the request has more than one Host field")
	errHost       = refuse(http.StatusBadRequest, "the Host field is not a host with an optional port")
	errManyLength = refuse(http.StatusBadRequest, "the request has more than one Content-Length field")
	errLength     = refuse(http.StatusBadRequest, "the Content-Length is not a plain decimal number")
	errLengthBig  = refuse(http.StatusRequestEntityTooLarge, "the Content-Length is larger than 2^53")
	errTwoFrames  = refuse(http.StatusBadRequest, "the request has both Content-Length and Transfer-Encoding")
	errManyCoding = refuse(http.StatusBadRequest, "the request has more than one Transfer-Encoding field")
	errCoding     = refuse(http.StatusNotImplemented, "the Transfer-Encoding is not exactly 'chunked'")
	errCoding10   = refuse(http.StatusBadRequest, "the request is HTTP/1.0 and has a Transfer-Encoding")
	errConnBody   = refuse(http.StatusBadRequest, "a CONNECT request has a body")
	errConnection = refuse(http.StatusBadRequest, "the Connection field is not a list of names, or it names Host or Content-Length")
	errExpect     = refuse(http.StatusExpectationFailed, "the Expect field is not exactly '100-continue'")
	errTrailer    = refuse(http.StatusBadRequest, "the request has or announces trailer fields, which are not forwarded")

	errChunk     = refuse(http.StatusBadRequest, "the body's chunks are malformed")
	errChunkExt  = refuse(http.StatusBadRequest, "the body has chunk extensions")
	errBodySlow  = refuse(http.StatusRequestTimeout, "the body stalled")
	errEarly     = refuse(http.StatusBadRequest, "bytes of the next protocol were sent before it was agreed")
	errContinue  = errors.New("wire: the answer was sent before the body was asked for")
	errUnplanned = errors.New("wire: a response in the wrong state")
)

// slow turns a passed deadline into the refusal e.
func slow(err error, e *Error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Status: e.Status, Reason: e.Reason, cause: err}
	}
	return err
}
