package ledger

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// Batch is what one transaction appends. It is lent to an act while the act
// runs, and is used by the committer's goroutine only.
type Batch struct {
	head    Head // as it will be: Size, Epoch, LastChange and Time grow here
	entries []Entry
	hashes  []tlog.Hash
	changes []int64 // seqs of the change entries among entries
	// recent are the newest changes: an allow decided before one of them may have
	// been judged by what no longer holds.
	recent recent
}

// Time is the time of every entry of the batch: the clock's, but never before
// the newest entry's.
func (b *Batch) Time() writ.Time { return b.head.Time }

// Epoch is the epoch after what the batch has appended so far.
func (b *Batch) Epoch() writ.Epoch {
	return writ.Epoch{Incarnation: b.head.Incarnation, N: b.head.Epoch}
}

// Change appends a change of authority and gives the mark that every row of it
// must store.
func (b *Batch) Change(c Change) (Mark, error) {
	var p packer
	epoch := b.head.Epoch + 1
	if err := c.seal(&p, b.head.Org, epoch, b.head.LastChange); err != nil {
		return Mark{}, err
	}
	seq := b.head.Size
	digest := b.add(TypeChange, &p)
	b.head.Epoch, b.head.LastChange = epoch, seq
	b.changes = append(b.changes, seq)
	for _, r := range c.Rows {
		b.recent.add(epoch, r.ID)
	}
	return Mark{Seq: seq, Digest: digest, Epoch: b.Epoch()}, nil
}

// Draft is an entry of a type that has no method of its own: key, erasure.
type Draft struct {
	Type string
	Core []byte // canonical JSON
	// Detail is canonical JSON, or nil.
	Detail []byte
}

// Add appends an entry that changes no authority. Entries that carry or end
// authority have their own ways in and are refused here.
func (b *Batch) Add(d Draft) (Mark, error) {
	switch d.Type {
	case TypeKey, TypeErasure, TypeCut:
	default:
		return Mark{}, writ.Errorf(writ.KindInternal, "an entry of type %q cannot be added by hand", d.Type)
	}
	for _, part := range [][]byte{d.Core, d.Detail} {
		if c := (cursor{b: part}); part != nil && (c.value() == nil || c.done() != nil) {
			return Mark{}, writ.Errorf(writ.KindInternal, "a part to be recorded is not canonical JSON")
		}
	}
	var p packer
	p.part(PartCore, d.Core)
	if d.Detail != nil {
		p.part(PartDetail, d.Detail)
	}
	seq := b.head.Size
	return Mark{Seq: seq, Digest: b.add(d.Type, &p), Epoch: b.Epoch()}, nil
}

// add makes the leaf, which needs its place in the log, over parts that were
// sealed before.
func (b *Batch) add(typ string, p *packer) tlog.Hash {
	leaf := Leaf{Org: b.head.Org, Incarnation: b.head.Incarnation, Seq: b.head.Size, Time: b.head.Time, Type: typ, Parts: p.parts()}
	e := Entry{Seq: leaf.Seq, Leaf: leaf.append(make([]byte, 0, 360)), Pack: p.pack}
	h := tlog.RecordHash(e.Leaf)
	b.entries = append(b.entries, e)
	b.hashes = append(b.hashes, h)
	b.head.Size++
	return h
}

// savepoint is what truncate goes back to.
type savepoint struct {
	entries, changes int
	recent           recent
	head             Head
}

func (b *Batch) save() savepoint {
	return savepoint{len(b.entries), len(b.changes), b.recent, b.head}
}

func (b *Batch) truncate(s savepoint) {
	b.entries, b.hashes, b.changes = b.entries[:s.entries], b.hashes[:s.entries], b.changes[:s.changes]
	b.recent, b.head = s.recent, s.head
}

// act is one business act that waits for the committer or runs in it.
type act struct {
	waiter
	fn     func(context.Context, Tx, *Batch) (func(), error)
	places chan struct{}
	after  func()
	err    error
}

// Act runs fn inside the next batch's transaction and returns when that is
// durable, or with the error why nothing of it is. Urgent acts (what withdraws
// authority) go before all else that waits, in a batch of their own, so that
// neither a queue nor another's failure delays them.
//
// fn's error undoes fn's part alone: what it appended to the Batch is taken
// back here, its rows by a savepoint that fn makes. fn must append an entry if
// it writes rows. The after that it returns runs once the batch is durable, in
// commit order, before any caller of the batch wakes; it must not block.
//
// When ctx ends while the act waits in the queue, nothing is done. When it ends
// later, Act returns early and the act goes on: its results must not be read.
func (l *Log) Act(ctx context.Context, urgent bool, fn func(context.Context, Tx, *Batch) (after func(), err error)) error {
	a := &act{waiter: waiter{done: make(chan error, 1)}, fn: fn, places: l.actPlaces}
	if urgent {
		a.places = l.urgentPlaces
	}
	if err := l.place(ctx, a.places); err != nil {
		return err
	}
	l.q.mu.Lock()
	err := l.q.admitLocked()
	if err == nil && urgent {
		l.q.urgent = append(l.q.urgent, a)
	} else if err == nil {
		l.q.acts = append(l.q.acts, a)
	}
	l.q.mu.Unlock()
	if err != nil {
		<-a.places
		return err
	}
	l.poke()
	return a.wait(ctx)
}

// run runs the act's function. What it panics with becomes an error that fails
// the batch: after a panic nobody knows what it left in the transaction.
func (a *act) run(ctx context.Context, tx Tx, b *Batch) (broken error) {
	s := b.save()
	defer func() {
		if p := recover(); p != nil {
			broken = fmt.Errorf("ledger: an act panicked: %v", p)
		}
	}()
	if a.after, a.err = a.fn(ctx, tx, b); a.err != nil {
		b.truncate(s)
		a.after = nil
	}
	return nil
}
