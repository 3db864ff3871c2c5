package ledger

import (
	"context"
	"errors"
	"time"

	"writ.dev/writ"
)

// Commit order. The committer takes what waits as one batch: urgent acts alone
// when there are any; else acts, then uses, then outcomes and denials. Then,
// line by line, with what is durable after each and what a crash there leaves:
//
//  1. Begin locks the head row and gives it. Nothing is durable. It must be the
//     head that was committed last; otherwise somebody else wrote.
//  2. Acts run: rows are written in the transaction, entries gather in memory.
//  3. The bases of allows that were decided at another epoch are rechecked
//     against rows, and use limits taken, in the transaction. What an act of
//     this batch revoked is dead here already, so no allow follows the
//     revocation of its basis in log order (invariant 6).
//  4. Leaves get seq and time, a clone of the tree grows by them.
//  5. Write hands over entries, full tiles and the new head. Nothing is durable:
//     a crash up to here leaves the log as it was, and callers without answer.
//  6. Commit. Rows, entries, tiles and head are durable, together or not at all.
//     A crash right after it leaves allows without outcome, which are findings;
//     nobody was told, so no secret was opened for them.
//  7. The new state is published, so that checkpoints and proofs cover it; acts'
//     after functions run, so that views are ahead of whoever is told.
//  8. Callers wake; only now do Receipts exist.
//  9. The checkpoint is signed and anchored, by another goroutine, of durable
//     sizes only. A crash before it leaves an anchor that is behind, which the
//     log extends; an anchor ahead of the log can only mean a rollback.
//
// An error before 6 rolls back; the batch's callers fail, its outcomes and
// denials wait for the next one. An error of 6 itself says nothing certain, so
// the head is read again under its lock (settle), and decides.
func (l *Log) commitLoop() {
	defer close(l.done)
	for {
		w := l.take()
		if w == nil {
			break
		}
		l.process(w)
	}
	// Closed or stopped: nothing is admitted any more, and what a Close that gave
	// up left behind is answered.
	l.q.mu.Lock()
	rest := &work{acts: append(l.q.urgent, l.q.acts...), uses: l.q.uses}
	l.q.urgent, l.q.acts, l.q.uses = nil, nil, nil
	l.q.closing = true
	l.q.mu.Unlock()
	l.fail(rest, errClosed)
}

// work is what one batch takes from the queue.
type work struct {
	acts     []*act
	uses     []*use
	outcomes []writ.Outcome
	denials  []*packer
}

// take waits for work; nil means that the log was closed and nothing is left.
func (l *Log) take() *work {
	for {
		now := time.Now()
		l.sweepDenials(now)
		l.q.mu.Lock()
		w, wait := l.q.nextLocked(now)
		over := w == nil && (l.q.closing || l.q.stopped != nil)
		l.q.mu.Unlock()
		if w != nil || over || l.ctx.Err() != nil {
			return w
		}
		if due := l.denied.due(now); due > 0 && (wait == 0 || due < wait) {
			wait = due
		}
		l.sleep(wait)
	}
}

// sleep waits for a poke, at most d unless d is zero.
func (l *Log) sleep(d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-l.wake:
	case <-timeout:
	case <-l.ctx.Done():
	}
}

// nextLocked cuts a batch from the queue, or says how long what is there may
// wait for company.
func (q *queue) nextLocked(now time.Time) (*work, time.Duration) {
	if len(q.urgent) > 0 {
		w := &work{}
		w.acts, q.urgent = cut(q.urgent, maxBatchActs)
		return w, 0
	}
	if q.lazyAt.IsZero() && len(q.outcomes)+len(q.denials) > 0 {
		q.lazyAt = now.Add(lazyDelay)
	}
	lazy := !q.lazyAt.IsZero() && (!q.lazyAt.After(now) || q.closing || len(q.outcomes) == manyOutcomes)
	if len(q.acts)+len(q.uses) == 0 && !lazy {
		if q.lazyAt.IsZero() {
			return nil, 0
		}
		return nil, q.lazyAt.Sub(now)
	}
	w := &work{}
	w.acts, q.acts = cut(q.acts, maxBatchActs)
	w.uses, q.uses = cut(q.uses, maxBatchUses)
	w.outcomes, q.outcomes = cut(q.outcomes, maxBatchOutcomes)
	w.denials, q.denials = cut(q.denials, maxBatchDenials)
	q.lazyAt = time.Time{}
	return w, 0
}

// cut takes at most n from the front. Both parts keep their own array: the
// queue goes on growing while the batch is at work.
func cut[T any](list []T, n int) (front, rest []T) {
	if len(list) <= n {
		return list, nil
	}
	return list[:n:n], append([]T(nil), list[n:]...)
}

// process carries a batch to its end: every member is answered, exactly once.
func (l *Log) process(w *work) {
	w.dropLeavers()
	if len(w.acts)+len(w.uses)+len(w.outcomes)+len(w.denials) == 0 {
		return
	}
	var err error
	// The second attempt is for a head that moved: after catching up with it the
	// batch is made anew, members that failed for cause included.
	for range 2 {
		if err = l.attempt(w); !errors.Is(err, errMoved) {
			break
		}
		if err = l.catchUp(); err != nil {
			break
		}
	}
	if err != nil {
		l.fail(w, err)
	}
}

var errMoved = errors.New("ledger: the head in the database is not the one committed last")

// dropLeavers forgets members whose callers left while they waited: nothing is
// done for them.
func (w *work) dropLeavers() {
	acts := w.acts[:0]
	for _, a := range w.acts {
		if a.gone() {
			<-a.places
			continue
		}
		acts = append(acts, a)
	}
	w.acts = acts
	uses := w.uses[:0]
	for _, u := range w.uses {
		if u.gone() {
			<-u.places
			continue
		}
		uses = append(uses, u)
	}
	w.uses = uses
}

// fail answers every member with what went wrong, and keeps outcomes and
// denials for a later batch: they describe what has happened already.
func (l *Log) fail(w *work, err error) {
	l.tree = l.state.Load().tree.detach()
	for _, a := range w.acts {
		if a.err == nil {
			a.err = unavailable(err)
		}
		a.answer(a.err)
		<-a.places
	}
	for _, u := range w.uses {
		if u.err == nil {
			u.err = unavailable(err)
		}
		u.answer(u.err)
		<-u.places
	}
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if len(w.outcomes)+len(w.denials) > 0 {
		l.q.outcomes = append(w.outcomes, l.q.outcomes...)
		l.q.denials = append(w.denials, l.q.denials...)
		l.q.lazyAt = time.Now().Add(retryDelay)
	}
	if l.q.closing {
		// Closing does not outwait a database that refuses: what could not be
		// written is missing, and its allows show up as findings.
		l.q.outcomes, l.q.denials, l.q.lazyAt = nil, nil, time.Time{}
	}
}

// attempt is lines 1 to 8 for one batch. An error means that nothing of it is
// in the log and nobody has been answered.
func (l *Log) attempt(w *work) error {
	if l.q.isStopped() != nil {
		return l.q.isStopped()
	}
	ctx, cancel := context.WithTimeout(l.ctx, batchTimeout)
	defer cancel()
	now := l.state.Load().head
	tx, head, err := l.cfg.Storage.Begin(ctx, l.cfg.Org) // 1
	if err != nil {
		return err
	}
	if !sameHead(&head, &now) {
		return errors.Join(errMoved, tx.Rollback(ctx))
	}
	b := &Batch{head: head, recent: l.recent}
	b.head.Time = max(head.Time, writ.At(l.cfg.Clock()))
	b.entries, b.hashes = make([]Entry, 0, len(w.uses)+2), nil
	if err := l.fill(ctx, tx, b, w); err != nil { // 2, 3
		return errors.Join(err, tx.Rollback(ctx))
	}
	if len(b.entries) == 0 {
		if err := tx.Rollback(ctx); err != nil {
			return err
		}
		l.answer(w)
		return nil
	}
	next := l.tree.clone() // 4
	var full []Node
	for _, h := range b.hashes {
		full = next.append(h, full)
	}
	b.head.Frontier = next.marshal()
	if err := tx.Write(ctx, b.entries, b.changes, full, b.head); err != nil { // 5
		return errors.Join(err, tx.Rollback(ctx))
	}
	if err := tx.Commit(ctx); err != nil { // 6
		if err := l.settle(w, now, b.head, err); err != nil {
			return err
		}
	}
	l.counts.batches.Add(1)
	l.publish(b.head, next, b.recent) // 7
	for _, a := range w.acts {
		if a.after != nil {
			a.after()
		}
	}
	l.answer(w) // 8
	return nil
}

// fill runs the members of a batch in their order. Its error fails the whole
// batch; a member's own is kept in the member.
func (l *Log) fill(ctx context.Context, tx Tx, b *Batch, w *work) error {
	for _, a := range w.acts {
		if err := a.run(ctx, tx, b); err != nil {
			return err
		}
	}
	if err := admitUses(ctx, tx, b, w.uses); err != nil {
		return err
	}
	for _, u := range w.uses {
		if u.err == nil {
			b.add(TypeAllow, &u.packer)
		}
	}
	if len(w.outcomes) > 0 {
		b.add(TypeOutcomes, sealOutcomes(w.outcomes))
	}
	for _, d := range w.denials {
		b.add(TypeDenials, d)
	}
	return nil
}

// answer wakes the members of a batch that is durable. A use whose caller has
// left meanwhile is in the log but will never be carried out: its receipt is
// lost, and its outcome says so.
func (l *Log) answer(w *work) {
	l.q.mu.Lock()
	for _, u := range w.uses {
		if u.err == nil {
			l.q.open[u.id] = struct{}{}
		}
	}
	l.q.mu.Unlock()
	for _, a := range w.acts {
		a.answer(a.err)
		<-a.places
	}
	for _, u := range w.uses {
		id, err := u.id, u.err
		places := u.places
		if !u.answer(err) && err == nil {
			l.Outcome(writ.Outcome{Use: id, Kind: writ.Suppressed, Error: "the caller left before the entry was durable"})
		}
		<-places
	}
}

// settle finds out what became of a commit that gave an error: it reads the
// head under its lock, which waits for a transaction that is still in flight,
// until it can. It returns nil when the batch is in the log, cause when it is
// not. Callers are told after a while that nobody knows yet; the batch's acts
// and uses come to their end here all the same.
func (l *Log) settle(w *work, before, after Head, cause error) error {
	if errors.Is(cause, ErrUnknownCommit) {
		l.cfg.Uncertain(cause)
	}
	told := errors.Is(cause, ErrUnknownCommit)
	deadline := time.Now().Add(patience)
	for delay := 20 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		head, err := l.lockedHead()
		switch {
		case err == nil && sameHead(&head, &after):
			return nil
		case err == nil && sameHead(&head, &before):
			return cause
		case err == nil:
			l.stop(refuseHistory("the ledger's head is not one that this server wrote", "another process wrote to the database, or it was replaced", "stop every other server on this database, then start this one again"))
			return cause
		}
		if !told {
			told = true
			l.cfg.Uncertain(cause)
		}
		if time.Now().After(deadline) {
			w.abandon(unclear(cause))
		}
		select {
		case <-l.ctx.Done():
			w.abandon(unclear(cause))
			return cause
		case <-time.After(delay):
		}
	}
}

// abandon answers the members of a batch that nobody knows the end of.
func (w *work) abandon(err error) {
	for _, a := range w.acts {
		a.abandon(err)
	}
	for _, u := range w.uses {
		u.abandon(err)
	}
}

func (w *waiter) abandon(err error) {
	if w.status.CompareAndSwap(waiting, left) {
		w.done <- err
	}
}

func (l *Log) lockedHead() (Head, error) {
	ctx, cancel := context.WithTimeout(l.ctx, batchTimeout)
	defer cancel()
	tx, head, err := l.cfg.Storage.Begin(ctx, l.cfg.Org)
	if err != nil {
		return Head{}, err
	}
	return head, tx.Rollback(ctx)
}

// catchUp adopts a head that is not the one committed last, if the log it
// describes extends what this log has published; otherwise it stops the log.
// Whoever keeps a view of authority is told that it is stale.
func (l *Log) catchUp() error {
	ctx, cancel := context.WithTimeout(l.ctx, batchTimeout)
	defer cancel()
	head, err := l.cfg.Storage.Head(ctx, l.cfg.Org)
	if err != nil {
		return err
	}
	l.cfg.Uncertain(errMoved)
	old := l.state.Load()
	t, err := adopt(ctx, l.cfg.Storage, head)
	if err == nil {
		err = extends(ctx, l.cfg.Storage, old.head, old.tree, head, t)
	}
	if writ.KindOf(err) == writ.KindCheckFailed {
		l.stop(err)
	}
	if err != nil {
		return err
	}
	l.publish(head, t, recent{floor: head.Epoch}) // it may have changed guardrails: decide anew
	return nil
}

func (q *queue) isStopped() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopped
}
