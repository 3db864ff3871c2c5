package authority_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

// TestFactsAreWhatTheyAreSaidToBe: a sub-agent in a session derived from
// another's, with a grant delegated twice.
func TestFactsAreWhatTheyAreSaidToBe(t *testing.T) {
	w := newWorld(t)
	bo := w.Person("bo@acme.dev")
	app := w.App("api.acme.test", "up.acme.test")
	cred := w.Credential(app, func(c *writ.Credential) { c.Owner, c.Backup = bo.ID, w.Ana.ID })
	top := w.Agent()
	mid := w.Agent(func(i *writ.Identity) { i.Parent = top.ID })
	sub := w.Agent(func(i *writ.Identity) { i.Parent, i.Owner, i.Backup = mid.ID, bo.ID, w.Ana.ID })
	root := w.Grant(top, cred)
	child := w.Grant(mid, cred, func(g *writ.Grant) { g.Parent = root.ID })
	w.Clock.Add(time.Second)
	late := w.Grant(sub, cred)
	w.Clock.Add(-time.Second)
	leaf := w.Grant(sub, cred, func(g *writ.Grant) { g.Parent = child.ID })
	over := w.Grant(sub, cred)
	elsewhere := w.Credential(w.App("other.test"))
	w.Grant(sub, elsewhere)
	w.Policy("forbid (principal, action, resource) when { false };")
	if _, _, err := w.Store.RevokeGrant(t.Context(), w.By, w.Ref(over.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Store.SuspendIdentity(t.Context(), w.By, w.Ref(bo.ID), "leave"); err != nil {
		t.Fatal(err)
	}
	outer := w.Session(top)
	inner := w.Session(sub, func(s *writ.Session) { s.Parent, s.Started = outer.ID, "" })
	a := w.ask(inner, "api.acme.test", "/x")
	f := factsOf(t, w.index, a)
	if f.Stale || f.Stopped || f.Org == nil || f.Org.ID != w.Org || f.Session == nil || f.Session.ID != inner.ID || f.Identity == nil || f.Identity.ID != sub.ID {
		t.Fatalf("facts: %+v", f)
	}
	if len(f.Sessions) != 1 || f.Sessions[0].ID != outer.ID {
		t.Errorf("the session's ancestors are %v", f.Sessions)
	}
	path := []writ.ID{}
	for _, i := range f.Path {
		path = append(path, i.ID)
	}
	if path[0] != w.Ana.ID || path[len(path)-1] != sub.ID || !slices.Contains(path, top.ID) {
		t.Errorf("the path is %v", path)
	}
	if len(f.Parents) != 2 || f.Parents[0].ID != mid.ID || f.Parents[1].ID != top.ID {
		t.Errorf("the parents are %v", f.Parents)
	}
	if f.Owner == nil || f.Owner.ID != w.Ana.ID {
		t.Errorf("the owner is suspended and its backup living: %v", f.Owner)
	}
	if f.Application == nil || f.Application.ID != app.ID {
		t.Errorf("the application is %v", f.Application)
	}
	var ids []writ.ID
	for _, c := range f.Candidates {
		ids = append(ids, c.Grant.ID)
		if c.Credential.ID != cred.ID || c.Version.ID != cred.Current || c.App.ID != app.ID || c.Owner == nil || c.Owner.ID != w.Ana.ID || !c.RateLeft || c.Broken {
			t.Errorf("the candidate is %+v", c)
		}
		if c.Grant.ID == leaf.ID && (len(c.Ancestors) != 2 || c.Ancestors[0].ID != child.ID || c.Ancestors[1].ID != root.ID) {
			t.Errorf("the ancestors are %v", c.Ancestors)
		}
	}
	slices.Sort(ids)
	want := []writ.ID{leaf.ID, over.ID, late.ID}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("the candidates are %v, want %v", ids, want)
	}
	if !slices.IsSortedFunc(f.Candidates, func(a, b decide.Candidate) int { return int(a.Grant.Created - b.Grant.Created) }) {
		t.Error("the candidates are not in the order of their creation")
	}
	if len(f.Unproven) != 0 || f.Guardrails == nil {
		t.Errorf("unproven %v, guardrails %v", f.Unproven, f.Guardrails)
	}
	// Every fact is named by the entry that last changed it.
	for _, r := range f.Records {
		if seq, err := w.Store.EntryOf(t.Context(), w.Org, r.ID); err != nil || seq != r.Seq {
			t.Errorf("%s is recorded at %d and named with %d, %v", r.ID, seq, r.Seq, err)
		}
	}
	for _, id := range []writ.ID{w.Org, inner.ID, outer.ID, sub.ID, mid.ID, top.ID, w.Ana.ID, app.ID, leaf.ID, child.ID, root.ID, cred.ID, cred.Current} {
		if !slices.ContainsFunc(f.Records, func(r decide.Record) bool { return r.ID == id }) {
			t.Errorf("no record of %s", id)
		}
	}
	if r := decided(t, w.index, a); r != "" {
		t.Errorf("decided: %s", r)
	}
	if f := factsOf(t, w.index, w.ask(inner, "nobody.test", "/")); f.Application != nil || len(f.Candidates) != 0 {
		t.Errorf("an undeclared host has %v, %v", f.Application, f.Candidates)
	}
	// The other host is open too until a version is sealed for the first alone.
	if f := factsOf(t, w.index, w.ask(inner, "up.acme.test", "/")); len(f.Candidates) != 3 {
		t.Errorf("the second host has %d candidates", len(f.Candidates))
	}
	v, sealed := w.SealedVersion("api.acme.test")
	if _, _, err := w.Store.RotateCredential(t.Context(), w.By, w.Ref(cred.ID), v, sealed); err != nil {
		t.Fatal(err)
	}
	if f := factsOf(t, w.index, w.ask(inner, "up.acme.test", "/")); len(f.Candidates) != 0 {
		t.Errorf("the second host still has %d candidates", len(f.Candidates))
	}
}

// TestInvariant09DescendantsDie: what was delegated is dead with any ancestor,
// at the moment the act returns, and nothing revives it.
func TestInvariant09DescendantsDie(t *testing.T) {
	w := newWorld(t)
	cred := w.Credential(w.App("api.acme.test"))
	holder, agent := w.Agent(), w.Agent()
	root := w.Grant(holder, cred)
	mid := w.Grant(holder, cred, func(g *writ.Grant) { g.Parent = root.ID })
	w.Grant(agent, cred, func(g *writ.Grant) { g.Parent = mid.ID })
	s := w.Session(agent)
	a := w.ask(s, "api.acme.test", "/x")
	if r := decided(t, w.index, a); r != "" {
		t.Fatal(r)
	}
	if _, _, err := w.Store.SuspendGrant(t.Context(), w.By, w.Ref(root.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if r := decided(t, w.index, a); r != writ.DelegationBroken {
		t.Errorf("under a suspended root: %q", r)
	}
	if _, _, err := w.Store.ResumeGrant(t.Context(), w.By, w.Ref(root.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if r := decided(t, w.index, a); r != "" {
		t.Errorf("under a resumed root: %q", r)
	}
	if _, _, err := w.Store.RevokeGrant(t.Context(), w.By, w.Ref(root.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if r := decided(t, w.index, a); r != writ.GrantInactive {
		t.Errorf("under a revoked root: %q", r)
	}
	if r := decided(t, w.fresh(), a); r != writ.GrantInactive {
		t.Errorf("under a revoked root, loaded anew: %q", r)
	}
}

// TestInvariant14OrganizationsDoNotMeet: the same names, hosts and ids of one
// organization mean nothing in another.
func TestInvariant14OrganizationsDoNotMeet(t *testing.T) {
	w := newWorld(t)
	far := &world{Kit: w.Found("globex"), index: w.index}
	type side struct {
		w     *world
		s     *writ.Session
		key   *writ.Key
		agent *writ.Identity
	}
	var sides []side
	for _, x := range []*world{w, far} {
		agent := x.Agent()
		x.Grant(agent, x.Credential(x.App("api.acme.test")))
		sides = append(sides, side{x, x.Session(agent), x.Key(agent), agent})
	}
	// Something stopped in one does not stop the other.
	if _, _, err := far.Store.StopAll(t.Context(), far.By, far.Org, "fire"); err != nil {
		t.Fatal(err)
	}
	if r := decided(t, w.index, w.ask(sides[0].s, "api.acme.test", "/x")); r != "" {
		t.Errorf("the other organization was stopped: %s", r)
	}
	if r := decided(t, w.index, far.ask(sides[1].s, "api.acme.test", "/x")); r != writ.Stopped {
		t.Errorf("the organization was stopped: %s", r)
	}
	if _, _, err := far.Store.ResumeAll(t.Context(), far.By, far.Org, "out"); err != nil {
		t.Fatal(err)
	}
	for i, me := range sides {
		other := sides[1-i]
		// The other's session, asked for in my organization.
		a := me.w.ask(other.s, "api.acme.test", "/x")
		f := factsOf(t, w.index, a)
		if f.Session != nil || f.Identity != nil || len(f.Candidates) != 0 {
			t.Errorf("a foreign session has facts: %+v", f)
		}
		if r := decided(t, w.index, a); r != writ.NoIdentity {
			t.Errorf("a foreign session: %s", r)
		}
		f = factsOf(t, w.index, me.w.ask(me.s, "api.acme.test", "/x"))
		for _, r := range f.Records {
			if seq, err := me.w.Store.EntryOf(t.Context(), me.w.Org, r.ID); err != nil || seq != r.Seq {
				t.Errorf("the fact %s is not of the organization: %v", r.ID, err)
			}
		}
		k, who, err := w.index.Key(t.Context(), hashOf(t, me.key.Hash))
		if err != nil || k.Org != me.w.Org || who.ID != me.agent.ID {
			t.Errorf("the key leads to %v, %v, %v", k, who, err)
		}
		if _, ok := w.index.Believed(me.w.Org, other.agent.ID); ok {
			t.Error("a foreign identity is believed")
		}
	}
	if _, _, err := far.Store.RevokeIdentity(t.Context(), far.By, far.Ref(sides[1].agent.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if r := decided(t, w.index, w.ask(sides[0].s, "api.acme.test", "/x")); r != "" {
		t.Errorf("a foreign agent was revoked: %s", r)
	}
}

// TestTokens: a session or key is known while it, and all it rests on, stands.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	agent := w.Agent()
	outer := w.Session(agent)
	inner := w.Session(agent, func(s *writ.Session) { s.Parent, s.Started = outer.ID, "" })
	key := w.Key(agent)
	short := w.Session(agent, func(s *writ.Session) { s.Expires = w.In(time.Second) })
	for _, x := range []*authority.Index{w.index, w.fresh()} {
		s, who, err := x.Session(t.Context(), hashOf(t, inner.Hash))
		if err != nil || s.ID != inner.ID || who.ID != agent.ID {
			t.Fatalf("the session: %v, %v, %v", s, who, err)
		}
		if _, _, err := x.Key(t.Context(), hashOf(t, inner.Hash)); writ.KindOf(err) != writ.KindUnauthenticated {
			t.Errorf("a session's token as a key: %v", err)
		}
		if _, _, err := x.Session(t.Context(), hashOf(t, key.Hash)); writ.KindOf(err) != writ.KindUnauthenticated {
			t.Errorf("a key as a session's token: %v", err)
		}
		if _, _, err := x.Session(t.Context(), storetest.Hash("guess")); writ.KindOf(err) != writ.KindUnauthenticated {
			t.Errorf("a guess: %v", err)
		}
	}
	w.Clock.Add(2 * time.Second)
	if _, _, err := w.index.Session(t.Context(), hashOf(t, short.Hash)); writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("an expired session: %v", err)
	}
	if _, _, err := w.Store.EndSession(t.Context(), w.By, w.Ref(outer.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.index.Session(t.Context(), hashOf(t, inner.Hash)); writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("a session whose parent ended: %v", err)
	}
	if _, _, err := w.index.Key(t.Context(), hashOf(t, key.Hash)); err != nil {
		t.Errorf("the key: %v", err)
	}
	// Suspended and resumed within the same millisecond, the key stays void.
	for _, turn := range []func(context.Context, writ.Actor, writ.Ref, string) (*writ.Identity, ledger.Mark, error){w.Store.SuspendIdentity, w.Store.ResumeIdentity} {
		if _, _, err := turn(t.Context(), w.By, w.Ref(agent.ID), "x"); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*authority.Index{w.index, w.fresh()} {
			if _, _, err := x.Key(t.Context(), hashOf(t, key.Hash)); writ.KindOf(err) != writ.KindUnauthenticated {
				t.Errorf("a key from before the cut-off: %v", err)
			}
		}
	}
	fresh := w.Key(agent)
	if _, _, err := w.index.Key(t.Context(), hashOf(t, fresh.Hash)); err != nil {
		t.Errorf("a key from after the cut-off: %v", err)
	}
	// What ended long ago is forgotten, and denied all the same.
	a := w.ask(inner, "api.acme.test", "/x")
	if f := factsOf(t, w.index, a); f.Session == nil || f.Session.State != writ.Ended {
		t.Errorf("a session that just ended is %v", f.Session)
	}
	w.Clock.Add(2 * time.Hour)
	w.Agent()
	if f := factsOf(t, w.index, a); f.Session != nil {
		t.Errorf("a session that ended long ago is %v", f.Session)
	}
	if r := decided(t, w.index, a); r != writ.NoIdentity {
		t.Errorf("a session that ended long ago: %s", r)
	}
}

// TestStale: an uncertain view denies until it is loaded anew, and a load that
// fails is not tried by every request.
func TestStale(t *testing.T) {
	w := newWorld(t)
	agent := w.Agent()
	w.Grant(agent, w.Credential(w.App("api.acme.test")))
	a := w.ask(w.Session(agent), "api.acme.test", "/x")
	loads, broken := 0, true
	var mu sync.Mutex
	x := authority.New(authority.Config{Clock: w.Clock.Now, Locate: w.Store.Locate, Load: func(ctx context.Context, org writ.ID, yield func(ledger.Noun) error) (writ.Epoch, error) {
		mu.Lock()
		loads++
		fails := broken
		mu.Unlock()
		if fails {
			return writ.Epoch{}, errors.New("the database is away")
		}
		return w.Store.Load(ctx, org, yield)
	}})
	for range 10 {
		if r := decided(t, x, a); r != writ.AuthorityStale {
			t.Fatalf("without a view: %q", r)
		}
	}
	if loads != 1 {
		t.Errorf("ten requests loaded %d times", loads)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	w.Clock.Add(time.Second)
	if r := decided(t, x, a); r != "" {
		t.Errorf("with a view: %q", r)
	}
	x.Stale(w.Org)
	if _, ok := x.Epoch(w.Org); ok {
		t.Error("a stale view has an epoch")
	}
	if _, ok := x.Believed(w.Org, agent.ID); ok {
		t.Error("a stale view is believed")
	}
	if r := decided(t, x, a); r != "" || loads != 3 {
		t.Errorf("loaded anew: %q after %d loads", r, loads)
	}
}

// TestUnknownCommitLeavesNoGap: the database did what it was asked and the
// answer was lost. Whatever the index then says, it is what the database holds.
func TestUnknownCommitLeavesNoGap(t *testing.T) {
	for _, done := range []bool{true, false} {
		w := newWorld(t)
		agent := w.Agent()
		w.Grant(agent, w.Credential(w.App("api.acme.test")))
		a := w.ask(w.Session(agent), "api.acme.test", "/x")
		if r := decided(t, w.index, a); r != "" {
			t.Fatal(r)
		}
		// The commit of a batch, and not that of the search rows, which are written
		// whenever there is time. The database has one connection, so what comes
		// after a batch's entries is that batch's commit.
		var batch, hit atomic.Bool
		w.mem.Hook(func(op storetest.Op) *storetest.Fault {
			if op.Kind == "exec" && strings.Contains(op.SQL, "INTO entries") {
				batch.Store(true)
			}
			if op.Kind == "commit" && batch.Load() && !hit.Swap(true) {
				return &storetest.Fault{Class: store.ClassIO, Done: done}
			}
			return nil
		})
		_, _, err := w.Store.RevokeIdentity(t.Context(), w.By, w.Ref(agent.ID), "x")
		if (err == nil) != done {
			t.Errorf("the act gave %v", err)
		}
		if r := decided(t, w.index, a); (r == "") == done {
			t.Errorf("persisted %v: %q", done, r)
		}
		sameAsFresh(t, w)
	}
}

// TestChangesDuringALoadAreKept: a change that is committed while a load reads
// is in the view afterwards, whether the load's snapshot held it or not.
func TestChangesDuringALoadAreKept(t *testing.T) {
	w := newWorld(t)
	agent := w.Agent()
	w.Grant(agent, w.Credential(w.App("api.acme.test")))
	a := w.ask(w.Session(agent), "api.acme.test", "/x")
	reading, goOn := make(chan struct{}), make(chan struct{})
	x := authority.New(authority.Config{Clock: w.Clock.Now, Locate: w.Store.Locate, Load: func(ctx context.Context, org writ.ID, yield func(ledger.Noun) error) (writ.Epoch, error) {
		e, err := w.Store.Load(ctx, org, yield)
		close(reading)
		<-goOn
		return e, err
	}})
	w.Store.Subscribe(x)
	answer := make(chan writ.Reason)
	go func() { answer <- decided(t, x, a) }()
	<-reading
	if _, _, err := w.Store.RevokeIdentity(t.Context(), w.By, w.Ref(agent.ID), "x"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if r := <-answer; r != writ.SessionEnded {
		t.Errorf("revoked while it was loaded: %q", r)
	}
	e, _ := x.Epoch(w.Org)
	if want, _ := w.index.Epoch(w.Org); e != want {
		t.Errorf("the epoch is %v, want %v", e, want)
	}
}

func TestRates(t *testing.T) {
	w := newWorld(t)
	agent := w.Agent()
	cred := w.Credential(w.App("api.acme.test"))
	root := w.Grant(w.Agent(), cred, func(g *writ.Grant) { g.Limits.PerMinute = 3 })
	limited := func(g *writ.Grant) { g.Parent, g.Limits.PerMinute = root.ID, 2 }
	one, two := w.Grant(agent, cred, limited), w.Grant(agent, cred, limited)
	s := w.Session(agent)
	left := func() (l []bool) {
		f := factsOf(t, w.index, w.ask(s, "api.acme.test", "/x"))
		for _, c := range f.Candidates {
			l = append(l, c.RateLeft)
		}
		return l
	}
	take := func(g *writ.Grant) bool { return w.index.Take(w.Org, []writ.ID{s.ID, g.ID, root.ID, cred.ID}) }
	if l := left(); !slices.Equal(l, []bool{true, true}) {
		t.Errorf("at first: %v", l)
	}
	first := one
	if f := factsOf(t, w.index, w.ask(s, "api.acme.test", "/x")); f.Candidates[0].Grant.ID == two.ID {
		first = two
	}
	second := one
	if first == one {
		second = two
	}
	for i, want := range []bool{true, true, false} {
		if take(first) != want {
			t.Errorf("a rate of two a minute: use %d", i+1)
		}
	}
	if l := left(); !slices.Equal(l, []bool{false, true}) {
		t.Errorf("the first is used up: %v", l)
	}
	// The refused third took nothing from the root: it has one left for the other.
	if !take(second) || take(second) {
		t.Error("the root's rate of three a minute")
	}
	if l := left(); !slices.Equal(l, []bool{false, false}) {
		t.Errorf("the root is used up: %v", l)
	}
	w.Clock.Add(30 * time.Second)
	if l := left(); !slices.Equal(l, []bool{true, true}) {
		t.Errorf("after half a minute: %v", l)
	}
	w.Clock.Add(-time.Hour)
	if l := left(); !slices.Equal(l, []bool{true, true}) {
		t.Errorf("a clock that went back: %v", l)
	}
	// Many at once share the rate.
	w.Clock.Add(3 * time.Hour)
	var group sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 50 {
		group.Go(func() {
			if take(first) {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if taken != 2 {
		t.Errorf("%d of 50 at once went through, want 2", taken)
	}
}
