package authority_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store/storetest"
)

// estate is an organization of made-up nouns, given as a store would give them:
// each read from JSON of its own.
type estate struct {
	org                            writ.ID
	agents, creds, grants, session int
	host                           func(n int) string
}

var benchTime = writ.At(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))

func id(k writ.Kind, n int) writ.ID { return writ.ID(fmt.Sprintf("%s_%016d", k, n)) }

func give[T any](yield func(ledger.Noun) error, id writ.ID, noun T) {
	body, err := json.Marshal(noun)
	if err != nil {
		panic(err)
	}
	read := new(T)
	if err := json.Unmarshal(body, read); err != nil {
		panic(err)
	}
	if err := yield(ledger.Noun{ID: id, Value: read, Seq: 7, Proven: true}); err != nil {
		panic(err)
	}
}

// load is an authority.Config's Load.
func (e estate) load(_ context.Context, org writ.ID, yield func(ledger.Noun) error) (writ.Epoch, error) {
	expires := benchTime.Add(24 * time.Hour)
	give(yield, org, writ.Org{ID: org, Name: "acme", State: writ.Active, Created: benchTime})
	person := id(writ.KindIdentity, 1<<30)
	give(yield, person, writ.Identity{ID: person, Org: org, Kind: writ.Person, Name: "ana@acme.dev", State: writ.Active})
	for n := range e.agents {
		i := id(writ.KindIdentity, n)
		give(yield, i, writ.Identity{ID: i, Org: org, Kind: writ.Agent, Name: fmt.Sprintf("agent-%d", n), State: writ.Active, Owner: person, Purpose: "does things", Created: benchTime, Expires: expires})
	}
	apps := max(1, e.creds/10)
	for n := range apps {
		a := id(writ.KindApplication, n)
		give(yield, a, writ.Application{ID: a, Org: org, Name: fmt.Sprintf("app-%d", n), State: writ.Active, Env: writ.Dev, Hosts: []string{e.host(n)}})
	}
	for n := range e.creds {
		c, v := id(writ.KindCredential, n), id(writ.KindVersion, n)
		give(yield, c, writ.Credential{ID: c, Org: org, Name: fmt.Sprintf("cred-%d", n), App: id(writ.KindApplication, n%apps), State: writ.Active, Owner: person, Issuer: "the vendor",
			Authoriser: person, Purpose: "to work", Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed, Current: v, Created: benchTime})
		give(yield, v, writ.Version{ID: v, Org: org, Credential: c, Number: 1, Hosts: []string{e.host(n % apps)}, Placement: writ.Placement{In: writ.InBearer}, State: writ.Active,
			Fingerprint: fmt.Sprintf("%064x", n), KeyID: "k1", SealedHash: fmt.Sprintf("%064x", n), Created: benchTime})
	}
	for n := range e.grants {
		g := id(writ.KindGrant, n)
		give(yield, g, writ.Grant{ID: g, Org: org, Identity: id(writ.KindIdentity, n%e.agents), Credential: id(writ.KindCredential, n%e.creds), State: writ.Active, Authoriser: person,
			Rules: []writ.Rule{{Methods: []string{"GET", "POST"}, Path: "/repos/acme/**"}}, Created: benchTime, Expires: expires})
	}
	for n := range e.session {
		s := id(writ.KindSession, n)
		h := storetest.Hash(string(s))
		give(yield, s, writ.Session{ID: s, Org: org, Identity: id(writ.KindIdentity, n%e.agents), Started: person, State: writ.Active, Created: benchTime, Expires: expires, Isolation: "none", Hash: hex.EncodeToString(h[:])})
	}
	return writ.Epoch{Incarnation: 1, N: 7}, nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// loadEstate loads an estate and gives the memory that it takes.
func loadEstate(b *testing.B, e estate) (*authority.Index, uint64) {
	b.Helper()
	before := heap()
	x := authority.New(authority.Config{Load: e.load, Clock: func() time.Time { return benchTime.Go() }})
	if err := x.Ready(b.Context(), e.org); err != nil {
		b.Fatal(err)
	}
	return x, heap() - before
}

func hostOf(n int) string { return fmt.Sprintf("api%d.acme.test", n) }

// BenchmarkFacts is the reading of one decision's facts, with one grant an
// agent and as many credentials as a tenth of the grants.
func BenchmarkFacts(b *testing.B) {
	for _, n := range []int{10, 10_000, 1_000_000} {
		var x *authority.Index
		var asks []*writ.Ask
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			if x == nil { // the function is run several times, with a growing b.N
				x, asks = askable(b, n)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			for i := range b.N {
				if _, err := x.Facts(b.Context(), asks[i%len(asks)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has used of the processor: steadier than time
// where other programs run beside it.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// askable is an index with n grants and the asks of a thousand of its agents.
func askable(b *testing.B, n int) (*authority.Index, []*writ.Ask) {
	e := estate{org: "org_0000000000000000", agents: n, creds: max(1, n/10), grants: n, session: min(n, 1000), host: hostOf}
	x, _ := loadEstate(b, e)
	apps := max(1, e.creds/10)
	asks := make([]*writ.Ask, e.session)
	for i := range asks {
		a := &writ.Ask{Org: e.org, Session: id(writ.KindSession, i), Time: benchTime}
		a.Host = hostOf(i % e.creds % apps)
		asks[i] = a
		f, err := x.Facts(b.Context(), a)
		if err != nil || len(f.Candidates) != 1 || f.Candidates[0].Version == nil {
			b.Fatalf("facts: %+v, %v", f, err)
		}
	}
	return x, asks
}

// BenchmarkMemory is what the index holds for a million grants, and for a
// million credentials with a version each.
func BenchmarkMemory(b *testing.B) {
	const million = 1_000_000
	for name, e := range map[string]estate{
		"B/grant":      {org: "org_0000000000000000", agents: 1000, creds: 1000, grants: million, host: hostOf},
		"B/credential": {org: "org_0000000000000000", agents: 1, creds: million, host: hostOf},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				start := time.Now()
				x, bytes := loadEstate(b, e)
				b.ReportMetric(float64(bytes)/million, name)
				b.ReportMetric(time.Since(start).Seconds(), "s/load")
				runtime.KeepAlive(x)
			}
		})
	}
}

// BenchmarkApply is one committed change in an index of a million grants.
func BenchmarkApply(b *testing.B) {
	e := estate{org: "org_0000000000000000", agents: 1_000_000, creds: 1000, grants: 1_000_000, host: hostOf}
	x, _ := loadEstate(b, e)
	g := writ.Grant{ID: id(writ.KindGrant, 5), Org: e.org, Identity: id(writ.KindIdentity, 5), Credential: id(writ.KindCredential, 5), State: writ.Revoked,
		Rules: []writ.Rule{{Methods: []string{"GET"}, Path: "/**"}}, Created: benchTime}
	n := int64(8)
	b.ResetTimer()
	for range b.N {
		n++
		x.Apply(ledger.Committed{Org: e.org, Epoch: writ.Epoch{Incarnation: 1, N: n}, Time: benchTime, Nouns: []ledger.Noun{{ID: g.ID, Value: &g}}})
	}
}
