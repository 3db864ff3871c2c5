package storetest

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/store"
)

// testGrants is invariant 9 where grants are made.
func testGrants(t *testing.T, k *Kit) {
	cred := k.Credential(k.App("api.acme.test"))
	otherCred := k.Credential(k.App("other.acme.test"))
	agent := k.Agent()
	root := k.Grant(agent, cred, func(g *writ.Grant) {
		g.Expires, g.Limits = k.In(time.Hour), writ.Limits{Uses: 10, PerMinute: 5}
		g.Rules = []writ.Rule{{Methods: []string{"GET"}, Path: "/repos/**"}}
	})
	if n, err := k.Store.UsesLeft(t.Context(), k.Org, root.ID); err != nil || n != 10 {
		t.Errorf("a new grant has %d uses left, %v", n, err)
	}
	narrow := func(g *writ.Grant) {
		g.Parent, g.Expires, g.Limits = root.ID, k.In(time.Minute), writ.Limits{Uses: 3, PerMinute: 1}
		g.Rules = []writ.Rule{{Methods: []string{"GET"}, Path: "/repos/acme/**"}}
		g.Authoriser = ""
	}
	child := k.Grant(agent, cred, narrow)
	if child.Depth != 1 || child.Authoriser != k.Ana.ID {
		t.Errorf("the child is %+v", child)
	}
	wider := map[string]func(*writ.Grant){
		"path":       func(g *writ.Grant) { g.Rules[0].Path = "/**" },
		"method":     func(g *writ.Grant) { g.Rules[0].Methods = []string{"POST"} },
		"expiry":     func(g *writ.Grant) { g.Expires = k.In(2 * time.Hour) },
		"no expiry":  func(g *writ.Grant) { g.Expires = 0 },
		"uses":       func(g *writ.Grant) { g.Limits.Uses = 11 },
		"rate":       func(g *writ.Grant) { g.Limits.PerMinute = 6 },
		"credential": func(g *writ.Grant) { g.Credential = otherCred.ID },
		"no parent":  func(g *writ.Grant) { g.Parent = writ.NewID(writ.KindGrant) },
	}
	for name, widen := range wider {
		g := writ.Grant{Org: k.Org, Identity: agent.ID, Credential: cred.ID}
		narrow(&g)
		widen(&g)
		_, _, err := k.Store.AddGrant(t.Context(), k.By, g)
		wantKind(t, "a child wider in "+name, err, writ.KindInvalid)
	}
	leaf := child
	for range writ.DefaultMaxDepth - 1 {
		parent := leaf.ID
		leaf = k.Grant(agent, cred, narrow, func(g *writ.Grant) { g.Parent = parent })
	}
	g := writ.Grant{Org: k.Org, Identity: agent.ID, Credential: cred.ID}
	narrow(&g)
	g.Parent = leaf.ID
	_, _, err := k.Store.AddGrant(t.Context(), k.By, g)
	wantKind(t, "a grant deeper than allowed", err, writ.KindInvalid)

	// A suspended ancestor gives nothing on; a revoked one takes all along.
	if _, _, err := k.Store.SuspendGrant(t.Context(), k.By, k.Ref(root.ID), "pause"); err != nil {
		t.Fatal(err)
	}
	g.Parent = child.ID
	_, _, err = k.Store.AddGrant(t.Context(), k.By, g)
	wantKind(t, "a delegation under a suspended root", err, writ.KindInvalid)
	if _, _, err := k.Store.ResumeGrant(t.Context(), k.By, k.Ref(root.ID), "go on"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.RevokeGrant(t.Context(), k.By, k.Ref(root.ID), "over"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []writ.ID{root.ID, child.ID, leaf.ID} {
		if s := stateNow(t, k, id); s != writ.Revoked {
			t.Errorf("%s is %s after its root was revoked", id, s)
		}
	}
}

func testSessions(t *testing.T, k *Kit) {
	cred := k.Credential(k.App("api.acme.test"))
	agent := k.Agent()
	once := k.Grant(agent, cred, func(g *writ.Grant) { g.Triggers = []writ.Trigger{writ.OnSessionEnd} })
	root := k.Session(agent)
	child := k.Session(agent, func(s *writ.Session) { s.Parent, s.Started = root.ID, "" })
	if child.Started != k.Ana.ID {
		t.Errorf("a child session has the principal %s", child.Started)
	}
	base := writ.Session{Org: k.Org, Identity: agent.ID, Parent: root.ID, Expires: k.In(time.Minute), Isolation: "none"}
	base.Hash = child.Hash[1:] + "0"
	for name, edit := range map[string]func(*writ.Session){
		"another principal": func(s *writ.Session) { s.Started = agent.ID },
		"a longer life":     func(s *writ.Session) { s.Expires = k.In(2 * time.Hour) },
		"no such parent":    func(s *writ.Session) { s.Parent = writ.NewID(writ.KindSession) },
		"no end":            func(s *writ.Session) { s.Expires = 0 },
		"no isolation":      func(s *writ.Session) { s.Isolation = "" },
	} {
		s := base
		edit(&s)
		_, _, err := k.Store.StartSession(t.Context(), k.By, s)
		wantKind(t, "a session with "+name, err, writ.KindInvalid)
	}
	_, _, err := k.Store.StartSession(t.Context(), k.By, writ.Session{Org: k.Org, Identity: agent.ID, Expires: k.In(time.Minute), Isolation: "none", Hash: child.Hash})
	wantKind(t, "a token used twice", err, writ.KindConflict)
	w := &Watcher{}
	k.Store.Subscribe(w)
	if _, _, err := k.Store.EndSession(t.Context(), k.By, k.Ref(root.ID), "done"); err != nil {
		t.Fatal(err)
	}
	wantStates(t, "EndSession", states(oneChange(t, w, "EndSession")), map[writ.ID]writ.State{root.ID: writ.Ended, child.ID: writ.Ended, once.ID: writ.Revoked})
	_, _, err = k.Store.StartSession(t.Context(), k.By, base)
	wantKind(t, "a session from one that ended", err, writ.KindInvalid)
}

func testCredentials(t *testing.T, k *Kit) {
	app := k.App("api.acme.test", "up.acme.test:8443")
	cred := k.Credential(app)
	first := cred.Current
	if b, err := k.Store.Sealed(t.Context(), k.Org, first); err != nil || len(b) == 0 {
		t.Errorf("the first version's ciphertext: %q, %v", b, err)
	}
	v, sealed := k.SealedVersion("api.acme.test")
	rotated, _, err := k.Store.RotateCredential(t.Context(), k.By, k.Ref(cred.ID), v, sealed)
	if err != nil {
		t.Fatal(err)
	}
	versions, _, err := k.Store.Versions(t.Context(), k.Org, store.Query{Credential: cred.ID, Final: true})
	if err != nil || len(versions) != 2 {
		t.Fatalf("%d versions, %v", len(versions), err)
	}
	for _, v := range versions {
		want := writ.Revoked
		if v.ID == rotated.Current {
			want = writ.Active
			if v.Number != 2 {
				t.Errorf("the second version has the number %d", v.Number)
			}
		}
		if v.State != want {
			t.Errorf("version %d is %s, want %s", v.Number, v.State, want)
		}
	}
	v, sealed = k.SealedVersion("elsewhere.test")
	_, _, err = k.Store.RotateCredential(t.Context(), k.By, k.Ref(cred.ID), v, sealed)
	wantKind(t, "a version for a host that the application has not", err, writ.KindInvalid)
	v, sealed = k.SealedVersion("api.acme.test")
	if _, _, err = k.Store.RotateCredential(t.Context(), k.By, k.Ref(cred.ID), v, append(sealed, 'x')); err == nil {
		t.Error("a version that names other ciphertext was taken")
	}
	bare, _, err := k.Store.AddCredential(t.Context(), k.By, writ.Credential{Org: k.Org, Name: "found", App: app.ID, AIUse: writ.AIForbidden}, nil, nil)
	if err != nil || bare.Current != "" {
		t.Errorf("an inventoried credential: %+v, %v", bare, err)
	}
	if _, _, err := k.Store.RevokeCredential(t.Context(), k.By, k.Ref(cred.ID), "leaked"); err != nil {
		t.Fatal(err)
	}
	if live, _, err := k.Store.Versions(t.Context(), k.Org, store.Query{Credential: cred.ID}); err != nil || len(live) != 0 {
		t.Errorf("%d versions of a revoked credential are alive, %v", len(live), err)
	}
	v, sealed = k.SealedVersion("api.acme.test")
	_, _, err = k.Store.RotateCredential(t.Context(), k.By, k.Ref(cred.ID), v, sealed)
	wantKind(t, "rotating a revoked credential", err, writ.KindConflict)
}

func testReads(t *testing.T, k *Kit) {
	want := map[writ.ID]bool{k.Ana.ID: true}
	for range 7 {
		want[k.Agent().ID] = true
		k.Clock.Add(time.Millisecond)
	}
	for _, newest := range []bool{false, true} {
		got := map[writ.ID]bool{}
		var last writ.Time
		q := store.Query{Limit: 3, Newest: newest}
		for pages := 0; ; pages++ {
			list, next, err := k.Store.Identities(t.Context(), k.Org, q)
			if err != nil || pages > 3 {
				t.Fatalf("page %d: %v", pages, err)
			}
			for _, i := range list {
				if got[i.ID] {
					t.Errorf("%s is on two pages", i.ID)
				}
				if got[i.ID] = true; last != 0 && (newest && i.Created > last || !newest && i.Created < last) {
					t.Errorf("%s is out of order", i.ID)
				}
				last = i.Created
			}
			if next == "" {
				break
			}
			q.After = next
		}
		if len(got) != len(want) {
			t.Errorf("the pages have %d identities, want %d", len(got), len(want))
		}
	}
	agents, _, err := k.Store.Identities(t.Context(), k.Org, store.Query{Kind: writ.Agent, Owner: k.Ana.ID})
	if err != nil || len(agents) != 7 {
		t.Errorf("the filter gives %d agents, %v", len(agents), err)
	}
	_, _, err = k.Store.Grants(t.Context(), k.Org, store.Query{Owner: k.Ana.ID})
	wantKind(t, "a filter that grants do not have", err, writ.KindInvalid)
	_, _, err = k.Store.Grants(t.Context(), k.Org, store.Query{After: "nonsense"})
	wantKind(t, "a cursor that is none", err, writ.KindInvalid)
	_, next, err := k.Store.Identities(t.Context(), k.Org, store.Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = k.Store.Grants(t.Context(), k.Org, store.Query{After: next})
	wantKind(t, "another list's cursor", err, writ.KindInvalid)

	id := string(agents[0].ID)
	for _, ref := range []string{id, id[:len(id)-2], agents[0].Name, agents[0].Label()} {
		if got, err := k.Store.Identity(t.Context(), k.Org, ref); err != nil || got.ID != agents[0].ID {
			t.Errorf("%s finds %v, %v", ref, got, err)
		}
	}
	for _, name := range []string{"idn_00000000000000a0", "idn_00000000000000a1"} {
		k.Agent(func(i *writ.Identity) { i.ID = writ.ID(name) })
	}
	_, err = k.Store.Identity(t.Context(), k.Org, "idn_00000000000000a")
	wantKind(t, "a beginning of two ids", err, writ.KindInvalid)
	var e *writ.Error
	if errors.As(err, &e) && e.Why != "idn_00000000000000a0, idn_00000000000000a1" && e.Why != "idn_00000000000000a1, idn_00000000000000a0" {
		t.Errorf("the candidates are %q", e.Why)
	}
	_, err = k.Store.Identity(t.Context(), k.Org, "idn_0")
	wantKind(t, "too short a beginning", err, writ.KindInvalid)
	_, err = k.Store.Identity(t.Context(), k.Org, "service:"+agents[0].Name)
	wantKind(t, "the name of another kind", err, writ.KindNotFound)
	far := k.Found("globex")
	_, err = k.Store.Identity(t.Context(), far.Org, id)
	wantKind(t, "another organization's id", err, writ.KindNotFound)
	_, err = k.Store.Identity(t.Context(), far.Org, id[:12])
	wantKind(t, "the beginning of another organization's id", err, writ.KindNotFound)
	s := k.Session(agents[0])
	h := Hash(string(k.Org) + "nothing")
	if _, err := k.Store.Locate(t.Context(), writ.KindSession, h); writ.KindOf(err) != writ.KindNotFound {
		t.Errorf("an unknown token gives %v", err)
	}
	if org, err := k.Store.Locate(t.Context(), writ.KindSession, hashOf(s.Hash)); err != nil || org != k.Org {
		t.Errorf("a token is located in %s, %v", org, err)
	}
}

// testOnce: the same key gives the same answer, also to two who ask at once.
func testOnce(t *testing.T, k *Kit) {
	request := sha256.Sum256([]byte("one"))
	once, err := k.Store.Once("5e1c", request)
	if err != nil {
		t.Fatal(err)
	}
	p := writ.Policy{Org: k.Org, Name: "night", Text: "forbid (principal, action, resource);"}
	w := &Watcher{}
	k.Store.Subscribe(w)
	const askers = 8
	ids := make([]writ.ID, askers)
	seqs := make([]int64, askers)
	var group sync.WaitGroup
	for n := range askers {
		group.Go(func() {
			got, mark, err := once.AddPolicy(t.Context(), k.By, p)
			if err != nil {
				t.Error(err)
				return
			}
			ids[n], seqs[n] = got.ID, mark.Seq
		})
	}
	group.Wait()
	for n := range askers {
		if ids[n] != ids[0] || seqs[n] != seqs[0] {
			t.Errorf("asker %d got %s at %d, the first %s at %d", n, ids[n], seqs[n], ids[0], seqs[0])
		}
	}
	if c := w.Take(); len(c) != 1 {
		t.Errorf("%d changes, want 1", len(c))
	}
	other, err := k.Store.Once("5e1c", sha256.Sum256([]byte("two")))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = other.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "day", Text: "forbid (principal, action, resource);"})
	wantKind(t, "another request under the same key", err, writ.KindConflict)
	k.Clock.Add(25 * time.Hour)
	_, _, err = once.AddPolicy(t.Context(), k.By, p)
	wantKind(t, "the key after a day is new, and the name is taken", err, writ.KindConflict)
	_, err = k.Store.Once("a\x00b", request)
	wantKind(t, "a key that is no text", err, writ.KindInvalid)
}

func hashOf(hexed string) (h [32]byte) {
	for i := range h {
		h[i] = unhex(hexed[2*i])<<4 | unhex(hexed[2*i+1])
	}
	return h
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}
