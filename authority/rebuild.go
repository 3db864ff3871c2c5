package authority

import (
	"context"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
)

// Rebuild makes the facts of an Ask from recorded nouns alone, by the same
// code that the live index uses, so that a decision can be made once more from
// what the ledger holds. The nouns count as proven: whoever read them from the
// ledger has verified them. Rates are taken to allow the use, since they are
// no part of the record.
func Rebuild(_ context.Context, ask *writ.Ask, epoch writ.Epoch, nouns []any) (*decide.Facts, error) {
	v := newView(ask.Org, &tokens{})
	for _, n := range nouns {
		id, ok := idOf(n)
		if !ok {
			return nil, writ.Errorf(writ.KindInternal, "a recorded fact is of a kind that decisions do not read")
		}
		if grant, ok := n.(*writ.Grant); ok {
			grant.Compile()
		}
		v.put(ledger.Noun{ID: id, Value: n, Proven: true})
	}
	v.settle(epoch)
	g := gathering{v: v, now: ask.Time, f: &decide.Facts{Epoch: epoch, Guardrails: v.guardrails}}
	g.who(ask.Session)
	g.what(ask, time.Time{})
	for i := range g.f.Candidates {
		g.f.Candidates[i].RateLeft = true
	}
	return g.f, nil
}

func idOf(n any) (writ.ID, bool) {
	switch n := n.(type) {
	case *writ.Org:
		return n.ID, true
	case *writ.Identity:
		return n.ID, true
	case *writ.Application:
		return n.ID, true
	case *writ.Credential:
		return n.ID, true
	case *writ.Version:
		return n.ID, true
	case *writ.Grant:
		return n.ID, true
	case *writ.Session:
		return n.ID, true
	case *writ.Policy:
		return n.ID, true
	}
	return "", false
}
