package decide

import (
	"net/netip"
	"testing"
	"time"

	"writ.dev/writ"
)

// now is when everything in these tests happens: a Tuesday, 09:00 UTC.
var now = writ.At(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))

func id(kind writ.Kind, n int) writ.ID {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	body := []byte("0000000000000000")
	for i := len(body) - 1; n > 0; i-- {
		body[i] = digits[n&31]
		n >>= 5
	}
	return writ.ID(string(kind) + "_" + string(body))
}

// world is a small organization in which everything is in order: ana started a
// session of her agent, which has a grant for one credential. Tests break one
// thing each.
type world struct {
	org        *writ.Org
	ana, ben   *writ.Identity
	agent      *writ.Identity
	session    *writ.Session
	app        *writ.Application
	credential *writ.Credential
	version    *writ.Version
	grant      *writ.Grant
	ask        *writ.Ask
	facts      *Facts
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{}
	org := id(writ.KindOrg, 1)
	w.org = &writ.Org{ID: org, Name: "acme", State: writ.Active, Created: now - 1000_000}
	w.ana = &writ.Identity{ID: id(writ.KindIdentity, 1), Org: org, Kind: writ.Person, Name: "ana@acme.dev", State: writ.Active}
	w.ben = &writ.Identity{ID: id(writ.KindIdentity, 2), Org: org, Kind: writ.Person, Name: "ben@acme.dev", State: writ.Active}
	w.agent = &writ.Identity{ID: id(writ.KindIdentity, 3), Org: org, Kind: writ.Agent, Name: "claude-pay", State: writ.Active, Owner: w.ana.ID, Backup: w.ben.ID, Purpose: "pays", Expires: now + 90_000_000}
	w.session = &writ.Session{ID: id(writ.KindSession, 1), Org: org, Identity: w.agent.ID, Started: w.ana.ID, State: writ.Active, Created: now - 1000, Expires: now + 3_600_000, Isolation: "none"}
	w.app = &writ.Application{ID: id(writ.KindApplication, 1), Org: org, Name: "stripe", State: writ.Active, Env: writ.Staging, Hosts: []string{"api.stripe.test"}}
	w.credential = &writ.Credential{
		ID: id(writ.KindCredential, 1), Org: org, Name: "stripe-test", App: w.app.ID, State: writ.Active, Created: now - 1000_000,
		Owner: w.ana.ID, Backup: w.ben.ID, Issuer: "stripe.test", Authoriser: w.ana.ID, Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed, Current: id(writ.KindVersion, 1),
	}
	w.version = &writ.Version{ID: id(writ.KindVersion, 1), Org: org, Credential: w.credential.ID, Number: 1, Hosts: []string{"api.stripe.test"}, Placement: writ.Placement{In: writ.InBearer}, State: writ.Active}
	w.grant = &writ.Grant{
		ID: id(writ.KindGrant, 1), Org: org, Identity: w.agent.ID, Credential: w.credential.ID, State: writ.Active, Created: now - 500_000, Expires: now + 7_200_000,
		Rules: []writ.Rule{{Methods: []string{"GET"}, Path: "/v1/**"}, {Methods: []string{"POST"}, Path: "/v1/refunds"}},
	}
	guardrails, err := CompileGuardrails(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.facts = &Facts{
		Epoch: writ.Epoch{Incarnation: 1, N: 7}, Org: w.org, Session: w.session, Identity: w.agent,
		Path: []*writ.Identity{w.ana, w.agent}, Owner: w.ana, Application: w.app, Guardrails: guardrails,
		Candidates: []Candidate{{Grant: w.grant, Credential: w.credential, Version: w.version, App: w.app, Owner: w.ana, RateLeft: true}},
		Records:    []Record{{w.org.ID, 0}, {w.agent.ID, 2}, {w.grant.ID, 5}},
	}
	w.ask = &writ.Ask{
		ID: id(writ.KindDecision, 1), Org: org, Session: w.session.ID, Time: now, Scheme: "https",
		Request: writ.Request{Method: "GET", Host: "api.stripe.test", Target: target(t, "/v1/charges?limit=3&key=sk_secret")},
		Info:    writ.Body{Mode: writ.BodyNone}, Source: netip.MustParseAddr("10.1.2.3"),
	}
	w.compile()
	return w
}

func (w *world) compile() {
	for _, c := range w.facts.Candidates {
		c.Grant.Compile()
		for _, a := range c.Ancestors {
			a.Compile()
		}
	}
}

func target(t testing.TB, raw string) writ.Target {
	t.Helper()
	parsed, err := writ.ParseTarget(raw, writ.Profile{})
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// guard sets the guardrails.
func (w *world) guard(t testing.TB, policies ...*writ.Policy) {
	t.Helper()
	g, err := CompileGuardrails(policies)
	if err != nil {
		t.Fatal(err)
	}
	w.facts.Guardrails = g
}

func policy(n int, text string) *writ.Policy {
	return &writ.Policy{ID: id(writ.KindPolicy, n), Name: "p", Text: text, Version: 1, State: writ.Active}
}
