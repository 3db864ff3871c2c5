package api

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/broker"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
	"writ.dev/writ/signin"
	"writ.dev/writ/store/storetest"
	"writ.dev/writ/vault"
)

// subscriber hands commits to the broker, and lets a test wait for one.
type subscriber struct {
	*broker.Broker
	commits chan ledger.Committed
}

func (s subscriber) Apply(c ledger.Committed) {
	s.Broker.Apply(c)
	select {
	case s.commits <- c:
	default:
	}
}

func (s subscriber) Stale(writ.ID) {}

// world is a server over a real store with two organizations, called over HTTP.
type world struct {
	*storetest.Kit // the first organization, whose admins operate the server
	t              *testing.T
	broker         *broker.Broker
	other          *storetest.Kit
	server         *Server
	http           *httptest.Server
	commits        chan ledger.Committed
	logs           *lines
}

// lines collects log output.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	k := storetest.NewKit(t, storetest.NewMemory(t))
	w := &world{Kit: k, t: t, logs: &lines{}, commits: make(chan ledger.Committed, 1000)}
	w.other = k.Found("other")

	path := filepath.Join(t.TempDir(), "key")
	if err := vault.CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	keys, err := vault.OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.logs, nil))
	index := authority.New(authority.Config{Load: k.Store.Load, Locate: k.Store.Locate, Clock: k.Clock.Now})
	secrets := vault.New(vault.Config{Keys: keys, Keysets: k.Store.Keysets(), Versions: k.Store})
	b := broker.New(broker.Config{Authority: index, Logs: k.Store, Vault: secrets, Clock: k.Clock.Now, Logger: logger})
	k.Store.Subscribe(index)
	k.Store.Believe(index)
	k.Store.Subscribe(subscriber{b, w.commits})
	w.broker = b
	w.server = New(Config{
		Store:   k.Store,
		Gate:    signin.New(signin.Config{Directory: index, Clock: k.Clock.Now, Requests: signin.Rate{Burst: 1 << 20, Every: time.Microsecond}, Failures: signin.Rate{Burst: 1 << 20, Every: time.Microsecond}}),
		Flights: b,
		Sealer:  secrets,
		Rebuild: authority.Rebuild,
		Evidence: func(context.Context, writ.ID, writ.ID) ([]byte, error) {
			return []byte("a bundle"), nil
		},
		Origin:   storetest.Origin,
		Operator: k.Org,
		CA:       []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
		About:    About{Version: "v0.0.0-test", Mode: "dev", Database: "memory", Proxy: "127.0.0.1:8441", Rests: []string{"10 and 11 are cooperative here"}},
		Clock:    k.Clock.Now,
		Logger:   logger,
	})
	w.http = httptest.NewServer(w.server)
	t.Cleanup(func() {
		if err := w.server.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.http.Close()
	})
	return w
}

// token makes a key of a role for an identity of a kit.
func (w *world) token(k *storetest.Kit, of writ.ID, role writ.Role) string {
	w.t.Helper()
	text, hash := signin.NewKey()
	_, _, err := k.Store.AddKey(w.t.Context(), k.By, writ.Key{
		Org: k.Org, Identity: of, Role: role, Name: k.Name("k"), Hash: hex.EncodeToString(hash[:]), Expires: k.In(24 * time.Hour),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// as is a client with a token.
func (w *world) as(token string) *client.Client {
	w.t.Helper()
	c, err := client.New(client.Config{Address: w.http.URL, Token: token, Transport: w.http.Client().Transport})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// admin is Ana with an admin's key.
func (w *world) admin() *client.Client { return w.as(w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)) }

// session starts a session of Ana's agent through the API.
func (w *world) session(attached bool) *client.SessionOnce {
	w.t.Helper()
	agent := w.Agent()
	s, err := w.admin().StartSession(w.t.Context(), client.NewSession{Identity: string(agent.ID), Task: "tests", Attached: attached})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// call sends a bare request, and reads the answer's status and body.
func (w *world) call(method, path, token, body string, header ...string) (*http.Response, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.http.Client().Transport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp, "" // it does not end
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return resp, b.String()
		}
	}
}

// denied records a denial and gives its id.
func denied(t *testing.T, k *storetest.Kit, identity, session writ.ID) writ.ID {
	t.Helper()
	log, err := k.Store.Log(t.Context(), k.Org)
	if err != nil {
		t.Fatal(err)
	}
	ask := &writ.Ask{ID: writ.NewOrderedID(writ.KindDecision, k.Clock.Now()), Org: k.Org, Session: session, Time: k.In(0), Scheme: "https"}
	ask.Method, ask.Host = "GET", "api.acme.test"
	ask.Target, err = writ.ParseTarget("/v1/thing?key=not-recorded", writ.Profile{})
	if err != nil {
		t.Fatal(err)
	}
	size := log.Head().Size
	id := log.Deny(ledger.Denial{Ask: ask, Decision: &writ.Decision{
		ID: ask.ID, Time: ask.Time, Reasons: []writ.Reason{writ.NoGrant}, Detail: "nothing is granted", Identity: identity, Session: session,
	}})
	if _, err := log.Await(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	return id
}
