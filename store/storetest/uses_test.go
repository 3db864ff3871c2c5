package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

// user uses credentials as the broker does, without sending anything.
type user struct {
	*storetest.Kit
	index *authority.Index
	log   *ledger.Log
}

func newUser(t *testing.T, k *storetest.Kit) *user {
	t.Helper()
	x := authority.New(authority.Config{Load: k.Store.Load, Locate: k.Store.Locate, Clock: k.Clock.Now})
	k.Store.Subscribe(x)
	k.Store.Believe(x)
	log, err := k.Store.Log(t.Context(), k.Org)
	if err != nil {
		t.Fatal(err)
	}
	return &user{k, x, log}
}

func (u *user) ask(s *writ.Session, method, host, path string) *writ.Ask {
	now := u.Clock.Now()
	a := &writ.Ask{ID: writ.NewOrderedID(writ.KindDecision, now), Org: u.Org, Session: s.ID, Time: writ.At(now), Scheme: "https"}
	a.Method, a.Host = method, host
	a.Target, _ = writ.ParseTarget(path, writ.Profile{})
	a.Info.Mode = writ.BodyNone
	return a
}

// decide decides; an allow is not recorded yet.
func (u *user) decide(t *testing.T, a *writ.Ask) (writ.Decision, decide.Allow) {
	t.Helper()
	f, err := u.index.Facts(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return decide.Decide(a, f)
}

// use decides and records.
func (u *user) use(t *testing.T, a *writ.Ask) (writ.Decision, error) {
	t.Helper()
	d, allow := u.decide(t, a)
	if !d.Allow {
		d.ID = u.log.Deny(ledger.Denial{Ask: a, Decision: &d})
		return d, nil
	}
	_, err := u.log.Append(t.Context(), allow)
	return d, err
}

func TestUsesAreFound(t *testing.T) {
	for name, engine := range map[string]func(testing.TB) store.Engine{"sqlite": func(t testing.TB) store.Engine { return storetest.NewMemory(t) }, "postgres": postgresEngine} {
		t.Run(name, func(t *testing.T) { testUses(t, newUser(t, storetest.NewKit(t, engine(t)))) })
	}
}

func testUses(t *testing.T, u *user) {
	agent, other := u.Agent(), u.Agent()
	one, two := u.Credential(u.App("one.test")), u.Credential(u.App("two.test"))
	u.Grant(agent, one)
	u.Grant(agent, two)
	limited := u.Grant(other, one, func(g *writ.Grant) { g.Limits.Uses = 5 })
	s, o := u.Session(agent), u.Session(other)
	var allowed []writ.Decision
	for n := range 12 {
		host := "one.test"
		if n%3 == 0 {
			host = "two.test"
		}
		d, err := u.use(t, u.ask(s, "GET", host, "/x?secret=1"))
		if err != nil || !d.Allow {
			t.Fatalf("%+v, %v", d, err)
		}
		allowed = append(allowed, d)
		u.Clock.Add(time.Second)
	}
	for range 5 {
		if d, err := u.use(t, u.ask(o, "GET", "one.test", "/y")); err != nil || !d.Allow {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	// Limits of use are the database's, and a used-up grant stays used up.
	var gone *ledger.BasisGone
	if _, err := u.use(t, u.ask(o, "GET", "one.test", "/y")); !errors.As(err, &gone) || gone.Exhausted != limited.ID {
		t.Errorf("a sixth use of five: %v", err)
	}
	if n, err := u.Store.UsesLeft(t.Context(), u.Org, limited.ID); err != nil || n != 0 {
		t.Errorf("%d uses are left, %v", n, err)
	}
	denied, err := u.use(t, u.ask(s, "POST", "one.test", "/x"))
	if err != nil || denied.Allow {
		t.Fatal(denied, err)
	}
	u.log.Outcome(writ.Outcome{Use: writ.UseOf(allowed[0].ID), Kind: writ.Completed, Status: 204, Millis: 7})
	// The denial and the outcome are written soon, without anybody waiting.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for size := u.log.Head().Size; ; {
		denial, err := u.Store.Use(ctx, u.Org, denied.ID)
		first, err2 := u.Store.Use(ctx, u.Org, allowed[0].ID)
		if err == nil && err2 == nil && denial.Reason != "" && first.Outcome != "" {
			break
		}
		if size, err = u.log.Await(ctx, size); err != nil {
			t.Fatal("neither denial nor outcome became durable: ", err)
		}
	}
	first, err := u.Store.Use(t.Context(), u.Org, writ.UseOf(allowed[0].ID))
	if err != nil || first.Outcome != writ.Completed || first.Status != 204 || first.Millis != 7 || first.OutcomeSeq <= first.Seq ||
		first.Host != "two.test" || first.Path != "/x" || first.Identity != agent.ID || first.Grant == "" || !first.Allow {
		t.Errorf("the first use is %+v, %v", first, err)
	}
	if seq, err := u.Store.EntryOf(t.Context(), u.Org, allowed[3].ID); err != nil {
		t.Error(err)
	} else if e, err := u.Store.Entry(t.Context(), u.Org, seq); err != nil {
		t.Error(err)
	} else if v, err := ledger.DecodeAllow(e); err != nil || v.Decision.ID != allowed[3].ID {
		t.Errorf("entry %d is %+v, %v", seq, v, err)
	}
	find := func() {
		t.Helper()
		for _, c := range []struct {
			what string
			q    store.UseQuery
			want int
		}{
			{"everything", store.UseQuery{}, 18},
			{"of the agent", store.UseQuery{Identity: agent.ID}, 13},
			{"of the other's session", store.UseQuery{Session: o.ID}, 5},
			{"of a credential", store.UseQuery{Credential: two.ID}, 4},
			{"at a host", store.UseQuery{Host: "one.test", Identity: agent.ID}, 9},
			{"allowed", store.UseQuery{Allowed: true}, 17},
			{"denied", store.UseQuery{Denied: true}, 1},
			{"with a reason", store.UseQuery{Reason: writ.OutOfAuthority}, 1},
			{"with an outcome", store.UseQuery{Outcome: writ.Completed}, 1},
			{"of a grant", store.UseQuery{Grant: limited.ID}, 5},
			{"of nobody", store.UseQuery{Identity: u.Ana.ID}, 0},
			{"in a span", store.UseQuery{Since: allowed[2].Time, Until: allowed[5].Time}, 3},
			{"of the agent in a span", store.UseQuery{Identity: agent.ID, Since: allowed[2].Time, Until: allowed[5].Time}, 3},
		} {
			var got []store.Use
			q := c.q
			q.Limit = 4
			for {
				page, next, err := u.Store.Uses(t.Context(), u.Org, q)
				if err != nil {
					t.Fatal(c.what, err)
				}
				got = append(got, page...)
				if q.After = next; next == "" {
					break
				}
			}
			if len(got) != c.want {
				t.Errorf("%s: %d uses, want %d", c.what, len(got), c.want)
			}
			for i := 1; i < len(got); i++ {
				if got[i].Seq >= got[i-1].Seq {
					t.Errorf("%s: %d comes after %d", c.what, got[i].Seq, got[i-1].Seq)
				}
			}
		}
	}
	find()
	if err := u.Store.RebuildUses(t.Context(), u.Org); err != nil {
		t.Fatal(err)
	}
	find()
	far := u.Found("globex")
	if uses, _, err := far.Store.Uses(t.Context(), far.Org, store.UseQuery{}); err != nil || len(uses) != 0 {
		t.Errorf("another organization finds %v, %v", uses, err)
	}
	if _, err := far.Store.Use(t.Context(), far.Org, allowed[0].ID); writ.KindOf(err) != writ.KindNotFound {
		t.Errorf("another organization finds the use: %v", err)
	}
}

// TestInvariant06RecheckAgainstRows: an allow that was decided before something
// it rests on was withdrawn is not recorded after it, whatever was withdrawn.
func TestInvariant06RecheckAgainstRows(t *testing.T) {
	for name, engine := range map[string]func(testing.TB) store.Engine{"sqlite": func(t testing.TB) store.Engine { return storetest.NewMemory(t) }, "postgres": postgresEngine} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, storetest.NewKit(t, engine(t)))
			for what, withdraw := range withdrawals {
				// Everything new each time: what was withdrawn stays so.
				far := newUser(t, u.Found(u.Name("org")))
				agent := far.Agent()
				cred := far.Credential(far.App("one.test"))
				root := far.Grant(far.Agent(), cred) // another's: the agent has the child alone
				grant := far.Grant(agent, cred, func(g *writ.Grant) { g.Parent = root.ID })
				parent := far.Session(agent)
				s := far.Session(agent, func(s *writ.Session) { s.Parent = parent.ID })
				d, allow := far.decide(t, far.ask(s, "GET", "one.test", "/x"))
				if !d.Allow {
					t.Fatalf("%s: %+v", what, d)
				}
				if err := withdraw(t, far, agent, cred, root, grant, parent, s); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				var gone *ledger.BasisGone
				_, err := far.log.Append(t.Context(), allow)
				rested := what != "another grant"
				if rested != errors.As(err, &gone) || !rested && err != nil {
					t.Errorf("after withdrawing %s: %v", what, err)
				}
			}
		})
	}
}

var withdrawals = map[string]func(t *testing.T, u *user, agent *writ.Identity, c *writ.Credential, root, grant *writ.Grant, parent, s *writ.Session) error{
	"the agent": func(t *testing.T, u *user, agent *writ.Identity, _ *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.SuspendIdentity(t.Context(), u.By, u.Ref(agent.ID), "x")
		return err
	},
	"the principal": func(t *testing.T, u *user, _ *writ.Identity, _ *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.RevokeIdentity(t.Context(), u.By, u.Ref(u.Ana.ID), "x")
		return err
	},
	"the root grant": func(t *testing.T, u *user, _ *writ.Identity, _ *writ.Credential, root, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.RevokeGrant(t.Context(), u.By, u.Ref(root.ID), "x")
		return err
	},
	"the parent session": func(t *testing.T, u *user, _ *writ.Identity, _ *writ.Credential, _, _ *writ.Grant, parent, _ *writ.Session) error {
		_, _, err := u.Store.EndSession(t.Context(), u.By, u.Ref(parent.ID), "x")
		return err
	},
	"the credential": func(t *testing.T, u *user, _ *writ.Identity, c *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.SuspendCredential(t.Context(), u.By, u.Ref(c.ID), "x")
		return err
	},
	"the version": func(t *testing.T, u *user, _ *writ.Identity, c *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		v, sealed := u.SealedVersion("one.test")
		_, _, err := u.Store.RotateCredential(t.Context(), u.By, u.Ref(c.ID), v, sealed)
		return err
	},
	"the application": func(t *testing.T, u *user, _ *writ.Identity, c *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.RevokeApplication(t.Context(), u.By, u.Ref(c.App), "x")
		return err
	},
	"everything": func(t *testing.T, u *user, _ *writ.Identity, _ *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		_, _, err := u.Store.StopAll(t.Context(), u.By, u.Org, "x")
		return err
	},
	"another grant": func(t *testing.T, u *user, agent *writ.Identity, c *writ.Credential, _, _ *writ.Grant, _, _ *writ.Session) error {
		other := u.Grant(agent, c)
		_, _, err := u.Store.RevokeGrant(t.Context(), u.By, u.Ref(other.ID), "x")
		return err
	},
}
