package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
)

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// place is a home with a development server's files, and a project.
func place(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	writeFile(t, home+"/.writ/dev.json", `{"addr":"http://localhost:8440","proxy":"127.0.0.1:8441","token_file":"dev.token","ca_fingerprint":"9C","pid":1}`, 0o600)
	writeFile(t, home+"/.writ/dev.token", "dev-token\n", 0o600)
	writeFile(t, home+"/project/sub/x", "", 0o600)
	t.Chdir(home + "/project/sub")
	return home
}

func TestSettingsNearestWins(t *testing.T) {
	home := place(t)
	env := map[string]string{"HOME": home}
	check := func(step, server, from, token, tokenAt string) {
		t.Helper()
		c, _, _ := newTestCLI(t, env)
		c.flags.server = map[bool]string{true: "http://localhost:4"}[step == "flag"]
		s, err := c.settings()
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		got := []string{s.server.Value, s.server.From, string(s.token), s.tokenAt}
		for i := range got {
			got[i] = strings.Replace(got[i], home, "~", 1)
		}
		if diff := cmp.Diff([]string{server, from, token, tokenAt}, got); diff != "" {
			t.Errorf("%s: %s", step, diff)
		}
	}
	check("dev", "http://localhost:8440", "~/.writ/dev.json", "dev-token", "~/.writ/dev.token")
	writeFile(t, home+"/project/.writ.toml", "server = \"http://localhost:2\"\n", 0o644)
	check("project", "http://localhost:2", "~/project/.writ.toml", "", "")
	env["WRIT_ADDR"], env["WRIT_TOKEN"] = "http://localhost:3", "env-token"
	check("env", "http://localhost:3", "WRIT_ADDR", "env-token", "WRIT_TOKEN")
	check("flag", "http://localhost:4", "--server", "env-token", "WRIT_TOKEN")
	delete(env, "WRIT_ADDR")
	writeFile(t, home+"/project/.writ.toml", "server = \"http://localhost:8440/\"\n", 0o644)
	delete(env, "WRIT_TOKEN")
	check("project names the development server", "http://localhost:8440/", "~/project/.writ.toml", "dev-token", "~/.writ/dev.token")
}

// A project file comes with a repository. Whoever wrote it must not get the
// tokens of those who only entered the folder.
func TestATokenIsNotSentWhereOnlyTheProjectSaysSo(t *testing.T) {
	home := place(t)
	writeFile(t, home+"/project/.writ.toml", "server = \"https://collector.example\"\n", 0o644)
	for _, env := range []map[string]string{{"HOME": home, "WRIT_TOKEN": "tok-canary"}, {"HOME": home}} {
		c, _, _ := newTestCLI(t, env)
		s, err := c.settings()
		if env["WRIT_TOKEN"] != "" {
			var e *writ.Error
			if err == nil || !asError(err, &e) || !strings.Contains(e.Fix, "WRIT_ADDR=https://collector.example") {
				t.Errorf("the token would be sent: %v", err)
			}
			continue
		}
		if err != nil || s.token != "" {
			t.Errorf("the development token would be sent to %s", s.server.Value)
		}
	}
	// Said by hand it is sent.
	c, _, _ := newTestCLI(t, map[string]string{"HOME": home, "WRIT_TOKEN": "tok", "WRIT_ADDR": "https://collector.example"})
	if s, err := c.settings(); err != nil || s.token != "tok" {
		t.Errorf("%v", err)
	}
}

func asError(err error, target **writ.Error) bool {
	e, ok := err.(*writ.Error)
	if ok {
		*target = e
	}
	return ok
}

func TestFilesThatOthersCanReadAreRefused(t *testing.T) {
	home := place(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644, 0o620} {
		writeFile(t, home+"/.writ/dev.token", "dev-token", mode)
		c, _, _ := newTestCLI(t, map[string]string{"HOME": home})
		_, err := c.settings()
		var e *writ.Error
		if err == nil || !asError(err, &e) || !strings.HasPrefix(e.Fix, "chmod 600 ") || strings.Contains(fmt.Sprintf("%+v", e), "dev-token") {
			t.Errorf("token of mode %o: %v", mode, err)
		}
	}
	writeFile(t, home+"/.writ/dev.token", "dev-token", 0o600)
	// dev.json says where the token goes: that others read it is no matter,
	// that they write it is.
	writeFile(t, home+"/.writ/dev.json", `{"addr":"http://localhost:8440","token_file":"dev.token"}`, 0o666)
	c, _, _ := newTestCLI(t, map[string]string{"HOME": home})
	if _, err := c.settings(); err == nil {
		t.Error("a dev.json that anybody can write was believed")
	}
	for name, text := range map[string]string{"garbage": "{", "no address": "{}", "long": strings.Repeat(" ", maxSettingsFile+1)} {
		writeFile(t, home+"/.writ/dev.json", text, 0o600)
		c, _, _ := newTestCLI(t, map[string]string{"HOME": home})
		if _, err := c.settings(); writ.KindOf(err) != writ.KindInvalid || err == nil {
			t.Errorf("%s dev.json: %v", name, err)
		}
	}
	dir := t.TempDir()
	if _, err := readToken(dir); err == nil {
		t.Error("a folder was taken as a token file")
	}
	writeFile(t, dir+"/empty", "\n", 0o600)
	if _, err := readToken(dir + "/empty"); err == nil {
		t.Error("an empty token file was taken")
	}
}

func TestTokensAreNotFormatted(t *testing.T) {
	s := settings{token: "canary-token"}
	for _, text := range []string{fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprint(s.token), fmt.Sprintf("%s", s.token)} {
		if strings.Contains(text, "canary-token") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestProjectFile(t *testing.T) {
	p, err := parseProject("x", "# ours\nserver = \"https://w.example\" # here\n\nproject=\"pay\"\nagent = \"claude-pay\"\r\ntask = \"say \\\"hi\\\" \\u00e9\"\nfor = \"2h\"\n")
	want := project{path: "x", server: "https://w.example", name: "pay", agent: "claude-pay", task: `say "hi" é`, length: "2h"}
	if err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for text, line := range map[string]string{
		"\nserer = \"x\"":              "x:2",
		"agent = claude":               "x:1",
		"agent = 'claude'":             "x:1",
		"[table]":                      "x:1",
		"agent":                        "x:1",
		"agent = \"a\" \"b\"":          "x:1",
		"agent = \"a\"\nagent = \"b\"": "x:2",
		"agent = \"\"\"a":              "x:1",
		"agent = \"\\x41\"":            "x:1",
		"task = \"a\\nb\"":             "x:1",
		"task = \"\\u202e\"":           "x:1",
		"a.b = \"x\"":                  "x:1",
		"\x00":                         "x:1",
		"agent = \"" + strings.Repeat("a", 501) + "\"": "x:1",
	} {
		var e *writ.Error
		if _, err := parseProject("x", text); err == nil || !asError(err, &e) || e.Field != line || e.Fix == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		in, api, want string
		secure        bool
	}{
		{"127.0.0.1:8441", "", "127.0.0.1:8441", false},
		{"localhost:8441", "", "localhost:8441", false},
		{"http://localhost:8441", "", "localhost:8441", false},
		{"[::1]:8441", "", "[::1]:8441", false},
		{"proxy.acme.dev:8441", "", "proxy.acme.dev:8441", true},
		{"https://127.0.0.1:8441", "", "127.0.0.1:8441", true},
		{"https://w.acme.dev", "", "w.acme.dev:443", true},
		{"0.0.0.0:8441", "w.acme.dev", "w.acme.dev:8441", true},
		{"[::]:8441", "127.0.0.1", "127.0.0.1:8441", false},
	} {
		if got, secure, err := hostPort(c.in, c.api); err != nil || got != c.want || secure != c.secure {
			t.Errorf("%s: %s %v %v", c.in, got, secure, err)
		}
	}
	if _, _, err := hostPort("", ""); err == nil {
		t.Error("an empty address was taken")
	}
}
