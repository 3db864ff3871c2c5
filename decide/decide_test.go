package decide

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
)

func TestAllowStatesWhatItRestsOn(t *testing.T) {
	w := newWorld(t)
	d, allow := Decide(w.ask, w.facts)
	want := writ.Decision{
		ID: w.ask.ID, Time: now, Allow: true, Detail: "allowed by grant " + string(w.grant.ID),
		Identity: w.agent.ID, Session: w.session.ID, Application: w.app.ID, Credential: w.credential.ID, Version: w.version.ID, Grant: w.grant.ID,
		Path: []writ.ID{w.ana.ID, w.agent.ID}, Basis: writ.BasisDelegatedHuman, Policy: w.facts.Guardrails.Version(), Epoch: writ.Epoch{Incarnation: 1, N: 7},
		Rests: []writ.ID{w.session.ID, w.ana.ID, w.agent.ID, w.grant.ID, w.credential.ID, w.version.ID, w.app.ID},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Fatalf("decision (-want +got):\n%s", diff)
	}
	terms, ok := allow.Spend()
	if !ok {
		t.Fatal("an allow could not be spent")
	}
	wantTerms := &Terms{Ask: w.ask, Decision: &want, Records: w.facts.Records, Until: w.session.Expires}
	if diff := cmp.Diff(wantTerms, terms, cmp.Comparer(func(a, b *writ.Ask) bool { return a == b })); diff != "" {
		t.Fatalf("terms (-want +got):\n%s", diff)
	}
}

// TestInvariant01AllowIsMintedByDecideAloneAndSpentOnce: the zero Allow is
// worth nothing, and of many who spend the same one a single one gets the terms.
func TestInvariant01AllowIsMintedByDecideAloneAndSpentOnce(t *testing.T) {
	if terms, ok := (Allow{}).Spend(); ok || terms != nil || (Allow{}).OK() {
		t.Fatal("the zero Allow could be spent")
	}
	w := newWorld(t)
	_, allow := Decide(w.ask, w.facts)
	if !allow.OK() {
		t.Fatal("the world is in order and Decide minted no Allow")
	}
	var spent atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		copied := allow
		wg.Go(func() {
			if _, ok := copied.Spend(); ok {
				spent.Add(1)
			}
		})
	}
	wg.Wait()
	if n := spent.Load(); n != 1 {
		t.Fatalf("one Allow was spent %d times", n)
	}
	if _, ok := allow.Spend(); ok {
		t.Fatal("an Allow was spent again")
	}
}

// A caller that changes its Decision must not change what is recorded.
func TestAllowKeepsItsOwnDecision(t *testing.T) {
	w := newWorld(t)
	d, allow := Decide(w.ask, w.facts)
	d.Grant, d.Credential = "grt_other", "cred_other"
	terms, _ := allow.Spend()
	if terms.Decision.Grant != w.grant.ID || terms.Decision.Credential != w.credential.ID {
		t.Fatal("the Allow changed with the caller's copy of the decision")
	}
}

// denials has one case for every reason that a decision can come to from a
// world that is otherwise in order.
var denials = []struct {
	name   string
	reason writ.Reason
	text   string // a part of the detail
	spoil  func(t *testing.T, w *world)
}{
	{"stale view", writ.AuthorityStale, "fresh", func(t *testing.T, w *world) { w.facts.Stale = true }},
	{"no organization", writ.AuthorityStale, "organization", func(t *testing.T, w *world) { w.facts.Org = nil }},
	{"no time", writ.AuthorityStale, "time", func(t *testing.T, w *world) { w.ask.Time = 0 }},
	{"stopped by hand", writ.Stopped, "stopped", func(t *testing.T, w *world) { w.facts.Stopped = true }},
	{"organization suspended", writ.Stopped, "stopped", func(t *testing.T, w *world) { w.org.State = writ.Suspended }},

	{"unproven identity", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.agent.ID} }},
	{"unproven principal", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.ana.ID} }},
	{"unproven session", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.session.ID} }},
	{"unproven application", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.app.ID} }},
	{"unproven policy", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{id(writ.KindPolicy, 9)} }},
	{"unproven grant", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.grant.ID} }},
	{"unproven credential", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.credential.ID} }},
	{"unproven version", writ.StateUnproven, "match its record", func(t *testing.T, w *world) { w.facts.Unproven = []writ.ID{w.version.ID} }},
	{"unproven grant beside a grant that does not cover", writ.StateUnproven, "match its record", func(t *testing.T, w *world) {
		narrow := *w.grant
		narrow.ID, narrow.Rules = id(writ.KindGrant, 8), []writ.Rule{{Methods: []string{"GET"}, Path: "/v2"}}
		c := w.facts.Candidates[0]
		c.Grant = &narrow
		w.facts.Candidates = append([]Candidate{c}, w.facts.Candidates...)
		w.facts.Unproven = []writ.ID{w.grant.ID}
	}},

	{"two readings", writ.RequestAmbiguous, "'//'", func(t *testing.T, w *world) {
		w.ask.Refused, w.ask.RefusedText = writ.RequestAmbiguous, "the path has '//'"
	}},
	{"blocked address", writ.DestinationBlocked, "metadata", func(t *testing.T, w *world) {
		w.ask.Refused, w.ask.RefusedText = writ.DestinationBlocked, "a metadata address"
	}},
	{"unknown scheme", writ.RequestAmbiguous, "https", func(t *testing.T, w *world) { w.ask.Scheme = "" }},
	{"no path", writ.RequestAmbiguous, "path", func(t *testing.T, w *world) { w.ask.Target = writ.Target{} }},

	{"no session", writ.NoIdentity, "no session", func(t *testing.T, w *world) { w.facts.Session = nil }},
	{"session of another ask", writ.NoIdentity, "no session", func(t *testing.T, w *world) { w.ask.Session = id(writ.KindSession, 9) }},
	{"session of somebody else", writ.NoIdentity, "no session", func(t *testing.T, w *world) { w.session.Identity = w.ben.ID }},
	{"no actor", writ.NoIdentity, "no session", func(t *testing.T, w *world) { w.facts.Identity = nil }},
	{"session ended", writ.SessionEnded, "is over", func(t *testing.T, w *world) { w.session.State = writ.Ended }},
	{"session ran out", writ.SessionEnded, "ran out", func(t *testing.T, w *world) { w.session.Expires = now }},
	{"session in no known state", writ.SessionEnded, "is over", func(t *testing.T, w *world) { w.session.State = "" }},
	{"session before the actor's cut-off", writ.SessionEnded, "withdrawn", func(t *testing.T, w *world) { w.agent.Cutoff = w.session.Created + 1 }},
	{"session before its starter's cut-off", writ.SessionEnded, "withdrawn", func(t *testing.T, w *world) { w.ana.Cutoff = w.session.Created + 1 }},
	{"session from an ended one", writ.SessionEnded, "made from is over", func(t *testing.T, w *world) { w.childSession().State = writ.Ended }},
	{"session from one that ran out", writ.SessionEnded, "made from ran out", func(t *testing.T, w *world) { w.childSession().Expires = now }},
	{"session from a missing one", writ.DelegationBroken, "missing", func(t *testing.T, w *world) { w.childSession(); w.facts.Sessions = nil }},
	{"session from another", writ.DelegationBroken, "missing", func(t *testing.T, w *world) { w.childSession().ID = id(writ.KindSession, 9) }},
	{"session with a stranger above it", writ.DelegationBroken, "ancestors", func(t *testing.T, w *world) { w.childSession(); w.session.Parent = "" }},
	{"session started by somebody off the path", writ.DelegationBroken, "missing from its delegation path", func(t *testing.T, w *world) { w.session.Started = w.ben.ID }},

	{"actor suspended", writ.IdentityInactive, "agent:claude-pay is suspended", func(t *testing.T, w *world) { w.agent.State = writ.Suspended }},
	{"actor expired", writ.IdentityInactive, "expired", func(t *testing.T, w *world) { w.agent.Expires = now }},
	{"actor in no known state", writ.IdentityInactive, "agent:claude-pay", func(t *testing.T, w *world) { w.agent.State = "odd" }},
	{"principal revoked", writ.IdentityInactive, "ana@acme.dev is revoked", func(t *testing.T, w *world) {
		w.ana.State = writ.Revoked
		w.facts.Owner = w.ben
	}},
	{"path without the actor", writ.DelegationBroken, "path", func(t *testing.T, w *world) { w.facts.Path = []*writ.Identity{w.ana} }},
	{"path in the wrong order", writ.DelegationBroken, "path", func(t *testing.T, w *world) { w.facts.Path = []*writ.Identity{w.agent, w.ana} }},
	{"path with a hole", writ.IdentityInactive, "missing", func(t *testing.T, w *world) { w.facts.Path = []*writ.Identity{w.ana, nil, w.agent} }},
	{"parent agent revoked", writ.IdentityInactive, "agent:boss is revoked", func(t *testing.T, w *world) { w.parentAgent().State = writ.Revoked }},
	{"parent agent missing", writ.IdentityInactive, "belongs to is missing", func(t *testing.T, w *world) { w.parentAgent(); w.facts.Parents = nil }},
	{"parent agent cut off", writ.SessionEnded, "withdrawn", func(t *testing.T, w *world) { w.parentAgent().Cutoff = w.session.Created + 1 }},
	{"nobody accountable", writ.IdentityInactive, "no living person", func(t *testing.T, w *world) { w.facts.Owner = nil }},
	{"a dead owner", writ.IdentityInactive, "no living person", func(t *testing.T, w *world) {
		dead := *w.ben
		dead.State = writ.Revoked
		w.facts.Owner = &dead
	}},
	{"an owner who is a service", writ.IdentityInactive, "no living person", func(t *testing.T, w *world) {
		robot := *w.ben
		robot.Kind = writ.Service
		w.facts.Owner = &robot
	}},
	{"somebody else as owner", writ.IdentityInactive, "no living person", func(t *testing.T, w *world) {
		w.agent.Owner, w.agent.Backup = id(writ.KindIdentity, 8), ""
	}},

	{"undeclared host", writ.NoGrant, "no application declares the host api.stripe.test", func(t *testing.T, w *world) { w.facts.Application = nil }},
	{"application of another host", writ.NoGrant, "no application declares the host", func(t *testing.T, w *world) { w.app.Hosts = []string{"other.test"} }},
	{"application revoked", writ.NoGrant, "stripe is revoked", func(t *testing.T, w *world) { w.app.State = writ.Revoked }},
	{"cleartext nobody allowed", writ.PlacementViolation, "cleartext", func(t *testing.T, w *world) { w.ask.Scheme = "http" }}, // T26

	{"no grant", writ.NoGrant, "no grant for a credential that opens api.stripe.test", func(t *testing.T, w *world) { w.facts.Candidates = nil }},
	{"no grant for the credential asked for", writ.NoGrant, "named stripe-live", func(t *testing.T, w *world) { w.ask.Hint = "stripe-live" }},
	{"grant revoked", writ.GrantInactive, "is revoked", func(t *testing.T, w *world) { w.grant.State = writ.Revoked }},
	{"grant expired", writ.GrantInactive, "expired", func(t *testing.T, w *world) { w.grant.Expires = now }},
	{"grant of another identity", writ.StateUnproven, "another identity", func(t *testing.T, w *world) { w.grant.Identity = w.ben.ID }},
	{"grant for another credential", writ.StateUnproven, "not the grant's", func(t *testing.T, w *world) { w.grant.Credential = id(writ.KindCredential, 9) }},
	{"credential of another application", writ.StateUnproven, "application", func(t *testing.T, w *world) { w.credential.App = id(writ.KindApplication, 9) }},

	{"parent grant missing", writ.DelegationBroken, "missing", func(t *testing.T, w *world) { w.delegated(); w.facts.Candidates[0].Ancestors = nil }},
	{"parent grant marked missing", writ.DelegationBroken, "missing", func(t *testing.T, w *world) { w.facts.Candidates[0].Broken = true }},
	{"parent grant revoked", writ.DelegationBroken, "is revoked", func(t *testing.T, w *world) { w.delegated().State = writ.Revoked }},
	{"parent grant expired", writ.DelegationBroken, "no longer", func(t *testing.T, w *world) { w.delegated().Expires = now + 10 }},
	{"parent grant narrowed since", writ.DelegationBroken, "no longer narrower", func(t *testing.T, w *world) {
		w.delegated().Rules = []writ.Rule{{Methods: []string{"GET"}, Path: "/v1/charges"}}
	}},
	{"root grant that claims a depth", writ.DelegationBroken, "missing", func(t *testing.T, w *world) { w.grant.Depth = 1 }},
	{"deeper than the organization allows", writ.DelegationBroken, "deeper", func(t *testing.T, w *world) {
		w.delegated().Depth = 4
		w.grant.Depth = 5
	}},

	{"method not covered", writ.OutOfAuthority, "does not cover this method", func(t *testing.T, w *world) { w.ask.Method = "DELETE" }},
	{"path not covered", writ.OutOfAuthority, "does not cover this path", func(t *testing.T, w *world) { w.ask.Target = target(t, "/v2/charges") }},
	{"host not covered", writ.OutOfAuthority, "does not cover this host", func(t *testing.T, w *world) {
		for i := range w.grant.Rules {
			w.grant.Rules[i].Host = "files.stripe.test"
		}
	}},
	{"query not covered", writ.OutOfAuthority, "does not cover these query", func(t *testing.T, w *world) {
		w.grant.Rules[0].Query = []writ.Condition{{Key: "limit", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("2")}}}
	}},
	{"body value outside", writ.ParameterViolation, "value", func(t *testing.T, w *world) { w.refund("/amount", writ.Number("501")) }},
	{"body value missing", writ.ParameterViolation, "lacks", func(t *testing.T, w *world) { w.refund("/other", writ.Number("1")) }},
	{"body unread", writ.BodyRequired, "larger than 8 MiB", func(t *testing.T, w *world) {
		w.refund("/amount", writ.Number("1"))
		w.ask.Body, w.ask.Info.Unreadable = nil, "it is larger than 8 MiB or was cut short"
	}}, // T18
	{"body read but not kept", writ.BodyRequired, "could not be read", func(t *testing.T, w *world) {
		w.refund("/amount", writ.Number("1"))
		w.ask.Info.Mode = writ.BodyStreamed
	}},

	{"wrong network", writ.ContextMismatch, "bound to a network", func(t *testing.T, w *world) { w.grant.Conditions.Networks = []string{"10.9.0.0/16"} }},
	{"wrong time", writ.ContextMismatch, "bound to a time", func(t *testing.T, w *world) { w.grant.Conditions.Windows = []writ.Window{{From: 0, To: 60}} }},
	{"unknown program", writ.ContextMismatch, "bound to a runtime", func(t *testing.T, w *world) { w.grant.Conditions.Executables = []string{strings.Repeat("a", 64)} }},
	{"unknown device", writ.ContextMismatch, "bound to a device", func(t *testing.T, w *world) { w.grant.Conditions.Device = "dev_1" }},
	{"rate used up", writ.QuotaExceeded, "rate", func(t *testing.T, w *world) { w.facts.Candidates[0].RateLeft = false }},

	{"credential suspended", writ.CredentialInvalid, "stripe-test is suspended", func(t *testing.T, w *world) { w.credential.State = writ.Suspended }},
	{"credential expired", writ.CredentialInvalid, "expired", func(t *testing.T, w *world) { w.credential.Expires = now }},
	{"credential missing", writ.CredentialInvalid, "missing", func(t *testing.T, w *world) { w.facts.Candidates[0].Credential = nil }},
	{"no version", writ.CredentialInvalid, "no current version", func(t *testing.T, w *world) { w.facts.Candidates[0].Version = nil }},
	{"an old version", writ.CredentialInvalid, "no current version", func(t *testing.T, w *world) { w.credential.Current = id(writ.KindVersion, 2) }},
	{"version revoked", writ.CredentialInvalid, "is revoked", func(t *testing.T, w *world) { w.version.State = writ.Revoked }},
	{"version not for this host", writ.CredentialInvalid, "not sealed for the host", func(t *testing.T, w *world) { w.version.Hosts = []string{"files.stripe.test"} }},

	{"ungoverned in production", writ.OutsideGovernance, "it lacks issuer", func(t *testing.T, w *world) {
		w.app.Env, w.org.GraceDays, w.credential.Issuer = writ.Prod, 30, ""
	}},
	{"ungoverned without grace", writ.OutsideGovernance, "it lacks revocation trigger", func(t *testing.T, w *world) { w.credential.Triggers = nil }},
	{"ungoverned after its grace", writ.OutsideGovernance, "it lacks owner, authoriser", func(t *testing.T, w *world) {
		w.org.GraceDays, w.credential.Owner, w.credential.Authoriser = 1, "", ""
		w.credential.Created = now - 86_400_000
	}},
	{"ungoverned since nobody knows when", writ.OutsideGovernance, "it lacks issuer", func(t *testing.T, w *world) { w.credential.Issuer, w.credential.Created = "", 0 }},
	{"owner of the credential gone", writ.OutsideGovernance, "living owner", func(t *testing.T, w *world) {
		w.facts.Candidates[0].Owner = nil
		w.org.GraceDays = 30
	}},
	{"forbidden for agents", writ.AIUseForbidden, "agents may not use the credential stripe-test", func(t *testing.T, w *world) { w.credential.AIUse = writ.AIForbidden }},
	{"nobody said whether agents may", writ.AIUseForbidden, "agents may not", func(t *testing.T, w *world) { w.credential.AIUse = "" }},
	{"agents in production need controls", writ.AIUseForbidden, "in production", func(t *testing.T, w *world) { w.credential.AIUse, w.app.Env = writ.AINeedsControls, writ.Prod }},
	{"an unknown environment is production", writ.AIUseForbidden, "in production", func(t *testing.T, w *world) { w.credential.AIUse, w.app.Env = writ.AINeedsControls, "" }},
	{"an agent above a service", writ.AIUseForbidden, "agents may not", func(t *testing.T, w *world) {
		service := *w.agent
		service.Kind, service.ID = writ.Service, id(writ.KindIdentity, 9)
		parent := w.childSession()
		parent.Identity = w.agent.ID
		w.session.Identity, w.session.Started, w.grant.Identity = service.ID, w.agent.ID, service.ID
		w.facts.Identity, w.facts.Path = &service, []*writ.Identity{w.ana, w.agent, &service}
		w.credential.AIUse = writ.AIForbidden
	}},
	{"two credentials would do", writ.RequestAmbiguous, "Writ-Credential: NAME", func(t *testing.T, w *world) { w.second() }},

	{"guardrail", writ.GuardrailForbid, "forbids it", func(t *testing.T, w *world) {
		w.guard(t, policy(1, `forbid(principal is Writ::Agent, action, resource) when { resource.env == "staging" };`))
	}},
	{"guardrail that meets an error", writ.PolicyUnevaluable, "met an error", func(t *testing.T, w *world) {
		w.guard(t, policy(1, `forbid(principal, action, resource) when { context.task == "deploy" };`))
	}},
	{"guardrails that nobody compiled", writ.PolicyUnevaluable, "could not be compiled", func(t *testing.T, w *world) { w.facts.Guardrails = nil }},
}

// childSession puts a session of ana's above the agent's.
func (w *world) childSession() *writ.Session {
	parent := *w.session
	parent.ID, parent.Identity = id(writ.KindSession, 2), w.ana.ID
	w.session.Parent = parent.ID
	w.facts.Sessions = []*writ.Session{&parent}
	return &parent
}

// parentAgent makes the actor a sub-agent.
func (w *world) parentAgent() *writ.Identity {
	boss := *w.agent
	boss.ID, boss.Name = id(writ.KindIdentity, 7), "boss"
	w.agent.Parent = boss.ID
	w.facts.Parents = []*writ.Identity{&boss}
	return &boss
}

// delegated makes the grant a child of another.
func (w *world) delegated() *writ.Grant {
	parent := *w.grant
	parent.ID, parent.Identity = id(writ.KindGrant, 2), w.ben.ID
	parent.Rules = []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}
	w.grant.Parent, w.grant.Depth = parent.ID, 1
	w.facts.Candidates[0].Ancestors = []*writ.Grant{&parent}
	return &parent
}

// refund asks for a refund that a rule judges by its body.
func (w *world) refund(pointer string, value writ.Scalar) {
	w.grant.Rules[1].Body = []writ.Condition{{Key: "/amount", Op: writ.OpLe, Values: []writ.Scalar{writ.Number("500")}}}
	w.ask.Method, w.ask.Target = "POST", writ.Target{Raw: "/v1/refunds", Segments: []string{"v1", "refunds"}}
	w.ask.Info = writ.Body{Mode: writ.BodySpooled, Length: 12}
	w.ask.Body = writ.Values{pointer: value}
}

// second gives the agent a grant for another credential of the application.
func (w *world) second() *Candidate {
	credential, version, grant := *w.credential, *w.version, *w.grant
	credential.ID, credential.Name, credential.Current = id(writ.KindCredential, 2), "stripe-other", id(writ.KindVersion, 2)
	version.ID, version.Credential = credential.Current, credential.ID
	grant.ID, grant.Credential, grant.Created = id(writ.KindGrant, 3), credential.ID, w.grant.Created+1
	w.facts.Candidates = append(w.facts.Candidates, Candidate{Grant: &grant, Credential: &credential, Version: &version, App: w.app, Owner: w.ana, RateLeft: true})
	return &w.facts.Candidates[len(w.facts.Candidates)-1]
}

// TestInvariant03UnknownIsDeny goes through every way in which a world that is
// in order can go wrong. Each denies with its reason, mints no Allow, and says
// so in one sentence without the query.
func TestInvariant03UnknownIsDeny(t *testing.T) {
	for _, c := range denials {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(t, w)
			w.compile()
			d, allow := Decide(w.ask, w.facts)
			if d.Allow || allow.OK() {
				t.Fatalf("allowed: %s", d.Detail)
			}
			if _, ok := allow.Spend(); ok {
				t.Fatal("the Allow of a denial could be spent")
			}
			if d.Reason() != c.reason {
				t.Fatalf("reason %s, want %s: %s", d.Reason(), c.reason, d.Detail)
			}
			if !strings.Contains(d.Detail, c.text) {
				t.Errorf("detail %q does not say %q", d.Detail, c.text)
			}
			if strings.Contains(d.Detail, "sk_secret") || strings.Contains(d.Detail, "?") {
				t.Errorf("the detail shows the query: %s", d.Detail) // T54
			}
			if writ.Printable(d.Detail, 10_000) != d.Detail {
				t.Errorf("the detail has unsafe characters: %q", d.Detail)
			}
			if d.Rests != nil || d.Version != "" {
				t.Errorf("a denial names what a use would rest on: %+v", d)
			}
			if again := Simulate(w.ask, w.facts); !cmp.Equal(d, again) {
				t.Errorf("Simulate differs:\n%s", cmp.Diff(d, again))
			}
		})
	}
}

// Every reason that DESIGN.md lists is either reached above or belongs to a
// stage that is not the decision's.
func TestEveryReasonOfADecisionIsReached(t *testing.T) {
	elsewhere := map[writ.Reason]string{
		writ.MissionInactive: "missions", writ.ActionApprovalRequired: "approvals", writ.StepUpRequired: "approvals", writ.RequesterIsApprover: "approvals",
		writ.CapabilityDrift: "the MCP gateway", writ.LedgerUnavailable: "the broker",
	}
	reached := map[writ.Reason]bool{}
	for _, c := range denials {
		reached[c.reason] = true
	}
	for _, e := range writ.Explanations() {
		if reached[e.Reason] == (elsewhere[e.Reason] != "") {
			t.Errorf("%s: reached here %v, listed as another stage's %q", e.Reason, reached[e.Reason], elsewhere[e.Reason])
		}
	}
}

func TestNothingToDecideOnDenies(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		ask   *writ.Ask
		facts *Facts
	}{{nil, nil}, {w.ask, nil}, {nil, w.facts}, {&writ.Ask{}, &Facts{}}, {w.ask, &Facts{}}} {
		if d, allow := Decide(c.ask, c.facts); d.Allow || allow.OK() || d.Reason() == "" {
			t.Errorf("%+v", d)
		}
	}
}

// TestInvariant14OrganizationsDoNotMeet: one fact of another organization denies.
func TestInvariant14OrganizationsDoNotMeet(t *testing.T) {
	other := id(writ.KindOrg, 2)
	for name, spoil := range map[string]func(w *world){
		"ask":         func(w *world) { w.ask.Org = other },
		"session":     func(w *world) { w.session.Org = other },
		"identity":    func(w *world) { w.agent.Org = other },
		"principal":   func(w *world) { w.ana.Org = other },
		"application": func(w *world) { w.app.Org = other },
		"grant":       func(w *world) { w.grant.Org = other },
		"credential":  func(w *world) { w.credential.Org = other },
		"version":     func(w *world) { w.version.Org = other },
		"ancestor":    func(w *world) { w.delegated().Org = other },
		"parent":      func(w *world) { w.parentAgent().Org = other },
		"above":       func(w *world) { w.childSession().Org = other },
	} {
		w := newWorld(t)
		spoil(w)
		if d, allow := Decide(w.ask, w.facts); d.Allow || allow.OK() || d.Reason() != writ.StateUnproven {
			t.Errorf("%s of another organization: %v %s", name, d.Reasons, d.Detail)
		}
	}
}
