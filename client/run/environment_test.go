package run

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
)

func testEnvironment(t *testing.T, in []string, hosts ...string) *Env {
	t.Helper()
	env, err := Environment(EnvironmentConfig{
		Inherited: in, Proxy: "http://127.0.0.1:9", CA: newAuthority(t, "writ").pem(), Hosts: hosts, TempDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { env.Close() })
	return env
}

// Invariant 10, delight 3: nothing worth stealing in the program's
// environment, arguments or files.
func TestInvariant10ProgramHoldsNoToken(t *testing.T) {
	s := newProxyServer(t, nil)
	in := append(cleanEnviron(t), "WRIT_TOKEN="+testToken, "WRIT_ADDR=http://x:y@127.0.0.1:1", "writ_token="+testToken, "WRIT_PASSPHRASE="+testToken)
	_, env := startRun(t, s, in)
	deny := t.TempDir()
	script := `tr '\0' '\n' < /proc/self/environ; tr '\0' ' ' < /proc/$$/cmdline; cat "$1"/*; cat /proc/$PPID/cmdline`
	out, _, _ := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", script, "sh", env.Dir()}, Env: env.Vars, Deny: []string{deny}})
	if !strings.Contains(out, "HTTPS_PROXY=http://127.0.0.1:") || !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Fatalf("the script saw nothing: %.300q", out)
	}
	for _, bad := range []string{testToken, "WRIT_", "writ_token"} {
		if strings.Contains(out, bad) {
			t.Errorf("the program sees %s", bad)
		}
	}
	for _, kv := range env.Vars {
		if name, v, _ := strings.Cut(kv, "="); slices.Contains(proxyVariables, name) && strings.Contains(v, "@") {
			t.Errorf("%s carries a user", name)
		}
	}
}

// Duplicates in any case go, whichever a tool would have read.
func TestEnvironmentStripsDuplicates(t *testing.T) {
	env := testEnvironment(t, []string{"Http_Proxy=a", "HTTP_PROXY=b", "HTTP_PROXY=c", "https_proxy=d", "NPM_CONFIG_CAFILE=e", "No_Proxy=f", "KEEP=1", "garbage"})
	count := map[string]int{}
	for _, kv := range env.Vars {
		name, v, ok := strings.Cut(kv, "=")
		if !ok {
			t.Errorf("%q has no value", kv)
		}
		count[name]++
		if strings.EqualFold(name, "http_proxy") && v != "http://127.0.0.1:9" {
			t.Errorf("%s", kv)
		}
	}
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "npm_config_cafile", "NO_PROXY", "no_proxy", "KEEP"} {
		if count[name] != 1 {
			t.Errorf("%s is there %d times", name, count[name])
		}
	}
	for _, name := range []string{"Http_Proxy", "NPM_CONFIG_CAFILE", "No_Proxy", "garbage"} {
		if count[name] != 0 {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestNoProxyIsMerged(t *testing.T) {
	env := testEnvironment(t, []string{"NO_PROXY=a.test, b.test", "no_proxy=b.test c.test localhost"})
	want := "a.test,b.test,c.test,localhost,127.0.0.1,::1"
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if got := environ(env.Vars).get(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	if len(env.Warnings) != 0 {
		t.Errorf("warnings %q", env.Warnings)
	}
	env = testEnvironment(t, []string{"NO_PROXY=*"})
	if len(env.Warnings) != 1 || !strings.Contains(env.Warnings[0], "NO_PROXY is *") {
		t.Errorf("warnings %q", env.Warnings)
	}
}

func TestPlaceholders(t *testing.T) {
	for _, tc := range []struct {
		name  string
		in    []string
		hosts []string
		want  []string
	}{
		{"nothing granted", nil, nil, nil},
		{"granted", nil, []string{"api.anthropic.com:443", "API.openai.com"}, []string{"ANTHROPIC_API_KEY=writ-placeholder", "OPENAI_API_KEY=writ-placeholder"}},
		{"the user's own key", []string{"OPENAI_API_KEY=sk-real"}, []string{"api.openai.com"}, nil},
		{"signed in otherwise", []string{"CLAUDE_CODE_OAUTH_TOKEN=x"}, []string{"api.anthropic.com"}, nil},
		{"aws", nil, []string{"s3.eu-west-1.amazonaws.com"}, []string{"AWS_ACCESS_KEY_ID=writ-placeholder", "AWS_SECRET_ACCESS_KEY=writ-placeholder"}},
		{"half a pair", []string{"AWS_ACCESS_KEY_ID=x"}, []string{"s3.amazonaws.com"}, nil},
		{"a look-alike", nil, []string{"evil-amazonaws.com", "api.openai.com.evil.test"}, nil},
	} {
		if d := cmp.Diff(tc.want, placeholders(tc.in, tc.hosts)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

func TestSecretsArePassedThroughAndNamed(t *testing.T) {
	env := testEnvironment(t, []string{
		"GITHUB_TOKEN=ghp_canary", "AWS_SECRET_ACCESS_KEY=canary", "DB_PASSWORD=canary", "password=canary", "EMPTY_TOKEN=",
		"PATH=/bin", "MONKEY=1", "TOKENIZERS_PARALLELISM=1", "WRIT_TOKEN=canary",
	}, "api.openai.com")
	if d := cmp.Diff([]string{"AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "GITHUB_TOKEN", "password"}, env.Secrets); d != "" {
		t.Error(d)
	}
	if environ(env.Vars).get("GITHUB_TOKEN") != "ghp_canary" {
		t.Error("the user's own variable was taken away")
	}
}

// A bundle may hold more than certificates; only those are copied.
func TestTrustTakesCertificatesOnly(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("canary-canary-canary")})
	dir := t.TempDir()
	for name, data := range map[string][]byte{"a.pem": append(key, a.pem()...), "b.crt": append([]byte("# b\n"), b.pem()...), "readme": []byte("no certificate")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnvironment(t, []string{"REQUESTS_CA_BUNDLE=" + dir, "NODE_EXTRA_CA_CERTS=" + filepath.Join(dir, "a.pem"), "PIP_CERT=/nowhere.pem"})
	all, err := os.ReadFile(environ(env.Vars).get("CURL_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range []*authority{a, b} {
		if bytes.Count(all, bytes.TrimSpace(ca.pem())) != 1 {
			t.Error("a certificate of the folder is not there once")
		}
	}
	extra, err := os.ReadFile(environ(env.Vars).get("NODE_EXTRA_CA_CERTS"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(all, []byte("PRIVATE KEY")) || bytes.Contains(extra, []byte("PRIVATE KEY")) {
		t.Error("a private key was copied")
	}
	if n := strings.Count(string(extra), "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d certificates in the additive file, want the user's and Writ's", n)
	}
	if len(env.Warnings) != 1 || !strings.Contains(env.Warnings[0], "/nowhere.pem") {
		t.Errorf("warnings %q", env.Warnings)
	}
}

// Settings files that a variable of ours would overrule are merged as well.
func TestTrustFromSettingsFiles(t *testing.T) {
	home := t.TempDir()
	for file, text := range map[string]string{
		".npmrc":     "registry=x\ncafile=${HOME}/npm.pem\n",
		".gitconfig": "[http]\n\tsslCAInfo = ~/git.pem\n",
		".wgetrc":    "ca_certificate = " + home + "/wget.pem\n",
	} {
		if err := os.WriteFile(filepath.Join(home, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := userTrust(environ{"HOME=" + home})
	for _, want := range []string{"npm.pem", "git.pem", "wget.pem"} {
		if !slices.Contains(got, filepath.Join(home, want)) {
			t.Errorf("%s is missing in %q", want, got)
		}
	}
}

func TestWgetrcKeepsTheUsers(t *testing.T) {
	rc := filepath.Join(t.TempDir(), "rc")
	if err := os.WriteFile(rc, []byte("tries = 7\nuse_proxy = off"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := string(wgetrc(environ{"WGETRC=" + rc}, "http://127.0.0.1:9", "/b"))
	want := "tries = 7\nuse_proxy = off\nuse_proxy = on\nhttp_proxy = http://127.0.0.1:9\nhttps_proxy = http://127.0.0.1:9\nca_certificate = /b\n"
	if got != want {
		t.Errorf("%q", got)
	}
}

func TestEnvironmentRefusesBadInput(t *testing.T) {
	ca := newAuthority(t, "writ").pem()
	for name, cfg := range map[string]EnvironmentConfig{
		"a token in the URL": {Proxy: "http://t@127.0.0.1:9", CA: ca},
		"no proxy":           {CA: ca},
		"no certificate":     {Proxy: "http://127.0.0.1:9", CA: []byte("x")},
	} {
		cfg.TempDir = t.TempDir()
		if _, err := Environment(cfg); writ.KindOf(err) != writ.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(cfg.TempDir); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	_, err := Environment(EnvironmentConfig{Proxy: "http://127.0.0.1:9", CA: ca, TempDir: "/nonexistent"})
	if writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("no folder: %v", err)
	}
}

// The files are private, complete and gone afterwards; a killed run's are
// swept, a living one's are not.
func TestRunDir(t *testing.T) {
	parent := t.TempDir()
	d, err := newRunDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	file, err := d.write("x", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err = os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := d.write("x", []byte("2")); err == nil {
		t.Error("an existing file was overwritten")
	}
	dead := filepath.Join(parent, runDirPrefix+"dead")
	other := filepath.Join(parent, runDirPrefix+"other")
	for _, p := range []string{dead, other} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Its holder is gone, as after a kill: a lock file that nobody locks.
	if err := os.WriteFile(filepath.Join(dead, runDirLock), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := newRunDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{d.path: true, e.path: true, dead: false, other: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want there: %v", path, err, want)
		}
	}
	for _, d := range []*runDir{d, e} {
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.path); err == nil {
			t.Error("the folder is still there")
		}
	}
}

func TestNodePreloadParses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.cjs")
	if err := os.WriteFile(file, nodeProxy, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool(t, "node"), "--check", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
