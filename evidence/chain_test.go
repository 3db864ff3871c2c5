package evidence_test

import (
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/store/storetest"
)

// TestEveryKindOfActor proves uses by people, services, agents of agents and
// sessions made from sessions.
func TestEveryKindOfActor(t *testing.T) {
	w := newWorld(t)
	app := w.App("api.acme.test")
	cred := w.Credential(app)
	prove := func(s *writ.Session, basis writ.AuthorityBasis, text string) {
		t.Helper()
		r := w.verify(w.export(w.allow(w.ask(s, "GET", "api.acme.test", "/v1/x"))))
		if r.Basis != basis || !says(r.Proven, text) {
			t.Errorf("basis %s, %+v", r.Basis, r.Proven)
		}
	}
	w.Grant(w.Ana, cred)
	prove(w.Session(w.Ana), writ.BasisDirect, "ana@acme.dev acted in session")

	service, _, err := w.Store.AddIdentity(t.Context(), w.By, writ.Identity{Org: w.Org, Kind: writ.Service, Name: "app-ci", Owner: w.Ana.ID, Purpose: "builds"})
	must(t, err)
	w.Grant(service, cred)
	prove(w.Session(service, func(s *writ.Session) { s.Started = service.ID }), writ.BasisServiceAccount, "ana@acme.dev answers for service:app-ci")
	prove(w.Session(service), writ.BasisDelegatedHuman, "ana@acme.dev → service:app-ci")

	parent := w.Agent(func(i *writ.Identity) { i.Name = "planner" })
	sub := w.Agent(func(i *writ.Identity) { i.Name, i.Parent = "worker", parent.ID })
	w.Grant(sub, cred)
	outer := w.Session(parent)
	inner := w.Session(sub, func(s *writ.Session) { s.Parent, s.Expires = outer.ID, w.In(30*time.Minute) })
	prove(inner, writ.BasisDelegatedHuman, "ana@acme.dev → agent:planner → ")
}

// TestRulesOverTheBody proves that the values that were looked at are covered.
func TestRulesOverTheBody(t *testing.T) {
	w := newWorld(t)
	app := w.App("api.acme.test")
	agent, cred := w.Agent(), w.Credential(app)
	w.Grant(agent, cred, func(g *writ.Grant) {
		g.Rules = []writ.Rule{{Methods: []string{"POST"}, Path: "/pay", Body: []writ.Condition{{Key: "/amount", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("500")}}}}}
		g.Conditions = writ.Conditions{Networks: []string{"127.0.0.0/8"}, Windows: []writ.Window{{From: 8 * 60, To: 18 * 60}}}
	})
	s := &story{world: w, session: w.Session(agent)}
	s.use = w.allow(w.ask(s.session, "POST", "api.acme.test", "/pay", func(a *writ.Ask) {
		a.Body = writ.Values{"/amount": writ.Number("499.95")}
		a.Info = writ.Body{Mode: writ.BodySpooled, Length: 20, SHA256: storetest.Hash("body"), Values: a.Body}
	}))
	s.bundle = w.export(s.use)
	if r := w.verify(s.bundle); !says(r.Proven, "/amount<=500 covers") {
		t.Errorf("%+v", r.Proven)
	}
	for _, c := range []struct{ old, with string }{
		{`{"decimal":"499.95"}`, `501`}, {`{"decimal":"499.95"}`, `"499"`}, {`"mode":"spooled"`, `"mode":"streamed"`}, {`"source":"127.0.0.1"`, `"source":"10.0.0.1"`},
	} {
		d := s.doc()
		d.edit(d.of("allow"), c.old, c.with)
		refused(t, forge(t, d, w.signer()), w.verifiers())
	}
}

// TestGraceOutsideProduction proves a use of a credential whose provenance is
// not complete, in the organization's grace (invariant 8).
func TestGraceOutsideProduction(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.Store.EditOrg(t.Context(), w.By, w.Org, func(o *writ.Org) error { o.GraceDays = 7; return nil })
	must(t, err)
	app := w.App("api.acme.test")
	agent := w.Agent()
	cred := w.Credential(app, func(c *writ.Credential) { c.Issuer, c.Triggers = "", nil })
	w.Grant(agent, cred)
	s := &story{world: w, session: w.Session(agent)}
	s.use = w.allow(w.ask(s.session, "GET", "api.acme.test", "/"))
	s.bundle = w.export(s.use)
	if r := w.verify(s.bundle); !says(r.Proven, "lacked issuer, revocation trigger") {
		t.Errorf("%+v", r.Proven)
	}
	for _, c := range []struct {
		row       writ.ID
		old, with string
	}{{w.Org, `"grace_days":7,`, ``}, {app.ID, `"env":"dev"`, `"env":"prod"`}} {
		d := s.doc()
		d.edit(d.row(c.row), c.old, c.with)
		refused(t, forge(t, d, w.signer()), w.verifiers())
	}
}
