package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// world is a whole Writ in this process, as production wires it, with an
// upstream that remembers what it saw, and one agent with one grant.
type world struct {
	t      *testing.T
	dir    string
	log    *safeBuffer
	server *server
	remote *devFile // of a server in a process of its own, instead of server
	admin  *client.Client
	token  string // the admin's
	up     *upstream

	session *client.SessionOnce
}

// upstream is an HTTPS (and HTTP) service that remembers every request.
type upstream struct {
	secret string
	roots  string
	tls    *httptest.Server
	plain  *httptest.Server

	mu      sync.Mutex
	seen    []sight
	handler http.HandlerFunc // replaces the default answer; guarded by mu
}

// sight is one request as the upstream saw it.
type sight struct {
	Method, Host, Target string
	Header               http.Header
	Body                 string
	Time                 time.Time
	Authenticated        bool
}

const (
	agentName  = "agent:claude-pay"
	apiHost    = "api.acme.test"
	cleartext  = "plain.acme.test:80"
	credential = "acme-key"
)

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{secret: "canary-" + rand.Text() + "/+"}
	certificate, roots, err := acmeCertificate(apiHost, "other.acme.test", "events.acme.test")
	if err != nil {
		t.Fatal(err)
	}
	u.roots = roots
	u.tls = httptest.NewUnstartedServer(http.HandlerFunc(u.serve))
	u.tls.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	u.tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	u.tls.StartTLS()
	u.plain = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.tls.Close)
	t.Cleanup(u.plain.Close)
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	s := sight{Method: r.Method, Host: r.Host, Target: r.RequestURI, Header: r.Header.Clone(), Time: time.Now(), Authenticated: r.Header.Get("Authorization") == "Bearer "+u.secret}
	u.mu.Lock()
	handler := u.handler
	u.mu.Unlock()
	if handler == nil {
		body, _ := io.ReadAll(r.Body)
		s.Body = string(body)
	}
	u.mu.Lock()
	u.seen = append(u.seen, s)
	u.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"authenticated":%t,"echo":%q}`+"\n", s.Authenticated, r.Header.Get("Authorization"))
}

func (u *upstream) answer(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handler = h
}

// sights gives what was seen so far.
func (u *upstream) sights() []sight {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]sight(nil), u.seen...)
}

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newWorld starts a server and sets the stage: bo administers, ana owns the
// agent, which may GET /v1/** with the credential.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &safeBuffer{}, up: newUpstream(t)}
	w.start()
	t.Cleanup(func() { w.stop() })
	w.stage()
	return w
}

func (w *world) config() *serverConfig {
	data := filepath.Join(w.dir, "dev")
	return &serverConfig{
		Data: data, Database: "sqlite", Key: keyConfig{File: data + ".key"}, dev: true, person: "bo@acme.test",
		API: listenConfig{Listen: "127.0.0.1:0"}, Proxy: listenConfig{Listen: "127.0.0.1:0"}, Log: logConfig{Level: "debug"},
	}
}

func (w *world) start() {
	w.t.Helper()
	s, err := startServer(w.t.Context(), w.config(), slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	w.server = s
	if err := s.greet(w.t.Context(), io.Discard); err != nil {
		w.t.Fatal(err)
	}
	token, err := readToken(s.tokenFile())
	if err != nil {
		w.t.Fatal(err)
	}
	w.token = string(token)
	w.admin = w.as(w.token)
}

func (w *world) stop() {
	if w.server == nil {
		return
	}
	if err := w.server.close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
	w.server = nil
}

func (w *world) apiURL() string {
	if w.remote != nil {
		return w.remote.Addr
	}
	return "http://" + w.server.apiAt.Addr().String()
}

func (w *world) proxyAddr() string {
	if w.remote != nil {
		return w.remote.Proxy
	}
	return w.server.proxyAt.Addr().String()
}

// as is a client of the API with a token.
func (w *world) as(token string) *client.Client {
	w.t.Helper()
	c, err := client.New(client.Config{Address: w.apiURL(), Token: token})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%v (%s)", err, writ.KindOf(err))
		}
		return v
	}
}

// stage registers people, agent, application, credential and grant.
func (w *world) stage() {
	w.t.Helper()
	ctx, c := w.t.Context(), w.admin
	soon := writ.At(time.Now().Add(24 * time.Hour))
	must[*client.Change[client.Identity]](w.t)(c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Person, Name: "ana@acme.test"}))
	must[*client.Change[client.Identity]](w.t)(c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Agent, Name: "claude-pay", Owner: "ana@acme.test", Backup: "bo@acme.test", Purpose: "tests", Expires: soon}))
	must[*client.Change[client.Application]](w.t)(c.AddApplication(ctx, client.NewApplication{
		Name: "acme", Env: writ.Dev, Hosts: []string{apiHost, "events.acme.test", cleartext}, Cleartext: true, Roots: w.up.roots, Networks: []string{"127.0.0.0/8"},
		Pinned: map[string][]string{apiHost: {w.up.tls.Listener.Addr().String()}, "events.acme.test": {w.up.tls.Listener.Addr().String()}, cleartext: {w.up.plain.Listener.Addr().String()}},
	}))
	must[*client.Change[client.Credential]](w.t)(c.AddCredential(ctx, client.NewCredential{
		Name: credential, App: "acme", Secret: w.up.secret, Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.test", Backup: "bo@acme.test",
		Issuer: "acme.test", Issued: writ.At(time.Now()), Authoriser: "bo@acme.test", Purpose: "tests", Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed,
	}))
	w.grant("GET /v1/**")
	w.session = w.open(agentName)
}

func (w *world) grant(allow ...string) *client.Change[client.Grant] {
	w.t.Helper()
	return must[*client.Change[client.Grant]](w.t)(w.admin.AddGrant(w.t.Context(), client.NewGrant{Identity: agentName, Credential: credential, Allow: allow, Purpose: "tests"}))
}

// open starts a session, as the admin.
func (w *world) open(identity string) *client.SessionOnce {
	w.t.Helper()
	return must[*client.SessionOnce](w.t)(w.admin.StartSession(w.t.Context(), client.NewSession{Identity: identity, Task: "tests", For: "1h"}))
}

// ca is a pool with the interception root.
func (w *world) ca() *x509.CertPool {
	pool := x509.NewCertPool()
	root, err := w.admin.CA(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	pool.AppendCertsFromPEM(root)
	return pool
}

// browser is an ordinary HTTP client that goes through the proxy with a
// session's token.
func (w *world) browser(token string) *http.Client {
	proxy := &url.URL{Scheme: "http", Host: w.proxyAddr(), User: url.UserPassword("writ", token)}
	tr := &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: w.ca()}, DisableCompression: true,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode == http.StatusOK {
				return nil
			}
			b, _ := io.ReadAll(r.Body)
			return &refusedConnect{r.StatusCode, string(b)}
		},
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 30 * time.Second}
}

type refusedConnect struct {
	status int
	body   string
}

func (r *refusedConnect) Error() string { return fmt.Sprintf("CONNECT %d %s", r.status, r.body) }

// get asks for a path of the upstream and gives status, header and body.
func (w *world) get(c *http.Client, target string) (*http.Response, string) {
	w.t.Helper()
	return w.do(c, http.MethodGet, target, nil)
}

func (w *world) do(c *http.Client, method, target string, body io.Reader) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(b)
}

// raw sends bytes to the proxy and gives all that comes back until it closes
// or a second passes without anything.
func (w *world) raw(request string) string {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.proxyAddr())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	return exchangeRaw(w.t, nc, request)
}

func exchangeRaw(t *testing.T, nc net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(nc, request); err != nil {
		return ""
	}
	_ = nc.SetReadDeadline(time.Now().Add(3 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return ""
	}
	b, _ := io.ReadAll(resp.Body)
	return resp.Status + "\n" + string(b)
}

// basic is the Proxy-Authorization of a session's token.
func basic(token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("writ:"+token))
}

// oracle holds every test of the broker to the three things that must always
// be true (see the traps' section 11): secrets stay, every authenticated
// request has its one earlier allow, and a denial reaches nobody.
func (w *world) oracle() {
	w.t.Helper()
	w.everyRequestHasItsAllow()
	w.noCanary()
}

func (w *world) everyRequestHasItsAllow() {
	w.t.Helper()
	// Search is written behind the ledger, in milliseconds; what is not there
	// after seconds is not in the ledger.
	late := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := w.withoutAllow()
		if len(missing) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Errorf("the upstream saw %d requests with the credential that have no allow in the ledger, the first %s", len(missing), missing[0])
			return
		}
	}
}

// withoutAllow lists what the upstream saw with the credential and the ledger
// has no use for: each use accounts for one request.
func (w *world) withoutAllow() []string {
	w.t.Helper()
	allowed := map[string]int{}
	for u, err := range client.All(w.t.Context(), func(ctx context.Context, cursor string) (*client.Page[client.Use], error) {
		return w.admin.Uses(ctx, client.UseFilter{Actor: agentName, Paging: client.Paging{Cursor: cursor, Limit: 500}})
	}) {
		if err != nil {
			w.t.Fatal(err)
		}
		allowed[u.Method+" "+u.Path]++
	}
	var missing []string
	for _, s := range w.up.sights() {
		path, _, _ := strings.Cut(s.Target, "?")
		key := s.Method + " " + path
		if !s.Authenticated {
			continue
		}
		if allowed[key] == 0 {
			missing = append(missing, key)
			continue
		}
		allowed[key]--
	}
	return missing
}

// noCanary looks for the secret, in every encoding the traps name, in all that
// Writ wrote: database, WAL, keyring, logs, metrics.
func (w *world) noCanary() {
	w.t.Helper()
	needles := encodings(w.up.secret)
	for name, n := range needles {
		if strings.Contains(w.log.String(), n) {
			w.t.Errorf("the secret (%s) is in the server's log", name)
		}
	}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for name, n := range needles {
			if bytes.Contains(b, []byte(n)) {
				w.t.Errorf("the secret (%s) is in %s", name, filepath.Base(path))
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// encodings are the forms in which a secret could lie somewhere.
func encodings(secret string) map[string]string {
	all := map[string]string{"raw": secret, "hex": hex.EncodeToString([]byte(secret)), "url": url.QueryEscape(secret), "json": strings.Trim(fmt.Sprintf("%q", secret), `"`)}
	for shift := range 3 {
		// The middle of the encoding at each alignment, without what neighbours share.
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret + "xx"))
		all[fmt.Sprintf("base64 at %d", shift)] = text[4 : len(text)-8]
	}
	return all
}
