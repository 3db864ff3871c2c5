package authority

import (
	"sync"
	"time"

	"writ.dev/writ"
)

type clockTime = time.Time

// rates are token buckets for grants with a rate: per_minute tokens at most,
// and as many a minute. They live in memory: a restart fills them, which
// allows one more burst and no more. Numbers of uses in all are the ledger's.
type rates struct {
	mu      sync.Mutex
	buckets map[writ.ID]*bucket // guarded by mu; only grants with a rate
}

type bucket struct {
	tokens float64
	at     time.Time
	rate   int
}

// left reports whether the grant's rate allows one more use now. It takes
// nothing: Take does, when the use has been decided.
func (r *rates) left(g *writ.Grant, now time.Time) bool {
	if g.Limits.PerMinute == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fillLocked(g, now).tokens >= 1
}

func (r *rates) fillLocked(g *writ.Grant, now time.Time) *bucket {
	if r.buckets == nil {
		r.buckets = map[writ.ID]*bucket{}
	}
	b := r.buckets[g.ID]
	if b == nil || b.rate != g.Limits.PerMinute {
		b = &bucket{tokens: float64(g.Limits.PerMinute), at: now, rate: g.Limits.PerMinute}
		r.buckets[g.ID] = b
	}
	if d := now.Sub(b.at); d > 0 { // a clock that went back fills nothing
		b.tokens = min(float64(b.rate), b.tokens+d.Minutes()*float64(b.rate))
		b.at = now
	}
	return b
}

// take takes one use of each grant, or none when one of them has none left.
func (r *rates) take(grants []*writ.Grant, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range grants {
		if r.fillLocked(g, now).tokens < 1 {
			return false
		}
	}
	for _, g := range grants {
		r.buckets[g.ID].tokens--
	}
	return true
}

// Take takes one use out of the rates of the grants among ids, all or none. It
// is asked between the decision and its record, so that uses decided at the
// same moment share one rate.
func (x *Index) Take(org writ.ID, ids []writ.ID) bool {
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil {
		return false
	}
	var limited []*writ.Grant
	for _, id := range ids {
		if g, ok := value[*writ.Grant](s.view, id); ok && g.Limits.PerMinute > 0 {
			limited = append(limited, g)
		}
	}
	return len(limited) == 0 || s.view.rates.take(limited, x.cfg.Clock())
}
