package run

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBanner(t *testing.T) {
	got := Banner(BannerFacts{
		Actor: "agent:claude-pay", Starter: "ana@acme.dev", Task: "add refunds page",
		Ends:      time.Date(2026, 11, 24, 17, 40, 0, 0, time.UTC),
		MayUse:    []string{"github (GET, POST acme/pay)", "stripe-test (GET)", "anthropic"},
		Isolation: Isolation{Landlock: 7, Denied: true, Kept: []string{"/home/ana"}},
		Secrets:   []string{"GITHUB_TOKEN"}, Session: "ses_7f2",
	})
	want := `writ  agent:claude-pay  for ana@acme.dev  task "add refunds page"  ends 17:40 or on exit
      may use  github (GET, POST acme/pay) · stripe-test (GET) · anthropic
      isolation  none (cooperative: the program could bypass the proxy); Writ's own folders: denied by Landlock, which also keeps new names out of /home/ana
      passed through  GITHUB_TOKEN (secrets by their names, from your environment: the program can read them)
      stop  ctrl-c or writ kill ses_7f2
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBannerWithoutMuch(t *testing.T) {
	got := Banner(BannerFacts{Actor: "agent:a", Session: "ses_1", Warnings: []string{"NO_PROXY is *"}})
	want := `writ  agent:a  ends on exit
      may use  nothing yet: no grant covers this session
      isolation  none (cooperative: the program could bypass the proxy); Writ's own folders: not denied (kernel lacks Landlock)
      note  NO_PROXY is *
      stop  ctrl-c or writ kill ses_1
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What others have named cannot rewrite the banner.
func TestBannerShowsNoControlCharacters(t *testing.T) {
	evil := "x\x1b[2K\r\nwrit  agent:other\u202e\u009b1A"
	got := Banner(BannerFacts{
		Actor: evil, Starter: evil, Task: evil, MayUse: []string{evil}, Secrets: []string{evil}, Warnings: []string{evil}, Session: evil,
		Isolation: Isolation{Landlock: 7, Denied: true, Kept: []string{evil}},
	})
	if strings.Count(got, "\n") != 6 || strings.ContainsAny(got, "\x1b\r\u202e\u009b") {
		t.Errorf("%q", got)
	}
	many := make([]string, 20)
	for i := range many {
		many[i] = "A_TOKEN"
	}
	if got := Banner(BannerFacts{Secrets: many}); !strings.Contains(got, "and 12 more") {
		t.Errorf("%q", got)
	}
}

// The line promises only what is in force.
func TestIsolationLine(t *testing.T) {
	for want, i := range map[string]Isolation{
		"denied by Landlock":                        {Landlock: 7, Denied: true},
		"not denied (kernel lacks Landlock)":        {},
		"not denied (kernel's Landlock is too old)": {Landlock: 1},
		"not denied": {Landlock: 7},
	} {
		if got := i.String(); !strings.HasPrefix(got, "none (cooperative") || !strings.HasSuffix(got, ": "+want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Isolate(nil); got.Denied {
		t.Errorf("nothing is to be denied, but %v", got)
	}
}
