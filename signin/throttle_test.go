package signin

import (
	"net/netip"
	"testing"
	"time"
)

func TestTheTableOfSourcesIsBounded(t *testing.T) {
	b := newBuckets[netip.Addr](Rate{Burst: 5, Every: time.Minute}, 100)
	now := time.Unix(1_000_000, 0)
	worst := netip.MustParseAddr("192.0.2.1")
	for range 5 {
		if _, ok := b.take(worst, now); !ok {
			t.Fatal("limited within its burst")
		}
	}
	a := netip.MustParseAddr("10.0.0.0")
	for range 10_000 {
		a = a.Next()
		if _, ok := b.take(a, now); !ok {
			t.Fatal("a new source is limited")
		}
		if len(b.full) > 100 {
			t.Fatalf("%d entries", len(b.full))
		}
	}
	if _, ok := b.take(worst, now); ok {
		t.Fatal("a flood of sources wiped out the worst one's count")
	}
	if _, ok := b.take(a, now.Add(time.Hour)); !ok || len(b.full) > 100 {
		t.Fatal("the table does not recover")
	}
}
