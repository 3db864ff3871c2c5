package decide

import (
	"sync/atomic"

	"writ.dev/writ"
)

// Allow is proof, inside the process, that Decide said yes to one Ask. It
// points to state that only this package can make and that can be spent once;
// its zero value is worth nothing (invariant 1).
type Allow struct{ state *allowState }

type allowState struct {
	spent    atomic.Bool
	decision writ.Decision // a copy: what the caller does to its own changes no record
	terms    Terms
}

// newAllow is the one place where an Allow is made. terms.Decision points at
// the copy made here.
func newAllow(d writ.Decision, t Terms) Allow {
	s := &allowState{decision: d, terms: t}
	s.terms.Decision = &s.decision
	return Allow{state: s}
}

// Terms are what an Allow stands for: all that the ledger needs in order to
// record it, and to check once more that what it rests on still stands.
type Terms struct {
	Ask      *writ.Ask
	Decision *writ.Decision
	Records  []Record // the facts it was decided on
	// Until is the earliest expiry among all it rests on; zero is never. An
	// entry at or after it would record a use of something expired.
	Until writ.Time
	// Limited are the grants, own and ancestors, whose number of uses is limited.
	Limited []writ.ID
}

// Record names one fact by the ledger entry that last changed it.
type Record struct {
	ID  writ.ID
	Seq int64
}

// OK reports whether the Allow is one; the zero value is not.
func (a Allow) OK() bool { return a.state != nil }

// Spend gives the terms, once. Only package ledger may call it: imports_test.go
// enforces the door.
func (a Allow) Spend() (*Terms, bool) {
	if a.state == nil || a.state.spent.Swap(true) {
		return nil, false
	}
	return &a.state.terms, true
}
