package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/cgi" //nolint:gosec // the test's own git server
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// tool finds a program, or skips with one line: a reader's machine may lack
// it, continuous integration may not.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("not run: %s is not installed", name)
	}
	return path
}

// run runs a command below `writ run` as the agent, in a process of its own.
func (o *outside) run(dir string, argv ...string) (string, int) {
	o.t.Helper()
	args := append([]string{"run", "--as", agentName, "--task", "tests", "--yes", "--"}, argv...)
	cmd := exec.CommandContext(o.t.Context(), o.bin, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WRIT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "WRIT_ADDR="+o.world.remote.Addr, "WRIT_TOKEN="+o.world.token, "HOME="+o.world.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@acme.test", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@acme.test")
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestRealClients runs ordinary tools through `writ run`: each reaches the
// upstream authenticated, and none of them sees the secret (R28, R51, T45 to T48).
func TestRealClients(t *testing.T) {
	o := newOutside(t)
	w := o.world
	url := base + "/v1/x"
	for name, argv := range map[string][]string{
		"curl":           {"curl", "-sS", url},
		"wget":           {"wget", "-qO-", url},
		"python urllib":  {"python3", "-c", "import urllib.request as u; print(u.urlopen('" + url + "').read().decode())"},
		"node https":     {"node", "-e", "require('https').get('" + url + "', r => r.pipe(process.stdout))"},
		"node fetch":     {"node", "-e", "fetch('" + url + "').then(r => r.text()).then(console.log)"},
		"Go":             {o.bin, "demo-agent", "get", url},
		"curl cleartext": {"curl", "-sS", "http://plain.acme.test/v1/x"},
	} {
		t.Run(name, func(t *testing.T) {
			argv[0] = tool(t, argv[0])
			out, code := o.run(w.dir, argv...)
			if code != 0 || !strings.Contains(out, `"authenticated":true`) {
				t.Fatalf("exit %d: %s", code, out)
			}
			if strings.Contains(out, w.up.secret) {
				t.Error("the program saw the secret")
			}
		})
	}
	t.Run("nothing worth stealing in the environment", func(t *testing.T) {
		out, code := o.run(w.dir, tool(t, "env"))
		for _, token := range []string{w.up.secret, w.token, "writ_ses_", "writ_key_"} {
			if code != 0 || strings.Contains(out, token) {
				t.Errorf("exit %d, and the environment holds a token", code)
			}
		}
	})
	t.Run("exit code", func(t *testing.T) {
		if _, code := o.run(w.dir, tool(t, "sh"), "-c", "exit 42"); code != 42 {
			t.Errorf("the child's 42 came out as %d", code)
		}
		if _, code := o.run(w.dir, "no-such-program"); code != 127 {
			t.Errorf("a program that is missing gave %d", code)
		}
	})
	w.oracle()
}

// TestGitThroughWrit clones and pushes over HTTPS with a basic credential that
// git never asks for (T48).
func TestGitThroughWrit(t *testing.T) {
	git := tool(t, "git")
	exe, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(exe)), "git-http-backend")
	tool(t, backend)
	o := newOutside(t)
	w := o.world
	repos := t.TempDir()
	for _, argv := range [][]string{{"init", "--bare", "-b", "main", "pay.git"}, {"-C", "pay.git", "config", "http.receivepack", "true"}} {
		cmd := exec.Command(git, argv...)
		cmd.Dir = repos
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w.up.answer(func(rw http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || user != "x-access-token" || pass != "git-"+w.up.secret {
			rw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		// CGI needs a length; git sends large packs in chunks.
		pack, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(pack)), int64(len(pack)), nil
		h := cgi.Handler{Path: backend, Root: "/git", Env: []string{"GIT_PROJECT_ROOT=" + repos, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x"}}
		h.ServeHTTP(rw, r)
	})
	must[*client.Change[client.Credential]](t)(w.admin.AddCredential(t.Context(), client.NewCredential{
		Name: "git-key", App: "acme", Secret: "git-" + w.up.secret, Placement: writ.Placement{In: writ.InBasic, Name: "x-access-token"}, Owner: "ana@acme.test",
		Issuer: "acme", Authoriser: "bo@acme.test", Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
	}))
	must[*client.Change[client.Grant]](t)(w.admin.AddGrant(t.Context(), client.NewGrant{
		Identity: agentName, Credential: "git-key", Allow: []string{"GET /git/pay.git/info/refs", "POST /git/pay.git/git-upload-pack", "POST /git/pay.git/git-receive-pack"},
	}))
	work := t.TempDir()
	remote := base + "/git/pay.git"
	script := `set -e
git clone -q ` + remote + ` a && cd a
head -c 3000000 /dev/urandom > big && git add big && git commit -qm one && git push -q origin HEAD:main
cd .. && git clone -q ` + remote + ` b && cmp a/big b/big && echo same`
	out, code := o.run(work, tool(t, "sh"), "-c", script)
	if code != 0 || !strings.Contains(out, "same") {
		t.Fatalf("exit %d: %s", code, out)
	}
	w.noCanary()
}
