package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/client"
	"writ.dev/writ/internal/problem"
)

// full reports whether the slow suites run (make check-full).
func full() bool { return os.Getenv("WRIT_FULL") != "" }

// scale is n in the slow suites, and a part of it otherwise.
func scale(n, quick int) int {
	if full() {
		return n
	}
	return quick
}

// spread is a distribution of times, for the log of a test.
func spread(ds []time.Duration) string {
	if len(ds) == 0 {
		return "none"
	}
	slices.Sort(ds)
	at := func(p float64) time.Duration { return ds[min(len(ds)-1, int(p*float64(len(ds))))] }
	return fmt.Sprintf("n %d, min %v, p50 %v, p95 %v, p99 %v, max %v", len(ds), ds[0], at(.5), at(.95), at(.99), ds[len(ds)-1])
}

// TestInvariant06Races lets uses run against the revocation of what they rest
// on. No use may send its credential after the revoke call has returned, and in
// the log no allow may follow the revocation of its basis.
func TestInvariant06Races(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := must[*client.Whoami](t)(w.admin.Whoami(ctx))
	by := writ.Actor{Identity: admin.Identity.ID, Via: admin.Via}
	org := admin.Org
	cred := must[*client.Credential](t)(w.admin.Credential(ctx, credential))
	agent := must[*client.Identity](t)(w.admin.Identity(ctx, agentName))
	const workers = 16
	n := scale(10_000, 1_000)
	var sent, late, refused atomic.Int64
	var times []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < n; i += workers {
				path := fmt.Sprintf("/race/%d", i)
				grant, _, err := w.server.store.AddGrant(ctx, by, writ.Grant{
					Org: org, Identity: agent.ID, Credential: cred.ID, Rules: []writ.Rule{{Methods: []string{"GET"}, Path: path}}, Authoriser: by.Identity,
				})
				if err != nil {
					t.Error(err)
					return
				}
				var returned atomic.Bool
				var uses sync.WaitGroup
				for range 2 {
					uses.Go(func() {
						target, _ := writ.ParseTarget(path, writ.Profile{})
						ask := &writ.Ask{Org: org, Session: w.session.Session.ID, Time: writ.At(time.Now()), Scheme: "https", Request: writ.Request{Method: "GET", Host: apiHost, Target: target}}
						_, err := w.server.broker.Use(ctx, broker.Intent{Ask: ask}, func(_ context.Context, u *broker.Use) writ.Outcome {
							if !u.Send() {
								return writ.Outcome{Kind: writ.Suppressed}
							}
							if returned.Load() {
								late.Add(1)
							}
							sent.Add(1)
							return writ.Outcome{Kind: writ.Completed, Status: 200}
						})
						var d *problem.Denied
						if errors.As(err, &d) {
							refused.Add(1)
						}
					})
				}
				// Revocations overtake queued uses: given a head start of up to a batch
				// or two, either side wins some.
				<-time.After(time.Duration(rand.IntN(12_000)) * time.Microsecond)
				start := time.Now()
				_, mark, err := w.server.store.RevokeGrant(ctx, by, writ.Ref{Org: org, ID: grant.ID}, "race")
				if err != nil {
					t.Error(err)
					return
				}
				w.server.broker.Settle(ctx, org, mark.Epoch)
				returned.Store(true)
				took := time.Since(start)
				uses.Wait()
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d races: %d sent before, %d refused; revocation %s", n, sent.Load(), refused.Load(), spread(times))
	if late.Load() != 0 {
		t.Errorf("%d uses sent a credential after the revoke call had returned", late.Load())
	}
	if sent.Load() == 0 || refused.Load() == 0 {
		t.Error("the races were none: all uses went one way")
	}
	w.verifyLedger()
}

// verifyLedger re-derives the log, independently of the code that wrote it.
func (w *world) verifyLedger() {
	w.t.Helper()
	if out, talk, code := w.writ("ledger", "verify"); code != 0 {
		w.t.Errorf("the ledger does not verify (%d): %s%s", code, out, talk)
	}
}

// writ runs one command line in this process against the world's server.
func (w *world) writ(args ...string) (out, talk string, code int) {
	w.t.Helper()
	var stdout, stderr safeBuffer
	c := newCLI()
	c.stdout, c.stderr = &stdout, &stderr
	c.getenv = func(name string) string {
		return map[string]string{"WRIT_ADDR": w.apiURL(), "WRIT_TOKEN": w.token, "NO_COLOR": "1"}[name]
	}
	code = c.main(args)
	return stdout.String(), stderr.String(), code
}

// TestTrapT01TunnelsAreDecidedAnew: a request on a tunnel that was opened
// before a revocation is denied after it, every time (T1, T2).
func TestTrapT01TunnelsAreDecidedAnew(t *testing.T) {
	w := newWorld(t)
	n := scale(1_000, 100)
	grant := w.grant("GET /tunnel/**")
	type open struct {
		r *bufio.Reader
		c io.ReadWriteCloser
	}
	tunnels := make([]open, n)
	ask := func(o open) (int, error) {
		if _, err := fmt.Fprintf(o.c, "GET /tunnel/x HTTP/1.1\r\nHost: %s\r\n\r\n", apiHost); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(o.r, nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	for i := range tunnels {
		tc, err := w.tunnel(apiHost, apiHost)
		if err != nil {
			t.Fatal(err)
		}
		tunnels[i] = open{bufio.NewReader(tc), tc}
		if status, err := ask(tunnels[i]); status != 200 {
			t.Fatalf("before: %d %v", status, err)
		}
	}
	must[*client.Revocation](t)(w.admin.RevokeGrant(t.Context(), string(grant.Item.ID), client.Because{Reason: "test"}))
	after := len(w.up.sights())
	var deniedNow int
	for _, o := range tunnels {
		if status, _ := ask(o); status == 403 {
			deniedNow++
		}
	}
	if deniedNow != n || len(w.up.sights()) != after {
		t.Errorf("%d of %d were denied, and the upstream saw %d", deniedNow, n, len(w.up.sights())-after)
	}
	w.oracle()
}

// TestRevocationCutsWhatIsOpen: streams, WebSockets and uploads in progress end
// before the call returns, and their number is told (R30).
func TestRevocationCutsWhatIsOpen(t *testing.T) {
	n := scale(40, 8)
	for name, revoke := range map[string]func(w *world, grant writ.ID) *client.Revocation{
		"grant": func(w *world, g writ.ID) *client.Revocation {
			return must[*client.Revocation](t)(w.admin.RevokeGrant(t.Context(), string(g), client.Because{Reason: "test"}))
		},
		"session": func(w *world, _ writ.ID) *client.Revocation {
			return must[*client.Revocation](t)(w.admin.EndSession(t.Context(), string(w.session.Session.ID), client.Because{Reason: "test"}))
		},
		"credential": func(w *world, _ writ.ID) *client.Revocation {
			return must[*client.Revocation](t)(w.admin.RevokeCredential(t.Context(), credential, client.Because{Reason: "test"}))
		},
		"agent": func(w *world, _ writ.ID) *client.Revocation {
			return must[*client.Revocation](t)(w.admin.RevokeIdentity(t.Context(), agentName, client.Because{Reason: "test"}))
		},
		"all": func(w *world, _ writ.ID) *client.Revocation {
			return must[*client.Revocation](t)(w.admin.Kill(t.Context(), client.NewKill{Target: "all", Because: client.Because{Reason: "test"}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			grant := w.grant("GET,PUT /open/**")
			w.up.answer(openEnded)
			var streams []*stream
			for i := range n {
				streams = append(streams, w.openStream([]string{"events", "websocket", "upload"}[i%3]))
			}
			for _, s := range streams {
				s.await(t, 2)
			}
			start := time.Now()
			r := revoke(w, grant.Item.ID)
			returned := time.Now()
			t.Logf("%d open: the call took %v, the server says %d µs", n, returned.Sub(start), r.Micros)
			if r.Uses.Found != n || r.Uses.Down != n {
				t.Errorf("%d/%d uses are down, of %d", r.Uses.Down, r.Uses.Found, n)
			}
			for i, s := range streams {
				s.awaitEnd(t)
				if s.last().After(returned.Add(50 * time.Millisecond)) {
					t.Errorf("%s %d still moved %v after the call returned", s.kind, i, s.last().Sub(returned))
				}
				if s.kind == "websocket" && name == "grant" && !s.policyClose.Load() {
					t.Errorf("websocket %d was not closed with 1008 (T42)", i)
				}
			}
			resp, err := w.browser(w.session.Token).Get(base + "/open/again")
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == 200 {
					t.Error("a use after the revocation was allowed")
				}
			}
		})
	}
}

// A narrowed fact, not only a revoked one, ends what no longer is allowed.
func TestWhatIsInFlightIsJudgedAgain(t *testing.T) {
	for name, act := range map[string]func(w *world) error{
		"agents may no longer use the credential": func(w *world) error {
			no := writ.AIForbidden
			_, err := w.admin.EditCredential(t.Context(), credential, client.EditCredential{AIUse: &no})
			return err
		},
		"a guardrail forbids it": func(w *world) error {
			_, err := w.admin.AddPolicy(t.Context(), client.NewPolicy{Name: "no-events", Text: `forbid (principal, action, resource) when { context.path like "/open/*" };`})
			return err
		},
		"the application lost the host": func(w *world) error {
			hosts := []string{"events.acme.test"}
			_, err := w.admin.EditApplication(t.Context(), "acme", client.EditApplication{Hosts: &hosts, Pinned: &map[string][]string{}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.grant("GET /open/**")
			w.up.answer(openEnded)
			s := w.openStream("events")
			s.await(t, 2)
			if err := act(w); err != nil {
				t.Fatal(err)
			}
			s.awaitEnd(t)
			w.verifyLedger()
		})
	}
}

// Ended sessions and suspended identities do not come back to life (R25).
func TestResumeRevivesNothing(t *testing.T) {
	w := newWorld(t)
	c := w.browser(w.session.Token)
	for _, target := range []string{agentName, "all"} {
		must[*client.Revocation](t)(w.admin.Kill(t.Context(), client.NewKill{Target: target, Because: client.Because{Reason: "test"}}))
		must[*client.Resumed](t)(w.admin.Resume(t.Context(), client.NewResume{Target: target, Because: client.Because{Reason: "test"}}))
		if resp, err := c.Get(base + "/v1/x"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("after %s was resumed the old session got %d", target, resp.StatusCode)
		}
	}
	w.unseen()
	resp, _ := w.get(w.browser(w.open(agentName).Token), base+"/v1/x")
	if resp.StatusCode != 200 {
		t.Errorf("a new session got %d", resp.StatusCode)
	}
}

// openEnded is an upstream that goes on until it is cut: it streams events,
// speaks WebSocket frames, or swallows uploads.
func openEnded(rw http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(rw)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	switch {
	case r.Method == http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		nc, _, err := control.Hijack()
		if err != nil {
			return
		}
		defer func() { _ = nc.Close() }()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			if _, err := nc.Write([]byte("\x81\x05hello")); err != nil {
				return
			}
			<-tick.C
		}
	default:
		rw.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(rw, "data: x\n\n"); err != nil || control.Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	}
}

// stream is one open thing at the client, and when it last moved.
type stream struct {
	kind        string
	moved       atomic.Int64 // nanoseconds
	count       atomic.Int64
	steps       chan struct{}
	ended       chan struct{}
	policyClose atomic.Bool
}

func (s *stream) step() {
	s.moved.Store(time.Now().UnixNano())
	s.count.Add(1)
	select {
	case s.steps <- struct{}{}:
	default:
	}
}

func (s *stream) last() time.Time { return time.Unix(0, s.moved.Load()) }

func (s *stream) await(t *testing.T, n int64) {
	t.Helper()
	late := time.After(20 * time.Second)
	for s.count.Load() < n {
		select {
		case <-s.steps:
		case <-s.ended:
			t.Fatalf("a %s ended after %d steps", s.kind, s.count.Load())
		case <-late:
			t.Fatalf("a %s stands at %d steps", s.kind, s.count.Load())
		}
	}
}

func (s *stream) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		t.Errorf("a %s did not end", s.kind)
	}
}

// openStream opens one through the proxy and keeps it going.
func (w *world) openStream(kind string) *stream {
	w.t.Helper()
	s := &stream{kind: kind, steps: make(chan struct{}, 1), ended: make(chan struct{})}
	tc, err := w.tunnel(apiHost, apiHost)
	if err != nil {
		w.t.Fatal(err)
	}
	head := "GET /open/x HTTP/1.1\r\nHost: " + apiHost + "\r\n"
	switch kind {
	case "websocket":
		head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	case "upload":
		head = "PUT /open/x HTTP/1.1\r\nHost: " + apiHost + "\r\nContent-Length: 1073741824\r\n"
	}
	if _, err := io.WriteString(tc, head+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		if kind == "upload" {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := tc.Write(chunk); err != nil {
					return
				}
				s.step()
			}
		}
		buf := make([]byte, 4096)
		for {
			n, err := tc.Read(buf)
			if n > 0 {
				if strings.Contains(string(buf[:n]), "\x88\x09\x03\xf0revoked") {
					s.policyClose.Store(true)
				}
				s.step()
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}
