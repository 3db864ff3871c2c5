package writ

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	seen := map[ID]bool{}
	for range 1000 {
		id := NewID(KindGrant)
		if !id.Is(KindGrant) || id.Kind() != KindGrant || seen[id] || len(id) != len("grt_")+rowBodyLen {
			t.Fatalf("%s", id)
		}
		seen[id] = true
	}
	for _, bad := range []ID{
		"", "grt", "grt_", "_0000000000000000", "grt_000000000000000", "grt_00000000000000000", "grt_000000000000000i", "grt_000000000000000L", "grt_00000000000000 0",
		"GRT_0000000000000000", "org_0000000000000000", "grt_0000000000000000_", "grt__000000000000000", "grt_000000000000000\n",
	} {
		if bad.Is(KindGrant) {
			t.Errorf("%q is taken as a grant's id", bad)
		}
	}
}

// Ordered ids sort by their time, to the millisecond, and a use's id and its
// decision's lead to each other.
func TestOrderedIDs(t *testing.T) {
	start := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	var ids []ID
	for i := range 1000 {
		ids = append(ids, NewOrderedID(KindDecision, start.Add(time.Duration(i)*time.Millisecond)))
	}
	if !slices.IsSorted(ids) {
		t.Error("ordered ids are not in the order of time")
	}
	d := ids[0]
	u := UseOf(d)
	if !d.Is(KindDecision) || !u.Is(KindUse) || DecisionOf(u) != d || strings.TrimPrefix(string(u), "use_") != strings.TrimPrefix(string(d), "dec_") {
		t.Errorf("%s, %s", d, u)
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 123_456_789, time.FixedZone("x", 3600))
	v := At(at)
	if v.String() != "2026-11-24T08:00:00.123Z" || !v.Go().Equal(at.Truncate(time.Millisecond)) || v.Go().Location() != time.UTC {
		t.Errorf("%s", v)
	}
	if At(time.Time{}) != 0 || Time(0).String() != "" || !Time(0).IsZero() || !Time(0).Go().IsZero() {
		t.Error("no time is not shown as none")
	}
	for _, c := range []struct {
		expires, now Time
		want         bool
	}{{0, 5, false}, {0, 0, false}, {5, 4, false}, {5, 5, true}, {5, 6, true}} {
		if c.expires.Passed(c.now) != c.want {
			t.Errorf("%d passed at %d: %v", c.expires, c.now, !c.want)
		}
	}
	if v.Add(1500*time.Microsecond) != v+1 {
		t.Error("Add does not count milliseconds")
	}
	for text, want := range map[string]Time{
		`""`: 0, `"2026-11-24T08:00:00Z"`: At(at) - 123, `"2026-11-24T09:00:00.1234+01:00"`: v,
	} {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	for _, bad := range []string{`"tomorrow"`, `"2026-11-24"`, `"2026-11-24T08:00:00"`, `"2026-13-24T08:00:00Z"`, `1700000000000`, `"2026-11-24T08:00:00z "`} {
		var got Time
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was read as %s", bad, got)
		}
	}
}

func TestTimeRoundTrips(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := Time(rapid.Int64Range(-62135596800000+1, 253402300799999).Draw(rt, "ms"))
		b, err := json.Marshal(v)
		if err != nil {
			rt.Fatal(err)
		}
		var back Time
		if err := json.Unmarshal(b, &back); err != nil || back != v {
			rt.Fatalf("%d became %d by way of %s: %v", v, back, b, err)
		}
		if v != 0 && len(b) != len(`"2026-11-24T08:00:00.123Z"`) {
			rt.Fatalf("%d is shown as %s", v, b)
		}
	})
}
