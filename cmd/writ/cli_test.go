package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/internal/problem"
)

// noon is the time in tests of the command line alone.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// newTestCLI is a command line whose output is kept, in an environment of its
// own, with no terminal.
func newTestCLI(t *testing.T, env map[string]string) (c *cli, stdout, stderr *bytes.Buffer) {
	t.Helper()
	empty, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { empty.Close() })
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &cli{
		stdin: empty, stdout: stdout, stderr: stderr, now: func() time.Time { return noon },
		getenv: func(name string) string { return env[name] },
	}, stdout, stderr
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

// path is a command's line without "writ".
func path(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

func TestEveryCommandHasHelpAnExampleAndAnAnswerToJSON(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	walk(c.tree(), func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the line of help is missing or ends with a stop: %q", name, cmd.Short)
		}
		if !strings.Contains(cmd.Example, "writ ") {
			t.Errorf("%s: no example", name)
		}
		if cmd.RunE == nil {
			t.Errorf("%s: cannot be run", name)
		}
		s := c.specs[cmd]
		if cmd.HasSubCommands() {
			if s != nil {
				t.Errorf("%s: holds commands and does something itself", name)
			}
			return
		}
		if s == nil {
			t.Errorf("%s: was not made by command()", name)
			return
		}
		if (s.out == nil) == (s.noJSON == "") {
			t.Errorf("%s: must say either what --json prints or why it prints nothing", name)
		}
		if s.names.min > 0 && s.names.what == "" && !cmd.Hidden {
			t.Errorf("%s: does not say what its argument is", name)
		}
	})
}

// Every word after a flag that takes a value, and every flag, must be one that
// the command has: an example that does not parse is worse than none.
func TestExamplesParse(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	root := c.tree()
	try := func(t *testing.T, where, line string) {
		t.Helper()
		_, line, ok := strings.Cut(line, "writ ")
		if !ok {
			t.Errorf("%s: no writ in %q", where, line)
			return
		}
		line, _, _ = strings.Cut(line, " > ")
		line, _, _ = strings.Cut(line, " < ")
		words := shellWords(strings.TrimSuffix(line, ")"))
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root {
			t.Errorf("%s: no such command: %q: %v", where, line, err)
			return
		}
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.SetOutput(io.Discard)
		fs.SetInterspersed(!strings.HasPrefix(cmd.CommandPath(), "writ run"))
		fs.AddFlagSet(cmd.LocalNonPersistentFlags())
		fs.AddFlagSet(root.PersistentFlags())
		if err := fs.Parse(rest); err != nil {
			t.Errorf("%s: %q: %v", where, line, err)
			return
		}
		if s := c.specs[cmd]; s != nil {
			if err := s.names.check(cmd, fs.Args()); err != nil {
				t.Errorf("%s: %q: %v", where, line, err)
			}
		}
	}
	walk(root, func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			try(t, cmd.CommandPath(), strings.TrimSpace(line))
		}
	})
	// The reasons' pages tell people to run these.
	for _, e := range writ.Explanations() {
		try(t, "reason "+string(e.Reason), e.Command)
	}
}

// shellWords splits as a POSIX shell does, as far as examples need.
func shellWords(line string) []string {
	var words []string
	var b strings.Builder
	quote, started := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ':
			if b.Len() > 0 || started {
				words = append(words, b.String())
			}
			b.Reset()
			started = false
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > 0 || started {
		words = append(words, b.String())
	}
	return words
}

func TestJSONIsRefusedWhereThereIsNone(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	var none []([]string)
	walk(c.tree(), func(cmd *cobra.Command) {
		if s := c.specs[cmd]; s != nil && s.noJSON != "" {
			none = append(none, path(cmd))
		}
	})
	if len(none) < 2 {
		t.Fatalf("only %d commands have no JSON: the walk is broken", len(none))
	}
	for _, p := range none {
		c, stdout, stderr := newTestCLI(t, nil)
		args := append(slices.Clone(p), "--json")
		if code := c.main(args); code != problem.ExitUse || stdout.Len() != 0 {
			t.Errorf("writ %v: code %d, stdout %q", args, code, stdout)
		}
		wantLines(t, stderr.String(), "✗ writ "+strings.Join(p, " ")+" has no --json  (invalid)")
	}
}

// wantLines checks the shape of an error: four lines, what, why, fix, more.
func wantLines(t *testing.T, got, first string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], "  why   ") || !strings.HasPrefix(lines[2], "  fix   ") || !strings.HasPrefix(lines[3], "  more  ") {
		t.Errorf("not what, why, fix, more:\n%s", got)
	}
	if first != "" && lines[0] != first {
		t.Errorf("first line\n got %s\nwant %s", lines[0], first)
	}
}

func TestErrorsAlwaysHaveFourLines(t *testing.T) {
	for kind := range whys {
		if kind == writ.KindInternal {
			continue // shows nothing but that, below
		}
		c, _, stderr := newTestCLI(t, nil)
		err := error(&writ.Error{Kind: kind, Message: "something went wrong"})
		if got, want := c.end(err), problem.Exit(err); got != want {
			t.Errorf("%s: exit %d, want %d", kind, got, want)
		}
		wantLines(t, stderr.String(), "")
	}
	c, _, stderr := newTestCLI(t, nil)
	if got := c.end(errors.New("dial tcp: secret-of-mine")); got != problem.ExitServer {
		t.Errorf("unclassified: exit %d", got)
	}
	if s := stderr.String(); strings.Contains(s, "secret-of-mine") || !strings.HasPrefix(s, "✗ internal error") {
		t.Errorf("an unclassified error shows its text: %s", s)
	}
	c, _, stderr = newTestCLI(t, nil)
	denied := &problem.Denied{Decision: &writ.Decision{ID: "dec_8k2", Reasons: []writ.Reason{writ.OutOfAuthority}, Detail: "agent:x may not POST a.example/"}}
	if got := c.end(denied); got != problem.ExitDenied {
		t.Errorf("denied: exit %d", got)
	}
	wantLines(t, stderr.String(), "✗ denied: agent:x may not POST a.example/  (out_of_authority, decision dec_8k2)")
}

// Names and a server's words may carry what moves a cursor, hides or reorders
// text, or looks like another line. Nothing of that reaches a terminal.
func TestNoOutputCanMoveTheTerminal(t *testing.T) {
	evil := "a\x1b[2Jb\u202ec\u200bd\ne\r\u009bf\u2028g\x00h"
	unsafe := func(s string) bool {
		return strings.ContainsFunc(strings.ReplaceAll(s, "\n", ""), func(r rune) bool { return writ.Printable(string(r), 8) != string(r) })
	}
	c, stdout, stderr := newTestCLI(t, nil)

	c.end(&writ.Error{Kind: writ.KindInvalid, Message: evil, Why: evil, Fix: evil, Field: evil})
	c.end(&problem.Denied{Decision: &writ.Decision{ID: writ.ID(evil), Reasons: []writ.Reason{writ.NoGrant, writ.Reason(evil)}, Detail: evil, Missing: []string{evil}}})
	c.say("hello %s %s", evil, writ.ID(evil))
	if unsafe(stderr.String()) {
		t.Errorf("stderr: %q", stderr)
	}
	if n := strings.Count(stderr.String(), "\n"); n != 4+4+1 {
		t.Errorf("an injected line end made another line: %d lines\n%s", n, stderr)
	}

	i := client.Identity{Label: evil, OwnerName: evil}
	i.Purpose, i.ID, i.State = evil, writ.ID(evil), writ.State(evil)
	columns := []column[client.Identity]{
		{"name", func(i client.Identity) cell { return text(i.Label) }, false},
		{"state", func(i client.Identity) cell { return stateCell(i.State, true) }, false},
		{"purpose", func(i client.Identity) cell { return orDash(i.Purpose) }, false},
	}
	list := listResult[client.Identity]{Items: []client.Identity{i, i}, Next: evil}
	lines := map[string]int{"table": 3, "jsonl": 2, "csv": 3}
	for _, form := range []string{"table", "json", "jsonl", "csv"} {
		stdout.Reset()
		c.flags = flags{json: form == "json", jsonl: form == "jsonl", csv: form == "csv"}
		if err := showList(c, list, columns, ""); err != nil {
			t.Fatal(err)
		}
		if unsafe(stdout.String()) {
			t.Errorf("%s: %q", form, stdout)
		}
		if want, ok := lines[form]; ok && strings.Count(stdout.String(), "\n") != want {
			t.Errorf("%s: %d lines, want %d:\n%s", form, strings.Count(stdout.String(), "\n"), want, stdout)
		}
		if form == "json" {
			var back listResult[client.Identity]
			if err := json.Unmarshal(stdout.Bytes(), &back); err != nil || back.Items[0].Purpose != evil {
				t.Errorf("json does not give the text back: %q, %v", back.Items[0].Purpose, err)
			}
		}
	}

	stdout.Reset()
	c.flags = flags{}
	p := c.newPage(stdout)
	c.grantPage(p, &client.Grant{Texts: []string{evil}, IdentityName: evil, CredentialName: evil})
	c.tracePage(p, &client.Trace{ID: writ.ID(evil), Title: evil, Sentences: []client.Sentence{{About: "owner", Text: evil, Missing: []string{evil}}}})
	c.whyPage(p, &client.Why{Request: evil, Note: evil, Decision: writ.Decision{Detail: evil, Reasons: []writ.Reason{writ.Reason(evil)}}, Facts: []client.FactRecord{{ID: writ.ID(evil), Label: evil}}})
	c.eventLine(p, client.Event{Type: "denial", Text: evil, Decision: writ.ID(evil)})
	withdrawn(p, &client.Revocation{Act: evil, Target: client.Target{Label: evil}})
	c.statusPage(p, &statusResult{Server: setting{evil, evil}, Problem: evil, Status: &client.Status{Mode: evil, Proxy: evil, Rests: []string{evil}, Warnings: []string{evil}}})
	if unsafe(p.b.String()) {
		t.Errorf("pages: %q", p.b.String())
	}
}

func TestSecretsOnTheCommandLineAreRefusedAndNotRepeated(t *testing.T) {
	const canary = "hunter2-canary"
	for _, args := range [][]string{
		{"credential", "add", "x", "--secret", canary},
		{"credential", "add", "x", "--secret=" + canary},
		{"credential", "add", "x", canary},
		{"credential", "add", "x", "--app", "a", "--in", "bearer", "--password=" + canary},
		{"credential", "rotate", "x", canary},
		{"credential", "rotate", "x", "--value=" + canary},
		{"status", "--token=" + canary},
		{"status", "-p" + canary},
		{"kill", "x", canary},
	} {
		c, stdout, stderr := newTestCLI(t, nil)
		if code := c.main(args); code != problem.ExitUse {
			t.Errorf("writ %v: exit %d", args[:2], code)
		}
		if out := stdout.String() + stderr.String(); strings.Contains(out, canary) {
			t.Errorf("writ %v repeats the secret:\n%s", args[:2], out)
		}
		wantLines(t, stderr.String(), "")
	}
}

func TestNoPromptWithoutATerminal(t *testing.T) {
	c, _, stderr := newTestCLI(t, map[string]string{"WRIT_ADDR": "http://127.0.0.1:1", "WRIT_TOKEN": "t"})
	if code := c.main([]string{"kill", "all", "--reason", "two words"}); code != problem.ExitUse {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(stderr.String(), "writ kill all --reason 'two words' --yes") {
		t.Errorf("does not say how to do it without a prompt:\n%s", stderr)
	}
	c, _, stderr = newTestCLI(t, map[string]string{"WRIT_ADDR": "http://127.0.0.1:1", "WRIT_TOKEN": "t"})
	if code := c.main([]string{"credential", "add", "x", "--app", "a", "--in", "bearer"}); code != problem.ExitUse {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(stderr.String(), "... | writ credential add x --app a --in bearer --secret-stdin") {
		t.Errorf("does not say how to pass the secret:\n%s", stderr)
	}
}

func TestTimes(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	at := func(s string) writ.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return writ.At(v)
	}
	for in, want := range map[string]writ.Time{
		"90d": at("2027-02-22T12:00:00Z"), "2h": at("2026-11-24T14:00:00Z"), "1h30m": at("2026-11-24T13:30:00Z"), "2w": at("2026-12-08T12:00:00Z"),
		"2027-01-31": at("2027-02-01T00:00:00Z"), "2027-01-31T18:00:00+02:00": at("2027-01-31T16:00:00Z"),
	} {
		if got, err := c.parseUntil("--expires", in); err != nil || got != want {
			t.Errorf("until %s = %s, %v; want %s", in, got, err, want)
		}
	}
	if got, err := c.parseSince("--since", "24h"); err != nil || got != at("2026-11-23T12:00:00Z") {
		t.Errorf("since 24h = %s, %v", got, err)
	}
	for _, in := range []string{"", "x", "10", "d", "-5d", "5y", "1e9d", "99999999d", "0s", "2027-02-30", "9999999999999999999h", "５d"} {
		if got, err := c.parseUntil("--expires", in); writ.KindOf(err) != writ.KindInvalid || err == nil {
			t.Errorf("until %q = %s, %v", in, got, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "now", 500 * time.Millisecond: "now", 90 * time.Second: "in 90s", -4 * time.Minute: "4m ago", 3 * time.Hour: "in 3h", -100 * time.Hour: "4d ago",
	} {
		if got := relative(d); got != want {
			t.Errorf("relative(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestWindowsAndRules(t *testing.T) {
	for in, want := range map[string]writ.Window{
		"mon-fri 08:00-18:00": {Days: []int{1, 2, 3, 4, 5}, From: 480, To: 1080},
		"22:00-06:00":         {From: 1320, To: 360},
		"fri-mon 00:00-24:00": {Days: []int{0, 1, 5, 6}, From: 0, To: 1440},
		"sat,SUN 9:00-10:30":  {Days: []int{0, 6}, From: 540, To: 630},
	} {
		got, err := parseWindow(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", in, err, diff)
		}
	}
	for _, in := range []string{"", "mon", "mon 8", "x-y 08:00-09:00", "08:00-08:00", "25:00-26:00", "mon 08:00-09:00 x", "mon- 08:00-09:00"} {
		if w, err := parseWindow(in); err == nil {
			t.Errorf("%q was taken as %+v", in, w)
		}
	}
	g := grantFlags{to: "agent:x", allow: []string{"GET a.example/**", "POST /v1/*"}, where: []string{"/amount<=500", "state=open|closed"}}
	c, _, _ := newTestCLI(t, nil)
	in, err := g.grant(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := in.Rules[1].String(); got != `POST /v1/* where state="open"|"closed" and /amount<=500` || len(in.Rules) != 2 {
		t.Errorf("rules: %s", got)
	}
	// Delegating without --allow keeps the parent's rules and adds the bound,
	// without changing the parent's.
	parent := []writ.Rule{{Methods: []string{"GET"}, Path: "/**", Body: []writ.Condition{{Key: "/a", Op: writ.OpEq, Values: []writ.Scalar{writ.Bool(true)}}}}}
	d := grantFlags{to: "agent:y", where: []string{"/b=1"}}
	if in, err = d.grant(c, parent); err != nil || len(in.Rules) != 1 || len(in.Rules[0].Body) != 2 || len(parent[0].Body) != 1 {
		t.Errorf("delegated rules %v, %v; parent %v", in.Rules, err, parent)
	}
}

func TestTable(t *testing.T) {
	p := &page{}
	p.table([]string{"name", "state", "note"}, [][]cell{
		{text("añb"), {text: "active", style: good}, orDash("")},
		{text("日本"), text("x"), text("a long note that is cut only where a terminal ends")},
	})
	want := "NAME  STATE   NOTE\nañb   active  —\n日本  x       a long note that is cut only where a terminal ends\n"
	if diff := cmp.Diff(want, p.b.String()); diff != "" {
		t.Error(diff)
	}
	narrow := &page{width: 30}
	narrow.table([]string{"name", "note"}, [][]cell{{text("a"), text(strings.Repeat("日", 40))}})
	for line := range strings.Lines(narrow.b.String()) {
		if n := len([]rune(line)); n > 31 {
			t.Errorf("line of %d runes: %q", n, line)
		}
	}
	coloured := &page{colour: true}
	coloured.table([]string{"state", "x"}, [][]cell{{{text: "active", style: good}, text("y")}})
	if s := coloured.b.String(); !strings.Contains(s, "\x1b[") {
		t.Errorf("no colour: %q", s)
	}
}

func TestCSVKeepsFormulasHarmless(t *testing.T) {
	var b bytes.Buffer
	err := writeCSV(&b, []string{"=1+2", "a,b", "", "@x", "plain"}, []column[string]{{"purpose", orDash, false}})
	if diff := cmp.Diff("purpose\n'=1+2\n\"a,b\"\n\n'@x\nplain\n", b.String()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestDifference(t *testing.T) {
	before := client.Application{Application: writ.Application{Name: "x", Hosts: []string{"a.example"}, Created: 1}}
	after := before
	after.Hosts = []string{"a.example", "b.example"}
	after.Env = writ.Dev
	want := []string{"- env: ", "+ env: dev", "+ hosts[1]: b.example"}
	if diff := cmp.Diff(want, difference(before, after)); diff != "" {
		t.Error(diff)
	}
}

func TestSchemasAreJSONAndNameTheFields(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	var all [][]string
	walk(c.tree(), func(cmd *cobra.Command) {
		if s := c.specs[cmd]; s != nil && s.out != nil {
			all = append(all, path(cmd))
		}
	})
	for _, p := range all {
		c, stdout, stderr := newTestCLI(t, nil)
		if code := c.main(append([]string{"schema"}, p...)); code != 0 {
			t.Fatalf("schema %v: %s", p, stderr)
		}
		var doc map[string]any
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
			t.Fatalf("schema %v: %v", p, err)
		}
		if strings.Contains(stdout.String(), "null") {
			t.Errorf("schema %v has a null", p)
		}
	}
	c, stdout, _ := newTestCLI(t, nil)
	c.main([]string{"schema", "grant", "ls"})
	for _, field := range []string{`"items"`, `"next"`, `"identity_name"`, `"rules"`, `"per_minute"`} {
		if !strings.Contains(stdout.String(), field) {
			t.Errorf("schema of grant ls lacks %s", field)
		}
	}
}

// The reference is made from the command tree; `go test -run Reference -update`
// writes it.
func TestReferenceIsTheCommandTree(t *testing.T) {
	c, _, _ := newTestCLI(t, nil)
	c.tree()
	want := c.reference()
	file := filepath.Join("..", "..", "docs", "reference", "cli.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/reference/cli.md is not what the commands say; run: go test ./cmd/writ -run Reference -update\n%s", diff)
	}
}
