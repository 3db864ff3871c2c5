package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"writ.dev/writ"
)

// Flight is the sort of thing a lease keeps in the air.
type Flight string

// The sorts of flight that a revocation counts.
const (
	FlightUse        Flight = "use"        // one request, until its answer has been passed on
	FlightConnection Flight = "connection" // a tunnel or relay connection of a session
	FlightChild      Flight = "child"      // a process that `writ run` started
)

// ErrCut is the cause of a lease's context when a revocation ended it.
var ErrCut = errors.New("cut by a revocation")

// state of a lease. The one transition that matters is armed → sending, made
// by compare-and-swap immediately before the first byte that carries a
// credential: a cut that comes first wins, and nothing is sent.
const (
	armed int32 = iota
	sending
	cut
)

// Lease is one thing in flight and what it rests on. It is registered before
// anything is read for it, so that no revocation can miss it.
type Lease struct {
	reg    *registry
	org    writ.ID
	flight Flight
	state  atomic.Int32
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by Close and Lose
	lost   atomic.Bool   // closed by Lose
	once   sync.Once

	// rests, ask and asked are guarded by registry.mu.
	rests []writ.ID
	ask   writ.Ask // a copy: the use that it belongs to may still write to its own
	asked bool
}

// Context ends when the lease is cut or closed, or when what it rests on runs out.
func (l *Lease) Context() context.Context { return l.ctx }

// Send reports whether a credential may be sent now, and marks that it is.
func (l *Lease) Send() bool { return l.state.CompareAndSwap(armed, sending) }

// WasCut reports whether a revocation ended the lease.
func (l *Lease) WasCut() bool { return l.state.Load() == cut }

// Close takes the lease out of the registry. Whoever cut it waits for this.
func (l *Lease) Close() {
	l.once.Do(func() {
		l.reg.remove(l)
		l.cancel(context.Canceled)
		close(l.done)
	})
}

// Lose takes the lease out of the registry without a word on whether what it
// stood for is gone: whoever cut it counts it as not confirmed.
func (l *Lease) Lose() {
	l.once.Do(func() {
		l.reg.remove(l)
		l.cancel(context.Canceled)
		l.lost.Store(true)
		close(l.done)
	})
}

// registry maps everything in flight to what it rests on. A cut costs what it
// finds, never a walk over everything.
type registry struct {
	mu      sync.Mutex
	byID    map[writ.Ref]map[*Lease]struct{} // guarded by mu
	applied map[writ.ID]writ.Epoch           // of each organization's newest change; guarded by mu
}

func newRegistry() *registry {
	return &registry{byID: map[writ.Ref]map[*Lease]struct{}{}, applied: map[writ.ID]writ.Epoch{}}
}

// apply notes that a change was committed, before anybody looks for what it
// concerns.
func (r *registry) apply(org writ.ID, epoch writ.Epoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[org] = epoch
}

// open registers a lease that rests on the given ids and on its organization.
func (r *registry) open(ctx context.Context, org writ.ID, f Flight, rests ...writ.ID) *Lease {
	l := &Lease{reg: r, org: org, flight: f, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	l.rests = append([]writ.ID{org}, rests...)
	r.linkLocked(l, l.rests)
	return l
}

// rest adds what the lease turned out to rest on, and what it asks for, so
// that it can be judged again when that changes. It reports false, and the
// decision is worth nothing, when a change came after the facts were read at
// epoch: that change looked for the lease before it could be found here, and
// the recheck of the entry sees only what has ended, not what was narrowed.
func (r *registry) rest(l *Lease, ask *writ.Ask, epoch writ.Epoch, rests []writ.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, changed := r.applied[l.org]; changed && (at.Incarnation != epoch.Incarnation || at.N > epoch.N) {
		return false
	}
	l.ask, l.asked = *ask, true
	l.rests = append(l.rests, rests...)
	r.linkLocked(l, rests)
	return true
}

func (r *registry) linkLocked(l *Lease, ids []writ.ID) {
	for _, id := range ids {
		ref := writ.Ref{Org: l.org, ID: id}
		set := r.byID[ref]
		if set == nil {
			set = map[*Lease]struct{}{}
			r.byID[ref] = set
		}
		set[l] = struct{}{}
	}
}

func (r *registry) remove(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range l.rests {
		ref := writ.Ref{Org: l.org, ID: id}
		delete(r.byID[ref], l)
		if len(r.byID[ref]) == 0 {
			delete(r.byID, ref)
		}
	}
}

// resting lists the leases that rest on any of the ids.
func (r *registry) resting(org writ.ID, ids []writ.ID) []*Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[*Lease]struct{}{}
	for _, id := range ids {
		maps.Copy(found, r.byID[writ.Ref{Org: org, ID: id}])
	}
	return slices.Collect(maps.Keys(found))
}

// askOf gives what the lease asks for, false when it is not a use, or one that
// is not decided yet.
func (r *registry) askOf(l *Lease) (writ.Ask, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return l.ask, l.asked
}

// cutLease ends a lease now. It does not wait; it reports whether this call
// ended it.
func cutLease(l *Lease) bool {
	if l.state.Swap(cut) == cut {
		return false
	}
	l.cancel(ErrCut)
	return true
}

// settleWait bounds how long a revoke call waits for what it cut: a child that
// does not die, or a socket that does not close, must not hold the caller.
const settleWait = 5 * time.Second

// wait blocks until the lease has come down, and reports whether it did.
func (l *Lease) wait(ctx context.Context) bool {
	select {
	case <-l.done:
		return !l.lost.Load()
	case <-ctx.Done():
		return false
	}
}
