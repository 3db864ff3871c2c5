package evidence_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
	"writ.dev/writ/internal/canon"
)

// refused checks that a bundle is refused, with an error that people can act on.
func refused(t *testing.T, b []byte, keys []note.Verifier) *writ.Error {
	t.Helper()
	r, err := evidence.Verify(bytes.NewReader(b), keys)
	if err == nil || r != nil {
		t.Fatalf("it verified: %v", r)
	}
	e, ok := err.(*writ.Error)
	if !ok || e.Message == "" || e.Why == "" || e.Fix == "" || e.Kind != writ.KindInvalid && e.Kind != writ.KindCheckFailed {
		t.Fatalf("not an error for people: %#v", err)
	}
	return e
}

// TestEveryByteCounts changes each byte of a bundle, one at a time.
func TestEveryByteCounts(t *testing.T) {
	genuine, keys := golden(t)
	b := bytes.Clone(genuine)
	try := func(i, bit int) {
		b[i] ^= 1 << bit
		if _, err := evidence.Verify(bytes.NewReader(b), keys); err == nil {
			t.Fatalf("bit %d of byte %d flipped, and it verified", bit, i)
		}
		b[i] ^= 1 << bit
	}
	for i := range b {
		try(i, i%8)
	}
	// Every bit where loose readers overlook one: the signature's base64 and the ends.
	sign := bytes.LastIndex(b, []byte("— writ/"))
	if sign < 0 {
		t.Fatal("no signature")
	}
	for _, span := range [][2]int{{0, 60}, {sign, sign + 200}, {len(b) - 60, len(b)}} {
		for i := span[0]; i < span[1]; i++ {
			for bit := range 8 {
				try(i, bit)
			}
		}
	}
	if !bytes.Equal(b, genuine) {
		t.Fatal("the test left a change behind")
	}
	if _, err := evidence.Verify(bytes.NewReader(b), keys); err != nil {
		t.Fatal(err)
	}
}

func TestTruncatedBundleIsRefused(t *testing.T) {
	s := tell(t)
	for n := 0; n < len(s.bundle); n += 97 {
		refused(t, s.bundle[:n], s.verifiers())
	}
	refused(t, s.bundle[:len(s.bundle)-1], s.verifiers())
	refused(t, append(bytes.Clone(s.bundle), '\n'), s.verifiers())
	refused(t, append(bytes.Clone(s.bundle), s.bundle...), s.verifiers())
}

func TestForeignFileIsRefused(t *testing.T) {
	s := tell(t)
	for _, text := range []string{
		"", "\n", "null\n", "[]\n", "{}\n", "\x00\xff", "not evidence", `{"format":"writ-evidence-v2"}` + "\n", `{"format":"writ-evidence-v1"}` + "\n",
		"writ-ledger-export-v1 org_x\n", strings.Repeat("[", 100_000), `{"entries":` + strings.Repeat("[", 20_000),
	} {
		if e := refused(t, []byte(text), s.verifiers()); e.Kind != writ.KindInvalid {
			t.Errorf("%.20q: %s", text, e.Kind)
		}
	}
}

// doc is a bundle taken apart, for tests that put it together wrongly.
type doc map[string]any

func (s *story) doc() doc {
	s.T.Helper()
	var d doc
	must(s.T, json.Unmarshal(s.bundle, &d))
	return d
}

func (d doc) entries() []any    { return d["entries"].([]any) }
func (d doc) entry(i int) doc   { return d.entries()[i].(map[string]any) }
func (d doc) parts(i int) []any { return d.entry(i)["parts"].([]any) }
func (d doc) part(i, j int) doc { return d.parts(i)[j].(map[string]any) }
func (d doc) leaf(i int) string { return d.entry(i)["leaf"].(string) }
func (d doc) of(typ string) (i int) {
	for i = range d.entries() {
		if strings.Contains(d.leaf(i), `"type":"`+typ+`"`) {
			return i
		}
	}
	return -1
}

// holding is the entry that has the text in an open part.
func (d doc) holding(text string) int {
	for i := range d.entries() {
		for j := range d.parts(i) {
			if strings.Contains(d.part(i, j)["text"].(string), text) {
				return i
			}
		}
	}
	return -1
}

func (d doc) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := canon.Marshal(d)
	must(t, err)
	return append(b, '\n')
}

// TestBundleMadeWrong takes a genuine bundle apart and puts it together
// wrongly, each time well spelled.
func TestBundleMadeWrong(t *testing.T) {
	s := tell(t)
	if !bytes.Equal(s.doc().bytes(t), s.bundle) {
		t.Fatal("the tests spell bundles in another way than the export")
	}
	other := tell(t) // another organization's, in another log
	for _, c := range []struct {
		name  string
		field string // that the error names
		make  func(d doc)
	}{
		{"an entry repeated", "entries[1]", func(d doc) { d["entries"] = append([]any{d.entries()[0]}, d.entries()...) }},
		{"entries in another order", "entries[1]", func(d doc) { e := d.entries(); e[0], e[1] = e[1], e[0] }},
		{"no entries", "entries", func(d doc) { d["entries"] = []any{} }},
		{"a list that is null", "entries[0]", func(d doc) { d.entry(0)["parts"] = nil }},
		{"a proof that is null", "entries[0]", func(d doc) { d.entry(0)["proof"] = nil }},
		{"proofs swapped", "entries[2].proof", func(d doc) { a, b := d.entry(2), d.entry(3); a["proof"], b["proof"] = b["proof"], a["proof"] }},
		{"a proof cut", "entries[4].proof", func(d doc) { e := d.entry(4); e["proof"] = e["proof"].([]any)[1:] }},
		{"a proof longer", "entries[4].proof", func(d doc) { e := d.entry(4); e["proof"] = append(e["proof"].([]any), e["proof"].([]any)[0]) }},
		{"a proof not base64", "entries[4].proof", func(d doc) { d.entry(4)["proof"].([]any)[0] = "!" }},
		{"an unknown member", "", func(d doc) { d["signature"] = "x" }},
		{"a member in another case", "", func(d doc) { d["Use"] = d["use"]; delete(d, "use") }},
		{"a member of an entry that is unknown", "", func(d doc) { d.entry(0)["note"] = "x" }},
		{"another notice", "notice", func(d doc) { d["notice"] = "All is well." }},
		{"another format", "format", func(d doc) { d["format"] = "writ-evidence-v2" }},
		{"no use", "use", func(d doc) { d["use"] = "" }},
		{"another use", "use", func(d doc) { d["use"] = string(writ.NewOrderedID(writ.KindUse, s.Clock.Now())) }},
		{"the allow left out", "entries", func(d doc) { i := d.of("allow"); d["entries"] = append(d.entries()[:i:i], d.entries()[i+1:]...) }},
		{"the allow without its core", "", func(d doc) { i := d.of("allow"); d.entry(i)["parts"] = d.parts(i)[1:] }},
		{"a record left out", "entries", func(d doc) {
			i := d.holding(string(s.root.ID))
			d["entries"] = append(d.entries()[:i:i], d.entries()[i+1:]...)
		}},
		{"a record closed", "", func(d doc) { i := d.holding("refunds/*"); d.entry(i)["parts"] = d.parts(i)[:1] }},
		{"a record without its core", "", func(d doc) { i := d.holding("refunds/*"); d.entry(i)["parts"] = d.parts(i)[1:] }},
		{"a guardrail closed", "", func(d doc) { i := d.holding("forbid ("); d.entry(i)["parts"] = d.parts(i)[:1] }},
		{"parts in another order", "", func(d doc) { i := d.of("allow"); p := d.parts(i); p[0], p[1] = p[1], p[0] }},
		{"a part twice", "", func(d doc) { i := d.of("allow"); d.entry(i)["parts"] = append(d.parts(i), d.parts(i)[1]) }},
		{"a part under another name", "", func(d doc) { d.part(d.of("allow"), 1)["name"] = "personal" }},
		{"another salt", "", func(d doc) { i := d.of("allow"); d.part(i, 0)["salt"] = d.part(i, 1)["salt"] }},
		{"a short salt", "", func(d doc) { d.part(d.of("allow"), 0)["salt"] = "AAAA" }},
		{"another status", ".member", func(d doc) {
			m := d.entry(d.of("outcomes"))["member"].(map[string]any)
			m["text"] = strings.Replace(m["text"].(string), "201", "200", 1)
		}},
		{"another place of the outcome", ".member", func(d doc) { d.entry(d.of("outcomes"))["member"].(map[string]any)["index"] = 0 }},
		{"a negative place of the outcome", ".member", func(d doc) { d.entry(d.of("outcomes"))["member"].(map[string]any)["index"] = -1 }},
		{"the outcome closed", ".member", func(d doc) { delete(d.entry(d.of("outcomes")), "member") }},
		{"the number of outcomes closed", "", func(d doc) { d.entry(d.of("outcomes"))["parts"] = []any{} }},
		{"an outcome at a change", ".member", func(d doc) { d.entry(0)["member"] = d.entry(d.of("outcomes"))["member"] }},
		{"another log's entry", ".proof", func(d doc) { d.entries()[3] = other.doc().entries()[3] }},
		{"another log's checkpoint", "checkpoint", func(d doc) { d["checkpoint"] = other.doc()["checkpoint"] }},
		{"a checkpoint without its signature", "checkpoint", func(d doc) { d["checkpoint"], _, _ = strings.Cut(d["checkpoint"].(string), "—") }},
		{"the signature twice", "checkpoint", func(d doc) {
			c := d["checkpoint"].(string)
			d["checkpoint"] = c + c[strings.LastIndex(c, "—"):]
		}},
		{"a note that is no note", "checkpoint", func(d doc) { d["checkpoint"] = "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.doc()
			c.make(d)
			e := refused(t, d.bytes(t), s.verifiers())
			if !strings.Contains(e.Field, c.field) {
				t.Errorf("it blames %q: %s (%s)", e.Field, e.Message, e.Why)
			}
			t.Logf("%s: %s; %s; %s", e.Field, e.Message, e.Why, e.Fix)
		})
	}
}
