package ledger

import (
	"testing"

	"writ.dev/writ"
)

func TestAppendGivesAReceiptThatIsSpentOnce(t *testing.T) {
	b, w := opened(t)
	id, allow := w.allow(b.Epoch())
	receipt, err := b.Append(t.Context(), allow)
	must(t, err)
	paid, ok := receipt.Spend()
	want := Paid{Org: b.org, Use: writ.UseOf(id), Credential: w.credential.ID, Version: w.version.ID}
	if !ok || paid != want {
		t.Fatalf("Spend = %v, %v; want %v", paid, ok, want)
	}
	if _, ok := receipt.Spend(); ok {
		t.Error("a receipt was spent twice")
	}
	if _, ok := (Receipt{}).Spend(); ok {
		t.Error("the zero receipt opens something")
	}
	if _, err := b.Append(t.Context(), allow); writ.KindOf(err) != writ.KindInternal {
		t.Errorf("a spent allow was appended again: %v", err)
	}
	b.Outcome(writ.Outcome{Use: writ.UseOf(id), Kind: writ.Completed, Status: 200})
	b.Outcome(writ.Outcome{Use: writ.UseOf(id), Kind: writ.Failed}) // a use has one outcome
	b.close()
	if n := len(b.m.entries); n != 4 { // genesis, change, allow, outcomes
		t.Fatalf("%d entries", n)
	}
	v, err := DecodeAllow(b.m.entries[2])
	must(t, err)
	if v.Decision.ID != id || v.Ask.Target.Query[1].Value != "" {
		t.Errorf("recorded %+v", v)
	}
	o, err := DecodeOutcomes(b.m.entries[3])
	must(t, err)
	if len(o.List) != 1 || o.List[0].Kind != writ.Completed {
		t.Errorf("outcomes %+v", o)
	}
	if b.Counts().Strays != 1 {
		t.Error("the second outcome of a use was not noticed")
	}
}
