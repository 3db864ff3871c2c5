package storetest

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// verified fails unless the log verifies and every row is proven.
func verified(t *testing.T, k *Kit) {
	t.Helper()
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: k.Store.Reader(), Org: k.Org})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
	k.wantUnproven(t, "afterwards")
}

// once gives a fault the first time that match holds.
func onceFault(match func(Op) bool, f Fault) Hook {
	var mu sync.Mutex
	done := false
	return func(op Op) *Fault {
		mu.Lock()
		defer mu.Unlock()
		if done || !match(op) {
			return nil
		}
		done = true
		return &f
	}
}

func isCommit(op Op) bool { return op.Kind == "commit" }

// TestUnknownCommit: COMMIT failed, and the database did or did not do it. The
// caller gets the truth, subscribers were told that they may be stale, and what
// is in the database is what subscribers were told.
func TestUnknownCommit(t *testing.T) {
	for name, f := range map[string]Fault{"persisted": {Class: store.ClassIO, Done: true}, "lost": {Class: store.ClassIO}} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory(t)
			k := NewKit(t, m)
			w := &Watcher{}
			k.Store.Subscribe(w)
			m.Hook(onceFault(isCommit, f))
			p, _, err := k.Store.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "p", Text: "forbid"})
			if (err == nil) != f.Done || (p != nil) != f.Done {
				t.Errorf("the act gave %v, %v", p, err)
			}
			if err != nil && writ.KindOf(err) != writ.KindUnavailable {
				t.Errorf("the act gave an error of kind %s", writ.KindOf(err))
			}
			if s := w.Staled(); len(s) == 0 || s[0] != k.Org {
				t.Errorf("stale: %v", s)
			}
			if c := w.Take(); (len(c) == 1) != f.Done {
				t.Errorf("subscribers were told %v", c)
			}
			if _, err := k.Store.Policy(t.Context(), k.Org, "p"); (err == nil) != f.Done {
				t.Errorf("reading it gives %v", err)
			}
			k.Agent()
			verified(t, k)
		})
	}
}

// behind are the statements of the index of uses, which follows by itself.
var behind = regexp.MustCompile(`indexed|\buses\b|\bnames\b|FROM entries|^SELECT number`)

// TestFailingStatements: wherever a statement of an act fails, nothing of the
// act stays, nobody is told of it, and the next one works.
func TestFailingStatements(t *testing.T) {
	for _, class := range []store.Class{store.ClassOther, store.ClassFull, store.ClassBusy, store.ClassLost} {
		m := NewMemory(t)
		k := NewKit(t, m)
		cred := k.Credential(k.App("api.acme.test"))
		agent := k.Agent()
		grant := k.Grant(agent, cred)
		k.Session(agent)
		w := &Watcher{}
		k.Store.Subscribe(w)
		before := k.loaded(t)
		fired := 0
		for n := 0; ; n++ {
			count := -1
			hit := false
			var mu sync.Mutex
			m.Hook(func(op Op) *Fault {
				mu.Lock()
				defer mu.Unlock()
				if op.SQL == "" || strings.HasPrefix(op.SQL, "ROLLBACK") || strings.HasPrefix(op.SQL, "RELEASE") || behind.MatchString(op.SQL) {
					return nil
				}
				if count++; count == n {
					hit = true
					return &Fault{Class: class}
				}
				return nil
			})
			_, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(agent.ID), "test")
			m.Hook(nil)
			mu.Lock()
			wasHit := hit
			mu.Unlock()
			if !wasHit {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if class == store.ClassFull && err == nil {
				// The reserve was given up for it, as it should be.
				if c := w.Take(); len(c) != 1 {
					t.Fatalf("an act on the reserve made changes %v", c)
				}
				if got, err := k.Store.Grant(t.Context(), k.Org, string(grant.ID)); err != nil || got.State != writ.Revoked {
					t.Fatalf("the grant is %v, %v", got, err)
				}
				fired++
				break
			}
			fired++
			if err == nil {
				t.Fatalf("class %d, statement %d failed and the act did not", class, n)
			}
			if c := w.Take(); len(c) != 0 {
				t.Fatalf("class %d, statement %d: subscribers were told of a failed act", class, n)
			}
			after := k.loaded(t)
			for id, b := range before {
				if a := after[id]; a.Seq != b.Seq || !a.Proven {
					t.Fatalf("class %d, statement %d: %s was changed by a failed act", class, n, id)
				}
			}
		}
		if fired == 0 {
			t.Errorf("class %d: no statement was failed", class)
		}
		verified(t, k)
	}
}

// TestOneActFailsAlone: acts share a transaction, and one that is refused does
// not take the others along.
func TestOneActFailsAlone(t *testing.T) {
	m := NewMemory(t)
	k := NewKit(t, m)
	var group sync.WaitGroup
	var mu sync.Mutex
	made, refused := 0, 0
	for range 60 {
		group.Go(func() {
			_, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: "same@acme.dev"})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case writ.KindOf(err) == writ.KindConflict:
				refused++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made != 1 || refused != 59 {
		t.Errorf("%d were made and %d refused", made, refused)
	}
	verified(t, k)
}

// TestFullDisk: nothing is recorded on a full disk but what takes authority
// away, which uses the reserve; with space again everything goes on by itself.
func TestFullDisk(t *testing.T) {
	m := NewMemory(t)
	k := NewKit(t, m)
	agent, other := k.Agent(), k.Agent()
	makeSpace := m.FillDisk()
	_, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: "bo@acme.dev"})
	wantKind(t, "an act on a full disk", err, writ.KindUnavailable)
	if _, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(agent.ID), "leak"); err != nil {
		t.Errorf("a revocation on a full disk: %v", err)
	}
	k.Clock.Add(2 * time.Second)
	_, _, err = k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: "bo@acme.dev"})
	wantKind(t, "another act while the reserve is in use", err, writ.KindUnavailable)
	if _, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(other.ID), "leak"); err != nil {
		t.Errorf("a second revocation on the reserve: %v", err)
	}
	makeSpace()
	k.Clock.Add(2 * time.Second)
	k.Person("bo@acme.dev")
	verified(t, k)
}

// TestReopen: what was durable is there when the store is opened again, and the
// log goes on where it stood.
func TestReopen(t *testing.T) {
	m := NewMemory(t)
	k := NewKit(t, m)
	agent := k.Agent()
	before := k.loaded(t)
	if err := k.Store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: "x@acme.dev"}); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("an act on a closed store gives %v", err)
	}
	k.Store = Open(t, m, k.Clock, k.Keys)
	after := k.loaded(t)
	if len(after) != len(before) {
		t.Errorf("%d nouns before and %d after", len(before), len(after))
	}
	if got, err := k.Store.Identity(t.Context(), k.Org, agent.Name); err != nil || got.ID != agent.ID {
		t.Errorf("the agent is %v, %v", got, err)
	}
	k.Agent(func(i *writ.Identity) { i.Name = "after" })
	verified(t, k)
}
