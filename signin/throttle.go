package signin

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

// Rate is a token bucket: Burst at once, and one more every Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// buckets is a bounded table of token buckets. A bucket that is full again
// says nothing and is dropped; when the table is full of others, the one that
// is nearest to full makes room, so that a flood of new sources cannot take
// memory, nor wipe out the memory of the worst source.
type buckets[K comparable] struct {
	rate Rate
	most int

	mu sync.Mutex
	// full is when a bucket is full again. How much it holds follows: one less
	// for every rate.Every of the time until then.
	full map[K]time.Time // guarded by mu
}

func newBuckets[K comparable](r Rate, most int) *buckets[K] {
	return &buckets[K]{rate: r, most: most, full: map[K]time.Time{}}
}

// take takes one from the bucket, or says how long to wait until there is one.
func (b *buckets[K]) take(k K, now time.Time) (wait time.Duration, ok bool) {
	if b.rate.Burst <= 0 {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	full, known := b.full[k]
	if !known && len(b.full) >= b.most {
		b.makeRoomLocked(now)
	}
	if full.Before(now) {
		full = now
	}
	full = full.Add(b.rate.Every)
	if over := full.Sub(now) - time.Duration(b.rate.Burst)*b.rate.Every; over > 0 {
		return over, false
	}
	b.full[k] = full
	return 0, true
}

func (b *buckets[K]) makeRoomLocked(now time.Time) {
	var nearest K
	when, any := time.Time{}, false
	for k, full := range b.full {
		if !full.After(now) {
			delete(b.full, k)
			continue
		}
		if !any || full.Before(when) {
			nearest, when, any = k, full, true
		}
	}
	if len(b.full) >= b.most {
		delete(b.full, nearest)
	}
}

// source is what failed attempts are counted by: an address, and of IPv6 the
// network that one household or host has to itself.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// seconds rounds up to the whole seconds of a Retry-After.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
