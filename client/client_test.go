package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/internal/problem"
)

const token = "writ_key_canary"

// serve is a client of a server that answers with h.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{Address: srv.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddressesThatWouldLoseTheTokenAreRefused(t *testing.T) {
	for address, want := range map[string]string{
		"http://writ.example":            "plain HTTP is for a server on this machine only",
		"http://192.0.2.7:8440":          "plain HTTP is for a server on this machine only",
		"http://localhost.evil.example":  "plain HTTP is for a server on this machine only",
		"https://user:pw@writ.example":   "not the address of a server",
		"https://writ.example/prefix":    "not the address of a server",
		"https://writ.example?x=1":       "not the address of a server",
		"ftp://writ.example":             "not the address of a server",
		"writ.example":                   "not the address of a server",
		"":                               "not the address of a server",
		"http://[fe80::1%25eth0]:8440":   "plain HTTP is for a server on this machine only",
		"https://writ.example/#fragment": "not the address of a server",
	} {
		_, err := client.New(client.Config{Address: address})
		if writ.KindOf(err) != writ.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"http://localhost:8440", "http://127.0.0.1:8440/", "http://[::1]:8440", "https://writ.example", "http://dev.localhost:1"} {
		if _, err := client.New(client.Config{Address: address}); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := client.New(client.Config{Address: "http://localhost:1", Token: token + "\n"}); writ.KindOf(err) != writ.KindInvalid || strings.Contains(err.Error(), token) {
		t.Errorf("a token with a line end: %v", err)
	}
}

// The token goes to the server that was named, and is printed nowhere.
func TestTheTokenGoesNowhereElse(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, other.URL+"/v1/whoami", http.StatusTemporaryRedirect)
	})
	if _, err := c.Whoami(t.Context()); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("a redirect: %v", err)
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, c); strings.Contains(s, token) {
			t.Errorf("%s shows the token", verb)
		}
	}
	in := client.NewCredential{Name: "c", Secret: "canary-secret"}
	rotated := client.NewVersion{Secret: "canary-secret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb+verb+verb, in, &in, rotated); strings.Contains(s, "canary") {
			t.Errorf("%s shows a secret: %s", verb, s)
		}
	}
}

func TestProblemsComeBackAsWhatTheyWere(t *testing.T) {
	var sent error
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { problem.Write(w, sent) })
	sent = writ.Invalid("rules[0].path", "not a path", "write one").WithWhy("it is none")
	_, err := c.Grants(t.Context(), client.GrantFilter{})
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != writ.KindInvalid || e.Field != "rules[0].path" || e.Why != "it is none" || e.Fix != "write one" || e.Message != "not a path" {
		t.Errorf("%+v", e)
	}
	sent = &problem.Denied{Decision: &writ.Decision{ID: "dec_1", Reasons: []writ.Reason{writ.NoGrant}, Detail: "no"}}
	_, err = c.Whoami(t.Context())
	var d *problem.Denied
	if !errors.As(err, &d) || d.Decision.ID != "dec_1" || d.Decision.Reason() != writ.NoGrant || problem.Exit(err) != problem.ExitDenied {
		t.Errorf("%v", err)
	}
	sent = errors.New("canary: the inside of the server")
	_, err = c.Kill(t.Context(), client.NewKill{Target: "all"})
	if writ.KindOf(err) != writ.KindInternal || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoWritServerIsSaid(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/whoami" {
			_, _ = io.WriteString(w, "<html>hello</html>")
			return
		}
		http.Error(w, "<html>nothing</html>", http.StatusNotFound)
	})
	for _, call := range []func() error{
		func() error { _, err := c.Whoami(t.Context()); return err },
		func() error { _, err := c.Status(t.Context()); return err },
	} {
		if err := call(); writ.KindOf(err) != writ.KindUnavailable || strings.Contains(err.Error(), "html") {
			t.Errorf("%v", err)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	dead, err := client.New(client.Config{Address: gone.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	_, err = dead.Status(t.Context())
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != writ.KindUnavailable || e.Fix != "start it with: writ server --dev" {
		t.Errorf("%+v", e)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = nil
	stranger, err := client.New(client.Config{Address: secure.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Status(t.Context()); !errors.As(err, &e) || !strings.Contains(e.Message, "not trusted") || !strings.Contains(e.Fix, "--ca") {
		t.Errorf("%+v", err)
	}
}

// Reads are repeated, acts are not: nobody knows whether the first one was done.
func TestOnlyReadsAreRepeated(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n := calls.Add(1); n < 3 || r.Method != http.MethodGet {
			problem.Write(w, writ.Errorf(writ.KindUnavailable, "busy"))
			return
		}
		_, _ = io.WriteString(w, `{"org_name":"acme"}`)
	})
	if me, err := c.Whoami(t.Context()); err != nil || me.OrgName != "acme" || calls.Load() != 3 {
		t.Errorf("%+v %v after %d calls", me, err, calls.Load())
	}
	calls.Store(0)
	if _, err := c.Kill(t.Context(), client.NewKill{Target: "all"}); writ.KindOf(err) != writ.KindUnavailable || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Whoami(ctx); writ.KindOf(err) != writ.KindUnavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCreatesCarryAnIdempotencyKey(t *testing.T) {
	keys := make(chan string, 10)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		_, _ = io.WriteString(w, `{}`)
	})
	for range 2 {
		if _, err := c.AddIdentity(t.Context(), client.NewIdentity{}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := <-keys, <-keys
	if len(a) < 20 || a == b {
		t.Errorf("keys %q and %q", a, b)
	}
	if _, err := c.AddGrant(client.WithIdempotencyKey(t.Context(), "mine"), client.NewGrant{}); err != nil || <-keys != "mine" {
		t.Errorf("%v", err)
	}
	if _, err := c.RevokeGrant(t.Context(), "g", client.Because{}); err != nil || <-keys != "" {
		t.Errorf("%v", err)
	}
}

// Names are one segment of the path, whatever is in them.
func TestNamesAreEscaped(t *testing.T) {
	paths := make(chan string, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.EscapedPath() + "?" + r.URL.RawQuery
		_, _ = io.WriteString(w, `{}`)
	})
	for ref, want := range map[string]string{
		"agent:claude": "/v1/identities/agent:claude?", "a/b": "/v1/identities/a%2Fb?", "a b?c#d": "/v1/identities/a%20b%3Fc%23d?", "../keys": "/v1/identities/..%2Fkeys?", "%2e%2e": "/v1/identities/%252e%252e?",
	} {
		if _, err := c.Identity(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if got := <-paths; got != want {
			t.Errorf("%q: %s", ref, got)
		}
	}
	for _, ref := range []string{"", ".", ".."} {
		if _, err := c.Identity(t.Context(), ref); writ.KindOf(err) != writ.KindInvalid {
			t.Errorf("%q: %v", ref, err)
		}
	}
	since := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	if _, err := c.Uses(t.Context(), client.UseFilter{Actor: "agent:x&y", Since: since, Paging: client.Paging{Limit: 7}}); err != nil {
		t.Fatal(err)
	}
	if got := <-paths; got != "/v1/uses?actor=agent%3Ax%26y&limit=7&since=2026-11-24T09%3A00%3A00Z" {
		t.Errorf("query %s", got)
	}
	if _, err := c.AddKey(t.Context(), client.NewKey{}, client.DryRun()); err != nil {
		t.Fatal(err)
	}
	if got := <-paths; got != "/v1/keys?dry_run=true" {
		t.Errorf("query %s", got)
	}
}

// A tail goes on behind the last event when its connection breaks, and ends
// with an error that will not pass.
func TestATailResumesWhereItBroke(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		event := func(id string) {
			b, err := json.Marshal(client.Event{ID: id, Type: "allow"})
			if err != nil {
				t.Error(err)
			}
			_, _ = fmt.Fprintf(w, ": a comment\r\nid: %s\r\nevent: allow\r\ndata: %s\r\n\r\n", id, b)
		}
		switch n := calls.Add(1); n {
		case 1:
			if r.URL.RawQuery != "last=5" {
				t.Errorf("first %s", r.URL.RawQuery)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			event("7")
			event("8.1")
			_, _ = io.WriteString(w, "data: {\"id\":\"9\"") // breaks in the middle of an event
		case 2:
			if r.URL.RawQuery != "after=8.1" {
				t.Errorf("second %s", r.URL.RawQuery)
			}
			event("9")
		default:
			problem.Write(w, writ.Errorf(writ.KindForbidden, "no longer"))
		}
	})
	var ids []string
	var last error
	for ev, err := range c.Tail(t.Context(), client.TailFilter{Last: 5}) {
		if err != nil {
			last = err
			continue
		}
		ids = append(ids, ev.ID)
	}
	if strings.Join(ids, " ") != "7 8.1 9" || writ.KindOf(last) != writ.KindForbidden {
		t.Errorf("%v %v", ids, last)
	}
}

func TestAFileThatIsCutShortIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "only this")
	})
	var b bytes.Buffer
	if _, err := c.Evidence(t.Context(), "use_1", &b); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("%v", err)
	}
}
