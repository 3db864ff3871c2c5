package ledger

import (
	"context"
	"slices"
	"sync/atomic"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// Receipt is proof, inside the process, that an allow is durable in the ledger.
// It points to state that only Append makes and that can be spent once; its
// zero value opens nothing (invariant 1).
type Receipt struct{ state *receiptState }

type receiptState struct {
	spent atomic.Bool
	paid  Paid
}

// Paid is what a Receipt stands for: one use of one credential version.
type Paid struct {
	Org        writ.ID
	Use        writ.ID
	Credential writ.ID
	Version    writ.ID
}

// Spend gives what the receipt stands for, once. Only package vault may call
// it: imports_test.go enforces the door.
func (r Receipt) Spend() (Paid, bool) {
	if r.state == nil || r.state.spent.Swap(true) {
		return Paid{}, false
	}
	return r.state.paid, true
}

// use is one allow on its way into the log. Its parts are sealed by the
// caller's goroutine: the committer only adds the leaf.
type use struct {
	waiter
	packer packer
	terms  *decide.Terms
	id     writ.ID
	places chan struct{}
	err    error
}

// Append records an allow and returns when the entry is durable. It spends the
// allow whatever happens. A *BasisGone error says that the allow may not be
// recorded any more; a writ.KindUnavailable error, that the ledger could not.
//
// When ctx ends while the entry is being committed, Append returns at once and
// the receipt is lost: the entry then gets the outcome "suppressed".
//
// mentioned are the query parameters that candidate rules look at: their values
// are recorded, so that the decision can be replayed, and no others are.
func (l *Log) Append(ctx context.Context, allow decide.Allow, mentioned ...string) (Receipt, error) {
	terms, ok := allow.Spend()
	if !ok {
		return Receipt{}, writ.Errorf(writ.KindInternal, "an allow was spent twice, or is none")
	}
	a, d := terms.Ask, terms.Decision
	if a.Org != l.cfg.Org || !d.Allow || d.Version == "" {
		return Receipt{}, writ.Errorf(writ.KindInternal, "an allow reached a ledger that it is not for")
	}
	u := &use{waiter: waiter{done: make(chan error, 1)}, terms: terms, id: writ.UseOf(d.ID), places: l.usePlaces}
	u.packer.pack = make([]byte, 0, 2048)
	u.packer.begin(PartCore)
	u.packer.pack = appendVerdict(u.packer.pack, d, a.Time, terms.Records)
	u.packer.end()
	u.packer.begin(PartDetail)
	u.packer.pack = appendDetail(u.packer.pack, a, d, shownValues(a, mentioned))
	u.packer.end()
	if err := l.place(ctx, l.usePlaces); err != nil {
		return Receipt{}, err
	}
	l.q.mu.Lock()
	err := l.q.admitLocked()
	if err == nil {
		l.q.uses = append(l.q.uses, u)
	}
	l.q.mu.Unlock()
	if err != nil {
		<-l.usePlaces
		return Receipt{}, err
	}
	l.poke()
	if err := u.wait(ctx); err != nil {
		return Receipt{}, err
	}
	return Receipt{&receiptState{paid: Paid{Org: a.Org, Use: u.id, Credential: d.Credential, Version: d.Version}}}, nil
}

// admitUses decides, inside the transaction, which of the batch's allows may
// still be recorded (invariant 6); the others get a BasisGone. An error is the
// storage's and fails the batch.
func admitUses(ctx context.Context, tx Basis, b *Batch, uses []*use) error {
	epoch, now := b.Epoch(), b.Time()
	var moved, limited []writ.ID
	for _, u := range uses {
		u.err = nil
		if u.terms.Until.Passed(now) {
			u.err = &BasisGone{Expired: true}
			continue
		}
		if u.terms.Decision.Epoch != epoch {
			moved = append(moved, u.terms.Decision.Rests...)
		}
		limited = append(limited, u.terms.Limited...)
	}
	if len(moved) > 0 {
		if err := recheck(ctx, tx, epoch, now, uses, moved); err != nil {
			return err
		}
	}
	// What is alive may still say something else than when it was decided on.
	for _, u := range uses {
		if d := u.terms.Decision.Epoch; u.err == nil && d.Incarnation == epoch.Incarnation && d.N < epoch.N {
			if gone := b.recent.since(d.N, u.terms.Records); gone != nil {
				u.err = gone
			}
		}
	}
	if len(limited) > 0 {
		return takeUses(ctx, tx, uses, limited)
	}
	return nil
}

// recheck fails the allows that were decided at another epoch and rest on
// something that is dead now, with one query for all.
func recheck(ctx context.Context, tx Basis, epoch writ.Epoch, now writ.Time, uses []*use, moved []writ.ID) error {
	slices.Sort(moved)
	dead, err := tx.Recheck(ctx, slices.Compact(moved), now)
	if err != nil {
		return err
	}
	if len(dead) == 0 {
		return nil
	}
	for _, u := range uses {
		if u.err != nil || u.terms.Decision.Epoch == epoch {
			continue
		}
		var gone []writ.ID
		for _, id := range u.terms.Decision.Rests {
			if slices.Contains(dead, id) {
				gone = append(gone, id)
			}
		}
		if len(gone) > 0 {
			u.err = &BasisGone{Dead: gone}
		}
	}
	return nil
}

// takeUses counts the batch's uses against the limits of their grants, in
// order, and takes them with one update a grant. A use that one grant refuses
// takes nothing from the others.
func takeUses(ctx context.Context, tx Basis, uses []*use, limited []writ.ID) error {
	slices.Sort(limited)
	left, err := tx.UsesLeft(ctx, slices.Compact(limited))
	if err != nil {
		return err
	}
	taken := map[writ.ID]int64{}
	for _, u := range uses {
		if u.err != nil {
			continue
		}
		for _, g := range u.terms.Limited {
			if left[g]-taken[g] <= 0 { // a grant that has no row has no uses left
				u.err = &BasisGone{Exhausted: g}
				break
			}
		}
		if u.err == nil {
			for _, g := range u.terms.Limited {
				taken[g]++
			}
		}
	}
	if len(taken) == 0 {
		return nil
	}
	return tx.TakeUses(ctx, taken)
}
