package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// byID gives what one change wrote, by id.
func byID(c ledger.Committed) map[writ.ID]any {
	m := map[writ.ID]any{}
	for _, n := range c.Nouns {
		m[n.ID] = n.Value
	}
	return m
}

// oneChange fails unless exactly one change was committed since the last look.
func oneChange(t *testing.T, w *Watcher, act string) map[writ.ID]any {
	t.Helper()
	changes := w.Take()
	if len(changes) != 1 {
		t.Fatalf("%s made %d changes, want 1", act, len(changes))
	}
	return byID(changes[0])
}

func testActs(t *testing.T, k *Kit) {
	w := &Watcher{}
	k.Store.Subscribe(w)
	agent := k.Agent()
	c := w.Take()
	if len(c) != 1 || c[0].Org != k.Org || len(c[0].Nouns) != 1 || !c[0].Nouns[0].Proven {
		t.Fatalf("subscribers were told %+v", c)
	}
	if diff := cmp.Diff(agent, c[0].Nouns[0].Value.(*writ.Identity)); diff != "" {
		t.Errorf("subscribers and the caller were told different things:\n%s", diff)
	}
	epoch := c[0].Epoch.N
	edited, mark, err := k.Store.EditIdentity(t.Context(), k.By, k.Ref(agent.ID), func(i *writ.Identity) error {
		i.Purpose = "another"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c = w.Take()
	if len(c) != 1 || c[0].Epoch.N != epoch+1 || mark.Epoch != c[0].Epoch || c[0].Nouns[0].Seq != mark.Seq || c[0].Nouns[0].Digest != mark.Digest {
		t.Errorf("mark %+v, change %+v", mark, c)
	}
	got, err := k.Store.Identity(t.Context(), k.Org, string(agent.ID))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(edited, got); diff != "" || got.Purpose != "another" {
		t.Errorf("read back:\n%s", diff)
	}
	for name, edit := range map[string]func(*writ.Identity){
		"id":      func(i *writ.Identity) { i.ID = writ.NewID(writ.KindIdentity) },
		"state":   func(i *writ.Identity) { i.State = writ.Suspended },
		"kind":    func(i *writ.Identity) { i.Kind = writ.Service },
		"created": func(i *writ.Identity) { i.Created-- },
		"cutoff":  func(i *writ.Identity) { i.Cutoff = 1 },
	} {
		_, _, err := k.Store.EditIdentity(t.Context(), k.By, k.Ref(agent.ID), func(i *writ.Identity) error { edit(i); return nil })
		wantKind(t, "an edit of "+name, err, writ.KindInvalid)
	}
	if c := w.Take(); len(c) != 0 {
		t.Errorf("refused edits made changes: %+v", c)
	}
	// An identity that expired and gets a longer life does not get its sessions back.
	k.Clock.Add(91 * 24 * time.Hour)
	edited, _, err = k.Store.EditIdentity(t.Context(), k.By, k.Ref(agent.ID), func(i *writ.Identity) error {
		i.Expires = k.In(time.Hour)
		return nil
	})
	if err != nil || edited.Cutoff <= writ.At(k.Clock.Now()) {
		t.Errorf("a longer life left the cut-off at %v: %v", edited.Cutoff, err)
	}
}

func testNames(t *testing.T, k *Kit) {
	agent := k.Agent(func(i *writ.Identity) { i.Name = "builder" })
	app := k.App("api.acme.test")
	_, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Service, Name: "builder", Owner: k.Ana.ID, Purpose: "x"})
	wantKind(t, "a name that is taken", err, writ.KindConflict)
	other := k.Agent()
	_, _, err = k.Store.EditIdentity(t.Context(), k.By, k.Ref(other.ID), func(i *writ.Identity) error { i.Name = "builder"; return nil })
	wantKind(t, "renaming to a name that is taken", err, writ.KindConflict)
	_, _, err = k.Store.AddApplication(t.Context(), k.By, writ.Application{Org: k.Org, Name: "twin", Env: writ.Dev, Hosts: []string{"other.acme.test", "api.acme.test"}})
	wantKind(t, "a host that is taken", err, writ.KindInvalid)
	if _, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(agent.ID), "done"); err != nil {
		t.Fatal(err)
	}
	again := k.Agent(func(i *writ.Identity) { i.Name = "builder" })
	if got, err := k.Store.Identity(t.Context(), k.Org, "agent:builder"); err != nil || got.ID != again.ID {
		t.Errorf("the name leads to %v, %v; want the living one", got, err)
	}
	if _, _, err := k.Store.RevokeApplication(t.Context(), k.By, k.Ref(app.ID), "done"); err != nil {
		t.Fatal(err)
	}
	k.App("api.acme.test") // the host is free again
	_, _, err = k.Store.CreateOrg(t.Context(), writ.Actor{}, "acme")
	wantKind(t, "an organization's name that is taken", err, writ.KindConflict)
	// A given id must be of its kind and new.
	_, _, err = k.Store.AddIdentity(t.Context(), k.By, writ.Identity{ID: again.ID, Org: k.Org, Kind: writ.Person, Name: "bo@acme.dev"})
	wantKind(t, "an id that is taken", err, writ.KindConflict)
	_, _, err = k.Store.AddIdentity(t.Context(), k.By, writ.Identity{ID: "grt_0000000000000000", Org: k.Org, Kind: writ.Person, Name: "bo@acme.dev"})
	wantKind(t, "an id of another kind", err, writ.KindInvalid)
}

// testReferences: what an act refers to must exist, belong to the organization
// and be alive (invariant 14 for other organizations' ids).
func testReferences(t *testing.T, k *Kit) {
	far := k.Found("globex")
	bo := k.Person("bo@acme.dev")
	if _, _, err := k.Store.SuspendIdentity(t.Context(), k.By, k.Ref(bo.ID), "leave"); err != nil {
		t.Fatal(err)
	}
	agent, app := k.Agent(), k.App("api.acme.test")
	cred := k.Credential(app)
	farAgent, farApp := far.Agent(), far.App("api.acme.test") // the same host in another organization is another's
	farCred := far.Credential(farApp)
	ghost := writ.NewID(writ.KindIdentity)
	for name, owner := range map[string]writ.ID{"missing": ghost, "suspended": bo.ID, "foreign": far.Ana.ID, "not a person": agent.ID} {
		_, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Service, Name: k.Name("svc"), Owner: owner, Purpose: "x"})
		wantKind(t, "an owner that is "+name, err, writ.KindInvalid)
		_, _, err = k.Store.AddCredential(t.Context(), k.By, writ.Credential{Org: k.Org, Name: k.Name("cred"), App: app.ID, Owner: owner, AIUse: writ.AIAllowed}, nil, nil)
		wantKind(t, "a credential's owner that is "+name, err, writ.KindInvalid)
	}
	_, _, err := k.Store.AddCredential(t.Context(), k.By, writ.Credential{Org: k.Org, Name: "c", App: farApp.ID, AIUse: writ.AIAllowed}, nil, nil)
	wantKind(t, "a foreign application", err, writ.KindInvalid)
	grant := writ.Grant{Org: k.Org, Identity: agent.ID, Credential: cred.ID, Rules: []writ.Rule{Rule()}}
	for name, edit := range map[string]func(*writ.Grant){
		"foreign identity":   func(g *writ.Grant) { g.Identity = farAgent.ID },
		"foreign credential": func(g *writ.Grant) { g.Credential = farCred.ID },
		"foreign authoriser": func(g *writ.Grant) { g.Authoriser = far.Ana.ID },
		"software authoriser": func(g *writ.Grant) {
			g.Authoriser = agent.ID
		},
		"host of no application": func(g *writ.Grant) { g.Rules[0].Host = "other.test" },
	} {
		g := grant
		g.Rules = []writ.Rule{Rule()}
		edit(&g)
		_, _, err := k.Store.AddGrant(t.Context(), k.By, g)
		wantKind(t, "a grant with a "+name, err, writ.KindInvalid)
	}
	// Acting on another organization's things by their id finds nothing.
	_, _, err = k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(farAgent.ID), "mischief")
	wantKind(t, "revoking a foreign agent", err, writ.KindNotFound)
	_, err = k.Store.Sealed(t.Context(), k.Org, farCred.Current)
	wantKind(t, "a foreign ciphertext", err, writ.KindNotFound)
	if got, err := k.Store.Identity(t.Context(), far.Org, string(farAgent.ID)); err != nil || got.State != writ.Active {
		t.Errorf("the foreign agent is %v, %v", got, err)
	}
	// Whoever acts must be able to, in the act's transaction.
	_, _, err = k.Store.AddPolicy(t.Context(), writ.Actor{Identity: bo.ID}, writ.Policy{Org: k.Org, Name: "p", Text: "forbid"})
	wantKind(t, "an act by somebody suspended", err, writ.KindUnauthenticated)
	_, _, err = k.Store.AddPolicy(t.Context(), writ.Actor{Identity: far.Ana.ID}, writ.Policy{Org: k.Org, Name: "p", Text: "forbid"})
	wantKind(t, "an act by a foreigner", err, writ.KindUnauthenticated)
	key := k.Key(k.Ana)
	if _, _, err := k.Store.RevokeKey(t.Context(), k.By, k.Ref(key.ID), "lost"); err != nil {
		t.Fatal(err)
	}
	_, _, err = k.Store.AddPolicy(t.Context(), writ.Actor{Identity: k.Ana.ID, Via: key.ID}, writ.Policy{Org: k.Org, Name: "p", Text: "forbid"})
	wantKind(t, "an act through a revoked key", err, writ.KindUnauthenticated)
	_, _, err = k.Store.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "p", Text: "permit (principal, action, resource);"})
	wantKind(t, "a policy that is none", err, writ.KindInvalid)
	_, _, err = k.Store.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "p", Text: "forbid \x00"})
	wantKind(t, "a policy with a NUL", err, writ.KindInvalid)
}
