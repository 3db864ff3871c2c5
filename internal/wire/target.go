package wire

import (
	"net/netip"
	"strings"
)

// Form is the form of a request target (RFC 9112, section 3.2).
type Form uint8

// The forms.
const (
	Origin    Form = iota // a path: "/v1/models?limit=2"
	Absolute              // a URL: "http://api.acme.test/v1"
	Authority             // host:port, for CONNECT only
	Asterisk              // "*", for OPTIONS only
)

// parseTarget takes the target apart without changing a byte. It checks what
// is needed to know which host and which path are meant; whether the path has
// one reading is for writ.ParseTarget.
func (r *Request) parseTarget() *Error {
	t := r.Target
	for i := range len(t) {
		if c := t[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return errTargetByte
		}
	}
	switch {
	case r.Method == "CONNECT":
		r.Form, r.Authority = Authority, t
		if strings.Contains(t, "@") {
			return errUserinfo
		}
		if !validAuthority(t, true) {
			return errTargetForm
		}
		return nil
	case t[0] == '/':
		r.Form, r.Path = Origin, t
	case t == "*" && r.Method == "OPTIONS":
		r.Form, r.Path = Asterisk, t
		return nil
	default:
		if err := r.parseURL(t); err != nil {
			return err
		}
	}
	path, _, _ := strings.Cut(r.Path, "?")
	for i := range len(path) {
		if path[i] == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			return errTargetEscape
		}
	}
	return nil
}

// parseURL reads the absolute form. A URL without a path means the path "/";
// one with a query but no path is refused, since putting the "/" in is a
// rewriting that not everybody does.
func (r *Request) parseURL(t string) *Error {
	scheme, rest, ok := strings.Cut(t, "://")
	switch {
	case ok && strings.EqualFold(scheme, "http"):
		r.Scheme = "http"
	case ok && strings.EqualFold(scheme, "https"):
		r.Scheme = "https"
	default:
		return errTargetForm
	}
	r.Form, r.Authority, r.Path = Absolute, rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		r.Authority, r.Path = rest[:i], rest[i:]
	}
	switch {
	case strings.Contains(r.Authority, "@"):
		// RFC 9110, section 4.2.4: userinfo hides the host from people.
		return errUserinfo
	case r.Path[0] != '/' || !validAuthority(r.Authority, false):
		return errTargetForm
	}
	return nil
}

// validAuthority checks host[:port]: letters, digits, '.', '-' and '_', or an
// IPv6 address in brackets without a zone. Escapes and other scripts are not
// accepted: names go over the wire in their xn-- form.
func validAuthority(s string, needPort bool) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		host, port = s[1:end], s[end+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i:]
		}
		for i := range len(host) {
			c := host[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
				return false
			}
		}
	}
	if host == "" || len(host) > 255 {
		return false
	}
	if port == "" {
		return !needPort
	}
	return validPort(port)
}

// validPort checks ":1" to ":65535", without leading zeros.
func validPort(s string) bool {
	if len(s) < 2 || len(s) > 6 || s[0] != ':' || s[1] == '0' {
		return false
	}
	n := 0
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
