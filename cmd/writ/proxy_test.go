package main

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/internal/problem"
)

const base = "https://" + apiHost

// denied demands that an answer is the denial with this reason, and gives its document.
func denied(t *testing.T, resp *http.Response, body string, r writ.Reason) problem.Document {
	t.Helper()
	var d problem.Document
	if resp.Header.Get("Content-Type") != problem.ContentType || json.Unmarshal([]byte(body), &d) != nil {
		t.Fatalf("got %d %q, want the problem %s", resp.StatusCode, body, r)
	}
	if len(d.Writ.Reasons) == 0 || d.Writ.Reasons[0] != r || d.Type != "urn:writ:problem:"+string(r) {
		t.Fatalf("denied for %v (%s), want %s", d.Writ.Reasons, d.Detail, r)
	}
	if resp.Header.Get("Writ-Decision") != string(d.Writ.Decision) || !d.Writ.Decision.Is(writ.KindDecision) {
		t.Errorf("the denial has the decision %q in its body and %q in its header", d.Writ.Decision, resp.Header.Get("Writ-Decision"))
	}
	return d
}

// unseen demands that the upstream saw nothing.
func (w *world) unseen() {
	w.t.Helper()
	if s := w.up.sights(); len(s) != 0 {
		w.t.Errorf("the upstream saw %d requests, the first %s %s", len(s), s[0].Method, s[0].Target)
	}
}

// R28: the agent gets an authenticated answer and never the secret.
func TestAllowedUseIsAuthenticatedAndMasked(t *testing.T) {
	w := newWorld(t)
	resp, body := w.get(w.browser(w.session.Token), base+"/v1/refunds/7?x=1")
	if resp.StatusCode != 200 || !strings.Contains(body, `"authenticated":true`) {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if strings.Contains(body, w.up.secret) || !strings.Contains(body, "[writ:masked]") {
		t.Errorf("the echoed secret was not masked: %s", body)
	}
	if use := writ.ID(resp.Header.Get("Writ-Use")); !use.Is(writ.KindUse) {
		t.Errorf("Writ-Use is %q", use)
	}
	if s := w.up.sights(); len(s) != 1 || s[0].Target != "/v1/refunds/7?x=1" || s[0].Host != apiHost {
		t.Errorf("the upstream saw %+v", s)
	}
	w.oracle()
}

// R41: the same session may read and may not delete; nothing of a denied
// request reaches the upstream.
func TestOutsideTheGrantIsDenied(t *testing.T) {
	w := newWorld(t)
	c := w.browser(w.session.Token)
	resp, body := w.do(c, http.MethodDelete, base+"/v1/refunds/7", nil)
	denied(t, resp, body, writ.OutOfAuthority)
	resp, body = w.get(c, base+"/v2/refunds")
	denied(t, resp, body, writ.OutOfAuthority)
	w.unseen()
	w.oracle()
}

func TestRepeatedDenialNamesTheFirstDecision(t *testing.T) {
	w := newWorld(t)
	c := w.browser(w.session.Token)
	resp, body := w.get(c, base+"/v2/x")
	first := denied(t, resp, body, writ.OutOfAuthority).Writ.Decision
	resp, body = w.get(c, base+"/v2/x")
	if again := denied(t, resp, body, writ.OutOfAuthority).Writ.Decision; again != first {
		t.Errorf("the repeat has the decision %s, the first had %s", again, first)
	}
}

func TestUndeclaredHostGetsAProblemToItsConnect(t *testing.T) {
	w := newWorld(t)
	_, err := w.browser(w.session.Token).Get("https://paste.example/")
	var refused *refusedConnect
	if !errors.As(err, &refused) || refused.status != 403 || !strings.Contains(refused.body, string(writ.NoGrant)) {
		t.Fatalf("got %v", err)
	}
}

// T47: the challenge that some clients need, and the pre-emptive form.
func TestWithoutASessionThereIsAChallenge(t *testing.T) {
	w := newWorld(t)
	for name, header := range map[string]string{
		"none": "", "unknown": "Proxy-Authorization: " + basic("writ_ses_unknown") + "\r\n",
		"two": "Proxy-Authorization: " + basic(w.session.Token) + "\r\nProxy-Authorization: " + basic(w.session.Token) + "\r\n",
	} {
		got := w.raw("CONNECT " + apiHost + ":443 HTTP/1.1\r\nHost: " + apiHost + ":443\r\n" + header + "\r\n")
		if !strings.HasPrefix(got, "407 ") {
			t.Errorf("%s: %s", name, got)
		}
	}
	w.unseen()
}

// T8: CONNECT, server name, Host and absolute target must agree.
func TestTrapT08HostsMustAgree(t *testing.T) {
	w := newWorld(t)
	auth := "Proxy-Authorization: " + basic(w.session.Token) + "\r\n"
	for name, request := range map[string]string{
		"connect and host differ":     "CONNECT " + apiHost + ":443 HTTP/1.1\r\nHost: events.acme.test:443\r\n" + auth + "\r\n",
		"target and host differ":      "GET http://plain.acme.test/v1/x HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "\r\n",
		"https in an absolute target": "GET https://" + apiHost + "/v1/x HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "\r\n",
		"a path without a tunnel":     "GET /v1/x HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth + "\r\n",
		"a numeric host":              "CONNECT 2130706433:443 HTTP/1.1\r\nHost: 2130706433:443\r\n" + auth + "\r\n",
	} {
		if got := w.raw(request); !strings.HasPrefix(got, "400 ") || !strings.Contains(got, string(writ.RequestAmbiguous)) {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, inner := range map[string]struct{ sni, request string }{
		"server name of another host": {"events.acme.test", ""},
		"no server name":              {"", ""},
		"host of another host":        {apiHost, "GET /v1/x HTTP/1.1\r\nHost: events.acme.test\r\n\r\n"},
		"absolute target in a tunnel": {apiHost, "GET http://" + apiHost + "/v1/x HTTP/1.1\r\nHost: " + apiHost + "\r\n\r\n"},
	} {
		tc, err := w.tunnel(apiHost, inner.sni)
		if inner.request == "" {
			if err == nil {
				t.Errorf("%s: the handshake succeeded", name)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := exchangeRaw(t, tc, inner.request); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%s: %s", name, got)
		}
		_ = tc.Close()
	}
	// Case and a trailing dot are the same host.
	if tc, err := w.tunnel("API.Acme.Test.", apiHost); err != nil {
		t.Errorf("another spelling of the host: %v", err)
	} else if got := exchangeRaw(t, tc, "GET /v1/x HTTP/1.1\r\nHost: API.ACME.test:443\r\n\r\n"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("another spelling of the host: %s", got)
	}
	w.oracle()
}

// tunnel opens a CONNECT tunnel and handshakes in it with the given server name.
func (w *world) tunnel(host, sni string) (*tls.Conn, error) {
	w.t.Helper()
	return w.tunnelAs(w.session.Token, host, sni)
}

func (w *world) tunnelAs(token, host, sni string) (*tls.Conn, error) {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.proxyAddr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	_, _ = fmt.Fprintf(nc, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\nProxy-Authorization: %s\r\n\r\n", host, host, basic(token))
	if err := readConnectAnswer(nc); err != nil {
		return nil, err
	}
	tc := tls.Client(nc, &tls.Config{ServerName: sni, RootCAs: w.ca(), InsecureSkipVerify: sni == ""}) //nolint:gosec // the case without a name cannot be verified
	return tc, tc.HandshakeContext(w.t.Context())
}

func readConnectAnswer(nc net.Conn) error {
	var head bytes.Buffer
	one := make([]byte, 1)
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		if _, err := nc.Read(one); err != nil {
			return err
		}
		head.WriteByte(one[0])
	}
	if !strings.HasPrefix(head.String(), "HTTP/1.1 200") {
		return errors.New(head.String())
	}
	return nil
}

// T11, T12, T13: whatever two servers read differently is refused, and what
// has one reading goes out byte for byte (invariant 5).
func TestInvariant05WhatIsDecidedIsWhatIsSent(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{
		"/v1/../admin", "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/%252e%252e/admin", "/v1//x", "/v1/x;y", "/v1/%3b", "/v1/a%2fb", "/v1/a%5cb", `/v1/a\b`,
		"/v1/%c0%ae", "/v1/%00", "/v1/%0a", "/v1/%zz", "/v1/%", "/v1/x?a=1;b=2", "/v1/x?_method=DELETE", "/v1/x#y",
	} {
		tc, err := w.tunnel(apiHost, apiHost) // a new one each time: the codec closes what it cannot read on
		if err != nil {
			t.Fatal(err)
		}
		got := exchangeRaw(t, tc, "GET "+target+" HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n")
		if !strings.HasPrefix(got, "400 ") || !strings.Contains(got, string(writ.RequestAmbiguous)) {
			t.Errorf("%s: %s", target, got)
		}
		_ = tc.Close()
	}
	w.unseen()
	tc, err := w.tunnel(apiHost, apiHost)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/v1/a%20b", "/v1/%41bc", "/v1/x?a=%2F..%2F&b=1&a=2", "/v1/~x/*", "/v1/x?", "/v1/ümlaut"[:4] + "x%C3%BC", "/v1/x/"} {
		got := exchangeRaw(t, tc, "GET "+target+" HTTP/1.1\r\nHost: "+apiHost+"\r\nX-Odd: A  b\r\n\r\n")
		if !strings.HasPrefix(got, "200 ") {
			t.Fatalf("%s: %s", target, got)
		}
		if s := w.up.sights(); s[len(s)-1].Target != target {
			t.Errorf("%s was sent as %s", target, s[len(s)-1].Target)
		}
	}
	for _, header := range []string{"X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin"} {
		if got := exchangeRaw(t, tc, "GET /v1/x HTTP/1.1\r\nHost: "+apiHost+"\r\n"+header+"\r\n\r\n"); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%s: %s", header, got)
		}
	}
	w.oracle()
}

// T14: messages with two readings are refused on every front door.
func TestTrapT14SmugglingIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, head := range map[string]string{
		"two lengths":           "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"equal lengths":         "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"length and chunked":    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"folded line":           "X-A: b\r\n c\r\n\r\n",
		"bare line feed":        "X-A: b\nX-B: c\r\n\r\n",
		"space before a colon":  "X-A : b\r\n\r\n",
		"another encoding":      "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"a signed length":       "Content-Length: +1\r\n\r\nx",
		"two hosts":             "Host: other.acme.test\r\n\r\n",
		"a control byte":        "X-A: b\x00c\r\n\r\n",
		"a smuggled connection": "Connection: X-A\r\nX-A : b\r\n\r\n",
	} {
		tc, err := w.tunnel(apiHost, apiHost)
		if err != nil {
			t.Fatal(err)
		}
		if got := exchangeRaw(t, tc, "GET /v1/x HTTP/1.1\r\nHost: "+apiHost+"\r\n"+head); !strings.HasPrefix(got, "400 ") && !strings.HasPrefix(got, "501 ") {
			t.Errorf("%s: %q", name, got)
		}
		_ = tc.Close()
	}
	w.unseen()
}

// T5, T24: what the client puts where the secret goes is replaced, and control
// fields are taken out.
func TestTrapT24ClientsOwnAuthorizationIsReplaced(t *testing.T) {
	w := newWorld(t)
	tc, err := w.tunnel(apiHost, apiHost)
	if err != nil {
		t.Fatal(err)
	}
	got := exchangeRaw(t, tc, "GET /v1/x HTTP/1.1\r\nHost: "+apiHost+"\r\nauthorization: Bearer mine\r\nAUTHORIZATION: Bearer too\r\nX-Forwarded-For: 1.2.3.4\r\nWrit-Credential: acme-key\r\nConnection: X-Secret-Hop\r\nX-Secret-Hop: 1\r\nX-Keep: 1\r\n\r\n")
	if !strings.HasPrefix(got, "200 ") {
		t.Fatal(got)
	}
	h := w.up.sights()[0].Header
	if v := h.Values("Authorization"); len(v) != 1 || v[0] != "Bearer "+w.up.secret {
		t.Errorf("the upstream saw %d Authorization fields", len(v))
	}
	for _, gone := range []string{"X-Forwarded-For", "Writ-Credential", "X-Secret-Hop", "Proxy-Authorization"} {
		if h.Get(gone) != "" {
			t.Errorf("%s reached the upstream", gone)
		}
	}
	if h.Get("X-Keep") != "1" {
		t.Error("an ordinary field was lost")
	}
}

// T16, T16b: redirects are passed on and not followed, and fields that hand out
// authority or lead past the broker are taken out.
func TestTrapT16AnswersAreStrippedAndNotFollowed(t *testing.T) {
	w := newWorld(t)
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Location", "https://evil.example/?key="+w.up.secret)
		h.Set("Set-Cookie", "session=1")
		h.Set("Alt-Svc", `h3=":443"`)
		h.Set("WWW-Authenticate", "Basic")
		h.Set("X-Debug", "saw "+w.up.secret)
		rw.WriteHeader(http.StatusFound)
	})
	resp, _ := w.get(w.browser(w.session.Token), base+"/v1/x")
	if resp.StatusCode != 302 || len(w.up.sights()) != 1 {
		t.Errorf("%d, and the upstream saw %d requests", resp.StatusCode, len(w.up.sights()))
	}
	for _, gone := range []string{"Set-Cookie", "Alt-Svc", "Www-Authenticate"} {
		if resp.Header.Get(gone) != "" {
			t.Errorf("%s came through", gone)
		}
	}
	for name, values := range resp.Header {
		for _, form := range encodings(w.up.secret) {
			if strings.Contains(strings.Join(values, "\n"), form) {
				t.Errorf("%s holds the secret", name)
			}
		}
	}
	w.oracle()
}

// T27: a compressed answer is looked through or withheld.
func TestTrapT27CompressedAnswers(t *testing.T) {
	w := newWorld(t)
	encoding := "gzip"
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding is %q", got)
		}
		rw.Header().Set("Content-Type", "text/plain")
		rw.Header().Set("Content-Encoding", encoding)
		z := gzip.NewWriter(rw)
		_, _ = fmt.Fprintf(z, "you sent %s", w.up.secret)
		_ = z.Close()
	})
	c := w.browser(w.session.Token)
	ask := func() (*http.Response, string) {
		r, _ := http.NewRequest(http.MethodGet, base+"/v1/x", nil)
		r.Header.Set("Accept-Encoding", "gzip, br")
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
	if resp, body := ask(); body != "you sent [writ:masked]" || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("%q %q", resp.Header.Get("Content-Encoding"), body)
	}
	encoding = "br"
	if resp, body := ask(); resp.StatusCode != 502 || strings.Contains(body, w.up.secret) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	w.oracle()
}

// T15: an application that does not allow a private network reaches none, and
// metadata addresses are refused even where their network is allowed.
func TestTrapT15AddressesAreGuarded(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for name, app := range map[string]client.NewApplication{
		"loopback": {Name: "a", Env: writ.Dev, Hosts: []string{"a.acme.test"}, Pinned: map[string][]string{"a.acme.test": {w.up.tls.Listener.Addr().String()}}, Roots: w.up.roots},
		"metadata": {Name: "b", Env: writ.Dev, Hosts: []string{"b.acme.test"}, Pinned: map[string][]string{"b.acme.test": {"169.254.169.254"}}, Networks: []string{"169.254.0.0/16"}},
		"own":      {Name: "c", Env: writ.Dev, Hosts: []string{"c.acme.test"}, Pinned: map[string][]string{"c.acme.test": {w.server.apiAt.Addr().String()}}, Networks: []string{"127.0.0.0/8"}},
	} {
		must[*client.Change[client.Application]](t)(w.admin.AddApplication(ctx, app))
		must[*client.Change[client.Credential]](t)(w.admin.AddCredential(ctx, client.NewCredential{
			Name: "key-" + app.Name, App: app.Name, Secret: "some-secret-value", Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.test", Issuer: "x",
			Authoriser: "bo@acme.test", Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
		}))
		must[*client.Change[client.Grant]](t)(w.admin.AddGrant(ctx, client.NewGrant{Identity: agentName, Credential: "key-" + app.Name, Allow: []string{"GET /**"}}))
		resp, body := w.get(w.browser(w.session.Token), "https://"+app.Hosts[0]+"/")
		if resp.StatusCode != 403 || !strings.Contains(body, string(writ.DestinationBlocked)) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	w.unseen()
}

// T26: cleartext only where the application allows it; the rules and the record
// are the same as in a tunnel (T10).
func TestTrapT26CleartextNeedsPermission(t *testing.T) {
	w := newWorld(t)
	c := w.browser(w.session.Token)
	resp, body := w.get(c, "http://plain.acme.test/v1/x")
	if resp.StatusCode != 200 || !strings.Contains(body, `"authenticated":true`) {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	resp, body = w.get(c, "http://plain.acme.test/v2/x")
	denied(t, resp, body, writ.OutOfAuthority)
	no := false
	must[*client.Change[client.Application]](t)(w.admin.EditApplication(t.Context(), "acme", client.EditApplication{Cleartext: &no}))
	resp, body = w.get(c, "http://plain.acme.test/v1/x")
	denied(t, resp, body, writ.DestinationBlocked)
	if len(w.up.sights()) != 1 {
		t.Errorf("the upstream saw %d requests", len(w.up.sights()))
	}
	w.oracle()
}

// A number of uses is exact, whatever runs at the same time (invariant 6).
func TestUseLimitIsExact(t *testing.T) {
	w := newWorld(t)
	must[*client.Change[client.Grant]](t)(w.admin.AddGrant(t.Context(), client.NewGrant{
		Identity: agentName, Credential: credential, Allow: []string{"POST /limited"}, Limits: writ.Limits{Uses: 5},
	}))
	c := w.browser(w.session.Token)
	var ok, exhausted atomic.Int64
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			resp, err := c.Post(base+"/limited", "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			switch resp.StatusCode {
			case 200:
				ok.Add(1)
			case 429:
				exhausted.Add(1)
			}
		})
	}
	wg.Wait()
	if ok.Load() != 5 || exhausted.Load() != 25 || len(w.up.sights()) != 5 {
		t.Errorf("%d allowed, %d exhausted, the upstream saw %d", ok.Load(), exhausted.Load(), len(w.up.sights()))
	}
	w.oracle()
}

// T18, T19, T21, R41: rules over the body deny what they cannot read.
func TestBodyRules(t *testing.T) {
	w := newWorld(t)
	rule := writ.Rule{Methods: []string{"POST"}, Path: "/v1/refunds", Body: []writ.Condition{{Key: "/amount", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("500")}}}}
	must[*client.Change[client.Grant]](t)(w.admin.AddGrant(t.Context(), client.NewGrant{Identity: agentName, Credential: credential, Rules: []writ.Rule{rule}}))
	c := w.browser(w.session.Token)
	for _, test := range []struct {
		name, kind, body string
		want             writ.Reason
	}{
		{"within", "application/json", `{"amount":500}`, ""},
		{"within, exactly", "application/json", `{"amount":5e2}`, ""},
		{"beyond", "application/json", `{"amount":500.01}`, writ.ParameterViolation},
		{"as text", "application/json", `{"amount":"5"}`, writ.ParameterViolation},
		{"missing", "application/json", `{}`, writ.ParameterViolation},
		{"twice", "application/json", `{"amount":1,"amount":9999}`, writ.BodyRequired},
		{"byte-order mark", "application/json", "\xef\xbb\xbf{\"amount\":1}", writ.BodyRequired},
		{"two values", "application/json", `{"amount":1}{"amount":9999}`, writ.BodyRequired},
		{"not JSON", "application/json", `amount=1`, writ.BodyRequired},
		{"a form", "application/x-www-form-urlencoded", `{"amount":1}`, writ.BodyRequired},
		{"another character set", "application/json; charset=utf-16", `{"amount":1}`, writ.BodyRequired},
		{"too deep", "application/json", `{"amount":1,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, writ.BodyRequired},
		{"too large", "application/json", `{"amount":1,"x":"` + strings.Repeat("y", 9<<20) + `"}`, writ.BodyRequired},
	} {
		before := len(w.up.sights())
		resp, err := c.Post(base+"/v1/refunds", test.kind, strings.NewReader(test.body))
		if err != nil {
			if test.name == "too large" {
				continue // the server answered and closed before the client had sent all
			}
			t.Fatalf("%s: %v", test.name, err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case test.want == "" && (resp.StatusCode != 200 || w.up.sights()[before].Body != test.body):
			t.Errorf("%s: %d %s", test.name, resp.StatusCode, b)
		case test.want != "" && (!strings.Contains(string(b), string(test.want)) || len(w.up.sights()) != before):
			t.Errorf("%s: %d %s", test.name, resp.StatusCode, b)
		}
	}
	w.oracle()
}

// T25 and the placements: each carries the secret where it says and nowhere else.
func TestPlacements(t *testing.T) {
	w := newWorld(t)
	for i, test := range []struct {
		placement writ.Placement
		secret    string
		check     func(s sight) bool
	}{
		{writ.Placement{In: writ.InHeader, Name: "X-Api-Key"}, "key-value-1", func(s sight) bool {
			return s.Header.Get("X-Api-Key") == "key-value-1" && s.Header.Get("Authorization") == ""
		}},
		{writ.Placement{In: writ.InHeader, Name: "Authorization", Template: "token {secret}"}, "key-value-2", func(s sight) bool { return s.Header.Get("Authorization") == "token key-value-2" }},
		{writ.Placement{In: writ.InBasic, Name: "x"}, "pass:wörd", func(s sight) bool {
			r := http.Request{Header: s.Header}
			user, pass, ok := r.BasicAuth()
			return ok && user == "x" && pass == "pass:wörd"
		}},
		{writ.Placement{In: writ.InQuery, Name: "api_key"}, "a b&c=d", func(s sight) bool { return s.Target == "/?z=1&y=%2F&api_key=a+b%26c%3Dd" }},
		{writ.Placement{In: writ.InCookie, Name: "sid"}, "cookie-value", func(s sight) bool { return s.Header.Get("Cookie") == "sid=cookie-value; other=1" }},
	} {
		name := fmt.Sprintf("p%d", i)
		host := name + ".acme.test"
		certificate, roots, err := acmeCertificate(host)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = http.Serve(l, http.HandlerFunc(w.up.serve)) }() //nolint:gosec // a test's upstream
		t.Cleanup(func() { _ = l.Close() })
		ctx := t.Context()
		must[*client.Change[client.Application]](t)(w.admin.AddApplication(ctx, client.NewApplication{Name: name, Env: writ.Dev, Hosts: []string{host}, Pinned: map[string][]string{host: {l.Addr().String()}}, Networks: []string{"127.0.0.0/8"}, Roots: roots}))
		must[*client.Change[client.Credential]](t)(w.admin.AddCredential(ctx, client.NewCredential{
			Name: "key-" + name, App: name, Secret: test.secret, Placement: test.placement, Owner: "ana@acme.test", Issuer: "x",
			Authoriser: "bo@acme.test", Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
		}))
		must[*client.Change[client.Grant]](t)(w.admin.AddGrant(ctx, client.NewGrant{Identity: agentName, Credential: "key-" + name, Allow: []string{"GET /**"}}))
		r, _ := http.NewRequest(http.MethodGet, "https://"+host+"/?z=1&api_key=mine&y=%2F", nil)
		if test.placement.In != writ.InQuery {
			r.URL.RawQuery = ""
		}
		r.Header.Set("Cookie", "other=1; sid=mine")
		r.Header.Set("X-Api-Key", "mine")
		r.Header.Set("Authorization", "Bearer mine")
		resp, err := w.browser(w.session.Token).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		s := w.up.sights()
		if resp.StatusCode != 200 || !test.check(s[len(s)-1]) {
			t.Errorf("%+v: %d, the upstream saw %s %v", test.placement, resp.StatusCode, s[len(s)-1].Target, s[len(s)-1].Header)
		}
	}
}

// A secret that its placement cannot carry is not sent, and the use is
// recorded as suppressed (T25).
func TestTrapT25UnplaceableSecretIsNotSent(t *testing.T) {
	w := newWorld(t)
	must[*client.Change[client.Credential]](t)(w.admin.RotateCredential(t.Context(), credential, client.NewVersion{Secret: "line\r\nX-Injected: 1"}))
	resp, body := w.get(w.browser(w.session.Token), base+"/v1/x")
	denied(t, resp, body, writ.PlacementViolation)
	w.unseen()
}

// T43: a slow upload lives as long as it moves; there is no absolute deadline,
// and the answer that comes early is passed on.
func TestStreamedUpload(t *testing.T) {
	w := newWorld(t)
	w.grant("PUT /v1/blob")
	sum := make(chan int64, 1)
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		sum <- n
		rw.WriteHeader(http.StatusCreated)
	})
	body := io.LimitReader(zeros{}, 64<<20)
	r, _ := http.NewRequest(http.MethodPut, base+"/v1/blob", body)
	r.Header.Set("Content-Type", "application/octet-stream")
	resp, err := w.browser(w.session.Token).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if n := <-sum; resp.StatusCode != 201 || n != 64<<20 {
		t.Errorf("%d after %d bytes", resp.StatusCode, n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// T41: each event of a stream arrives when it is sent.
func TestTrapT41EventsAreNotHeldBack(t *testing.T) {
	w := newWorld(t)
	next := make(chan struct{})
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(rw, "data: %d %s\n\n", i, w.up.secret)
			_ = http.NewResponseController(rw).Flush()
			<-next
		}
	})
	resp, err := w.browser(w.session.Token).Get(base + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 1024)
	for i := range 3 {
		n, err := io.ReadAtLeast(resp.Body, buf, len("data: 0 [writ:masked]\n\n"))
		if want := fmt.Sprintf("data: %d [writ:masked]\n\n", i); err != nil || string(buf[:n]) != want {
			t.Fatalf("event %d: %q %v", i, buf[:n], err)
		}
		next <- struct{}{}
	}
	w.oracle()
}

// The hint picks the credential where grants leave a choice; without one the
// request has two readings.
func TestHintPicksTheCredential(t *testing.T) {
	w := newWorld(t)
	must[*client.Change[client.Credential]](t)(w.admin.AddCredential(t.Context(), client.NewCredential{
		Name: "second-key", App: "acme", Secret: "another-secret-value", Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.test", Issuer: "x",
		Authoriser: "bo@acme.test", Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
	}))
	must[*client.Change[client.Grant]](t)(w.admin.AddGrant(t.Context(), client.NewGrant{Identity: agentName, Credential: "second-key", Allow: []string{"GET /v1/**"}}))
	c := w.browser(w.session.Token)
	resp, body := w.get(c, base+"/v1/x")
	denied(t, resp, body, writ.RequestAmbiguous)
	r, _ := http.NewRequest(http.MethodGet, base+"/v1/x", nil)
	r.Header.Set("Writ-Credential", "second-key")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if s := w.up.sights(); resp.StatusCode != 200 || len(s) != 1 || s[0].Header.Get("Authorization") != "Bearer another-secret-value" {
		t.Errorf("%d", resp.StatusCode)
	}
}

// An upstream that fails says so in our words, and the outcome is recorded.
func TestUpstreamFailureIsToldInOurWords(t *testing.T) {
	w := newWorld(t)
	w.up.answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	resp, body := w.get(w.browser(w.session.Token), base+"/v1/x?key=1")
	if resp.StatusCode != 502 || strings.Contains(body, "key=1") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		uses := must[*client.Page[client.Use]](t)(w.admin.Uses(t.Context(), client.UseFilter{Actor: agentName}))
		if len(uses.Items) == 1 && uses.Items[0].Outcome == writ.Failed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", uses.Items)
		}
	}
	w.oracle()
}
