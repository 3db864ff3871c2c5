package decide

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"pgregory.net/rapid"

	"writ.dev/writ"
)

// TestInvariant04ForbidWins: whatever is granted, one forbidding guardrail
// denies; the same in observe mode only reports; and no policy text can permit.
func TestInvariant04ForbidWins(t *testing.T) {
	w := newWorld(t)
	w.grant.Rules = []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}
	forbid := policy(3, `forbid(principal, action, resource) when { context.host == "api.stripe.test" };`)
	other := policy(2, `forbid(principal, action, resource) when { context.host == "other.test" };`)
	w.guard(t, other, forbid)
	d, allow := Decide(w.ask, w.facts)
	if allow.OK() || !slices.Equal(d.Reasons, []writ.Reason{writ.GuardrailForbid}) || !slices.Equal(d.Guardrails, []writ.ID{forbid.ID}) {
		t.Fatalf("T6: %v %v %s", d.Reasons, d.Guardrails, d.Detail)
	}
	forbid.Observe = true
	w.guard(t, other, forbid)
	if d, _ := decideOK(t, w); !slices.Equal(d.Guardrails, []writ.ID{forbid.ID}) || !strings.Contains(d.Detail, "observe") {
		t.Errorf("observe mode: %v %s", d.Guardrails, d.Detail)
	}
	for _, state := range []writ.State{writ.Suspended, writ.Revoked} {
		forbid.Observe, forbid.State = false, state
		w.guard(t, other, forbid)
		decideOK(t, w)
	}
	forbid.State = "odd"
	w.guard(t, forbid)
	if _, allow := Decide(w.ask, w.facts); allow.OK() {
		t.Error("a guardrail in an unknown state was left out")
	}
}

// A guardrail can only take away: with no grant, whatever the guardrails, the
// answer is the same denial.
func TestGuardrailsGiveNothing(t *testing.T) {
	w := newWorld(t)
	w.facts.Candidates = nil
	w.guard(t, policy(1, `forbid(principal, action, resource) unless { true };`))
	if d, allow := Decide(w.ask, w.facts); allow.OK() || d.Reason() != writ.NoGrant {
		t.Errorf("%v", d.Reasons)
	}
	if _, err := CompileGuardrails([]*writ.Policy{policy(1, `permit(principal, action, resource);`)}); err == nil {
		t.Error("a permit was compiled")
	}
}

// TestTrapT20ErrorsDeny: Cedar skips a forbid that meets an error. Here every
// error denies, also beside policies that say nothing; in observe mode it is
// reported only.
func TestTrapT20ErrorsDeny(t *testing.T) {
	for name, text := range map[string]string{
		"absent attribute":  `forbid(principal, action, resource) when { context.task == "x" };`,
		"no such attribute": `forbid(principal, action, resource) when { resource.colour == "red" };`,
		"wrong type":        `forbid(principal, action, resource) when { context.hour < "nine" };`,
		"overflow":          `forbid(principal, action, resource) when { context.hour + 9223372036854775807 > 0 };`,
		"unknown entity":    `forbid(principal, action, resource) when { Writ::Agent::"idn_x".name == "x" };`,
		"not an address":    `forbid(principal, action, resource) when { ip(context.host).isLoopback() };`,
	} {
		w := newWorld(t)
		p, silent := policy(1, text), policy(2, `forbid(principal, action, resource) when { false };`)
		w.guard(t, p, silent)
		d, allow := Decide(w.ask, w.facts)
		if allow.OK() || !slices.Equal(d.Reasons, []writ.Reason{writ.PolicyUnevaluable}) || !slices.Equal(d.Guardrails, []writ.ID{p.ID}) {
			t.Errorf("%s: %v %v", name, d.Reasons, d.Guardrails)
		}
		w.guard(t, p, policy(3, `forbid(principal, action, resource);`))
		if d, _ := Decide(w.ask, w.facts); !slices.Equal(d.Reasons, []writ.Reason{writ.GuardrailForbid, writ.PolicyUnevaluable}) {
			t.Errorf("%s beside a forbid: %v", name, d.Reasons)
		}
		p.Observe = true
		w.guard(t, p, silent)
		if d, _ := decideOK(t, w); !slices.Equal(d.Guardrails, []writ.ID{p.ID}) || !strings.Contains(d.Detail, "error") {
			t.Errorf("%s in observe mode: %v %s", name, d.Guardrails, d.Detail)
		}
	}
}

// What a guardrail may read of a use, one policy each; every one must forbid,
// and the schema must know all of it.
func TestGuardrailsSeeTheUse(t *testing.T) {
	for _, condition := range []string{
		`principal is Writ::Agent && principal.name == "claude-pay" && principal.owner.name == "ana@acme.dev"`,
		`principal in Writ::Agent::"` + string(id(writ.KindIdentity, 7)) + `"`,
		`resource.name == "stripe-test" && resource.application == "stripe" && resource.env == "prod" && resource.ai_use == "allowed"`,
		`resource in Writ::Application::"` + string(id(writ.KindApplication, 1)) + `"`,
		`resource has owner && resource.owner == Writ::Person::"` + string(id(writ.KindIdentity, 1)) + `"`,
		`resource has owner && resource.owner.name == "ana@acme.dev"`,
		`action in Writ::Action::"change" && action == Writ::Action::"delete" && context.method == "DELETE"`,
		`context.scheme == "https" && context.host == "api.stripe.test" && context.port == 8443`,
		`context.path like "/V1/*" && context.path_lower like "/v1/*" && context.segments.contains("Customers")`,
		`context.parameters.contains("limit") && !context.parameters.contains("offset")`,
		`context.hour == 9 && context.weekday == 2 && context.now < datetime("2026-11-24T09:00:01Z")`,
		`context.basis == "delegated-human" && context.hops == 1 && context.principal == "` + string(id(writ.KindIdentity, 1)) + `"`,
		`context.delegation.contains("` + string(id(writ.KindIdentity, 3)) + `") && context.grant == "` + string(id(writ.KindGrant, 1)) + `"`,
		`context has task && context.task == "refunds" && context.isolation == "none"`,
		`context has device && context.device == "dev_1" && context has program && context.program like "ab*"`,
		`context has network && context.network.isInRange(ip("10.0.0.0/8"))`,
	} {
		text := `forbid(principal, action, resource) when { ` + condition + ` };`
		if err := CheckPolicy(text); err != nil {
			var e *writ.Error
			errors.As(err, &e)
			t.Errorf("%s: %v: %s", condition, err, e.Why)
			continue
		}
		w := newWorld(t)
		w.parentAgent()
		w.session.Task, w.session.Device, w.ask.Runtime.Executable = "refunds", "dev_1", "ab"+strings.Repeat("0", 62)
		w.app.Env, w.app.Hosts, w.version.Hosts = "unheard-of", []string{"api.stripe.test:8443"}, []string{"api.stripe.test:8443"}
		w.ask.Method, w.ask.Host, w.ask.Target = "DELETE", "api.stripe.test:8443", target(t, "/V1/Customers?limit=3")
		w.grant.Rules = []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}
		w.guard(t, policy(1, text))
		w.compile()
		if d, _ := Decide(w.ask, w.facts); d.Reason() != writ.GuardrailForbid {
			t.Errorf("%s: %v %s", condition, d.Reasons, d.Detail)
		}
	}
}

// Methods that nobody listed are changes.
func TestUnknownMethodsAreChanges(t *testing.T) {
	for method, forbidden := range map[string]bool{"GET": false, "HEAD": false, "OPTIONS": false, "POST": true, "PATCH": true, "DELETE": true, "PROPFIND": true, "QUERY": true} {
		w := newWorld(t)
		w.grant.Rules = []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}
		w.compile()
		w.ask.Method = method
		w.guard(t, policy(1, `forbid(principal, action in Writ::Action::"change", resource);`))
		if d, _ := Decide(w.ask, w.facts); d.Allow == forbidden {
			t.Errorf("%s: %v", method, d.Reasons)
		}
	}
}

func TestCheckPolicyRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, message, why string }{
		"nothing":         {"", "exactly one", ""},
		"a permit":        {`permit(principal, action, resource);`, "only forbid", ""},
		"two":             {`forbid(principal, action, resource); forbid(principal, action, resource);`, "exactly one", ""},
		"no Cedar":        {"deny all", "not Cedar", "parse"},
		"unknown entity":  {`forbid(principal is Writ::Robot, action, resource);`, "schema", "Robot"},
		"unknown action":  {`forbid(principal, action == Writ::Action::"burn", resource);`, "schema", "burn"},
		"unknown field":   {`forbid(principal, action, resource) when { context.colour == "red" };`, "schema", "colour"},
		"wrong type":      {`forbid(principal, action, resource) when { context.hour == "nine" };`, "schema", ""},
		"unguarded":       {`forbid(principal, action, resource) when { context.task == "x" };`, "schema", "task"},
		"guard elsewhere": {`forbid(principal, action, resource) when { context has device && context.task == "x" };`, "schema", "task"},
		"person's owner":  {`forbid(principal, action, resource) when { principal.owner.name == "x" };`, "schema", "owner"},
		"spelled out":     {`forbid(principal, action, resource) when { Writ::Agent::"idn_x".owner.name == "x" };`, "schema", "only principal, resource and context"},
		"too long":        {`forbid(principal, action, resource) when { context.path == "` + strings.Repeat("a", writ.MaxPolicyText) + `" };`, "longer", ""},
		"template":        {`forbid(principal == ?principal, action, resource);`, "not Cedar", ""},
	} {
		err := CheckPolicy(c.text)
		var e *writ.Error
		if !errors.As(err, &e) || e.Kind != writ.KindInvalid || e.Fix == "" || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Why, c.why) {
			t.Errorf("%s: %+v", name, err)
		}
		if e != nil && (strings.ContainsAny(e.Why, "\n\x00") || len(e.Why) > 420) {
			t.Errorf("%s: an unsafe why: %q", name, e.Why)
		}
	}
}

func TestGuardrailsVersionNamesExactlyTheSet(t *testing.T) {
	version := func(ps ...*writ.Policy) string {
		g, err := CompileGuardrails(ps)
		if err != nil {
			t.Fatal(err)
		}
		return g.Version()
	}
	a, b := policy(1, `forbid(principal, action, resource) when { false };`), policy(2, `forbid(principal, action, resource) when { context.hour == 1 };`)
	want := version(a, b)
	if version(b, a) != want {
		t.Error("the order of the policies changes the version")
	}
	if len(want) != 64 || version() == want || version(a) == want || (*Guardrails)(nil).Version() != "" {
		t.Error("different sets have one version")
	}
	for _, change := range []func(p *writ.Policy){
		func(p *writ.Policy) { p.Version++ },
		func(p *writ.Policy) { p.Text += " " },
		func(p *writ.Policy) { p.Observe = true },
		func(p *writ.Policy) { p.ID = id(writ.KindPolicy, 9) },
		func(p *writ.Policy) { p.State = writ.Revoked },
	} {
		c := *b
		change(&c)
		if version(a, &c) == want {
			t.Errorf("the version does not change with %+v", c)
		}
	}
}

// With compiles only what is new, and never keeps what is gone.
func TestWithKeepsWhatHasNotChanged(t *testing.T) {
	a, b := policy(1, `forbid(principal, action, resource);`), policy(2, `forbid(principal, action, resource) when { false };`)
	first, err := CompileGuardrails([]*writ.Policy{a, b})
	if err != nil {
		t.Fatal(err)
	}
	changed := *a
	changed.Text, changed.Version = `forbid(principal, action, resource) when { false };`, 2
	second, err := first.With([]*writ.Policy{&changed, b})
	if err != nil {
		t.Fatal(err)
	}
	kept := compileKey{string(b.ID), b.Text}
	if first.compiled[kept] != second.compiled[kept] {
		t.Error("an unchanged policy was compiled again")
	}
	w := newWorld(t)
	w.facts.Guardrails = second
	decideOK(t, w)
	w.facts.Guardrails = first
	if d, _ := Decide(w.ask, w.facts); d.Reason() != writ.GuardrailForbid {
		t.Error("the older set changed with the newer")
	}
}

// TestScopeIndexAgreesWithTheFullScan: for any policies and principal, what
// the slice of the index, with only that part of the context which its policies
// read, gives what all policies together and the whole context give.
func TestScopeIndexAgreesWithTheFullScan(t *testing.T) {
	identities := []writ.ID{id(writ.KindIdentity, 1), id(writ.KindIdentity, 2), id(writ.KindIdentity, 3), id(writ.KindIdentity, 7), id(writ.KindIdentity, 8)}
	kinds := []string{"Person", "Service", "Agent"}
	heads := rapid.Custom(func(rt *rapid.T) string {
		kind, other := rapid.SampledFrom(kinds).Draw(rt, "kind"), rapid.SampledFrom(kinds).Draw(rt, "other")
		entity := fmt.Sprintf("Writ::%s::%q", kind, rapid.SampledFrom(identities).Draw(rt, "entity"))
		return rapid.SampledFrom([]string{
			"principal", "principal == " + entity, "principal in " + entity, "principal is Writ::" + kind, "principal is Writ::" + other + " in " + entity,
		}).Draw(rt, "head")
	})
	bodies := rapid.SampledFrom([]string{"true", "false", "context.hour == 9", `context.task == "x"`, `principal.name == "claude-pay"`, "context.hops > 5", `context has task && context.task == "x"`, "context == {}", "[context].contains({hour: 9})", "if context has network then true else false", `resource.env == "staging"`})
	rapid.Check(t, func(rt *rapid.T) {
		var x scopeIndex
		all := cedar.NewPolicySet()
		for n := range rapid.IntRange(1, 30).Draw(rt, "policies") {
			text := "forbid(" + heads.Draw(rt, "head") + ", action, resource) when { " + bodies.Draw(rt, "body") + " };"
			parsed, err := cedar.NewPolicyListFromBytes("p", []byte(text))
			if err != nil {
				rt.Fatal(err)
			}
			x.add(id(writ.KindPolicy, n), parsed[0])
			all.Add(cedar.PolicyID(id(writ.KindPolicy, n)), parsed[0])
		}
		w := newWorld(t)
		w.session.Task = rapid.SampledFrom([]string{"", "x"}).Draw(rt, "task")
		w.agent.Kind = rapid.SampledFrom([]writ.IdentityKind{writ.Person, writ.Service, writ.Agent}).Draw(rt, "actor")
		for n := range rapid.IntRange(0, 2).Draw(rt, "parents") {
			p := *w.agent
			p.Kind, p.ID = writ.Agent, identities[3+n]
			w.facts.Parents = append(w.facts.Parents, &p)
		}
		e := newEntities(w.ask, w.facts, &w.facts.Candidates[0], writ.BasisDirect)
		forbids, errs := x.evaluate(e)
		_, diagnostic := cedar.Authorize(all, e, e.request(allAttributes))
		var wantForbids, wantErrs []writ.ID
		for _, r := range diagnostic.Reasons {
			wantForbids = append(wantForbids, writ.ID(r.PolicyID))
		}
		for _, r := range diagnostic.Errors {
			wantErrs = append(wantErrs, writ.ID(r.PolicyID))
		}
		slices.Sort(wantForbids)
		slices.Sort(wantErrs)
		if !slices.Equal(forbids, wantForbids) || !slices.Equal(errs, wantErrs) {
			rt.Fatalf("the index gives %v and errors %v, the full scan %v and %v", forbids, errs, wantForbids, wantErrs)
		}
	})
}

// FuzzCheckPolicy: no text makes the check panic, and what it accepts compiles
// and, evaluated, only ever denies or leaves alone.
func FuzzCheckPolicy(f *testing.F) {
	f.Add(`forbid(principal is Writ::Agent, action, resource) when { resource.env == "prod" };`)
	f.Add(`forbid(principal, action in [Writ::Action::"read", Writ::Action::"change"], resource) unless { context has task };`)
	f.Add(`@id("x") forbid(principal in Writ::Agent::"idn_1", action, resource) when { context.path like "/a*" };`)
	f.Add(`permit(principal, action, resource);`)
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, text string) {
		if CheckPolicy(text) != nil {
			return
		}
		g, err := CompileGuardrails([]*writ.Policy{policy(1, text)})
		if err != nil {
			t.Fatalf("checked, but not compiled: %v", err)
		}
		facts := *w.facts
		facts.Guardrails = g
		if d := Simulate(w.ask, &facts); !d.Allow && d.Reason() != writ.GuardrailForbid && d.Reason() != writ.PolicyUnevaluable {
			t.Fatalf("%v", d.Reasons)
		}
	})
}

// What decisions show to Cedar is what the schema says, so that a policy which
// passed the check meets no surprise.
func TestRequestsAndEntitiesFitTheSchema(t *testing.T) {
	v, err := validator()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(w *world){
		"plain": func(*world) {},
		"whole": func(w *world) {
			w.session.Task, w.session.Device, w.ask.Runtime.Executable = "t", "d", "e"
			w.parentAgent()
		},
		"bare":     func(w *world) { w.ask.Source = netip.Addr{}; w.facts.Candidates[0].Owner = nil },
		"ipv6":     func(w *world) { w.ask.Source = netip.MustParseAddr("fe80::1%eth0") },
		"a person": func(w *world) { w.facts.Identity = w.ana },
		"service":  func(w *world) { w.agent.Kind = writ.Service },
		"delete":   func(w *world) { w.ask.Method = "DELETE" },
		"odd":      func(w *world) { w.ask.Method = "PROPFIND" },
	} {
		w := newWorld(t)
		change(w)
		e := newEntities(w.ask, w.facts, &w.facts.Candidates[0], writ.BasisDirect)
		r := e.request(allAttributes)
		if err := v.Request(r); err != nil {
			t.Errorf("%s: request: %v", name, err)
		}
		for _, uid := range []cedar.EntityUID{r.Principal, r.Resource, uidOf(w.ana), cedar.NewEntityUID(typeApplication, cedar.String(w.app.ID))} {
			entity, ok := e.Get(uid)
			if !ok || entity.UID != uid {
				t.Errorf("%s: no entity %s", name, uid)
			}
			if err := v.Entity(entity); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, text := range []string{string(typeCredential), "Writ::Person", "Writ::Application"} {
			if _, ok := e.Get(cedar.NewEntityUID(cedar.EntityType(text), "other")); ok {
				t.Errorf("%s: an entity that nobody has", name)
			}
		}
	}
}
