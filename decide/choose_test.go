package decide

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"writ.dev/writ"
)

func decideOK(t *testing.T, w *world) (writ.Decision, *Terms) {
	t.Helper()
	w.compile()
	d, allow := Decide(w.ask, w.facts)
	terms, ok := allow.Spend()
	if !ok || !d.Allow {
		t.Fatalf("denied: %v %s", d.Reasons, d.Detail)
	}
	return d, terms
}

func TestHintPicksTheCredential(t *testing.T) {
	for _, byID := range []bool{false, true} {
		w := newWorld(t)
		other := w.second()
		w.ask.Hint = other.Credential.Name
		if byID {
			w.ask.Hint = string(other.Credential.ID)
		}
		if d, _ := decideOK(t, w); d.Credential != other.Credential.ID || d.Version != other.Version.ID || d.Grant != other.Grant.ID {
			t.Errorf("the hint %s led to %s", w.ask.Hint, d.Credential)
		}
	}
}

// A credential that would be denied leaves no choice: the other is used
// without a hint.
func TestOnlyCredentialsThatPassAreAmbiguous(t *testing.T) {
	w := newWorld(t)
	w.second().Credential.AIUse = writ.AIForbidden
	if d, _ := decideOK(t, w); d.Credential != w.credential.ID {
		t.Errorf("used %s", d.Credential)
	}
}

// Among grants for one credential the oldest is used, in whatever order the
// facts list them, and a narrower one beside it takes nothing away.
func TestOldestGrantOfOneCredentialIsUsed(t *testing.T) {
	w := newWorld(t)
	add := func(n int, created writ.Time) {
		g := *w.grant
		g.ID, g.Created = id(writ.KindGrant, n), created
		c := w.facts.Candidates[0]
		c.Grant = &g
		w.facts.Candidates = append(w.facts.Candidates, c)
	}
	add(20, w.grant.Created+5)
	add(30, w.grant.Created-5)
	add(29, w.grant.Created-5)
	for range 4 {
		if d, _ := decideOK(t, w); d.Grant != id(writ.KindGrant, 29) {
			t.Fatalf("used %s", d.Grant)
		}
		w.facts.Candidates = append(w.facts.Candidates[1:], w.facts.Candidates[0])
	}
}

// The reason given is that of the grant which came nearest, not of the first.
func TestDenialNamesTheNearestMiss(t *testing.T) {
	w := newWorld(t)
	for n, state := range []writ.State{writ.Revoked, writ.Active, writ.Revoked} {
		g := *w.grant
		g.ID, g.State = id(writ.KindGrant, 10+n), state
		g.Rules = []writ.Rule{{Methods: []string{"GET"}, Path: "/v1/charges"}}
		g.Conditions.Networks = []string{"192.0.2.0/24"}
		c := w.facts.Candidates[0]
		c.Grant = &g
		w.facts.Candidates = append(w.facts.Candidates, c)
	}
	w.grant.Rules = w.grant.Rules[1:]
	w.compile()
	d, _ := Decide(w.ask, w.facts)
	if d.Reason() != writ.ContextMismatch || d.Grant != id(writ.KindGrant, 11) || !slices.Equal(d.Missing, []string{"network"}) {
		t.Errorf("%v %s %v: %s", d.Reasons, d.Grant, d.Missing, d.Detail)
	}
}

func TestBasisIsComputed(t *testing.T) {
	service := func(w *world) {
		w.agent.Kind, w.agent.Name = writ.Service, "app-ci"
	}
	for _, c := range []struct {
		name string
		want writ.AuthorityBasis
		make func(w *world)
	}{
		{"an agent whose session a person started", writ.BasisDelegatedHuman, func(*world) {}},
		{"a service whose session a person started", writ.BasisDelegatedHuman, service},
		{"a service alone", writ.BasisServiceAccount, func(w *world) {
			service(w)
			w.session.Started, w.facts.Path = w.agent.ID, []*writ.Identity{w.agent}
		}},
		{"an agent alone", writ.BasisDirect, func(w *world) {
			w.session.Started, w.facts.Path = w.agent.ID, []*writ.Identity{w.agent}
		}},
		{"a person alone", writ.BasisDirect, func(w *world) {
			w.session.Identity, w.grant.Identity = w.ana.ID, w.ana.ID
			w.facts.Identity, w.facts.Path = w.ana, []*writ.Identity{w.ana}
		}},
		{"an agent below a session of the person's own", writ.BasisDelegatedHuman, func(w *world) { w.childSession() }},
	} {
		w := newWorld(t)
		c.make(w)
		if d, _ := decideOK(t, w); d.Basis != c.want {
			t.Errorf("%s: %s, want %s", c.name, d.Basis, c.want)
		}
	}
}

// Whatever ends first ends the allow; nothing that it rests on is forgotten.
func TestUntilIsTheEarliestEndOfAnything(t *testing.T) {
	soon := now + 5
	for name, make := range map[string]func(w *world){
		"session":            func(w *world) { w.session.Expires = soon },
		"session above":      func(w *world) { w.childSession().Expires = soon },
		"actor":              func(w *world) { w.agent.Expires = soon },
		"principal":          func(w *world) { w.ana.Expires = soon },
		"parent agent":       func(w *world) { w.parentAgent().Expires = soon },
		"grant":              func(w *world) { w.grant.Expires = soon },
		"credential":         func(w *world) { w.credential.Expires = soon },
		"grace":              func(w *world) { w.org.GraceDays, w.credential.Issuer, w.credential.Created = 1, "", soon-86_400_000 },
		"owner":              func(w *world) { w.ben.Expires, w.facts.Owner = soon, w.ben },
		"credential's owner": func(w *world) { w.ben.Expires, w.facts.Candidates[0].Owner = soon, w.ben },
		"ancestor": func(w *world) {
			w.delegated().Expires = soon
			w.grant.Expires = soon
		},
	} {
		w := newWorld(t)
		make(w)
		if _, terms := decideOK(t, w); terms.Until != soon {
			t.Errorf("%s ends at %d, the allow at %d", name, soon, terms.Until)
		}
	}
}

func TestTermsNameLimitedGrantsAndAncestors(t *testing.T) {
	w := newWorld(t)
	parent := w.delegated()
	parent.Limits.Uses, w.grant.Limits.Uses = 10, 3
	d, terms := decideOK(t, w)
	if !slices.Equal(terms.Limited, []writ.ID{w.grant.ID, parent.ID}) {
		t.Errorf("limited: %v", terms.Limited)
	}
	if !slices.Contains(d.Rests, parent.ID) {
		t.Errorf("rests on %v, without the parent", d.Rests)
	}
}

// TestInvariant08OutsideGovernanceMeansNoUse: every single fact of provenance
// is needed, in production at once, elsewhere after the grace and not before.
func TestInvariant08OutsideGovernanceMeansNoUse(t *testing.T) {
	for fact, take := range map[string]func(c *writ.Credential){
		"owner":              func(c *writ.Credential) { c.Owner = "" },
		"issuer":             func(c *writ.Credential) { c.Issuer = "" },
		"authoriser":         func(c *writ.Credential) { c.Authoriser = "" },
		"revocation trigger": func(c *writ.Credential) { c.Triggers = nil },
	} {
		for _, env := range []writ.Environment{writ.Prod, "", "qa"} {
			w := newWorld(t)
			w.org.GraceDays, w.app.Env = 365, env
			take(w.credential)
			d, allow := Decide(w.ask, w.facts)
			if allow.OK() || d.Reason() != writ.OutsideGovernance || !slices.Equal(d.Missing, []string{fact}) || !strings.Contains(d.Detail, fact) {
				t.Errorf("without %s in %q: %v %v %s", fact, env, d.Reasons, d.Missing, d.Detail)
			}
		}
		for _, env := range []writ.Environment{writ.Dev, writ.Staging} {
			w := newWorld(t)
			w.org.GraceDays, w.app.Env = 2, env
			take(w.credential)
			end := w.credential.GraceEnds(2)
			w.session.Created, w.session.Expires, w.grant.Expires, w.agent.Expires = 1, end+10, end+10, end+10
			for at, allowed := range map[writ.Time]bool{end - 1: true, end: false, end + 1: false} {
				w.ask.Time = at
				if d, allow := Decide(w.ask, w.facts); allow.OK() != allowed {
					t.Errorf("without %s in %s at the end of the grace %+d: %v %s", fact, env, at-end, d.Allow, d.Detail)
				}
			}
		}
	}
}

// TestInvariant09AttenuationIsCheckedAgainWhenUsed: rows that were changed
// after they were checked, in whichever respect, break the delegation.
func TestInvariant09AttenuationIsCheckedAgainWhenUsed(t *testing.T) {
	w := newWorld(t)
	w.delegated()
	if d, _ := decideOK(t, w); d.Grant != w.grant.ID {
		t.Fatal("a proper delegation was not used")
	}
	for name, change := range map[string]func(child, parent *writ.Grant){
		"wider rules":       func(_, p *writ.Grant) { p.Rules = []writ.Rule{{Methods: []string{"GET"}, Path: "/v1/charges"}} },
		"longer life":       func(c, p *writ.Grant) { c.Expires = p.Expires + 1 },
		"no end":            func(c, _ *writ.Grant) { c.Expires = 0 },
		"other credential":  func(_, p *writ.Grant) { p.Credential = id(writ.KindCredential, 9) },
		"more uses":         func(c, p *writ.Grant) { c.Limits.Uses, p.Limits.Uses = 2, 1 },
		"higher rate":       func(c, p *writ.Grant) { c.Limits.PerMinute, p.Limits.PerMinute = 2, 1 },
		"no network":        func(_, p *writ.Grant) { p.Conditions.Networks = []string{"10.0.0.0/8"} },
		"no window":         func(_, p *writ.Grant) { p.Conditions.Windows = []writ.Window{{From: 0, To: 1440}} },
		"no program":        func(_, p *writ.Grant) { p.Conditions.Executables = []string{strings.Repeat("a", 64)} },
		"no device":         func(_, p *writ.Grant) { p.Conditions.Device = "dev_1" },
		"same depth":        func(c, _ *writ.Grant) { c.Depth = 0 },
		"suspended parent":  func(_, p *writ.Grant) { p.State = writ.Suspended },
		"ended parent":      func(_, p *writ.Grant) { p.Expires = now },
		"parent of another": func(c, _ *writ.Grant) { c.Parent = id(writ.KindGrant, 9) },
		"dangling root":     func(_, p *writ.Grant) { p.Parent = id(writ.KindGrant, 9) },
	} {
		w := newWorld(t)
		parent := w.delegated()
		change(w.grant, parent)
		w.compile()
		if d, allow := Decide(w.ask, w.facts); allow.OK() || d.Reason() != writ.DelegationBroken {
			t.Errorf("%s: %v %s", name, d.Reasons, d.Detail)
		}
	}
}

// TestDecideIsPure: whatever the facts, the same inputs give the same answer,
// Simulate gives Decide's, the inputs are left as they were, and the order of
// the candidates does not matter to a use that is allowed.
func TestDecideIsPure(t *testing.T) {
	same := cmp.Options{
		cmpopts.IgnoreUnexported(writ.Rule{}), cmpopts.EquateComparable(writ.Ask{}.Source),
		cmp.Comparer(func(a, b *Guardrails) bool { return a.Version() == b.Version() }),
	}
	rapid.Check(t, func(rt *rapid.T) {
		spoils := rapid.SliceOfN(rapid.IntRange(-3, len(denials)-1), 0, 3).Draw(rt, "spoils")
		build := func() (w *world) {
			w = newWorld(t)
			defer func() {
				// Some ways to spoil a world need it whole.
				if recover() != nil {
					w = nil
				}
			}()
			for _, i := range spoils {
				switch {
				case i >= 0:
					denials[i].spoil(t, w)
				case i == -1:
					w.second()
					w.ask.Hint = "stripe-other"
				case i == -2:
					w.guard(t, policy(1, `forbid(principal, action, resource) when { context.hour < 12 };`), policy(2, `forbid(principal, action, resource) when { context.hops > 0 };`))
				default:
					w.childSession()
				}
			}
			w.compile()
			return w
		}
		w, untouched := build(), build()
		if w == nil {
			return
		}
		d, allow := Decide(w.ask, w.facts)
		again, _ := Decide(w.ask, w.facts)
		if diff := cmp.Diff(d, again); diff != "" {
			rt.Fatalf("decided twice:\n%s", diff)
		}
		if diff := cmp.Diff(d, Simulate(w.ask, w.facts)); diff != "" {
			rt.Fatalf("simulated:\n%s", diff)
		}
		if allow.OK() != d.Allow || d.Allow != (len(d.Reasons) == 0) {
			rt.Fatalf("allow %v, decision %+v", allow.OK(), d)
		}
		if diff := cmp.Diff(untouched.facts, w.facts, same); diff != "" {
			rt.Fatalf("the facts were changed:\n%s", diff)
		}
		if diff := cmp.Diff(untouched.ask, w.ask, same); diff != "" {
			rt.Fatalf("the ask was changed:\n%s", diff)
		}
		slices.Reverse(w.facts.Candidates)
		if reversed := Simulate(w.ask, w.facts); d.Allow && !cmp.Equal(d, reversed) {
			rt.Fatalf("another order, another answer:\n%s", cmp.Diff(d, reversed))
		}
	})
}
