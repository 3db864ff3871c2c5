package wire

import (
	"io"
	"strings"
)

// MaxLength is the largest body length that is accepted: lengths are exact in
// every JSON reader up to here.
const MaxLength = 1 << 53

// Chunked is the Length of a body whose end is told by its chunks.
const Chunked = -1

// Request is one request, parsed once.
type Request struct {
	Method string
	Target string // exactly as sent
	Minor  int    // HTTP/1.Minor: 0 or 1
	Header Header // every field as sent, Host and framing included

	Form      Form
	Scheme    string // "http" or "https" in the absolute form, else ""
	Authority string // host[:port] in the absolute and authority forms, as spelled; else ""
	Path      string // path and query as sent; "" in the authority form
	Host      string // the Host field; "" only in HTTP/1.0

	Length   int64  // of the body; Chunked when only its chunks tell
	Continue bool   // the client waits for 100 (Continue), which the body's first Read sends
	Close    bool   // the connection ends after this request, by the client's wish or version
	Upgrade  string // the Upgrade field, when Connection names it

	Body io.ReadCloser // never nil; ends with io.EOF, or with an *Error when its framing is bad

	body   Body
	fields [16]Field // what Header uses while it fits: one allocation less
}

// frame reads the fields that decide about framing and connection.
func (r *Request) frame() *Error {
	var hosts, lengths, codings, upgrades int
	var upgrade string
	upgraded := false
	for i := range r.Header {
		f := &r.Header[i]
		switch n := f.Name; len(n) {
		case 4:
			if strings.EqualFold(n, "Host") {
				hosts++
				r.Host = f.Value
			}
		case 6:
			if strings.EqualFold(n, "Expect") {
				// HTTP/1.0 has no expectations (RFC 9110, section 10.1.1).
				if r.Minor == 1 && (r.Continue || !strings.EqualFold(f.Value, "100-continue")) {
					return errExpect
				}
				r.Continue = r.Minor == 1
			}
		case 7:
			if strings.EqualFold(n, "Trailer") {
				return errTrailer
			}
			if strings.EqualFold(n, "Upgrade") {
				upgrades++
				upgrade = f.Value
			}
		case 10:
			if strings.EqualFold(n, "Connection") {
				up, err := r.connection(f.Value)
				if err != nil {
					return err
				}
				upgraded = upgraded || up
			}
		case 14:
			if strings.EqualFold(n, "Content-Length") {
				lengths++
				var err *Error
				if r.Length, err = parseLength(f.Value); err != nil {
					return err
				}
			}
		case 17:
			if strings.EqualFold(n, "Transfer-Encoding") {
				codings++
				// RFC 9112, section 7: other codings are refused, and so is
				// another spelling of this one, which not everybody reads.
				if f.Value != "chunked" {
					return errCoding
				}
			}
		}
	}
	switch {
	case hosts > 1: // RFC 9112, section 3.2
		return errManyHosts
	case hosts == 0 && r.Minor == 1:
		return errNoHost
	case hosts == 1 && !validAuthority(r.Host, false):
		return errHost
	case lengths > 1: // RFC 9112, section 6.3, allows equal ones; T14 does not
		return errManyLength
	case codings > 1:
		return errManyCoding
	case codings > 0 && lengths > 0: // RFC 9112, section 6.1
		return errTwoFrames
	case codings > 0 && r.Minor == 0:
		return errCoding10
	}
	if codings > 0 {
		r.Length = Chunked
	}
	if r.Method == "CONNECT" && r.Length != 0 {
		return errConnBody
	}
	if upgraded && upgrades == 1 && r.Minor == 1 {
		r.Upgrade = upgrade
	}
	r.Close = r.Close || r.Minor == 0
	r.Continue = r.Continue && r.Length != 0
	return nil
}

// connection reads one Connection field (RFC 9110, section 7.6.1). Host and
// Content-Length are refused in it: a proxy that obeyed would forward another
// message than the one it read.
func (r *Request) connection(value string) (upgrade bool, err *Error) {
	for e := range elements(value) {
		switch {
		case strings.EqualFold(e, "keep-alive"):
		case strings.EqualFold(e, "close"):
			r.Close = true
		case strings.EqualFold(e, "upgrade"):
			upgrade = true
		case !isToken(e), strings.EqualFold(e, "Host"), strings.EqualFold(e, "Content-Length"):
			return false, errConnection
		}
	}
	return upgrade, nil
}

// parseLength reads a Content-Length: digits only, so no sign, no list, no
// space.
func parseLength(s string) (int64, *Error) {
	if s == "" {
		return 0, errLength
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, errLength
		}
		if n = n*10 + int64(c-'0'); n > MaxLength {
			// The rest must be digits all the same, or the reason is wrong.
			for j := i; j < len(s); j++ {
				if s[j] < '0' || s[j] > '9' {
					return 0, errLength
				}
			}
			return 0, errLengthBig
		}
	}
	return n, nil
}

// AppendHead appends the request's head as it was read: same method, target,
// version, fields and order.
func (r *Request) AppendHead(dst []byte) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Target...)
	dst = append(dst, " HTTP/1."...)
	dst = append(dst, byte('0'+r.Minor))
	dst = append(dst, "\r\n"...)
	for _, f := range r.Header {
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
