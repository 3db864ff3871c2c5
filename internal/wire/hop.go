package wire

import (
	"slices"
	"strings"
)

// Stripped is what StripRequest found and the caller has to know.
type Stripped struct {
	// Override names the fields that ask the upstream to take the request for
	// one with another method or path. A request that has any must be denied:
	// it would be decided as one thing and done as another (T13).
	Override []string
	// Removed names the fields that were taken out, as spelled.
	Removed []string
}

// hopByHop are the fields of one connection (RFC 9110, section 7.6.1), and
// Expect, which this side has answered already. Content-Length and Host stay:
// they say something about the message, and the sender upstream sets them.
var hopByHop = names(
	"Connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer",
	"Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Expect",
)

// control are fields that a proxy in front of a server writes and the server
// believes; from an agent they are lies (T5). Via is not passed on: what the
// agent claims to have gone through is nobody's business upstream.
var control = names(
	"Forwarded", "Via", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP",
	"X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "X-Remote-User", "Remote-User",
	"True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "Fastly-Client-IP",
	"X-Envoy-External-Address", "X-Host", "X-Original-Host", "X-Original-Forwarded-For",
	"X-Original-Remote-Addr", "X-SSL-Client-Cert", "X-Client-Cert", "Client-Cert", "Client-Cert-Chain",
)

// controlPrefixes are families of such fields.
var controlPrefixes = []string{"proxy-", "x-forwarded-", "x-proxyuser-", "writ-", "x-writ-"}

// overrides are fields that some frameworks obey in place of the request line.
var overrides = names(
	"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Method",
	"X-Original-URL", "X-Rewrite-URL", "X-Original-Method", "X-Original-URI", "X-Rewrite-URI",
)

// responseOnly are fields that a response may not carry to the client: Alt-Svc
// and its kin lead it to another endpoint, past the proxy (T16b).
var responseOnly = names("Alt-Svc", "Alt-Used", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Status")

func names(list ...string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, n := range list {
		m[strings.ToLower(n)] = true
	}
	return m
}

// folded is the name as sameName compares it.
func folded(name string, buf []byte) []byte {
	buf = buf[:0]
	for i := range len(name) {
		buf = append(buf, foldByte(name[i]))
	}
	return buf
}

// lookalike reports whether the name is another spelling, with '_', of one
// that tells a message's framing or kind.
func lookalike(name string, n []byte) bool {
	switch string(n) {
	case "content-length", "content-type", "content-encoding":
		return strings.Contains(name, "_")
	}
	return false
}

// StripRequest takes out of h, in place, what must not reach the upstream:
// hop-by-hop fields, those that Connection names, and control fields. What the
// caller needs of them (Proxy-Authorization, Upgrade) it reads before.
func StripRequest(h *Header) Stripped {
	var s Stripped
	named := connectionNames(*h)
	var space [64]byte
	*h = slices.DeleteFunc(*h, func(f Field) bool {
		n := folded(f.Name, space[:])
		if overrides[string(n)] {
			s.Override = append(s.Override, f.Name)
		}
		if hopByHop[string(n)] || control[string(n)] || slices.Contains(named, string(n)) || hasPrefix(n, controlPrefixes) || lookalike(f.Name, n) {
			s.Removed = append(s.Removed, f.Name)
			return true
		}
		return false
	})
	return s
}

// StripResponse takes out of h, in place, what must not reach the client:
// hop-by-hop fields, those that Connection names, what leads past the proxy,
// and Writ's own fields, which only Writ may write.
func StripResponse(h *Header) {
	named := connectionNames(*h)
	var space [64]byte
	*h = slices.DeleteFunc(*h, func(f Field) bool {
		n := folded(f.Name, space[:])
		return hopByHop[string(n)] || responseOnly[string(n)] || slices.Contains(named, string(n)) ||
			hasPrefix(n, []string{"writ-", "x-writ-"})
	})
}

func hasPrefix(n []byte, prefixes []string) bool {
	for _, p := range prefixes {
		if len(n) >= len(p) && string(n[:len(p)]) == p {
			return true
		}
	}
	return false
}

// connectionNames are the names in all Connection fields, folded. Host,
// Content-Length and Content-Type are never among them: taking those out would
// make another message of this one.
func connectionNames(h Header) []string {
	var out []string
	for _, f := range h {
		if !strings.EqualFold(f.Name, "Connection") && !strings.EqualFold(f.Name, "Proxy-Connection") {
			continue
		}
		for e := range elements(f.Value) {
			switch n := string(folded(e, nil)); n {
			case "keep-alive", "close", "upgrade", "host", "content-length", "content-type", "content-encoding":
			default:
				out = append(out, n)
			}
		}
	}
	return out
}
