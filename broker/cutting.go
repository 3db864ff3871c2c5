package broker

import (
	"context"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
)

// Report says what a revocation ended here: how many of each sort of flight it
// found and how many of them are confirmed down, and when.
type Report struct {
	Org         writ.ID
	Epoch       writ.Epoch
	Sessions    int // sessions that the act itself ended
	Grants      int // grants that the act itself ended
	Uses        Count
	Connections Count
	Children    Count
	Decided     time.Time // the change was committed
	Settled     time.Time // the last flight was confirmed down, or waiting ended
}

// Count is how many were found and how many are confirmed down.
type Count struct{ Down, Found int }

// cutting is one committed change and the flights it ended.
type cutting struct {
	report  Report
	judging sync.WaitGroup // flights whose right to go on is being looked at again
	mu      sync.Mutex
	leases  []*Lease // guarded by mu
}

func (c *cutting) cut(l *Lease) {
	if !cutLease(l) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases = append(c.leases, l)
}

// cuttings keeps the newest cuttings by epoch until somebody settles them.
type cuttings struct {
	mu     sync.Mutex
	byKey  map[cuttingKey]*cutting
	recent []cuttingKey // oldest first, at most keptCuttings
}

type cuttingKey struct {
	org   writ.ID
	epoch writ.Epoch
}

// keptCuttings is how many changes may be committed between an act and the
// moment its caller asks what it cut. Only what cut or may cut something is kept.
const keptCuttings = 4096

func (c *cuttings) add(k cuttingKey, v *cutting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[cuttingKey]*cutting{}
	}
	if len(c.recent) == keptCuttings {
		delete(c.byKey, c.recent[0])
		c.recent = c.recent[1:]
	}
	c.byKey[k] = v
	c.recent = append(c.recent, k)
}

func (c *cuttings) get(k cuttingKey) *cutting {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[k]
}

// Apply ends what rests on what a committed change took away. It is called in
// commit order, after the authority index has applied the change and before
// the act returns, and it does not block: flights are told to end here and
// waited for in Settle.
//
// What a change touches without ending it (a narrowed grant, an owner who is
// gone, a new guardrail) is judged again, and ended when the answer is now no.
func (b *Broker) Apply(change ledger.Committed) {
	c := &cutting{report: Report{Org: change.Org, Epoch: change.Epoch, Decided: b.Clock()}}
	now := writ.At(b.Clock())
	var dead, touched []writ.ID
	for _, n := range change.Nouns {
		live, everyone := standing(n.Value, now)
		switch {
		case !live:
			dead = append(dead, n.ID)
			switch n.Value.(type) {
			case *writ.Session:
				c.report.Sessions++
			case *writ.Grant:
				c.report.Grants++
			}
		case everyone:
			touched = append(touched, change.Org)
		default:
			touched = append(touched, n.ID)
		}
	}
	b.flights.apply(change.Org, change.Epoch)
	for _, l := range b.flights.resting(change.Org, dead) {
		c.cut(l)
	}
	for _, l := range b.flights.resting(change.Org, touched) {
		if ask, ok := b.flights.askOf(l); ok && !l.WasCut() {
			c.judging.Go(func() { b.judgeAgain(c, l, ask) })
		}
	}
	b.cuts.add(cuttingKey{change.Org, change.Epoch}, c)
}

// Stale judges everything in flight in an organization again: nobody can tell
// what was committed, so what cannot be shown to stand any more is ended.
func (b *Broker) Stale(org writ.ID) {
	c := &cutting{report: Report{Org: org, Decided: b.Clock()}}
	for _, l := range b.flights.resting(org, []writ.ID{org}) {
		if ask, ok := b.flights.askOf(l); ok {
			c.judging.Go(func() { b.judgeAgain(c, l, ask) })
		}
	}
}

// standing reports whether a noun still carries authority, and whether a
// change of it concerns every use in the organization (guardrails, the
// organization itself).
func standing(v any, now writ.Time) (live, everyone bool) {
	switch v := v.(type) {
	case *writ.Org:
		return v.State == writ.Active, true
	case *writ.Identity:
		return v.Live(now), false
	case *writ.Session:
		return v.Live(now), false
	case *writ.Grant:
		return v.Live(now), false
	case *writ.Credential:
		return v.Live(now), false
	case *writ.Version:
		return v.State == writ.Active, false
	case *writ.Application:
		return v.State == writ.Active, false
	case *writ.Key:
		return v.Live(now, 0), false
	case *writ.Policy:
		return true, true // a revoked guardrail takes nothing away, a new one may
	}
	return false, false
}

// judgeAgain ends a use that would be refused now.
func (b *Broker) judgeAgain(c *cutting, l *Lease, ask writ.Ask) {
	ask.Time = writ.At(b.Clock())
	facts, err := b.Authority.Facts(l.Context(), &ask)
	if err != nil {
		c.cut(l) // unknown is deny
		return
	}
	for i := range facts.Candidates {
		facts.Candidates[i].RateLeft = true // a rate is about starting a use, not about going on
	}
	if d := decide.Simulate(&ask, facts); !d.Allow {
		c.cut(l)
	}
}

// Settle waits until what the change at epoch ended has come down, and reports
// the counts. An epoch that cut nothing settles at once.
func (b *Broker) Settle(ctx context.Context, org writ.ID, epoch writ.Epoch) Report {
	c := b.cuts.get(cuttingKey{org, epoch})
	if c == nil {
		now := b.Clock()
		return Report{Org: org, Epoch: epoch, Decided: now, Settled: now}
	}
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	c.judging.Wait()
	c.mu.Lock()
	leases := c.leases
	c.mu.Unlock()

	down := make([]bool, len(leases))
	var waiting sync.WaitGroup
	for i, l := range leases {
		waiting.Go(func() { down[i] = l.wait(ctx) })
	}
	waiting.Wait()
	r := c.report
	for i, l := range leases {
		count := map[Flight]*Count{FlightUse: &r.Uses, FlightConnection: &r.Connections, FlightChild: &r.Children}[l.flight]
		count.Found++
		if down[i] {
			count.Down++
		}
	}
	r.Settled = b.Clock()
	return r
}

// Connect registers a connection that rests on ids: a tunnel or relay
// connection. The caller closes the lease when the connection ends, and ends
// the connection when the lease's context does.
func (b *Broker) Connect(ctx context.Context, org writ.ID, rests ...writ.ID) *Lease {
	return b.flights.open(ctx, org, FlightConnection, rests...)
}

// Attach registers a child process that rests on ids. When the lease's context
// ends, the caller asks the process to end; it calls Close once the end is
// acknowledged, and Lose when nobody can say.
func (b *Broker) Attach(ctx context.Context, org writ.ID, rests ...writ.ID) *Lease {
	return b.flights.open(ctx, org, FlightChild, rests...)
}
