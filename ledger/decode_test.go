package ledger

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/canon"
)

// TestAnyDecisionIsReplayedFromItsEntry decides, records, reads back and
// decides again from what was read.
func TestAnyDecisionIsReplayedFromItsEntry(t *testing.T) {
	b, w := opened(t)
	w.grant.Rules = []writ.Rule{{Methods: []string{"POST"}, Path: "/v1/**",
		Query: []writ.Condition{{Key: "limit", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("5")}}},
		Body:  []writ.Condition{{Key: "/amount", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("99.5")}}}}}
	for _, c := range []struct {
		name    string
		change  func(a *writ.Ask)
		allowed bool
	}{
		{"allowed", func(*writ.Ask) {}, true},
		{"amount", func(a *writ.Ask) { a.Body["/amount"] = writ.Number("100.00") }, false},
		{"parameter", func(a *writ.Ask) { a.Target = target(t, "/v1/refunds?limit=50") }, false},
		{"parameter twice", func(a *writ.Ask) { a.Target = target(t, "/v1/refunds?limit=5&key=k&limit=6") }, false},
		{"path", func(a *writ.Ask) { a.Target = target(t, "/v2/x%20y") }, false},
		{"body not read", func(a *writ.Ask) { a.Body, a.Info.Values, a.Info.Unreadable = nil, nil, "it is not JSON" }, false},
		{"refused", func(a *writ.Ask) {
			a.Target = writ.Target{Raw: "/v1/..%2f\xff\"<>"}
			a.Refused, a.RefusedText = writ.RequestAmbiguous, "two readings"
		}, false},
	} {
		a := w.ask()
		values := writ.Values{"/amount": writ.Number("99.50"), "/note": writ.String("für ana\n\u2028"), "/flag": writ.Bool(true), "/n": writ.Number("7"), "/long": writ.String(strings.Repeat("x", maxRecordedText+1))}
		a.Method, a.Target = "POST", target(t, "/v1/refunds?limit=3&key=sk_secret")
		a.Info = writ.Body{Mode: writ.BodySpooled, Length: 77, SHA256: [32]byte{1, 2, 3}, Values: values}
		a.Body = values
		a.Runtime = writ.Runtime{PID: 1, Program: "p", Executable: "e", Directory: "/tmp/\xff", GitRemote: "r", GitCommit: "c", GitDirty: true, Isolation: "landlock"}
		a.Hint = "acme-key"
		c.change(a)
		facts := w.facts(b.Epoch())
		d, allow := decide.Decide(a, facts)
		if allow.OK() != c.allowed {
			t.Fatalf("%s: %v %s", c.name, d.Reasons, d.Detail)
		}
		var v *Verdict
		if c.allowed {
			_, err := b.Append(t.Context(), allow, "limit")
			must(t, err)
			v, err = DecodeAllow(b.m.entries[len(b.m.entries)-1])
			must(t, err)
		} else {
			one, err := DecodeDenials(sealedEntry(b.org, TypeDenials, sealDenial(&Denial{Ask: a, Decision: &d, Records: facts.Records, Mentioned: []string{"limit"}})))
			must(t, err)
			v = one.Verdict
		}
		if diff := cmp.Diff(v.Decision, d); diff != "" {
			t.Errorf("%s: recorded another decision: %s", c.name, diff)
		}
		if !slices.Equal(v.Records, facts.Records) {
			t.Errorf("%s: recorded other facts", c.name)
		}
		again, err := v.Replay(writ.Profile{})
		must(t, err)
		if diff := cmp.Diff(decide.Simulate(again, facts), d); diff != "" && a.Refused == "" {
			t.Errorf("%s: replayed to another decision: %s", c.name, diff)
		}
		if s := v.Ask.Target.Query; len(s) > 1 && s[1].Name == "key" && s[1].Value != "" {
			t.Errorf("%s: the value of a parameter that no rule mentions was recorded (T54)", c.name)
		}
	}
}

func target(tb testing.TB, raw string) writ.Target {
	tb.Helper()
	parsed, err := writ.ParseTarget(raw, writ.Profile{})
	must(tb, err)
	return parsed
}

// sealedEntry is an entry of one type at seq 0.
func sealedEntry(org writ.ID, typ string, p *packer) Entry {
	l := Leaf{Org: org, Time: start, Type: typ, Parts: p.parts()}
	return Entry{Leaf: l.append(nil), Pack: p.pack}
}

// Whatever a client manages to put into an Ask, the record is canonical JSON
// that reads back: a log that could not be read would stop the organization.
func TestAnyAskMakesAReadableEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.IntRange(4080, 4110), func(n int) string { return strings.Repeat("x", n%7) + strings.Repeat("\u20ac", n/3) }), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }))
		number := rapid.OneOf(rapid.Int64(), rapid.Just(int64(math.MaxInt64)), rapid.Just(int64(0)))
		s := func(name string) string { return text.Draw(t, name) }
		a := &writ.Ask{ID: writ.ID(s("id")), Session: "ses_x", Time: writ.Time(number.Draw(t, "time")), Scheme: s("scheme"), Hint: s("hint"), Refused: writ.Reason(s("refused")), RefusedText: s("text")}
		a.Method, a.Host, a.Target.Raw = s("method"), s("host"), s("raw")
		for range rapid.IntRange(0, 3).Draw(t, "params") {
			a.Target.Query = append(a.Target.Query, writ.Param{Name: s("name"), Value: s("value")})
		}
		a.Info = writ.Body{Mode: writ.BodyMode(rapid.SampledFrom([]string{"none", "spooled", "streamed", ""}).Draw(t, "mode")), Length: number.Draw(t, "length"), Unreadable: s("unreadable")}
		if rapid.Bool().Draw(t, "values") {
			a.Info.Values = writ.Values{}
			for range rapid.IntRange(0, 3).Draw(t, "n") {
				// Keys are pointers of rules, which are valid text.
				a.Info.Values[rapid.String().Draw(t, "key")] = writ.Scalar{Kind: writ.ScalarKind(rapid.IntRange(0, 4).Draw(t, "kind")), Text: s("scalar")}
			}
		}
		a.Runtime = writ.Runtime{PID: int(number.Draw(t, "pid")), Program: s("program"), Directory: s("directory"), Isolation: s("isolation")}
		d := &writ.Decision{ID: a.ID, Detail: s("detail"), Reasons: []writ.Reason{writ.Reason(s("reason"))}, Missing: []string{s("missing")}, Rests: []writ.ID{writ.ID(s("rest"))}, Policy: s("policy")}
		mentioned := []string{}
		if len(a.Target.Query) > 0 {
			mentioned = append(mentioned, a.Target.Query[0].Name)
		}
		p := sealDenial(&Denial{Ask: a, Decision: d, Mentioned: mentioned})
		e := sealedEntry("org_x", TypeDenials, p)
		parts, err := parsePack(e.Pack)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if err := canon.Check(part.content); err != nil {
				t.Fatalf("%s: %v: %s", part.name, err, part.content)
			}
		}
		if _, err := DecodeDenials(e); err != nil {
			t.Fatalf("%v: %s", err, parts[1].content)
		}
		o := writ.Outcome{Use: writ.ID(s("use")), Kind: writ.OutcomeKind(s("outcome")), Error: s("error"), Millis: number.Draw(t, "millis"), Sent: number.Draw(t, "sent")}
		if _, err := DecodeOutcomes(sealedEntry("org_x", TypeOutcomes, sealOutcomes([]writ.Outcome{o, {}}))); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOnlyTheOneSpellingIsRead(t *testing.T) {
	good := `{"incarnation":1,"org":"org_x","parts":[{"hash":"` + strings.Repeat("A", 43) + `","name":"core"}],"seq":0,"time":1,"type":"allow","v":1}`
	if _, err := ParseLeaf([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", " " + good, good + " ", good + "\n", strings.Replace(good, `"v":1`, `"v":2`, 1), strings.Replace(good, `"v":1`, `"v":1,"w":1`, 1),
		strings.Replace(good, `"seq":0`, `"seq":00`, 1), strings.Replace(good, `"seq":0`, `"seq":-0`, 1), strings.Replace(good, `"seq":0`, `"seq":0.0`, 1),
		strings.Replace(good, `"seq":0`, `"seq":-1`, 1), strings.Replace(good, `"seq":0`, `"seq":9007199254740992`, 1), strings.Replace(good, `"seq":0`, `"seq":99999999999999999999`, 1),
		strings.Replace(good, "allow", `\u0061llow`, 1), strings.Replace(good, "allow", "al\x01low", 1), strings.Replace(good, "allow", "al\xfflow", 1),
		strings.Replace(good, "allow", `al\u001Flow`, 1), strings.Replace(good, "allow", `al\u000alow`, 1), strings.Replace(good, "allow", `al\/low`, 1),
		strings.Replace(good, "AAA", "AA=", 1), strings.Replace(good, strings.Repeat("A", 43), strings.Repeat("A", 42)+"B", 1), strings.Replace(good, `"parts":[`, `"parts":[,`, 1),
		strings.Replace(good, `"name":"core"}`, `"name":"core"},{"hash":"`+strings.Repeat("A", 43)+`","name":"core"}`, 1), strings.Replace(good, `"name":"core"`, `"name":""`, 1),
	} {
		if _, err := ParseLeaf([]byte(bad)); err == nil {
			t.Errorf("read: %s", bad)
		}
	}
	for body, ok := range map[string]bool{
		`{"a":1,"b":[1,{"c":null}],"id":"x"}`: true, `{"id":"x","a":1}`: false, `{"id":"x","id":"y"}`: false, `{"id": "x"}`: false, `{"id":"x"}x`: false,
		`{"a":1.5}`: false, `[1]`: false, `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: false, `{"expires":"tomorrow"}`: false, `{"":1}`: true,
	} {
		if _, err := readRow([]byte(body)); (err == nil) != ok {
			t.Errorf("readRow(%s) = %v", body, err)
		}
		if ok && canon.Check([]byte(body)) != nil {
			t.Errorf("%s is not canonical", body)
		}
	}
}

func TestAChangeIsCheckedBeforeItIsRecorded(t *testing.T) {
	b, w := opened(t)
	good := row(t, w.grant.ID, w.grant, false)
	foreign := *w.grant
	foreign.Org = "org_other"
	for name, rows := range map[string][]Row{
		"another id":      {{ID: "grt_other", Body: good.Body}},
		"no id":           {{Body: []byte(`{"id":""}`)}},
		"twice":           {good, good},
		"not canonical":   {{ID: w.grant.ID, Body: append([]byte(" "), good.Body...)}},
		"another org":     {row(t, foreign.ID, &foreign, false)}, // invariant 14
		"not JSON at all": {{ID: w.grant.ID, Body: []byte("x")}},
	} {
		err := b.Act(t.Context(), false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
			_, err := batch.Change(Change{Act: "x", Rows: rows})
			return nil, err
		})
		if writ.KindOf(err) != writ.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, d := range []Draft{{Type: TypeAllow, Core: []byte("{}")}, {Type: TypeChange, Core: []byte("{}")}, {Type: "x", Core: []byte("{}")}, {Type: TypeCut, Core: []byte("{ }")}, {Type: TypeKey, Core: []byte("{}"), Detail: []byte("{")}} {
		if err := b.Act(t.Context(), false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
			_, err := batch.Add(d)
			return nil, err
		}); writ.KindOf(err) != writ.KindInternal {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if b.Head().Size != 2 {
		t.Error("something was recorded")
	}
}

func TestDecodersRefuseOtherEntries(t *testing.T) {
	b, _ := told(t)
	for _, e := range b.m.entries {
		l, err := ParseLeaf(e.Leaf)
		must(t, err)
		for typ, decode := range map[string]func(Entry) error{
			TypeGenesis:  func(e Entry) error { _, err := DecodeGenesis(e); return err },
			TypeChange:   func(e Entry) error { _, err := DecodeChange(e); return err },
			TypeAllow:    func(e Entry) error { _, err := DecodeAllow(e); return err },
			TypeOutcomes: func(e Entry) error { _, err := DecodeOutcomes(e); return err },
			TypeDenials:  func(e Entry) error { _, err := DecodeDenials(e); return err },
			TypeCut:      func(e Entry) error { _, err := DecodeCut(e); return err },
			TypeKey:      func(e Entry) error { _, _, err := DecodeKey(e); return err },
			TypeErasure:  func(e Entry) error { _, _, err := DecodeErasure(e); return err },
		} {
			err := decode(e)
			if (typ == l.Type) != (err == nil) {
				t.Errorf("an entry of type %s as %s: %v", l.Type, typ, err)
			}
			hidden, herr := Disclose(e, nil)
			must(t, herr)
			if err := decode(hidden); typ == l.Type && typ != TypeOutcomes && !errors.Is(err, ErrWithheld) {
				t.Errorf("a withheld %s: %v", l.Type, err)
			}
		}
	}
}

// FuzzDecodeEntry: no bytes make a decoder panic, and what one accepts the
// writer spells with the same bytes.
func FuzzDecodeEntry(f *testing.F) {
	b, _ := told(f)
	for _, e := range b.m.entries {
		_, parts, err := e.open()
		must(f, err)
		f.Add(e.Leaf)
		f.Add(e.Pack)
		for _, p := range parts {
			f.Add(p.content)
			for _, m := range p.members {
				f.Add(m.content)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		same := func(what string, again []byte) {
			if !bytes.Equal(again, data) {
				t.Errorf("%s: read %q, spelled %q", what, data, again)
			}
		}
		if l, err := ParseLeaf(data); err == nil {
			same("leaf", l.append(nil))
		}
		if parts, err := parsePack(data); err == nil {
			again := []byte{packVersion, byte(len(parts))}
			at := 2
			for i := range parts {
				raw, rest := packedPart(data[at:], &parts[i])
				again, at = append(again, raw...), len(data)-len(rest)
			}
			same("pack", again)
		}
		for _, allow := range []bool{true, false} {
			if v, err := readVerdict(data, allow); err == nil {
				same("verdict", appendVerdict(nil, &v.Decision, v.Decision.Time, v.Records))
			}
		}
		var v Verdict
		if err := v.readDetail(data); err == nil {
			same("detail", appendDetail(nil, v.Ask, &v.Decision, func(i int) bool { return !slices.Contains(v.Hidden, i) }))
		}
		if r, err := readRepeats(data); err == nil {
			p := sealRepeat(&repeat{id: r.Decision, session: r.Session, reason: r.Reason, count: r.Count, first: r.First, last: r.Last})
			parts, err := parsePack(p.pack)
			must(t, err)
			same("repeats", parts[0].content)
		}
		if o, err := readOutcome(data); err == nil {
			same("outcome", appendOutcome(nil, &o))
		}
		if r, err := readCut(data); err == nil {
			same("cut", r.append(nil))
		}
		if ch, err := readChangeCore(data); err == nil {
			same("change", appendChangeCore(nil, &ch.Change, ch.Epoch, ch.Prev, ch.Inactive, ch.Refs))
		}
		for _, personal := range []bool{true, false} {
			var ch Changed
			if err := ch.readRows(data, personal); err == nil {
				b := []byte{'{'}
				b = optString(b, "cause", ch.Cause)
				same("rows", append(appendRows(member(b, "rows"), ch.Rows, personal), '}'))
			}
		}
		if _, err := readRow(data); err == nil && canon.Check(data) != nil {
			t.Errorf("a row that is not canonical was read: %q", data)
		}
		e := Entry{Leaf: data, Pack: data}
		_, _ = DecodeChange(e)
		_, _ = ParseCheckpoint(string(data))
		_, _ = ParseResource(string(data))
	})
}
