package ledger

import (
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
)

// errGap ends a verification that cannot go on: behind a missing entry there is
// no tree.
var errGap = errors.New("ledger: an entry is missing")

const changedLater = "the entry was changed after it was written"

// progressEvery is how many entries lie between two reports of progress.
const progressEvery = 4096

// add verifies the next entry.
func (v *verification) add(e Entry) error {
	if e.Seq != v.size {
		v.problem(v.size, "the entry is missing", "entries were deleted or moved")
		return errGap
	}
	v.entry(e)
	if err := v.grow(e.Leaf); err != nil {
		return err
	}
	if err := v.checkpointsHere(); err != nil {
		return err
	}
	if v.cfg.Progress != nil && v.size%progressEvery == 0 {
		v.cfg.Progress(v.size, max(v.total, v.size))
	}
	return nil
}

func (v *verification) entry(e Entry) {
	leaf, err := ParseLeaf(e.Leaf)
	if err != nil {
		v.problem(e.Seq, "its leaf is not spelled as leaves are", changedLater)
		return
	}
	if leaf.Org != v.cfg.Org {
		v.problem(e.Seq, "it belongs to another organization", "an entry was put here from another log")
	}
	if leaf.Seq != e.Seq {
		v.problem(e.Seq, "its leaf has another number", "entries were moved")
	}
	if leaf.Time < v.time {
		v.problem(e.Seq, "it is older than the entry before it", "entries were reordered or made up: time never runs backwards in a log")
	}
	v.time = leaf.Time
	genesis := leaf.Type == TypeGenesis
	switch {
	case e.Seq == 0 && !genesis:
		v.problem(0, "the log does not begin with its genesis", "the beginning was replaced")
	case genesis && e.Seq > 0 && leaf.Incarnation != v.incarnation+1, !genesis && e.Seq > 0 && leaf.Incarnation != v.incarnation:
		v.problem(e.Seq, "its incarnation is not the log's", "entries of a restored and of the old log were mixed")
	}
	v.incarnation = leaf.Incarnation
	parts, err := e.parts(&leaf)
	if err != nil {
		v.problem(e.Seq, "its parts are not those that its leaf commits to", "a part was changed after it was written")
		return
	}
	for _, p := range parts {
		if p.held == heldWithheld {
			v.report.Withheld++
			v.withheld[Erased{e.Seq, p.name}] = true
		}
		for _, m := range p.members {
			if m.withheld {
				v.report.Withheld++
				v.withheld[Erased{e.Seq, p.name}] = true
			}
		}
	}
	v.typed(e, leaf, parts)
}

// typed applies the rules of an entry's type.
func (v *verification) typed(e Entry, leaf Leaf, parts []heldPart) {
	var err error
	switch leaf.Type {
	case TypeGenesis:
		_, err = DecodeGenesis(e)
	case TypeChange:
		err = v.change(e.Seq, leaf, parts)
	case TypeAllow:
		err = v.allow(e.Seq, leaf, parts)
	case TypeOutcomes:
		err = v.outcomes(e.Seq, leaf, parts)
	case TypeDenials:
		err = v.denials(e.Seq, leaf, parts)
	case TypeCut:
		var r *CutReport
		if r, err = DecodeCut(e); err == nil {
			v.report.Cuts++
			if _, found := slices.BinarySearch(v.changes, r.Change); !found {
				v.problem(e.Seq, "it reports on a change that is not in the log", "the report was made up, or the change was removed")
			}
		}
	case TypeKey:
		var key string
		if _, key, err = DecodeKey(e); err == nil {
			if _, bad := note.NewVerifier(key); bad != nil {
				v.problem(e.Seq, "the key that it announces is none", "a key was announced in vain")
			}
		}
	case TypeErasure:
		var erased []Erased
		if _, erased, err = DecodeErasure(e); err == nil {
			for _, x := range erased {
				if x.Part == PartCore || x.Seq >= e.Seq {
					v.problem(e.Seq, "it announces an erasure that cannot be", "cores are never erased, and only earlier entries are")
					continue
				}
				delete(v.withheld, x)
			}
		}
	default:
		v.problem(e.Seq, "its type is not one that this program knows: "+writ.Printable(leaf.Type, 40), "it was written by a newer version, or made up")
		return
	}
	if err != nil && !errors.Is(err, ErrWithheld) {
		v.problem(e.Seq, "its parts do not say what an entry of type "+leaf.Type+" says", "it was made up, or written by another program")
	}
}

func (v *verification) change(seq int64, leaf Leaf, parts []heldPart) error {
	v.report.Changes++
	v.changes = append(v.changes, seq)
	prev := v.lastChange
	v.lastChange, v.epoch = seq, v.epoch+1
	ch, err := readChanged(leaf, parts)
	if err != nil {
		return err
	}
	if ch.Prev != prev || ch.Epoch != v.epoch {
		v.problem(seq, "it does not follow the change before it", "a change was removed or put in between")
	}
	for _, id := range ch.Refs {
		s := v.rows[id]
		s.seq, s.inactive = seq, false
		v.rows[id] = s
	}
	for _, id := range ch.Inactive {
		s := v.rows[id]
		s.inactive = true
		v.rows[id] = s
	}
	for _, r := range ch.Rows {
		facts, err := readRow(r.Body)
		if err != nil {
			return err
		}
		s := v.rows[r.ID]
		if s.final && !facts.State.Final() {
			v.problem(seq, "it revives "+string(r.ID)+", which had ended for good", "what is revoked stays revoked; the change was not made by Writ")
		}
		s.expires, s.uses, s.final = facts.Expires, facts.Uses, facts.State.Final()
		v.rows[r.ID] = s
	}
	return nil
}

// allow is invariant 6: nothing that the use rests on had ended before it, in
// log order.
func (v *verification) allow(seq int64, leaf Leaf, parts []heldPart) error {
	v.report.Allows++
	a, err := readAllow(leaf, parts)
	if err != nil {
		return err
	}
	d := &a.Decision
	use := writ.UseOf(d.ID)
	if _, twice := v.pending[use]; twice || !d.ID.Is(writ.KindDecision) {
		v.problem(seq, "its decision is recorded twice, or has no id", "a use was recorded that was not decided by itself")
	}
	v.pending[use] = pendingUse{seq, a.Leaf.Time}
	if d.Epoch.Incarnation > a.Incarnation || d.Epoch.Incarnation == a.Incarnation && d.Epoch.N > v.epoch {
		v.problem(seq, "it was decided on changes that the log did not have yet", "entries were reordered or removed")
	}
	for _, own := range []writ.ID{d.Session, d.Grant, d.Credential, d.Version, d.Identity} {
		if !slices.Contains(d.Rests, own) {
			v.problem(seq, "it does not say that it rests on "+string(own), "the use was recorded without all of its basis")
		}
	}
	for _, id := range d.Rests {
		s, known := v.rows[id]
		switch {
		case !known:
			v.problem(seq, "it rests on "+string(id)+", which the log never recorded", "the authority for the use was made up")
		case s.inactive:
			v.problem(seq, "it follows the end of "+string(id)+", which it rests on", "a credential was used after its revocation was recorded")
		case s.expires.Passed(a.Leaf.Time):
			v.problem(seq, "it follows the expiry of "+string(id)+", which it rests on", "a credential was used after its time")
		case s.uses > 0 && s.used >= s.uses:
			v.problem(seq, "it exceeds the number of uses of "+string(id), "a grant was used more often than it allows")
		}
		if s.uses > 0 {
			s.used++
			v.rows[id] = s
		}
	}
	for _, r := range a.Records {
		s, known := v.rows[r.ID]
		current := d.Epoch == writ.Epoch{Incarnation: v.incarnation, N: v.epoch}
		if !known || r.Seq > s.seq || current && r.Seq != s.seq {
			v.problem(seq, "it was decided on a state of "+string(r.ID)+" that the log does not have", "the decision was made on facts that were not recorded")
		}
	}
	return nil
}

func (v *verification) outcomes(seq int64, leaf Leaf, parts []heldPart) error {
	o, err := readOutcomes(leaf, parts)
	if err != nil {
		return err
	}
	v.report.Outcomes += int64(o.Count)
	for i := range o.List {
		use := o.List[i].Use
		if _, open := v.pending[use]; !open && !v.cfg.Partial {
			v.problem(seq, "it has an outcome of "+string(use)+", which was not allowed before, or had one", "a use was carried out without a record, or its allow was removed")
		}
		delete(v.pending, use)
	}
	return nil
}

func (v *verification) denials(seq int64, leaf Leaf, parts []heldPart) error {
	d, err := readDenied(leaf, parts)
	switch {
	case err != nil:
		return err
	case d.Repeats != nil:
		v.report.Repeats += d.Repeats.Count
	default:
		v.report.Denials++
	}
	return nil
}
