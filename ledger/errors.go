package ledger

import (
	"errors"
	"strings"

	"writ.dev/writ"
)

// ErrUnknownCommit is wrapped by a Tx's Commit when nobody can tell whether the
// transaction became durable: the connection broke while waiting, or the disk
// failed after the write.
var ErrUnknownCommit = errors.New("ledger: the result of the commit is unknown")

// BasisGone says that an allow was not recorded because what it rests on no
// longer stood when its entry was about to be written (invariant 6). The use
// may be decided anew; with Exhausted set it will be refused again.
type BasisGone struct {
	Dead      []writ.ID // revoked, suspended, expired or missing
	Exhausted writ.ID   // the grant whose number of uses is used up
	Expired   bool      // something the allow rests on expired before its entry
	// Changed is a fact that is not what it was when the allow was decided.
	Changed writ.ID
	// Guardrails: a guardrail changed after the allow was decided.
	Guardrails bool
}

// Error names what is gone; ids alone, so it is safe to show.
func (g *BasisGone) Error() string {
	switch {
	case g.Exhausted != "":
		return "the number of uses of grant " + string(g.Exhausted) + " is exhausted"
	case len(g.Dead) > 0:
		names := make([]string, len(g.Dead))
		for i, id := range g.Dead {
			names[i] = string(id)
		}
		return "no longer in force: " + strings.Join(names, ", ")
	}
	if g.Changed != "" {
		return string(g.Changed) + " changed after the use was decided"
	}
	if g.Guardrails {
		return "the guardrails changed after the use was decided"
	}
	return "what the use rests on expired before it was recorded"
}

// Unwrap classifies the error for those who do not know the type.
func (g *BasisGone) Unwrap() error { return writ.Errorf(writ.KindConflict, "%s", g.Error()) }

func unavailable(cause error) *writ.Error {
	return writ.Errorf(writ.KindUnavailable, "the ledger could not record this, so nothing was done").
		WithWhy("the database did not take the entry").
		WithFix("writ status").
		WithCause(cause)
}

func unclear(cause error) *writ.Error {
	return writ.Errorf(writ.KindUnavailable, "the caller left before the ledger answered").
		WithWhy("the entry may still be recorded; an allow then gets the outcome suppressed").
		WithCause(cause)
}

func refuseHistory(message, why, fix string) *writ.Error {
	return writ.Errorf(writ.KindCheckFailed, "%s", message).WithWhy("%s", why).WithFix("%s", fix)
}
