package ledger

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// denial is a decision that refuses path for the world's session.
func (w *world) denial(path string) Denial {
	w.tb.Helper()
	a := w.ask()
	var err error
	a.Target, err = writ.ParseTarget(path, writ.Profile{})
	must(w.tb, err)
	d, allow := decide.Decide(a, w.facts(writ.Epoch{Incarnation: 1, N: 1}))
	if allow.OK() {
		w.tb.Fatal("it was allowed")
	}
	return Denial{Ask: a, Decision: &d, Records: w.facts(writ.Epoch{}).Records}
}

// R24: an agent in a loop costs two entries a minute, and each denial shows
// the id under which it can be looked up.
func TestRepeatedDenialsBecomeOneEntryAndOneSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		first := w.denial("/v2/refunds?key=secret")
		id := b.Deny(first)
		if id != first.Decision.ID {
			t.Errorf("the first denial shows %s", id)
		}
		for range 9_999 {
			d := first
			again := *first.Decision
			again.ID = writ.NewOrderedID(writ.KindDecision, time.Now())
			d.Decision = &again
			if got := b.Deny(d); got != id {
				t.Fatalf("a repeat shows %s", got)
			}
		}
		pass(lazyDelay + time.Millisecond)
		if got := b.types(2); got != "denials" {
			t.Errorf("entries are %q", got)
		}
		pass(denialWindow)
		if got := b.types(2); got != "denials denials" {
			t.Errorf("entries are %q", got)
		}
		one, err := DecodeDenials(b.m.entries[2])
		must(t, err)
		if v := one.Verdict; v == nil || v.Decision.ID != id || v.Decision.Reason() != first.Decision.Reason() || v.Decision.Detail != first.Decision.Detail || len(v.Records) != 2 {
			t.Errorf("recorded %+v", one.Verdict)
		}
		two, err := DecodeDenials(b.m.entries[3])
		must(t, err)
		if r := two.Repeats; r == nil || r.Decision != id || r.Count != 9_999 || r.Session != w.session.ID {
			t.Errorf("summary %+v", two.Repeats)
		}
		// A new minute begins with an entry of its own.
		later := w.denial("/v2/refunds")
		if got := b.Deny(later); got != later.Decision.ID {
			t.Errorf("after the window a denial shows %s", got)
		}
		b.close()
		if r := b.verify(); r.Denials != 2 || r.Repeats != 9_999 {
			t.Errorf("%d denials, %d repeats", r.Denials, r.Repeats)
		}
	})
}

// A loop over ever new targets is bounded too, and counted in full.
func TestDenialsOfManyTargetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		const n = 5_000
		for i := range n {
			b.Deny(w.denial(fmt.Sprintf("/v2/%d", i)))
		}
		b.close()
		r := b.verify()
		if r.Denials > deniedTargets+1 || r.Denials+r.Repeats != n {
			t.Errorf("%d denials, %d repeats", r.Denials, r.Repeats)
		}
		if len(b.denied.byKey)+len(b.denied.targets)+len(b.denied.order) != 0 {
			t.Error("the table was not emptied")
		}
	})
}

// Nor can many sessions together make the table grow.
func TestTheTableOfDenialsIsBounded(t *testing.T) {
	var table denialTable
	table.init()
	now := time.Now()
	for i := range deniedKeys + 500 {
		table.find(writ.ID(fmt.Sprintf("ses_%d", i)), writ.NoGrant, "GET x/", now)
	}
	if n := len(table.byKey); n > deniedKeys+1 {
		t.Errorf("%d keys", n)
	}
	r, first := table.find("ses_new", writ.NoGrant, "GET y/", now)
	if first || r.session != "" || !r.unrecorded {
		t.Errorf("beyond the bound: %+v, first %v", r, first)
	}
}

func TestDenialsOfNobodyAreOnlyCounted(t *testing.T) {
	b, w := opened(t)
	d := w.denial("/v2/x")
	d.Ask.Session = ""
	if got := b.Deny(d); got != d.Decision.ID {
		t.Errorf("Deny = %s", got)
	}
	b.close()
	if b.Counts().Unauthenticated != 1 || len(b.m.entries) != 2 {
		t.Errorf("%+v, %d entries", b.Counts(), len(b.m.entries))
	}
}

// While the database takes nothing, denials are counted instead of piled up.
func TestDenialsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		b.m.setHook(func(op string) fault {
			if op == "write" {
				return refuses
			}
			return fine
		})
		const sessions = pendingDenials/deniedTargets + 20
		n := 0
		for range sessions {
			w.session.ID = writ.NewID(writ.KindSession)
			for i := range deniedTargets {
				b.Deny(w.denial(fmt.Sprintf("/v2/%d", i)))
				n++
			}
		}
		b.q.mu.Lock()
		waiting := len(b.q.denials)
		b.q.mu.Unlock()
		if waiting > pendingDenials+maxBatchDenials {
			t.Errorf("%d denials wait", waiting)
		}
		b.m.setHook(nil)
		pass(2 * time.Second)
		b.close()
		if r := b.verify(); r.Denials+r.Repeats != int64(n) {
			t.Errorf("%d denials, %d repeats of %d", r.Denials, r.Repeats, n)
		}
	})
}
