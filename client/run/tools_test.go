package run

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"crypto/tls"
)

// startRun makes relay and environment against s, for the user environment in.
func startRun(t *testing.T, s *proxyServer, in []string) (*Relay, *Env) {
	t.Helper()
	relay, err := StartRelay(t.Context(), RelayConfig{Server: s.server()})
	if err != nil {
		t.Fatal(err)
	}
	env, err := Environment(EnvironmentConfig{Inherited: in, Proxy: relay.URL(), CA: s.ca.pem(), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Error(err)
		}
		if err := relay.Close(); err != nil {
			t.Error(err)
		}
	})
	return relay, env
}

const nodeFetch = `fetch(process.argv[1]).then(async (r) => { process.stdout.write(await r.text()); if (!r.ok) process.exit(1); },
  (e) => { console.error(e.cause ? e.cause.message : e.message); process.exit(1); })`

const nodeGet = `const u = process.argv[1]; require(u.split(':')[0]).get(u, %s(r) => { r.pipe(process.stdout); if (r.statusCode !== 200) process.exitCode = 1; })
  .on('error', (e) => { console.error(e.message); process.exit(1); })`

// getters are ordinary clients, each told to print what a URL answers.
func getters(t *testing.T) map[string][]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"curl":             {"curl", "-sS", "--fail", "--max-time", "20"},
		"wget":             {"wget", "-q", "-T", "20", "-t", "1", "-O", "-"},
		"python3 urllib":   {"python3", "-c", "import sys,urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1],timeout=20).read().decode())"},
		"node fetch":       {"node", "-e", nodeFetch},
		"node get":         {"node", "-e", fmt.Sprintf(nodeGet, "")},
		"node own agent":   {"node", "-e", fmt.Sprintf(nodeGet, "{agent: new (require(u.split(':')[0]).Agent)({keepAlive: false})}, ")},
		"node raw headers": {"node", "-e", fmt.Sprintf(nodeGet, "{headers: ['Host', new URL(u).host, 'X-A', 'b']}, ")},
		"go":               {self},
	}
}

func program(t *testing.T, args []string) []string {
	t.Helper()
	return append([]string{tool(t, args[0])}, args[1:]...)
}

// R12, T45, T46: ordinary tools go through the relay and trust Writ, with
// nothing but their environment.
func TestToolsReachTheProxy(t *testing.T) {
	for name, args := range getters(t) {
		for _, scheme := range []string{"https", "http"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				s := newProxyServer(t, nil)
				_, env := startRun(t, s, cleanEnviron(t))
				url := scheme + "://api.acme.test/v1/things"
				vars := env.Vars
				if name == "go" {
					vars = append(vars, "RUN_TEST_MODE=get")
				}
				out, errs, code := runProgram(t, ChildConfig{Args: append(program(t, args), url), Env: vars})
				if code != 0 || out != "hello from api.acme.test/v1/things" {
					t.Fatalf("code %d, out %q, err %q", code, out, errs)
				}
				want := "CONNECT api.acme.test:443"
				if scheme == "http" {
					want = "GET " + url
				}
				if !s.saw(want) {
					t.Errorf("the proxy saw %q, want %q", s.requests, want)
				}
			})
		}
	}
}

// T45: a user's own roots and exceptions survive. Whatever his variables
// pointed to is trusted still, and his internal host is reached directly.
func TestTrapT45UserTrustIsKept(t *testing.T) {
	internal := newAuthority(t, "internal")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "internal") }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{*internal.leaf(t, "127.0.0.1")}}
	srv.StartTLS()
	defer srv.Close()
	bundle := filepath.Join(t.TempDir(), "internal.pem")
	if err := os.WriteFile(bundle, internal.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range getters(t) {
		t.Run(name, func(t *testing.T) {
			s := newProxyServer(t, nil)
			user := cleanEnviron(t)
			// The user's settings are loopback-proof only by his own NO_PROXY.
			user = append(user, "NO_PROXY=127.0.0.1", "SSL_CERT_FILE="+bundle, "NODE_EXTRA_CA_CERTS="+bundle, "CURL_CA_BUNDLE="+bundle)
			if name == "wget" {
				rc := filepath.Join(environ(user).get("HOME"), ".wgetrc")
				if err := os.WriteFile(rc, []byte("ca-certificate="+bundle), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, env := startRun(t, s, user)
			vars := env.Vars
			if name == "go" {
				vars = append(vars, "RUN_TEST_MODE=get")
			}
			for url, want := range map[string]string{srv.URL: "internal", "https://api.acme.test/x": "hello from api.acme.test/x"} {
				out, errs, code := runProgram(t, ChildConfig{Args: append(program(t, args), url), Env: vars})
				if code != 0 || out != want {
					t.Errorf("%s: code %d, out %q, err %q", url, code, out, errs)
				}
			}
			if s.saw("CONNECT 127.0.0.1") {
				t.Error("the internal host went through the proxy")
			}
		})
	}
}

// A public root of this machine is trusted still, beside Writ's.
func TestSystemRootsAreKept(t *testing.T) {
	s := newProxyServer(t, nil)
	_, env := startRun(t, s, cleanEnviron(t))
	data, err := os.ReadFile(environ(env.Vars).get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	var all, system trust
	all.addPEM(data)
	if !system.addSystem() {
		t.Skip("this machine has no system roots")
	}
	if got, want := len(all.ders), len(system.ders)+1; got != want {
		t.Errorf("%d certificates in the bundle, want %d", got, want)
	}
}

// T48 is the broker's; here git finds proxy and trust, for clone and push.
func TestGitCloneAndPush(t *testing.T) {
	git := tool(t, "git")
	dir := t.TempDir()
	bare := filepath.Join(dir, "pay.git")
	setup := exec.Command("/bin/sh", "-ec", `
		git init -q --bare -b main "$1"; git -C "$1" config http.receivepack true
		git init -q -b main "$2"; cd "$2"
		git config user.email a@acme.test; git config user.name a
		echo one > f; git add f; git commit -qm one; git push -q "$1" main`, "sh", bare, filepath.Join(dir, "work"))
	setup.Env = cleanEnviron(t)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := newProxyServer(t, gitHandler(t, dir))
	_, env := startRun(t, s, cleanEnviron(t))
	clone := filepath.Join(dir, "clone")
	script := `set -e; "$1" clone -q https://git.acme.test/pay.git "$2"; cd "$2"; test "$(cat f)" = one
		echo two > f; "$1" -c user.email=a@acme.test -c user.name=a commit -qam two; "$1" push -q origin main`
	_, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", script, "sh", git, clone}, Env: env.Vars})
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	if !s.saw("CONNECT git.acme.test:443") {
		t.Errorf("the proxy saw %q", s.requests)
	}
	log, err := exec.Command(git, "-C", bare, "log", "--format=%s", "main").CombinedOutput()
	if err != nil || string(log) != "two\none\n" {
		t.Errorf("log %q, %v", log, err)
	}
}

// What the proxy says in a refusal reaches the program, also through the preload.
func TestNodeShowsTheReasonOfARefusal(t *testing.T) {
	for _, script := range []string{nodeFetch, fmt.Sprintf(nodeGet, "")} {
		s := newProxyServer(t, nil)
		_, env := startRun(t, s, cleanEnviron(t))
		_, errs, code := runProgram(t, ChildConfig{Args: []string{tool(t, "node"), "-e", script, "https://denied.acme.test/"}, Env: env.Vars})
		if code != 1 {
			t.Errorf("code %d", code)
		}
		version, _, _ := runProgram(t, ChildConfig{Args: []string{tool(t, "node"), "-p", "process.versions.node"}, Env: env.Vars})
		if strings.HasPrefix(version, "20.") && !strings.Contains(errs, "no application declares denied.acme.test") {
			t.Errorf("error %q does not carry the reason", errs)
		}
	}
}

// The preload reads NO_PROXY as other tools do.
func TestNodePreloadExceptions(t *testing.T) {
	node := tool(t, "node")
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "direct") }))
	defer direct.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(direct.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ noProxy, url, want string }{
		{"10.0.0.0/8", "http://127.0.0.1:" + port + "/", "direct"}, // ours, always
		{"", "http://localhost:" + port + "/", "direct"},
		{".acme.test", "http://x.other.test/", "hello from x.other.test/"},
		{"acme.test:444", "http://acme.test/", "hello from acme.test/"},
		{"10.1.0.0/16", "http://10.2.0.1/", "hello from 10.2.0.1/"},
	} {
		for _, script := range []string{nodeFetch, fmt.Sprintf(nodeGet, "")} {
			s := newProxyServer(t, nil)
			_, env := startRun(t, s, append(cleanEnviron(t), "NO_PROXY="+tc.noProxy))
			out, errs, code := runProgram(t, ChildConfig{Args: []string{node, "-e", script, tc.url}, Env: env.Vars})
			if code != 0 || out != tc.want {
				t.Errorf("NO_PROXY=%s %s: code %d, out %q, err %q", tc.noProxy, tc.url, code, out, errs)
			}
		}
	}
}

// A program that starts Node with options of its own keeps them.
func TestNodeOptionsAreKept(t *testing.T) {
	node := tool(t, "node")
	s := newProxyServer(t, nil)
	_, env := startRun(t, s, append(cleanEnviron(t), "NODE_OPTIONS=--max-old-space-size=123"))
	relay := environ(env.Vars).get("HTTPS_PROXY")
	// A temporary folder with a blank and quotes in its name.
	odd := filepath.Join(t.TempDir(), `a "b" c`)
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	env2, err := Environment(EnvironmentConfig{Inherited: env.Vars, Proxy: relay, CA: s.ca.pem(), TempDir: odd})
	if err != nil {
		t.Fatal(err)
	}
	defer env2.Close()
	script := `process.stdout.write(String(Math.round(require('v8').getHeapStatistics().heap_size_limit / 1048576) < 400)); ` + nodeFetch
	out, errs, code := runProgram(t, ChildConfig{Args: []string{node, "-e", script, "https://api.acme.test/y"}, Env: env2.Vars})
	if code != 0 || out != "truehello from api.acme.test/y" {
		t.Fatalf("code %d, out %q, err %q", code, out, errs)
	}
}
