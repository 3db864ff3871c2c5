package authority_test

import (
	"encoding/hex"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/decide"
	"writ.dev/writ/store/storetest"
)

// world is a store with an index that follows it.
type world struct {
	*storetest.Kit
	mem   *storetest.Memory
	index *authority.Index
}

func newWorld(t testing.TB) *world {
	t.Helper()
	m := storetest.NewMemory(t)
	k := storetest.NewKit(t, m)
	w := &world{Kit: k, mem: m}
	w.index = w.fresh()
	k.Store.Subscribe(w.index)
	k.Store.Believe(w.index)
	return w
}

// fresh is another index on the same store, that follows nothing.
func (w *world) fresh() *authority.Index {
	return authority.New(authority.Config{Load: w.Store.Load, Locate: w.Store.Locate, Clock: w.Clock.Now})
}

func (w *world) ask(s *writ.Session, host, path string) *writ.Ask {
	now := w.Clock.Now()
	a := &writ.Ask{ID: writ.NewOrderedID(writ.KindDecision, now), Org: w.Org, Session: s.ID, Time: writ.At(now), Scheme: "https"}
	a.Method, a.Host = "GET", host
	a.Target, _ = writ.ParseTarget(path, writ.Profile{})
	a.Info.Mode = writ.BodyNone
	return a
}

func factsOf(t testing.TB, x *authority.Index, a *writ.Ask) *decide.Facts {
	t.Helper()
	f, err := x.Facts(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// decided is what the index' facts lead to: "" for an allow, else the reason.
func decided(t testing.TB, x *authority.Index, a *writ.Ask) writ.Reason {
	t.Helper()
	d := decide.Simulate(a, factsOf(t, x, a))
	if d.Allow {
		return ""
	}
	return d.Reason()
}

// exec changes the database behind the store's back.
func (w *world) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	r, err := w.DB.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s changed nothing, %v", query, err)
	}
}

func hashOf(t testing.TB, text string) (h [32]byte) {
	t.Helper()
	if _, err := hex.Decode(h[:], []byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}
