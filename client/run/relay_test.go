package run

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
)

// A process that the run has not started is refused, and told so.
func TestRelayRefusesForeignProcesses(t *testing.T) {
	curl := tool(t, "curl")
	s := newProxyServer(t, nil)
	// The run's root is another process: curl is its sibling, not below it.
	root := exec.Command("cat")
	hold, err := root.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { hold.Close(); _ = root.Wait() }()
	relay, err := StartRelay(t.Context(), RelayConfig{Server: s.server(), Root: root.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	out, err := exec.Command(curl, "-sS", "-w", "\n%{http_code} %{content_type}", "--proxy", relay.URL(), "http://api.acme.test/").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(out); !strings.Contains(got, "was not started by this run") || !strings.HasSuffix(got, "\n403 application/problem+json") {
		t.Errorf("answer %q", got)
	}
	// The process of the relay itself is not below itself either.
	if status, _ := rawGet(t, relay, "GET http://api.acme.test/ HTTP/1.1\r\nHost: api.acme.test\r\n\r\n"); status != http.StatusForbidden {
		t.Errorf("status %d, want 403", status)
	}
	if len(s.seen) != 0 {
		t.Errorf("the server saw %d connections", len(s.seen))
	}
}

// rawGet speaks to the relay from this process.
func rawGet(t *testing.T, relay *Relay, request string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(relay.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Orphans of the program stay below the run: a daemon is served, too.
func TestRelayServesDaemons(t *testing.T) {
	curl, setsid := tool(t, "curl"), tool(t, "setsid")
	s := newProxyServer(t, nil)
	_, env := startRun(t, s, cleanEnviron(t))
	fifo := filepath.Join(t.TempDir(), "answer")
	// setsid forks, its parent exits, the grandchild is nobody's child but ours.
	script := `mkfifo "$3"; (("$1" "$2" -sS https://api.acme.test/daemon > "$3" 2>&1 &) &); cat "$3"`
	out, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", script, "sh", setsid, curl, fifo}, Env: env.Vars})
	if code != 0 || out != "hello from api.acme.test/daemon" {
		t.Errorf("code %d, out %q, err %q", code, out, errs)
	}
}

// R8: the runtime context names the process and its repository, and leaks no
// argument and no password of a remote.
func TestRelaySendsRuntimeContext(t *testing.T) {
	curl, git := tool(t, "curl"), tool(t, "git")
	work := t.TempDir()
	setup := exec.Command("/bin/sh", "-ec", `cd "$1"; git init -q -b main .; git config user.email a@acme.test; git config user.name a
		git remote add origin 'https://ana:hunter2@git.acme.test/acme/pay.git?token=abc'
		echo one > f; git add f; git commit -qm one; mkdir sub`, "sh", work)
	setup.Env = cleanEnviron(t)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	head, err := exec.Command(git, "-C", work, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(curl)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	for _, dirty := range []bool{false, true} {
		if dirty {
			if err := os.WriteFile(filepath.Join(work, "f"), []byte("changed"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := newProxyServer(t, nil)
		_, env := startRun(t, s, cleanEnviron(t))
		sub := filepath.Join(work, "sub")
		_, errs, code := runProgram(t, ChildConfig{
			Args: []string{curl, "-sS", "-H", "X-Key: hunter2", "https://api.acme.test/"}, Env: env.Vars, Dir: sub,
		})
		if code != 0 {
			t.Fatal(errs)
		}
		got := s.seen[0]
		if got.PID == 0 || got.Exe != real || got.ExeSHA256 != hex.EncodeToString(sum[:]) || got.Argv0 != "curl" || got.Cwd != sub {
			t.Errorf("process: %+v", got)
		}
		if got.GitRemote != "https://git.acme.test/acme/pay.git" || got.GitCommit != strings.TrimSpace(string(head)) {
			t.Errorf("repository: %+v", got)
		}
		if got.GitDirty == nil || *got.GitDirty != dirty {
			t.Errorf("dirty %v, want %v", got.GitDirty, dirty)
		}
		header, err := got.Header()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%+v", got)+header, "hunter2") {
			t.Errorf("a secret went along: %+v", got)
		}
	}
}

// The repository belongs to the program: asking about it must not run what it
// names outside the program's own bounds, nor follow it out of the repository.
func TestGitFactsDoNotTrustTheRepository(t *testing.T) {
	tool(t, "git")
	work := t.TempDir()
	marker := filepath.Join(t.TempDir(), "ran")
	setup := exec.Command("/bin/sh", "-ec", `cd "$1"; git init -q -b main .; git config user.email a@acme.test; git config user.name a
		echo one > f; git add f; git commit -qm one; git config core.fsmonitor "touch $2"; rm .git/HEAD; ln -s /etc/passwd .git/HEAD`, "sh", work, marker)
	setup.Env = cleanEnviron(t)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g := newFacts(nil).repository(t.Context(), work)
	if g.commit != "" {
		t.Errorf("commit %q read through a link", g.commit)
	}
	if err := os.Remove(filepath.Join(work, ".git/HEAD")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g = newFacts(nil).repository(t.Context(), work)
	if len(g.commit) != 40 || g.dirty == nil || *g.dirty {
		t.Errorf("facts %+v", g)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("git ran the repository's fsmonitor")
	}
}

func TestGitFactsOfLinkedWorktreeAndPackedRefs(t *testing.T) {
	git := tool(t, "git")
	dir := t.TempDir()
	setup := exec.Command("/bin/sh", "-ec", `cd "$1"; git init -q -b main a; cd a; git config user.email a@acme.test; git config user.name a
		git remote add origin git@git.acme.test:acme/pay.git
		echo one > f; git add f; git commit -qm one; git worktree add -q ../b; git pack-refs --all`, "sh", dir)
	setup.Env = cleanEnviron(t)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	head, err := exec.Command(git, "-C", filepath.Join(dir, "a"), "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range []string{"a", "b"} {
		g := newFacts(nil).repository(t.Context(), filepath.Join(dir, tree))
		if g.commit != strings.TrimSpace(string(head)) || g.remote != "git.acme.test:acme/pay.git" {
			t.Errorf("%s: %+v", tree, g)
		}
	}
}

func TestCleanRemote(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h/x?k=1#f":         "https://h/x",
		"https://tok@h:8443/a@b":        "https://h:8443/a@b",
		"ssh://git@h/x":                 "ssh://h/x",
		"git@h:acme/x.git":              "h:acme/x.git",
		"/srv/git/x@y":                  "/srv/git/x@y",
		"ext::sh -c 'curl -H token' %S": "",
	} {
		if got := cleanRemote(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// An answer that is not 101 reaches the client as what it is.
func TestRelayPassesRefusalsOn(t *testing.T) {
	curl := tool(t, "curl")
	const body = `{"type":"urn:writ:problem:session_ended","title":"Session ended","status":403}`
	s := newProxyServer(t, nil)
	s.refuse = func(c net.Conn) bool {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(c, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nWrit-Decision: dec_1\r\nKeep-Alive: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return true
	}
	_, env := startRun(t, s, cleanEnviron(t))
	out, errs, code := runProgram(t, ChildConfig{Args: []string{curl, "-sS", "-i", "http://api.acme.test/"}, Env: env.Vars})
	if code != 0 || !strings.HasPrefix(out, "HTTP/1.1 403 ") || !strings.Contains(out, "Writ-Decision: dec_1\r\n") || strings.Contains(out, "Keep-Alive") || !strings.HasSuffix(out, body) {
		t.Errorf("code %d, out %q, err %q", code, out, errs)
	}
	// A client that sends much before it reads gets its answer all the same.
	_, errs, code = runProgram(t, ChildConfig{
		Args: []string{"/bin/sh", "-c", `head -c 200000 /dev/zero | "$1" -sS --fail-with-body -H Expect: --data-binary @- http://api.acme.test/ | grep -q 'Session ended'`, "sh", curl},
		Env:  env.Vars,
	})
	if code != 0 {
		t.Errorf("upload: code %d, err %q", code, errs)
	}
}

func TestRelayWithoutServer(t *testing.T) {
	curl := tool(t, "curl")
	s := newProxyServer(t, nil)
	_, env := startRun(t, s, cleanEnviron(t))
	s.close()
	out, _, code := runProgram(t, ChildConfig{Args: []string{curl, "-sS", "-i", "http://api.acme.test/"}, Env: env.Vars})
	if code != 0 || !strings.HasPrefix(out, "HTTP/1.1 503 ") || !strings.Contains(out, "the Writ server cannot be reached") {
		t.Errorf("code %d, out %q", code, out)
	}
	if strings.Contains(out, testToken) || strings.Contains(out, "connection refused") {
		t.Errorf("the answer shows too much: %q", out)
	}
}

// A token crosses the wire in the clear on this machine only.
func TestRelayNeedsTLSAwayFromLoopback(t *testing.T) {
	token := func(context.Context) (string, error) { return testToken, nil }
	for addr, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "10.0.0.1:1": false, "writ.acme.test:8441": false, "127.0.0.1": false} {
		r, err := StartRelay(t.Context(), RelayConfig{Server: Server{Addr: addr, Token: token}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
		if r != nil {
			r.Close()
		} else if writ.KindOf(err) != writ.KindInvalid {
			t.Errorf("%s: kind %s", addr, writ.KindOf(err))
		}
	}
}

// By TLS the server proves itself before it gets the token, and speaks HTTP/1.1
// even if it would rather not.
func TestRelayOverTLS(t *testing.T) {
	curl := tool(t, "curl")
	ca := newAuthority(t, "site")
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			s := newProxyServer(t, nil)
			s.tls = &tls.Config{Certificates: []tls.Certificate{*ca.leaf(t, "127.0.0.1")}, NextProtos: []string{"h2", "http/1.1"}}
			server := s.server()
			server.TLS = &tls.Config{RootCAs: x509.NewCertPool(), NextProtos: []string{"h2"}}
			if known {
				server.TLS.RootCAs.AppendCertsFromPEM(ca.pem())
			}
			relay, err := StartRelay(t.Context(), RelayConfig{Server: server})
			if err != nil {
				t.Fatal(err)
			}
			defer relay.Close()
			env, err := Environment(EnvironmentConfig{Inherited: cleanEnviron(t), Proxy: relay.URL(), CA: s.ca.pem(), TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer env.Close()
			out, errs, code := runProgram(t, ChildConfig{Args: []string{curl, "-sS", "-w", " %{http_code}", "http://api.acme.test/x"}, Env: env.Vars})
			want := "hello from api.acme.test/x 200"
			if !known {
				want = " 503"
			}
			if code != 0 || !strings.HasSuffix(out, want) {
				t.Errorf("code %d, out %q, err %q", code, out, errs)
			}
			if (len(s.seen) == 1) != known {
				t.Errorf("the server saw %d upgrades", len(s.seen))
			}
		})
	}
}

// T14: nothing that goes into the upgrade can become a second request.
func TestUpgradeRequestIsOneRequest(t *testing.T) {
	for _, token := range []string{"a\r\nX: y", "a\nX: y", "a\rb", "a\x00b"} {
		_, err := upgradeRequest("/", "writ", RelayProtocol, token, nil)
		if err == nil {
			t.Errorf("%q was accepted", token)
		} else if strings.Contains(err.Error(), "X: y") {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
	raw, err := upgradeRequest("/", "writ", RelayProtocol, testToken, http.Header{RuntimeHeader: {"e30"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "GET / HTTP/1.1\r\nHost: writ\r\nConnection: Upgrade\r\nUpgrade: writ-relay/1\r\nAuthorization: Bearer " + testToken + "\r\nWrit-Context: e30\r\n\r\n"
	if string(raw) != want {
		t.Errorf("request %q, want %q", raw, want)
	}
}

// splicePair joins a client and a server through splice and returns the far ends.
func splicePair(t *testing.T) (client, server *net.TCPConn, done chan struct{}) {
	t.Helper()
	client, nearClient := tcpPair(t)
	server, nearServer := tcpPair(t)
	for _, c := range []net.Conn{client, server} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // a byte that does not come fails the test
			t.Fatal(err)
		}
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		defer nearClient.Close()
		defer nearServer.Close()
		splice(nearClient, nearServer, nearServer)
	}()
	return client, server, done
}

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

// A client that has closed its half still gets the answer.
func TestSpliceHalfClose(t *testing.T) {
	client, server, done := splicePair(t)
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); err != nil || string(got) != "question" {
		t.Fatalf("server read %q, %v", got, err)
	}
	if _, err := server.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Fatalf("client read %q, %v", got, err)
	}
	<-done
}

// A reset on either side ends both: the server's cut reaches the client at once.
func TestSpliceReset(t *testing.T) {
	for _, cut := range []string{"server", "client"} {
		client, server, done := splicePair(t)
		one, other := client, server
		if cut == "server" {
			one, other = server, client
		}
		if err := one.SetLinger(0); err != nil { // close sends a reset
			t.Fatal(err)
		}
		one.Close()
		<-done
		if err := other.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s reset: the other end still stands (%v)", cut, err)
		}
	}
}

// Ending the context cuts what is open and leaves nothing behind.
func TestRelayCloseCutsStreams(t *testing.T) {
	curl := tool(t, "curl")
	streaming := make(chan struct{})
	s := newProxyServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first")
		w.(http.Flusher).Flush()
		close(streaming)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	relay, err := StartRelay(ctx, RelayConfig{Server: s.server()})
	if err != nil {
		t.Fatal(err)
	}
	env, err := Environment(EnvironmentConfig{Inherited: cleanEnviron(t), Proxy: relay.URL(), CA: s.ca.pem(), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	c, err := StartChild(ChildConfig{Args: []string{curl, "-sSN", "https://api.acme.test/stream"}, Env: env.Vars})
	if err != nil {
		t.Fatal(err)
	}
	<-streaming
	cancel()
	if code := c.Wait(); code == 0 {
		t.Error("curl ended as if the stream had been complete")
	}
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(relay.URL(), "http://")); err == nil {
		t.Error("the relay still listens")
	}
}

func TestParseRuntime(t *testing.T) {
	yes := true
	full := Runtime{PID: 4411, Exe: "/usr/bin/curl", Cwd: clip("/tmp/\x1b[31m\xff"), Argv0: "curl", GitDirty: &yes, TTY: "pts/3"}
	header, err := full.Header()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRuntime(header)
	if err != nil || got.Cwd != "/tmp/?[31m?" || got.PID != 4411 || !*got.GitDirty {
		t.Errorf("%+v, %v", got, err)
	}
	long, err := Runtime{Cwd: strings.Repeat("x", maxRuntimeField+1)}.Header()
	if err != nil {
		t.Fatal(err)
	}
	escape, err := Runtime{Cwd: "\x1b[2J"}.Header()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{
		"not base64": "%%", "empty": "", "not JSON": "eA", "unknown member": "eyJhIjoxfQ", "two values": "e317fQ",
		"too long a member": long, "control characters": escape, "huge": strings.Repeat("A", maxRuntimeHeader+1),
		"negative pid": "eyJwaWQiOi0xfQ",
	} {
		if _, err := ParseRuntime(v); writ.KindOf(err) != writ.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
