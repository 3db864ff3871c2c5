package ledger

import (
	"context"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// AllowsSince yields what each allow since an instant rests on, in order. Every
// leaf that is looked at, those that the instant is searched by included, is
// checked against the tree of head, which the caller trusts, and every core
// part against its leaf: what is counted from this is what was recorded,
// whatever the tables beside the log say.
func AllowsSince(ctx context.Context, r Reader, head Head, since writ.Time, yield func(rests []writ.ID) error) error {
	t, err := rebuild(ctx, r, head.Org, head.Size)
	if err != nil {
		return err
	}
	if string(t.marshal()) != string(head.Frontier) {
		return refuseHistory("the ledger's head does not match its entries", "something changed the database without going through Writ", "run: writ ledger verify --data FOLDER")
	}
	leaves := leafPath{ctx: ctx, r: r, org: head.Org, tree: t}
	from, err := leaves.first(head.Size, since)
	if err != nil {
		return err
	}
	return leaves.each(from, head.Size, func(e Entry, l Leaf) error {
		if l.Type != TypeAllow {
			return nil
		}
		v, err := DecodeAllow(e)
		if err != nil {
			return badEntry(e.Seq).WithCause(err)
		}
		return yield(v.Decision.Rests)
	})
}

// first is the seq of the first entry that is not older than t, size when all
// are. Times never run backwards in a log, so it is found by halving.
func (p *leafPath) first(size int64, t writ.Time) (int64, error) {
	lo, hi := int64(0), size
	for lo < hi {
		mid := lo + (hi-lo)/2
		var at writ.Time
		if err := p.each(mid, mid+1, func(_ Entry, l Leaf) error { at = l.Time; return nil }); err != nil {
			return 0, err
		}
		if at < t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// each yields the entries from <= seq < to, none missing, with proven leaves.
func (p *leafPath) each(from, to int64, yield func(Entry, Leaf) error) error {
	next := from
	err := p.r.Entries(p.ctx, p.org, from, to, func(e Entry) error {
		want, err := p.hash(e.Seq)
		if err != nil {
			return err
		}
		if e.Seq != next || want != tlog.RecordHash(e.Leaf) {
			return badEntry(next)
		}
		next++
		l, err := ParseLeaf(e.Leaf)
		if err != nil {
			return badEntry(e.Seq).WithCause(err)
		}
		return yield(e, l)
	})
	if err == nil && next < to {
		return badEntry(next)
	}
	return err
}

func badEntry(seq int64) *writ.Error {
	return refuseHistory("entry "+strconv.FormatInt(seq, 10)+" of the ledger cannot be believed", "it is not the entry that the tree has there", "run: writ ledger verify --data FOLDER; then restore the database from a backup")
}
