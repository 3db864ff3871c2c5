package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// T5: what an agent must not say to an upstream.
func TestTrapT05ControlFieldsAreStripped(t *testing.T) {
	h := Header{
		{"Host", "a"}, {"accept", "*/*"}, {"X-Api-Version", "1"}, {"Content-Length", "3"},
		{"Connection", "close, X-Secret-Hop"}, {"Proxy-Connection", "x-other-hop"},
		{"x-secret-hop", "1"}, {"X_Other_Hop", "1"}, {"Keep-Alive", "1"}, {"TE", "trailers"}, {"Transfer-Encoding", "chunked"},
		{"Upgrade", "h2c"}, {"HTTP2-Settings", "x"}, {"Expect", "100-continue"},
		{"Proxy-Authorization", "Bearer x"}, {"PROXY-ANYTHING", "x"}, {"Forwarded", "for=1"},
		{"X-Forwarded-For", "1"}, {"x_forwarded_host", "1"}, {"X-FORWARDED-PREFIX", "1"}, {"Via", "1.1 x"},
		{"X-Real-Ip", "1"}, {"True-Client-IP", "1"}, {"Writ-Session", "x"}, {"writ_grant", "x"}, {"X-Writ-Org", "x"},
		{"Content_Length", "9"}, {"Content_Type", "x"}, {"Remote_User", "root"},
		{"Cookie", "a=b"}, {"Cookie", "c=d"},
	}
	s := StripRequest(&h)
	want := Header{{"Host", "a"}, {"accept", "*/*"}, {"X-Api-Version", "1"}, {"Content-Length", "3"}, {"Cookie", "a=b"}, {"Cookie", "c=d"}}
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
	if len(s.Removed) != 25 || len(s.Override) != 0 {
		t.Errorf("removed %d: %q, overrides %q", len(s.Removed), s.Removed, s.Override)
	}
}

// Connection cannot take the message's kind or framing away.
func TestConnectionCannotNameTheMessage(t *testing.T) {
	h := Header{{"Connection", "content-type, Content-Encoding, content_length"}, {"Content-Type", "a/b"}, {"Content-Encoding", "gzip"}, {"Content-Length", "1"}}
	StripRequest(&h)
	if d := cmp.Diff(Header{{"Content-Type", "a/b"}, {"Content-Encoding", "gzip"}, {"Content-Length", "1"}}, h); d != "" {
		t.Error(d)
	}
}

// T13: whoever asks for another method or path by a field is reported.
func TestTrapT13OverridesAreReported(t *testing.T) {
	h := Header{{"X-HTTP-Method-Override", "DELETE"}, {"x_http_method", "PUT"}, {"X-Method-Override", "PUT"}, {"X-Original-URL", "/admin"}, {"X-Rewrite-URL", "/admin"}, {"X-Methodology", "x"}}
	s := StripRequest(&h)
	if d := cmp.Diff([]string{"X-HTTP-Method-Override", "x_http_method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"}, s.Override); d != "" {
		t.Error(d)
	}
}

// T16b: a response does not lead the client past the proxy.
func TestTrapT16bResponse(t *testing.T) {
	h := Header{{"Alt-Svc", `h3=":443"`}, {"Connection", "x-hop"}, {"X-Hop", "1"}, {"Transfer-Encoding", "chunked"}, {"Proxy-Authenticate", "Basic"},
		{"Writ-Decision", "forged"}, {"Set-Cookie", "a"}, {"WWW-Authenticate", "Basic"}, {"Via", "1.1 cdn"}, {"Content-Type", "x"}}
	StripResponse(&h)
	if d := cmp.Diff(Header{{"Set-Cookie", "a"}, {"WWW-Authenticate", "Basic"}, {"Via", "1.1 cdn"}, {"Content-Type", "x"}}, h); d != "" {
		t.Error(d)
	}
}
