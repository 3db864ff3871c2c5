package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// T8, T11: a path that begins with two slashes goes upstream as the path that
// was decided on, never as the URL of another host.
func TestAttackDoubleSlashIsNoOtherHost(t *testing.T) {
	w := newWorld(t)
	profile := writ.Profile{EmptySegment: writ.ReadOpaque}
	must[*client.Change[client.Application]](t)(w.admin.EditApplication(t.Context(), "acme", client.EditApplication{Profile: &profile}))
	w.grant("GET /**")
	tc, err := w.tunnel(apiHost, apiHost)
	if err != nil {
		t.Fatal(err)
	}
	got := exchangeRaw(t, tc, "GET //other.acme.test/admin HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n")
	s := w.up.sights()
	if !strings.HasPrefix(got, "200 ") || len(s) != 1 {
		t.Fatalf("%d requests, %s", len(s), got)
	}
	if s[0].Target != "//other.acme.test/admin" || s[0].Host != apiHost {
		t.Errorf("the upstream saw %s for %s", s[0].Target, s[0].Host)
	}
}

// T37, invariant 1: one allow is one request, also where the client says that
// it may be sent twice and the upstream drops a kept connection.
func TestAttackIdempotencyKeyIsNoSecondUse(t *testing.T) {
	w := newWorld(t)
	w.grant("POST /v1/**")
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return // the connection is kept
		}
		c, _, err := http.NewResponseController(rw).Hijack()
		if err == nil {
			_ = c.Close()
		}
	})
	c := w.browser(w.session.Token)
	for range 3 {
		w.get(c, base+"/v1/warm")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/pay", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "again")
		resp, err := c.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
	}
	posts := 0
	for _, s := range w.up.sights() {
		if s.Method == http.MethodPost {
			posts++
		}
	}
	if posts != 3 {
		t.Errorf("3 uses became %d requests", posts)
	}
	w.oracle()
}

// T27: an answer whose coding or type is said twice has two readings; whichever
// the client takes, it does not get the secret. One that is coded and empty is
// an answer like others.
func TestAttackAnswersWithTwoReadings(t *testing.T) {
	w := newWorld(t)
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return b.String()
	}
	plain := `{"you sent":"Bearer ` + w.up.secret + `"}`
	for name, test := range map[string]struct {
		header http.Header
		body   string
	}{
		"identity, then gzip": {http.Header{"Content-Encoding": {"identity", "gzip"}, "Content-Type": {"application/json"}}, zip(plain)},
		"gzip twice":          {http.Header{"Content-Encoding": {"gzip", "gzip"}, "Content-Type": {"application/json"}}, zip(zip(plain))},
		"gzip in one list":    {http.Header{"Content-Encoding": {"gzip, gzip"}, "Content-Type": {"application/json"}}, zip(zip(plain))},
		"an image, then text": {http.Header{"Content-Type": {"image/png", "text/html"}}, plain},
		"an image of nothing": {http.Header{"Content-Type": {"image/png, text/html"}}, plain},
	} {
		w.up.answer(func(rw http.ResponseWriter, _ *http.Request) {
			for k, v := range test.header {
				rw.Header()[k] = v
			}
			_, _ = io.WriteString(rw, test.body)
		})
		resp, body := w.get(w.browser(w.session.Token), base+"/v1/x")
		for range 3 {
			if strings.Contains(body, w.up.secret) {
				t.Errorf("%s: %d, the secret came through", name, resp.StatusCode)
				break
			}
			z, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				break
			}
			b, _ := io.ReadAll(z)
			body = string(b)
		}
	}
	w.up.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Header().Set("Content-Type", "application/json")
	})
	if resp, body := w.get(w.browser(w.session.Token), base+"/v1/empty"); resp.StatusCode != 200 || body != "" {
		t.Errorf("an empty answer became %d %s", resp.StatusCode, body)
	}
}
