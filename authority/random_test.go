package authority_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// sameAsFresh fails unless the index that followed every change holds what one
// that is loaded now does.
func sameAsFresh(t testing.TB, w *world) {
	t.Helper()
	if err := w.index.Ready(t.Context(), w.Org); err != nil {
		t.Fatal(err)
	}
	x := w.fresh()
	if err := x.Ready(t.Context(), w.Org); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(authority.DumpOf(x, w.Org), authority.DumpOf(w.index, w.Org)); diff != "" {
		t.Fatalf("the index is not what a fresh load gives (-loaded +followed):\n%s", diff)
	}
}

// actor does random acts. Many are refused, which must change nothing.
type actor struct {
	*world
	r     *rand.Rand
	count map[string]int

	people, agents, apps, creds, grants, sessions, keys, policies []writ.ID
	hosts                                                         map[writ.ID][]string
}

// pick prefers what is new: old things are mostly revoked by then.
func pick[T any](r *rand.Rand, list []T) T {
	if n := len(list); n > 8 && r.IntN(4) > 0 {
		list = list[n-8:]
	}
	return list[r.IntN(len(list))]
}

func (a *actor) note(name string, err error) {
	if err == nil {
		a.count[name]++
		return
	}
	if k := writ.KindOf(err); k != writ.KindInvalid && k != writ.KindConflict {
		a.T.Fatalf("%s: %v (%s)", name, err, k)
	}
	a.count["refused"]++
}

func (a *actor) step() {
	ctx := a.T.Context()
	id := writ.ID("")
	if a.r.IntN(8) == 0 {
		a.Clock.Add(time.Duration(a.r.IntN(3)) * time.Millisecond)
	}
	switch n := a.r.IntN(100); {
	case n < 3:
		i, _, err := a.Store.AddIdentity(ctx, a.By, writ.Identity{Org: a.Org, Kind: writ.Person, Name: a.Name("p") + "@acme.dev"})
		if err == nil {
			a.people = append(a.people, i.ID)
		}
		a.note("add-person", err)
	case n < 10:
		i := writ.Identity{Org: a.Org, Kind: writ.Agent, Name: a.Name("a"), Owner: pick(a.r, a.people), Purpose: "x", Expires: a.In(time.Hour)}
		if a.r.IntN(2) == 0 {
			i.Backup = pick(a.r, a.people)
		}
		if a.r.IntN(3) == 0 {
			i.Parent = pick(a.r, a.agents)
		}
		added, _, err := a.Store.AddIdentity(ctx, a.By, i)
		if err == nil {
			a.agents = append(a.agents, added.ID)
		}
		a.note("add-agent", err)
	case n < 12:
		hosts := []string{fmt.Sprintf("h%d.test", a.r.IntN(60)), fmt.Sprintf("i%d.test", a.r.IntN(60))}
		app, _, err := a.Store.AddApplication(ctx, a.By, writ.Application{Org: a.Org, Name: a.Name("app"), Env: writ.Dev, Hosts: hosts})
		if err == nil {
			a.apps = append(a.apps, app.ID)
			a.hosts[app.ID] = hosts
		}
		a.note("add-app", err)
	case n < 14:
		app := pick(a.r, a.apps)
		host := fmt.Sprintf("h%d.test", a.r.IntN(60))
		_, _, err := a.Store.EditApplication(ctx, a.By, a.Ref(app), func(x *writ.Application) error { x.Hosts = []string{host}; return nil })
		if err == nil {
			a.hosts[app] = []string{host}
		}
		a.note("edit-app", err)
	case n < 15 && a.r.IntN(4) == 0:
		_, _, err := a.Store.RevokeApplication(ctx, a.By, a.Ref(pick(a.r, a.apps)), "x")
		a.note("revoke-app", err)
	case n < 20:
		app := pick(a.r, a.apps)
		v, sealed := a.SealedVersion(a.hosts[app][:1]...)
		c := writ.Credential{Org: a.Org, Name: a.Name("c"), App: app, AIUse: writ.AIAllowed, Owner: pick(a.r, a.people), Backup: pick(a.r, a.people)}
		version := &v
		if a.r.IntN(4) == 0 {
			version = nil
		}
		added, _, err := a.Store.AddCredential(ctx, a.By, c, version, sealed)
		if err == nil {
			a.creds = append(a.creds, added.ID)
		}
		a.note("add-credential", err)
	case n < 24:
		c, err := a.Store.Credential(ctx, a.Org, string(pick(a.r, a.creds)))
		if err == nil {
			v, sealed := a.SealedVersion(a.hosts[c.App]...)
			_, _, err = a.Store.RotateCredential(ctx, a.By, a.Ref(c.ID), v, sealed)
		}
		a.note("rotate", err)
	case n < 40:
		g := writ.Grant{Org: a.Org, Identity: pick(a.r, a.agents), Credential: pick(a.r, a.creds), Authoriser: a.Ana.ID,
			Rules: []writ.Rule{{Methods: []string{"GET"}, Path: "/**"}}}
		if len(a.grants) > 0 && a.r.IntN(2) == 0 {
			if p, err := a.Store.Grant(ctx, a.Org, string(pick(a.r, a.grants))); err == nil {
				g.Parent, g.Credential = p.ID, p.Credential
			}
		}
		if a.r.IntN(5) == 0 {
			g.Triggers = []writ.Trigger{pick(a.r, []writ.Trigger{writ.OnSessionEnd, writ.OnOwnerLeaves, writ.OnIdentityInactive})}
		}
		added, _, err := a.Store.AddGrant(ctx, a.By, g)
		if err == nil {
			a.grants = append(a.grants, added.ID)
		}
		a.note("add-grant", err)
	case n < 55:
		s := writ.Session{Org: a.Org, Identity: pick(a.r, a.agents), Started: pick(a.r, a.people), Expires: a.In(time.Minute), Isolation: "none", Hash: fmt.Sprintf("%064x", a.r.Uint64())}
		if len(a.sessions) > 0 && a.r.IntN(2) == 0 {
			s.Parent, s.Started = pick(a.r, a.sessions), ""
		}
		added, _, err := a.Store.StartSession(ctx, a.By, s)
		if err == nil {
			a.sessions = append(a.sessions, added.ID)
		}
		a.note("start-session", err)
	case n < 58:
		k, _, err := a.Store.AddKey(ctx, a.By, writ.Key{Org: a.Org, Identity: pick(a.r, a.agents), Role: writ.RoleMember, Name: a.Name("k"), Hash: fmt.Sprintf("%064x", a.r.Uint64()), Expires: a.In(time.Hour)})
		if err == nil {
			a.keys = append(a.keys, k.ID)
		}
		a.note("add-key", err)
	case n < 59:
		p, _, err := a.Store.AddPolicy(ctx, a.By, writ.Policy{Org: a.Org, Name: a.Name("pol"), Text: "forbid (principal, action, resource) when { false };"})
		if err == nil {
			a.policies = append(a.policies, p.ID)
		}
		a.note("add-policy", err)
	default:
		a.turn(n, id)
	}
}

// turn is an act that turns something on or off.
func (a *actor) turn(n int, id writ.ID) {
	ctx := a.T.Context()
	var err error
	name := ""
	is := func(text string, list []writ.ID) bool {
		if name = text; len(list) == 0 {
			return false
		}
		id = pick(a.r, list)
		return true
	}
	switch {
	case n < 66 && is("end-session", a.sessions):
		_, _, err = a.Store.EndSession(ctx, a.By, a.Ref(id), "x")
	case n < 70 && is("suspend-grant", a.grants):
		_, _, err = a.Store.SuspendGrant(ctx, a.By, a.Ref(id), "x")
	case n < 74 && is("resume-grant", a.grants):
		_, _, err = a.Store.ResumeGrant(ctx, a.By, a.Ref(id), "x")
	case n < 76 && is("revoke-grant", a.grants):
		_, _, err = a.Store.RevokeGrant(ctx, a.By, a.Ref(id), "x")
	case n < 80 && is("suspend-identity", append(a.people[1:len(a.people):len(a.people)], a.agents...)):
		_, _, err = a.Store.SuspendIdentity(ctx, a.By, a.Ref(id), "x")
	case n < 86 && is("resume-identity", append(a.people[:len(a.people):len(a.people)], a.agents...)):
		_, _, err = a.Store.ResumeIdentity(ctx, a.By, a.Ref(id), "x")
	case n < 88 && is("revoke-agent", a.agents[1:]):
		_, _, err = a.Store.RevokeIdentity(ctx, a.By, a.Ref(id), "x")
	case n < 89 && a.r.IntN(3) == 0 && is("revoke-person", a.people[1:]):
		_, _, err = a.Store.RevokeIdentity(ctx, a.By, a.Ref(id), "x")
	case n < 91 && is("suspend-credential", a.creds):
		_, _, err = a.Store.SuspendCredential(ctx, a.By, a.Ref(id), "x")
	case n < 94 && is("resume-credential", a.creds):
		_, _, err = a.Store.ResumeCredential(ctx, a.By, a.Ref(id), "x")
	case n < 95 && a.r.IntN(3) == 0 && is("revoke-credential", a.creds):
		_, _, err = a.Store.RevokeCredential(ctx, a.By, a.Ref(id), "x")
	case n < 96 && is("revoke-key", a.keys):
		_, _, err = a.Store.RevokeKey(ctx, a.By, a.Ref(id), "x")
	case n < 97 && is("edit-policy", a.policies):
		_, _, err = a.Store.EditPolicy(ctx, a.By, a.Ref(id), func(p *writ.Policy) error { p.Observe = !p.Observe; return nil })
	case n < 98 && is("revoke-policy", a.policies):
		_, _, err = a.Store.RevokePolicy(ctx, a.By, a.Ref(id), "x")
	case n == 98 && a.r.IntN(20) == 0:
		name = "stop-all"
		if _, _, err = a.Store.StopAll(ctx, a.By, a.Org, "x"); err == nil {
			_, _, err = a.Store.ResumeAll(ctx, a.By, a.Org, "x")
		}
	case is("edit-identity", a.agents):
		_, _, err = a.Store.EditIdentity(ctx, a.By, a.Ref(id), func(i *writ.Identity) error { i.Owner = pick(a.r, a.people); return nil })
	}
	a.note(name, err)
}

// TestIndexEqualsAFreshLoad: after 10,000 random acts, looked at now and then,
// the index that followed them holds what a load of the rows gives.
func TestIndexEqualsAFreshLoad(t *testing.T) {
	acts := 10_000
	if testing.Short() {
		acts = 1_000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t)
	a := &actor{world: w, r: rand.New(rand.NewPCG(seed, 0)), count: map[string]int{}, hosts: map[writ.ID][]string{}}
	a.people = []writ.ID{w.Ana.ID, w.Person("bo@acme.dev").ID}
	a.agents = []writ.ID{w.Agent().ID, w.Agent().ID}
	app := w.App("first.test")
	a.apps, a.hosts[app.ID] = []writ.ID{app.ID}, []string{"first.test"}
	a.creds = []writ.ID{w.Credential(app).ID}
	for n := range acts {
		a.step()
		if n%(acts/20) == 0 {
			sameAsFresh(t, w)
		}
	}
	sameAsFresh(t, w)
	t.Log(a.count)
	for _, name := range []string{"add-grant", "start-session", "rotate", "edit-app", "revoke-agent", "suspend-identity", "resume-identity", "refused"} {
		if a.count[name] == 0 {
			t.Errorf("no %s among the acts", name)
		}
	}
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: w.Store.Reader(), Org: w.Org})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
}

// TestReadersSeeOneView: while acts that change several nouns at once go on, no
// reader sees some of them changed and others not.
func TestReadersSeeOneView(t *testing.T) {
	w := newWorld(t)
	cred := w.Credential(w.App("api.acme.test"))
	stop := make(chan struct{})
	var current sync.Map // a session to look at
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			seen := int64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, ok := current.Load("")
				if !ok {
					continue
				}
				f, err := w.index.Facts(t.Context(), v.(*writ.Ask))
				if err != nil || f.Stale || f.Session == nil || f.Identity == nil || len(f.Candidates) != 1 {
					t.Errorf("facts: %+v, %v", f, err)
					return
				}
				if f.Epoch.N < seen {
					t.Errorf("the epoch went from %d back to %d", seen, f.Epoch.N)
				}
				seen = f.Epoch.N
				revoked := f.Identity.State == writ.Revoked
				if revoked != (f.Session.State == writ.Ended) || revoked != (f.Candidates[0].Grant.State == writ.Revoked) {
					t.Errorf("at epoch %d the agent is %s, its session %s and its grant %s", f.Epoch.N, f.Identity.State, f.Session.State, f.Candidates[0].Grant.State)
					return
				}
			}
		})
	}
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		agent := w.Agent()
		w.Grant(agent, cred)
		current.Store("", w.ask(w.Session(agent), "api.acme.test", "/x"))
		if _, _, err := w.Store.RevokeIdentity(t.Context(), w.By, w.Ref(agent.ID), "x"); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	group.Wait()
	if list, _, err := w.Store.Sessions(t.Context(), w.Org, store.Query{}); err != nil || len(list) != 0 {
		t.Errorf("%d sessions go on, %v", len(list), err)
	}
}
