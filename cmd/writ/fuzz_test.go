package main

import (
	"os/exec"
	"strings"
	"testing"

	"writ.dev/writ"
)

// FuzzReferences: whatever stands where a name, id, time or address is meant,
// nothing panics, what is taken can be shown as it is, and what is quoted for a
// shell is one word of it again.
func FuzzReferences(f *testing.F) {
	for _, s := range []string{"agent:claude-pay", "ana@acme.dev", "grt_7f2", "all", "90d", "1h30m", "2027-01-31", "mon-fri 08:00-18:00", "fri-mon 22:00-06:00", "http://localhost:8440", "[::1]:8441", "0.0.0.0:1", "agent = \"x\"\n", "server=\"\\u00e9\" # x", "it's", "\x1b[2J", "\u202e", "a\x00b"} {
		f.Add(s)
	}
	c := newCLI()
	f.Fuzz(func(t *testing.T, s string) {
		if err := checkRef("name", s); err == nil && writ.Printable(s, 1<<20) != s {
			t.Errorf("%q was taken and cannot be shown", s)
		}
		if kind, name, err := parseLabel(s); err == nil && (kind == "" || name == "" && strings.Contains(s, "@")) {
			t.Errorf("%q gave %q %q", s, kind, name)
		}
		if d, err := parseSpan("--for", s); err == nil && d <= 0 {
			t.Errorf("%q lasts %v", s, d)
		}
		_, _ = c.parseUntil("--expires", s)
		if w, err := parseWindow(s); err == nil {
			g := writ.Grant{Rules: []writ.Rule{{Methods: []string{"GET"}, Path: "/"}}, Conditions: writ.Conditions{Windows: []writ.Window{w}}}
			if err := g.Validate(); err != nil {
				t.Errorf("%q gave the window %+v: %v", s, w, err)
			}
		}
		_, _, _ = hostPort(s, "h")
		if p, err := parseProject("x", s); err == nil && writ.Printable(p.agent+p.task+p.server, 1<<20) != p.agent+p.task+p.server {
			t.Errorf("%q gave %+v", s, p)
		}
		if b, err := encode(s, false); err != nil || strings.ContainsFunc(strings.TrimSuffix(string(b), "\n"), func(r rune) bool { return r != '\ufffd' && writ.Printable(string(r), 8) != string(r) }) {
			t.Errorf("%q was encoded as %q, %v", s, b, err)
		}
	})
}

// What is quoted for people to paste is one word of a shell.
func TestShellQuote(t *testing.T) {
	for _, s := range []string{"", "plain", "two words", "it's", `$(touch x)`, "`id`", "a;b", "*", "~", "-x", "#", "a\\b", `"`} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q was quoted as %s and is %q, %v", s, shellQuote(s), out, err)
		}
	}
}
