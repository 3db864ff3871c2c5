// Package authority is the live index that a decision reads: who may use what,
// now. It holds each organization's rows of authority in memory, loaded when
// they are first asked for and fed by every committed change from then on, so
// that a decision costs no query and sees one consistent view.
//
// The order that makes revocation live (invariant 6): a committed change is
// applied before its epoch is published, and a reader takes the epoch and the
// facts under one lock. Facts at epoch n therefore hold every change up to n;
// what was committed later moves the epoch, and the ledger then checks the
// basis again.
package authority

import (
	"context"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Config is what an Index is made of.
type Config struct {
	// Load yields every noun of an organization as one consistent state, with
	// its epoch. A noun that does not match its record is not Proven; one that
	// is gone although it is recorded has a nil Value.
	Load func(ctx context.Context, org writ.ID, yield func(ledger.Noun) error) (writ.Epoch, error)
	// Locate gives the organization in which a key or session with this hash
	// lies, or writ.KindNotFound. It finds organizations that are not loaded.
	Locate func(ctx context.Context, kind writ.Kind, hash [32]byte) (writ.ID, error)
	Clock  func() time.Time
}

// Index is the live index of all organizations. It is safe for concurrent use.
type Index struct {
	cfg    Config
	tokens tokens

	mu   sync.RWMutex
	orgs map[writ.ID]*slot // guarded by mu
}

// slot is the place of one organization: its view once it is loaded.
type slot struct {
	mu   sync.RWMutex
	view *view // guarded by mu; nil until loaded, and again when stale
	// loading is closed when the load under way has ended; nil when none is.
	loading chan struct{}
	// pending are changes that were committed while a load is under way. The
	// load's snapshot may or may not hold them: their epochs tell.
	pending []ledger.Committed
	// retry is when a load may be tried again after one that failed.
	retry time.Time
	fault error // of the last load
}

// retryDelay keeps a database that is down from being asked by every request.
const retryDelay = 200 * time.Millisecond

// New makes an empty Index.
func New(c Config) *Index {
	return &Index{cfg: c, orgs: map[writ.ID]*slot{}}
}

func (x *Index) slot(org writ.ID) *slot {
	x.mu.RLock()
	s := x.orgs[org]
	x.mu.RUnlock()
	if s != nil {
		return s
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s = x.orgs[org]; s == nil {
		s = &slot{}
		x.orgs[org] = s
	}
	return s
}

// Apply applies a committed change. It is called in commit order for each
// organization, before the act that made it returns.
func (x *Index) Apply(change ledger.Committed) {
	s := x.slot(change.Org)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loading != nil {
		s.pending = append(s.pending, change)
	}
	if s.view != nil {
		s.view.apply(change)
	}
}

// Stale says that nobody can tell what was committed: the organization's view
// is dropped, and nothing is allowed until it is loaded anew.
func (x *Index) Stale(org writ.ID) {
	s := x.slot(org)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view, s.retry = nil, time.Time{}
	if s.loading != nil {
		// The load under way may have read before what is uncertain.
		s.fault = errStale
	}
}

var errStale = writ.Errorf(writ.KindUnavailable, "who may use what cannot be told right now").WithFix("try again in a moment; if it stays, look at the server's log")

// Ready loads the organization where it is not loaded.
func (x *Index) Ready(ctx context.Context, org writ.ID) error {
	s := x.slot(org)
	for {
		s.mu.Lock()
		if s.view != nil {
			s.mu.Unlock()
			return nil
		}
		wait := s.loading
		if wait == nil {
			if x.cfg.Clock().Before(s.retry) {
				err := s.fault
				s.mu.Unlock()
				return err
			}
			wait = make(chan struct{})
			s.loading, s.pending, s.fault = wait, nil, nil
			// Whoever asked may go away; what is loaded serves the others.
			go x.load(context.WithoutCancel(ctx), org, s, wait)
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return errStale.WithCause(ctx.Err())
		}
		s.mu.RLock()
		loaded, fault := s.view != nil, s.fault
		s.mu.RUnlock()
		if loaded {
			return nil
		}
		if fault != nil {
			return fault
		}
	}
}

// load reads the organization and brings it up to the changes that were
// committed meanwhile.
func (x *Index) load(ctx context.Context, org writ.ID, s *slot, done chan struct{}) {
	v := newView(org, &x.tokens)
	now := writ.At(x.cfg.Clock())
	var texts interned
	epoch, err := x.cfg.Load(ctx, org, func(n ledger.Noun) error {
		if useless(n) {
			return nil
		}
		if s, ok := n.Value.(*writ.Session); ok && n.Proven && s.State.Final() {
			if s.Expires.Add(overFor).Passed(now) {
				return nil
			}
			v.over = append(v.over, ended{s.ID, now.Add(overFor)})
		}
		texts.noun(&n)
		v.put(n)
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(done)
	pending := s.pending
	s.loading, s.pending = nil, nil
	if err == nil {
		v.settle(epoch)
	}
	if s.fault != nil { // it went stale while it was read
		err = s.fault
	}
	if err != nil {
		s.fault, s.retry = err, x.cfg.Clock().Add(retryDelay)
		return
	}
	for _, c := range pending {
		if c.Epoch.Incarnation == epoch.Incarnation && c.Epoch.N > epoch.N {
			v.apply(c)
		}
	}
	s.view = v
}

// Believed gives a noun as it was last proven. It does no I/O: what is not
// loaded is not believed. The noun has its entry's seq and no digest.
func (x *Index) Believed(org, id writ.ID) (ledger.Noun, bool) {
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil {
		return ledger.Noun{}, false
	}
	n, ok := s.view.nouns[id]
	if !ok || !n.proven || n.value == nil {
		return ledger.Noun{}, false
	}
	return ledger.Noun{ID: id, Value: n.value, Seq: n.seq, Proven: true}, true
}

// Epoch is the epoch of the organization's view; ok is false when none is loaded.
func (x *Index) Epoch(org writ.ID) (e writ.Epoch, ok bool) {
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil {
		return writ.Epoch{}, false
	}
	return s.view.epoch, true
}
