package storetest

import (
	"testing"
	"time"

	"writ.dev/writ"
)

// states gives the state of each noun in a change, in words.
func states(m map[writ.ID]any) map[writ.ID]writ.State {
	s := map[writ.ID]writ.State{}
	for id, v := range m {
		switch n := v.(type) {
		case *writ.Org:
			s[id] = n.State
		case *writ.Identity:
			s[id] = n.State
		case *writ.Application:
			s[id] = n.State
		case *writ.Credential:
			s[id] = n.State
		case *writ.Version:
			s[id] = n.State
		case *writ.Grant:
			s[id] = n.State
		case *writ.Session:
			s[id] = n.State
		case *writ.Key:
			s[id] = n.State
		case *writ.Policy:
			s[id] = n.State
		}
	}
	return s
}

func wantStates(t *testing.T, act string, got, want map[writ.ID]writ.State) {
	t.Helper()
	for id, s := range want {
		if got[id] != s {
			t.Errorf("%s left %s as %q, want %q", act, id, got[id], s)
		}
	}
	for id, s := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("%s changed %s to %q and should not have touched it", act, id, s)
		}
	}
}

// testRevokeIdentity: an agent is withdrawn with all that is only there because
// of it, in one change.
func testRevokeIdentity(t *testing.T, k *Kit) {
	app := k.App("api.acme.test")
	cred := k.Credential(app)
	agent := k.Agent()
	sub := k.Agent(func(i *writ.Identity) { i.Parent = agent.ID })
	subsub := k.Agent(func(i *writ.Identity) { i.Parent = sub.ID })
	other := k.Agent()
	grant := k.Grant(agent, cred)
	child := k.Grant(other, cred, func(g *writ.Grant) { g.Parent = grant.ID })
	grandchild := k.Grant(subsub, cred, func(g *writ.Grant) { g.Parent = child.ID })
	unrelated := k.Grant(other, cred)
	own := k.Session(agent)
	derived := k.Session(other, func(s *writ.Session) { s.Parent = own.ID })
	started := k.Session(other, func(s *writ.Session) { s.Started = agent.ID })
	ofSub := k.Session(sub)
	free := k.Session(other)
	key := k.Key(agent)
	w := &Watcher{}
	k.Store.Subscribe(w)

	revoked, mark, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(agent.ID), "it misbehaved")
	if err != nil {
		t.Fatal(err)
	}
	if revoked.State != writ.Revoked || revoked.Cutoff <= revoked.Created {
		t.Errorf("the agent is %+v", revoked)
	}
	wantStates(t, "RevokeIdentity", states(oneChange(t, w, "RevokeIdentity")), map[writ.ID]writ.State{
		agent.ID: writ.Revoked, sub.ID: writ.Revoked, subsub.ID: writ.Revoked,
		grant.ID: writ.Revoked, child.ID: writ.Revoked, grandchild.ID: writ.Revoked,
		own.ID: writ.Ended, derived.ID: writ.Ended, started.ID: writ.Ended, ofSub.ID: writ.Ended, key.ID: writ.Revoked,
	})
	for _, id := range []writ.ID{unrelated.ID, free.ID} {
		if got := stateNow(t, k, id); got != writ.Active {
			t.Errorf("%s is %s, and has nothing to do with it", id, got)
		}
	}
	// Again is the same answer and no change.
	_, again, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(agent.ID), "again")
	if err != nil || again.Seq != mark.Seq || again.Digest != mark.Digest {
		t.Errorf("a second revocation: %+v, %v; want the first one's mark %+v", again, err, mark)
	}
	if c := w.Take(); len(c) != 0 {
		t.Errorf("a second revocation changed %+v", c)
	}
	// Final states are never left.
	_, _, err = k.Store.ResumeIdentity(t.Context(), k.By, k.Ref(agent.ID), "please")
	wantKind(t, "resuming a revoked agent", err, writ.KindConflict)
	_, _, err = k.Store.SuspendIdentity(t.Context(), k.By, k.Ref(agent.ID), "please")
	wantKind(t, "suspending a revoked agent", err, writ.KindConflict)
	_, _, err = k.Store.EditIdentity(t.Context(), k.By, k.Ref(agent.ID), func(i *writ.Identity) error { return nil })
	wantKind(t, "editing a revoked agent", err, writ.KindConflict)
	_, _, err = k.Store.ResumeGrant(t.Context(), k.By, k.Ref(child.ID), "please")
	wantKind(t, "resuming a revoked grant", err, writ.KindConflict)
}

func stateNow(t *testing.T, k *Kit, id writ.ID) writ.State {
	t.Helper()
	var n any
	var err error
	switch id.Kind() {
	case writ.KindIdentity:
		n, err = k.Store.Identity(t.Context(), k.Org, string(id))
	case writ.KindGrant:
		n, err = k.Store.Grant(t.Context(), k.Org, string(id))
	case writ.KindSession:
		n, err = k.Store.Session(t.Context(), k.Org, string(id))
	case writ.KindKey:
		n, err = k.Store.Key(t.Context(), k.Org, string(id))
	case writ.KindCredential:
		n, err = k.Store.Credential(t.Context(), k.Org, string(id))
	}
	if err != nil {
		t.Fatal(err)
	}
	return states(map[writ.ID]any{id: n})[id]
}

// testRevokePerson is invariant 7: what she owns passes to a living backup,
// else is suspended; the sessions she started end.
func testRevokePerson(t *testing.T, k *Kit) {
	bo, cy := k.Person("bo@acme.dev"), k.Person("cy@acme.dev")
	if _, _, err := k.Store.SuspendIdentity(t.Context(), k.By, k.Ref(cy.ID), "leave"); err != nil {
		t.Fatal(err)
	}
	dee := k.Person("dee@acme.dev")
	app := k.App("api.acme.test")
	owned := func(owner, backup writ.ID) *writ.Identity {
		return k.Agent(func(i *writ.Identity) { i.Owner, i.Backup = owner, "" }, func(i *writ.Identity) { i.Backup = backup })
	}
	passes := owned(bo.ID, dee.ID)
	alone := owned(bo.ID, "")
	hers := owned(dee.ID, "")
	credPasses := k.Credential(app, func(c *writ.Credential) { c.Owner, c.Backup = bo.ID, dee.ID })
	credAlone := k.Credential(app, func(c *writ.Credential) { c.Owner = bo.ID })
	gone := k.Grant(hers, credPasses, func(g *writ.Grant) { g.Triggers = []writ.Trigger{writ.OnOwnerLeaves} })
	stays := k.Grant(hers, credPasses)
	ofPasses, ofAlone := k.Session(passes), k.Session(alone)
	startedByBo := k.Session(hers, func(s *writ.Session) { s.Started = bo.ID })
	key := k.Key(bo)
	keyOfPasses := k.Key(passes)
	w := &Watcher{}
	k.Store.Subscribe(w)
	if _, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(bo.ID), "left"); err != nil {
		t.Fatal(err)
	}
	change := oneChange(t, w, "RevokeIdentity")
	wantStates(t, "RevokeIdentity of a person", states(change), map[writ.ID]writ.State{
		bo.ID: writ.Revoked, key.ID: writ.Revoked, startedByBo.ID: writ.Ended,
		passes.ID: writ.Active, alone.ID: writ.Suspended, ofAlone.ID: writ.Ended,
		credPasses.ID: writ.Active, credAlone.ID: writ.Suspended, gone.ID: writ.Revoked,
	})
	if i := change[passes.ID].(*writ.Identity); i.Owner != dee.ID || i.Backup != "" {
		t.Errorf("the agent passed to %+v", i)
	}
	if c := change[credPasses.ID].(*writ.Credential); c.Owner != dee.ID || c.Backup != "" {
		t.Errorf("the credential passed to %+v", c)
	}
	for _, id := range []writ.ID{stays.ID, ofPasses.ID, keyOfPasses.ID, hers.ID} {
		if s := stateNow(t, k, id); s != writ.Active {
			t.Errorf("%s is %s", id, s)
		}
	}
	// Nobody answers for it, so it cannot come back before somebody does.
	_, _, err := k.Store.ResumeIdentity(t.Context(), k.By, k.Ref(alone.ID), "please")
	wantKind(t, "resuming an ownerless agent", err, writ.KindConflict)
	if _, _, err := k.Store.EditIdentity(t.Context(), k.By, k.Ref(alone.ID), func(i *writ.Identity) error { i.Owner = dee.ID; return nil }); err != nil {
		t.Fatal(err)
	}
	if i, _, err := k.Store.ResumeIdentity(t.Context(), k.By, k.Ref(alone.ID), "owned again"); err != nil || i.State != writ.Active {
		t.Errorf("resuming an owned agent: %+v, %v", i, err)
	}
	// A backup who is not living is no successor.
	backedByCy := owned(dee.ID, "")
	if _, _, err := k.Store.ResumeIdentity(t.Context(), k.By, k.Ref(cy.ID), "back"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.EditIdentity(t.Context(), k.By, k.Ref(backedByCy.ID), func(i *writ.Identity) error { i.Backup = cy.ID; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.SuspendIdentity(t.Context(), k.By, k.Ref(cy.ID), "leave"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.RevokeIdentity(t.Context(), k.By, k.Ref(dee.ID), "left"); err != nil {
		t.Fatal(err)
	}
	if s := stateNow(t, k, backedByCy.ID); s != writ.Suspended {
		t.Errorf("an agent whose backup is suspended is %s", s)
	}
}

// testSuspend: suspending ends what runs, and resuming brings none of it back.
func testSuspend(t *testing.T, k *Kit) {
	cred := k.Credential(k.App("api.acme.test"))
	agent := k.Agent()
	sub := k.Agent(func(i *writ.Identity) { i.Parent = agent.ID })
	session, ofSub := k.Session(agent), k.Session(sub)
	key := k.Key(agent)
	lost := k.Grant(agent, cred, func(g *writ.Grant) { g.Triggers = []writ.Trigger{writ.OnIdentityInactive} })
	lostToo := k.Grant(sub, cred, func(g *writ.Grant) { g.Parent = lost.ID })
	kept := k.Grant(agent, cred)
	w := &Watcher{}
	k.Store.Subscribe(w)
	suspended, _, err := k.Store.SuspendIdentity(t.Context(), k.By, k.Ref(agent.ID), "look into it")
	if err != nil {
		t.Fatal(err)
	}
	wantStates(t, "SuspendIdentity", states(oneChange(t, w, "SuspendIdentity")), map[writ.ID]writ.State{
		agent.ID: writ.Suspended, session.ID: writ.Ended, ofSub.ID: writ.Ended, lost.ID: writ.Revoked, lostToo.ID: writ.Revoked,
	})
	_, _, err = k.Store.StartSession(t.Context(), k.By, writ.Session{Org: k.Org, Identity: agent.ID, Started: k.Ana.ID, Expires: k.In(time.Hour), Isolation: "none", Hash: session.Hash})
	wantKind(t, "a session of somebody suspended", err, writ.KindInvalid)
	resumed, _, err := k.Store.ResumeIdentity(t.Context(), k.By, k.Ref(agent.ID), "it was nothing")
	if err != nil {
		t.Fatal(err)
	}
	if resumed.Cutoff < suspended.Cutoff || key.Live(writ.At(k.Clock.Now()), resumed.Cutoff) {
		t.Errorf("resuming revived the key: cut-off %v, key of %v", resumed.Cutoff, key.Created)
	}
	if s := stateNow(t, k, session.ID); s != writ.Ended {
		t.Errorf("resuming left the session %s", s)
	}
	if s := stateNow(t, k, kept.ID); s != writ.Active {
		t.Errorf("the other grant is %s", s)
	}
	// The clock stands still: what is made now is alive, what was made before is not.
	fresh := k.Session(agent)
	if fresh.Created < resumed.Cutoff {
		t.Errorf("a new session is dated %v, before the cut-off %v", fresh.Created, resumed.Cutoff)
	}
	if key := k.Key(agent); !key.Live(writ.At(k.Clock.Now()), resumed.Cutoff) {
		t.Error("a new key is dead at birth")
	}
}

func testStopAll(t *testing.T, k *Kit) {
	far := k.Found("globex")
	agent := k.Agent()
	a, b, foreign := k.Session(agent), k.Session(k.Ana), far.Session(far.Agent())
	w := &Watcher{}
	k.Store.Subscribe(w)
	if _, _, err := k.Store.StopAll(t.Context(), k.By, k.Org, "fire"); err != nil {
		t.Fatal(err)
	}
	wantStates(t, "StopAll", states(oneChange(t, w, "StopAll")), map[writ.ID]writ.State{k.Org: writ.Suspended, a.ID: writ.Ended, b.ID: writ.Ended})
	_, _, err := k.Store.StartSession(t.Context(), k.By, writ.Session{Org: k.Org, Identity: agent.ID, Started: k.Ana.ID, Expires: k.In(time.Hour), Isolation: "none", Hash: a.Hash})
	wantKind(t, "a session while all is stopped", err, writ.KindConflict)
	if _, _, err := k.Store.ResumeAll(t.Context(), k.By, k.Org, "out"); err != nil {
		t.Fatal(err)
	}
	wantStates(t, "ResumeAll", states(oneChange(t, w, "ResumeAll")), map[writ.ID]writ.State{k.Org: writ.Active})
	if s := stateNow(t, k, a.ID); s != writ.Ended {
		t.Errorf("resuming left a session %s", s)
	}
	if s := stateNow(t, far, foreign.ID); s != writ.Active {
		t.Errorf("the other organization's session is %s", s)
	}
}
