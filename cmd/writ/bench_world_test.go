package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/vault"
)

// benched is a server under test: the product's own binary as a child process,
// on a folder that was filled before.
type benched struct {
	b       *testing.B
	origin  *role
	data    string // folder
	process int
	state   devFile
	admin   *client.Client
	token   string // of the agent's session
	roots   *x509.CertPool

	by   writ.Actor // the first person
	cred writ.ID

	filled time.Duration // to put the credentials in
	loaded time.Duration // from the start to the first answer
}

// benchConfig is that of a server in this process.
func benchConfig(data string) *serverConfig {
	return &serverConfig{
		Data: data, Database: "sqlite", Key: keyConfig{File: data + ".key"}, dev: true, person: "bo@acme.test",
		API: listenConfig{Listen: "127.0.0.1:0"}, Proxy: listenConfig{Listen: "127.0.0.1:0"},
	}
}

// newBenched fills a folder with an agent, its grant and credentials, then
// starts the product on it. What more is to be in the folder, before puts there.
func newBenched(b *testing.B, origin *role, credentials int, before ...func(x *benched, s *server)) *benched {
	b.Helper()
	x := &benched{b: b, origin: origin, data: filepath.Join(b.TempDir(), "dev")}
	s := x.inProcess()
	x.stage(s, credentials)
	for _, f := range before {
		f(x, s)
	}
	if err := s.close(); err != nil {
		b.Fatal(err)
	}
	x.start()
	return x
}

// inProcess is a server in this process, for what no API call can do.
func (x *benched) inProcess() *server {
	x.b.Helper()
	s, err := startServer(x.b.Context(), benchConfig(x.data), slog.New(slog.DiscardHandler))
	if err != nil {
		x.b.Fatal(err)
	}
	if err := s.greet(x.b.Context(), io.Discard); err != nil {
		x.b.Fatal(err)
	}
	return s
}

func ok[T any](b *testing.B) func(v T, err error) T {
	return func(v T, err error) T {
		b.Helper()
		if err != nil {
			b.Fatalf("%v (%s)", err, writ.KindOf(err))
		}
		return v
	}
}

func (x *benched) client(addr, token string) *client.Client {
	x.b.Helper()
	c := ok[*client.Client](x.b)(client.New(client.Config{Address: addr, Token: token}))
	x.b.Cleanup(c.Close)
	return c
}

// stage registers one agent with one grant, and as many credentials as asked.
func (x *benched) stage(s *server, credentials int) {
	b, ctx := x.b, x.b.Context()
	b.Helper()
	token := ok[secretText](b)(readToken(s.tokenFile()))
	c := x.client("http://"+s.apiAt.Addr().String(), string(token))
	ok[*client.Change[client.Identity]](b)(c.AddIdentity(ctx, client.NewIdentity{
		Kind: writ.Agent, Name: "claude-pay", Owner: "bo@acme.test", Purpose: "load", Expires: writ.At(time.Now().Add(24 * time.Hour))}))
	app := ok[*client.Change[client.Application]](b)(c.AddApplication(ctx, client.NewApplication{
		Name: "acme", Env: writ.Dev, Hosts: []string{apiHost, cleartext}, Cleartext: true, Roots: x.origin.Roots, Networks: []string{"127.0.0.0/8"},
		Pinned: map[string][]string{apiHost: {x.origin.TLS}, cleartext: {x.origin.Plain}},
	}))
	cred := ok[*client.Change[client.Credential]](b)(c.AddCredential(ctx, client.NewCredential{
		Name: credential, App: "acme", Secret: benchSecret, Placement: writ.Placement{In: writ.InBearer}, Owner: "bo@acme.test",
		Issuer: "acme.test", Issued: writ.At(time.Now()), Authoriser: "bo@acme.test", Purpose: "load", Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed,
	}))
	ok[*client.Change[client.Grant]](b)(c.AddGrant(ctx, client.NewGrant{Identity: agentName, Credential: credential, Allow: []string{"GET /v1/**"}, Purpose: "load"}))
	who := ok[*client.Whoami](b)(c.Whoami(ctx))
	x.by, x.cred = writ.Actor{Identity: who.Identity.ID, Via: who.Via}, cred.Item.ID
	start := time.Now()
	fillCredentials(b, s, x.by, &app.Item.Application, credentials-1)
	x.filled = time.Since(start)
}

// fillCredentials puts n credentials with a value each straight into the store,
// with many callers, so that each fdatasync carries many of them.
func fillCredentials(b *testing.B, s *server, by writ.Actor, app *writ.Application, n int) {
	b.Helper()
	sealer := vault.New(vault.Config{Keys: s.keys.provider, Keysets: s.store.Keysets(), Versions: s.store})
	const callers = 64
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for k := i; k < n && errs[i] == nil; k += callers {
				cred := writ.Credential{
					ID: writ.NewID(writ.KindCredential), Org: app.Org, Name: fmt.Sprintf("other-%d", k), App: app.ID, Owner: by.Identity, Authoriser: by.Identity,
					Issuer: "acme.test", Issued: writ.At(time.Now()), Purpose: "to be many", Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed,
				}
				v := writ.Version{ID: writ.NewID(writ.KindVersion), Org: app.Org, Credential: cred.ID, Number: 1, Hosts: app.Hosts, Placement: writ.Placement{In: writ.InBearer}}
				sealed, err := sealer.Seal(b.Context(), &v, []byte("secret-number-"+fmt.Sprint(k)))
				if err == nil {
					_, _, err = s.store.AddCredential(b.Context(), by, cred, &v, sealed)
				}
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

// start starts the product on the folder, and a session of the agent.
func (x *benched) start() {
	b := x.b
	b.Helper()
	bin := ok[string](b)(binary())
	_ = os.Remove(x.data + ".json")
	begin := time.Now()
	if profile := os.Getenv(profileTo); profile != "" {
		x.process = startRole(b, "server", dataOf+"="+x.data).pid
	} else {
		x.process = startProduct(b, exec.Command(bin, "server", "--dev", "--data", x.data, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"))
	}
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	x.state = ok[devFile](b)(awaitDevState(ctx, x.data+".json"))
	token := ok[secretText](b)(readToken(x.state.TokenFile))
	x.admin = x.client(x.state.Addr, string(token))
	x.token = x.session()
	x.loaded = time.Since(begin)
	x.roots = x509.NewCertPool()
	x.roots.AppendCertsFromPEM(ok[[]byte](b)(x.admin.CA(b.Context())))
}

// startProduct starts a server and gives its process id.
func startProduct(b *testing.B, cmd *exec.Cmd) int {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// With profileTo naming a file, the server under test is this binary, so that
// its CPU profile can be written; the product has no way to.
const (
	profileTo = "WRIT_BENCH_PROFILE"
	dataOf    = "WRIT_BENCH_DATA"
)

// runProfiled is the server as a role.
func runProfiled(b *testing.B) error {
	ctx := b.Context()
	s, err := startServer(ctx, benchConfig(os.Getenv(dataOf)), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := s.greet(ctx, io.Discard); err != nil {
		return err
	}
	f, err := os.Create(os.Getenv(profileTo))
	if err != nil {
		return err
	}
	b.Cleanup(func() {
		pprof.StopCPUProfile()
		if err := errors.Join(f.Close(), s.close()); err != nil {
			b.Error(err)
		}
	})
	return pprof.StartCPUProfile(f)
}

// session starts a session of the agent and gives its token.
func (x *benched) session() string {
	x.b.Helper()
	return ok[*client.SessionOnce](x.b)(x.admin.StartSession(x.b.Context(), client.NewSession{Identity: agentName, Task: "load", For: "2h"})).Token
}

// plainRequest is a request to a cleartext host through the proxy.
func plainRequest(path, token string) string {
	return "GET http://plain.acme.test" + path + " HTTP/1.1\r\nHost: plain.acme.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\nProxy-Authorization: " + basic(token) + "\r\n\r\n"
}

const secureRequest = "GET /v1/x HTTP/1.1\r\nHost: " + apiHost + "\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"

// plain goes through the proxy to a cleartext host.
func (x *benched) plain(name string) *subject {
	return &subject{name: name, pid: x.process, proxy: x.state.Proxy, request: plainRequest("/v1/x", x.token)}
}

// secure goes through an intercepted tunnel, which is opened once.
func (x *benched) secure(name string) *subject {
	return &subject{name: name, pid: x.process, proxy: x.state.Proxy, request: secureRequest, tunnel: func() (net.Conn, error) { return x.tunnel(x.token) }}
}

// tunnel opens an intercepted tunnel.
func (x *benched) tunnel(token string) (net.Conn, error) {
	nc, err := net.Dial("tcp", x.state.Proxy)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(nc, "CONNECT "+apiHost+":443 HTTP/1.1\r\nHost: "+apiHost+":443\r\nProxy-Authorization: "+basic(token)+"\r\n\r\n"); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: CONNECT %s", errAnswer, resp.Status)
	}
	tc := tls.Client(nc, &tls.Config{ServerName: apiHost, RootCAs: x.roots})
	return tc, tc.Handshake()
}
