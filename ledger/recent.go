package ledger

import (
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// recent remembers which rows the newest changes touched. Whether a row is
// alive is asked of the database; that it is alive and says something else
// than when the allow was decided (agents may no longer use the credential, a
// rule is gone) is told from here. Only the committer uses it, so a batch that
// fails leaves the log's own untouched: it shares the backing array and writes
// beyond the log's length.
type recent struct {
	touched []touch // oldest first
	// floor is the epoch up to which nothing is remembered any more: an allow
	// that was decided before it has to be decided anew.
	floor int64
}

type touch struct {
	epoch int64
	id    writ.ID
}

// maxRecent bounds what is remembered. Allows are recorded within milliseconds
// of their decision; this many rows do not change in between.
const maxRecent = 8192

func (r *recent) add(epoch int64, id writ.ID) {
	if len(r.touched) >= maxRecent {
		// Into an array of its own: others may hold the old one.
		half := len(r.touched) / 2
		r.floor = r.touched[half-1].epoch
		r.touched = slices.Clone(r.touched[half:])
	}
	r.touched = append(r.touched, touch{epoch, id})
}

// since reports why an allow that was decided at an epoch has to be decided
// anew: a guardrail changed, or one of the facts it was decided on did.
func (r *recent) since(epoch int64, records []decide.Record) *BasisGone {
	if epoch < r.floor {
		return &BasisGone{Guardrails: true}
	}
	for i := len(r.touched) - 1; i >= 0 && r.touched[i].epoch > epoch; i-- {
		id := r.touched[i].id
		if id.Kind() == writ.KindPolicy {
			return &BasisGone{Guardrails: true}
		}
		if slices.ContainsFunc(records, func(rec decide.Record) bool { return rec.ID == id }) {
			return &BasisGone{Changed: id}
		}
	}
	return nil
}
