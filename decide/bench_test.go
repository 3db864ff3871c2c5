package decide

import (
	"fmt"
	"syscall"
	"testing"

	"writ.dev/writ"
)

// BenchmarkDecide is P4: a decision with n grants in the organization, found
// by identity and host as the authority index finds them.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			w := newWorld(b)
			type key struct {
				identity writ.ID
				host     string
			}
			grants := make([]writ.Grant, n)
			index := make(map[key][]Candidate, n)
			for i := range grants {
				g := &grants[i]
				*g = *w.grant
				g.ID, g.Identity = id(writ.KindGrant, i+1), id(writ.KindIdentity, 10+i)
				c := w.facts.Candidates[0]
				c.Grant = g
				index[key{g.Identity, w.ask.Host}] = []Candidate{c}
			}
			b.ReportAllocs()
			actor, session, path := *w.agent, *w.session, []*writ.Identity{w.ana, nil}
			facts := *w.facts
			facts.Identity, facts.Session, facts.Path = &actor, &session, path
			path[1] = &actor
			defer cpuTime(b)()
			for i := 0; b.Loop(); i++ {
				g := &grants[i*7919%n]
				actor.ID, session.Identity = g.Identity, g.Identity
				facts.Candidates = index[key{g.Identity, w.ask.Host}]
				if d, allow := Decide(w.ask, &facts); !allow.OK() {
					b.Fatal(d.Detail)
				}
			}
		})
	}
}

// cpuTime begins to count what this process uses of the processor, which is
// steadier than time where other programs run beside it; what it returns says it.
func cpuTime(b *testing.B) (report func()) {
	used := func() int64 {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkGuardrails is the other half of P4: 10,000 guardrails of which 50
// do not constrain the principal.
func BenchmarkGuardrails(b *testing.B) {
	for _, n := range []int{1, 50, 10_000} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			w := newWorld(b)
			policies := make([]*writ.Policy, n)
			for i := range policies {
				head := "principal"
				if i >= 50 {
					head = `principal == Writ::Agent::"` + string(id(writ.KindIdentity, 100+i)) + `"`
				}
				policies[i] = policy(i+1, fmt.Sprintf(`forbid(%s, action in Writ::Action::"change", resource) when { resource.env == "prod" && context.hour == %d };`, head, i%24))
			}
			w.guard(b, policies...)
			b.ReportAllocs()
			defer cpuTime(b)()
			for b.Loop() {
				if d, allow := Decide(w.ask, w.facts); !allow.OK() {
					b.Fatal(d.Detail)
				}
			}
		})
	}
}

func BenchmarkDenialAmongManyGrants(b *testing.B) {
	w := newWorld(b)
	for i := range 50 {
		g := *w.grant
		g.ID = id(writ.KindGrant, 100+i)
		c := w.facts.Candidates[0]
		c.Grant = &g
		w.facts.Candidates = append(w.facts.Candidates, c)
	}
	w.compile()
	w.ask.Target = target(b, "/v2")
	b.ReportAllocs()
	for b.Loop() {
		if d := Simulate(w.ask, w.facts); d.Allow {
			b.Fatal("allowed")
		}
	}
}
