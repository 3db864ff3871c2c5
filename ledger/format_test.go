package ledger

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// The examples of docs/formats/ledger.md are what this package writes.
func TestTheFormatPageTellsTheTruth(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/ledger.md")
	must(t, err)
	zero := make([]byte, saltSize)
	core := []byte(`{"key":1,"origin":"writ/org_0000000000000001"}`)
	hash := partHash(PartCore, zero, core)
	l := Leaf{Org: "org_0000000000000001", Incarnation: 1, Time: 1795510800000, Type: TypeGenesis, Parts: []PartRef{{PartCore, hash}}}
	leaf := l.append(nil)
	digest := tlog.RecordHash(leaf)
	outcome := appendOutcome(nil, &writ.Outcome{Use: "use_00000000000000000001", Kind: writ.Completed, Status: 200, Millis: 3})
	one := memberHash(zero, outcome)
	root := membersRoot([]tlog.Hash{one, one})
	c := Checkpoint{Origin: "writ/org_0000000000000001", Size: 1, Root: digest, Epoch: writ.Epoch{Incarnation: 1}, LastChange: -1}
	for _, want := range []string{
		string(core), base64.RawURLEncoding.EncodeToString(hash[:]), string(leaf), hex.EncodeToString(digest[:]),
		string(outcome), hex.EncodeToString(one[:]), hex.EncodeToString(root[:]), c.Text(),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// Every type and part has its place in it.
	for _, name := range []string{TypeGenesis, TypeChange, TypeAllow, TypeOutcomes, TypeDenials, TypeCut, TypeKey, TypeErasure, PartCore, PartDetail, PartMembers, PartPersonal} {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page does not tell of %s", name)
		}
	}
	// And so has every member that an entry can have.
	b, w := told(t)
	a := w.ask()
	a.Info = writ.Body{Mode: writ.BodySpooled, Length: 1, SHA256: [32]byte{1}, Unreadable: "x", Values: writ.Values{"/a": writ.Number("1.5")}}
	a.Refused, a.RefusedText, a.Hint = writ.RequestAmbiguous, "x", "x"
	a.Runtime = writ.Runtime{PID: 1, Program: "p", Executable: "e", Directory: "d", GitRemote: "r", GitCommit: "c", GitDirty: true, Isolation: "i"}
	d := &writ.Decision{Missing: []string{"x"}, Detail: "x"}
	full := sealedEntry(b.org, TypeDenials, sealDenial(&Denial{Ask: a, Decision: d}))
	erasure, err := ErasureDraft(writ.Actor{}, "x", []Erased{{1, PartDetail}})
	must(t, err)
	p := &packer{}
	p.part(PartCore, erasure.Core)
	p.part(PartDetail, erasure.Detail)
	members := regexp.MustCompile(`"([a-z_0-9]+)":`)
	rows := regexp.MustCompile(`"rows":.*`) // bodies are nouns, not ours
	for _, e := range append(slices.Clone(b.m.entries), full, sealedEntry(b.org, TypeErasure, p)) {
		_, parts, err := e.open()
		must(t, err)
		for _, part := range parts {
			text := rows.ReplaceAll(part.content, nil)
			for _, m := range part.members {
				text = append(text, m.content...)
			}
			for _, m := range members.FindAllSubmatch(text, -1) {
				if !regexp.MustCompile("[`\"\\[{ ,]" + string(m[1]) + "[`\",:? \\]}]").Match(page) {
					t.Errorf("the page does not tell of %s", m[1])
				}
			}
		}
	}
}
