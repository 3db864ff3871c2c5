package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// act describes one business act.
type act struct {
	name  string
	by    writ.Actor
	cause string
	// takes says that the act only takes authority away. It may then be done by
	// whoever could just before, changes rows that are not believed (to a final
	// state, from which nothing comes back), goes before queued uses and may use
	// the disk reserve.
	takes bool
	// founds says that the act makes the organization: there is nothing yet that
	// could be loaded or asked.
	founds bool
}

// work is one act under way, inside the batch's transaction. It reads rows,
// remembers the nouns as the act leaves them, and in the end writes all that
// changed with one change entry.
type work struct {
	*act
	c     *core
	tx    *tx
	org   writ.ID
	now   writ.Time
	trust Believer

	rows    map[writ.ID]row  // as they were read
	nouns   map[writ.ID]any  // as they stand in this act
	changed []writ.ID        // in the order of the first change
	touched map[writ.ID]bool // those in changed
	added   map[writ.ID]bool
	doubted map[writ.ID]bool // rows that were read and are not believed
	sealed  map[writ.ID][]byte
}

// do runs one act: fn reads and changes, and what it changed is written with
// one entry. It returns the noun that the act is about, as it was recorded,
// after subscribers have applied it.
func do[T any](ctx context.Context, s *Store, org writ.ID, a act, fn func(context.Context, *work) (*T, error)) (*T, ledger.Mark, error) {
	if err := writ.CheckText("cause", a.cause); err != nil {
		return nil, ledger.Mark{}, err
	}
	log, err := s.openLog(ctx, org)
	if err != nil {
		return nil, ledger.Mark{}, err
	}
	trust := s.believes()
	if trust != nil && !a.founds {
		// Taking away goes on without: what it cannot believe it can still revoke.
		if err := trust.Ready(ctx, org); err != nil && !a.takes {
			return nil, ledger.Mark{}, err
		}
	}
	run := func(ctx context.Context, w *work) (any, error) {
		if err := w.actor(ctx); err != nil {
			return nil, err
		}
		return fn(ctx, w)
	}
	for {
		subject, mark, class, err := s.attempt(ctx, log, org, &a, trust, run)
		// An urgent act that found the disk full is tried again on the reserve.
		if err != nil && a.takes && s.spare.retry(class) {
			continue
		}
		if err != nil {
			return nil, ledger.Mark{}, err
		}
		return subject.(*T), mark, nil
	}
}

// result is what an act's function leaves for its caller. The ledger may give
// an error to a caller whose context ended while the act goes on, so the
// function hands it over whole, once, at its end.
type result struct {
	subject any
	mark    ledger.Mark
	cause   error // the database error behind a failure
}

// attempt is one try of an act; class is that of the error that ended it.
func (s *Store) attempt(ctx context.Context, log *ledger.Log, org writ.ID, a *act, trust Believer, fn func(context.Context, *work) (any, error)) (subject any, mark ledger.Mark, class Class, err error) {
	if a.takes {
		s.spare.urgent.Add(1)
		defer s.spare.urgent.Add(-1)
	}
	var end atomic.Pointer[result]
	err = log.Act(ctx, a.takes, func(ctx context.Context, ltx ledger.Tx, b *ledger.Batch) (func(), error) {
		ctx = context.WithoutCancel(ctx)
		t, ok := ltx.(*tx)
		if !ok {
			return nil, errors.New("store: the ledger's transaction is not the store's")
		}
		w := &work{act: a, c: s.core, tx: t, org: org, now: b.Time(), trust: trust, rows: map[writ.ID]row{},
			nouns: map[writ.ID]any{}, touched: map[writ.ID]bool{}, added: map[writ.ID]bool{}, doubted: map[writ.ID]bool{}, sealed: map[writ.ID][]byte{}}
		r := &result{}
		var done ledger.Committed
		err := t.savepoint(ctx, func() (err error) {
			done, err = s.perform(ctx, w, b, r, fn)
			return err
		})
		if err != nil {
			r.cause = t.cause
		}
		end.Store(r)
		if err != nil {
			return nil, s.explain(err)
		}
		for _, n := range done.Nouns {
			t.written[n.ID] = n.Seq
		}
		return func() {
			if len(done.Nouns) == 0 {
				return
			}
			for _, sub := range s.subscribers() {
				sub.Apply(done)
			}
		}, nil
	})
	r := end.Load()
	if err == nil {
		return r.subject, r.mark, ClassOther, nil
	}
	cause := err
	if r != nil && r.cause != nil {
		cause = r.cause
	}
	return nil, mark, s.engine.Class(cause), s.explain(specific(err))
}

// specific gives the store's own account of why the ledger could not record,
// where there is one: it knows about disks and what to do.
func specific(err error) error {
	var outer, inner *writ.Error
	if errors.As(err, &outer) && outer.Kind == writ.KindUnavailable && errors.As(outer.Unwrap(), &inner) && inner.Kind == writ.KindUnavailable {
		return inner
	}
	return err
}

// perform is the act itself, under its savepoint.
func (s *Store) perform(ctx context.Context, w *work, b *ledger.Batch, r *result, fn func(context.Context, *work) (any, error)) (done ledger.Committed, err error) {
	if r.subject, r.mark, err = s.once.replay(ctx, w); r.subject != nil || err != nil {
		return done, err
	}
	if r.subject, err = fn(ctx, w); err != nil {
		return done, err
	}
	if len(w.changed) == 0 {
		// It is so already: the answer names the entry that made it so.
		was := w.rows[idOf(r.subject)]
		r.mark = ledger.Mark{Seq: was.seq, Digest: was.digest, Epoch: b.Epoch()}
		return done, nil
	}
	if done, r.mark, err = w.write(ctx, b); err != nil {
		return done, err
	}
	body, err := encode(r.subject)
	if err != nil {
		return done, err
	}
	// The caller's copy, shared with nobody.
	if r.subject, err = tableOf(idOf(r.subject).Kind()).decode(body); err != nil {
		return done, err
	}
	return done, s.once.remember(ctx, w, body, r.mark)
}

// savepoint runs fn so that its rows alone are undone when it fails: the batch
// goes on for the other callers in it.
func (t *tx) savepoint(ctx context.Context, fn func() error) error {
	if err := t.exec(ctx, "SAVEPOINT act"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		if t.broken == nil {
			// Two statements: PostgreSQL's driver sends them one at a time.
			if e := t.exec(ctx, "ROLLBACK TO SAVEPOINT act"); e == nil {
				e = t.exec(ctx, "RELEASE SAVEPOINT act")
				return errors.Join(err, e)
			} else if t.broken == nil {
				t.broken = e
			}
		}
		return err
	}
	return t.exec(ctx, "RELEASE SAVEPOINT act")
}

// read gives the organization's noun as it stands in this act, or sql.ErrNoRows.
func (w *work) read(ctx context.Context, t *table, id writ.ID) (any, error) {
	if n, ok := w.nouns[id]; ok {
		return n, nil
	}
	r, err := oneRow(ctx, w.tx, t, w.org, id)
	if err != nil {
		return nil, w.readFailed(err)
	}
	return w.keep(t, r)
}

// readFailed notes a failed query: after most failures the transaction is over.
func (w *work) readFailed(err error) error {
	if missing(err) {
		return err
	}
	return w.tx.failed(err)
}

// keep decodes a row that was read, unless the act has it already, and checks
// that it is believed.
func (w *work) keep(t *table, r row) (any, error) {
	if n, ok := w.nouns[r.id]; ok {
		return n, nil
	}
	n, err := t.decode(r.body)
	if err != nil {
		return nil, err
	}
	// What is final gives nothing and is never changed: nobody needs to vouch.
	if !stateOf(n).Final() && !w.believed(r) {
		w.doubted[r.id] = true
	}
	w.nouns[r.id] = n
	w.rows[r.id] = row{id: r.id, seq: r.seq, digest: r.digest}
	return n, nil
}

// believed reports whether a row is the one that was last recorded. Rows that
// an act of the same batch wrote are: nobody else has the transaction.
func (w *work) believed(r row) bool {
	if w.trust == nil {
		return true
	}
	if seq, ok := w.tx.written[r.id]; ok {
		return seq == r.seq
	}
	n, ok := w.trust.Believed(w.org, r.id)
	if !ok || !n.Proven || n.Seq != r.seq {
		return false
	}
	body, err := encode(n.Value)
	return err == nil && bytes.Equal(body, r.body)
}

// unproven is the error of an act that would rest on a row that is not believed.
func unproven(t *table, id writ.ID) error {
	return writ.Errorf(writ.KindCheckFailed, "the row of %s %s does not match its record in the ledger", t.word, id).
		WithWhy("something changed it in the database without going through Writ").
		WithFix("find out what with: writ ledger verify; then revoke it and make it anew")
}

// get reads a noun that the act changes or rests on: it must exist and be
// believed.
func get[T any](ctx context.Context, w *work, id writ.ID) (*T, error) {
	n, err := find[T](ctx, w, id)
	if err == nil && w.doubted[id] {
		return nil, unproven(tableFor[T](), id)
	}
	return n, err
}

// find reads a noun that the act only takes away from: it must exist, and may
// be one that is not believed, so that whatever is in the database can be
// revoked.
func find[T any](ctx context.Context, w *work, id writ.ID) (*T, error) {
	t := tableFor[T]()
	if !id.Is(t.kind) {
		return nil, notFound(t.word, string(id))
	}
	n, err := w.read(ctx, t, id)
	if missing(err) {
		return nil, notFound(t.word, string(id))
	}
	if err != nil {
		return nil, err
	}
	return n.(*T), nil
}

// all reads the nouns that satisfy a condition over columns, as they stand in
// this act. An act that writes what the condition reads must look at the nouns
// again: the columns are those of before the act.
func all[T any](ctx context.Context, w *work, condition string, args ...any) ([]*T, error) {
	t := tableFor[T]()
	rows, err := rowsWhere(ctx, w.tx, t, w.org, condition, args...)
	if err != nil {
		return nil, w.readFailed(err)
	}
	nouns := make([]*T, len(rows))
	for i, r := range rows {
		n, err := w.keep(t, r)
		if err != nil {
			return nil, err
		}
		nouns[i] = n.(*T)
	}
	return nouns, nil
}

// put says that the act changed the noun. An act that suspends or hands over
// many things at once leaves those out that are not believed: writing them
// would make true what somebody put there, and nothing uses them anyway.
func (w *work) put(id writ.ID, noun any) {
	if w.doubted[id] && !stateOf(noun).Final() {
		return
	}
	w.nouns[id] = noun
	if !w.touched[id] {
		w.touched[id] = true
		w.changed = append(w.changed, id)
	}
}

// add says that the act made the noun.
func (w *work) add(id writ.ID, noun any) {
	w.added[id] = true
	w.put(id, noun)
}

// write writes what changed: the entry, then the rows that name it.
func (w *work) write(ctx context.Context, b *ledger.Batch) (ledger.Committed, ledger.Mark, error) {
	change := ledger.Change{Act: w.name, Cause: w.cause, By: w.by, Rows: make([]ledger.Row, len(w.changed))}
	for i, id := range w.changed {
		body, err := encode(w.nouns[id])
		if err != nil {
			return ledger.Committed{}, ledger.Mark{}, err
		}
		change.Rows[i] = ledger.Row{ID: id, Body: body, Personal: personal(w.nouns[id])}
	}
	mark, err := b.Change(change)
	if err != nil {
		return ledger.Committed{}, ledger.Mark{}, err
	}
	done := ledger.Committed{Org: w.org, Epoch: mark.Epoch, Time: w.now, Nouns: make([]ledger.Noun, len(change.Rows))}
	for i, r := range change.Rows {
		t := tableOf(r.ID.Kind())
		if err := w.writeRow(ctx, t, r, mark); err != nil {
			return ledger.Committed{}, ledger.Mark{}, err
		}
		// Subscribers get nouns read back from the bytes that were written: the
		// same as a load would give, and shared with no caller.
		noun, err := t.decode(r.Body)
		if err != nil {
			return ledger.Committed{}, ledger.Mark{}, err
		}
		done.Nouns[i] = ledger.Noun{ID: r.ID, Value: noun, Seq: mark.Seq, Digest: mark.Digest, Proven: true}
	}
	return done, mark, nil
}

func (w *work) writeRow(ctx context.Context, t *table, r ledger.Row, mark ledger.Mark) error {
	digest := mark.Digest[:]
	switch {
	case w.added[r.ID] && t.kind == writ.KindVersion:
		return w.tx.exec(ctx, "INSERT INTO versions (org, id, body, entry_seq, entry_digest, sealed) VALUES ($1, $2, $3, $4, $5, $6)",
			w.org, r.ID, string(r.Body), mark.Seq, digest, w.sealed[r.ID])
	case w.added[r.ID]:
		return w.tx.exec(ctx, "INSERT INTO "+t.name+" (org, id, body, entry_seq, entry_digest) VALUES ($1, $2, $3, $4, $5)",
			w.org, r.ID, string(r.Body), mark.Seq, digest)
	}
	n, err := w.tx.execRows(ctx, "UPDATE "+t.name+" SET body = $3, entry_seq = $4, entry_digest = $5 WHERE org = $1 AND id = $2",
		w.org, r.ID, string(r.Body), mark.Seq, digest)
	if err == nil && n != 1 {
		err = sql.ErrNoRows
	}
	return err
}

// free checks that no other living noun of the kind has the name.
func (w *work) free(ctx context.Context, t *table, name string, self writ.ID) error {
	for id, n := range w.nouns {
		if w.added[id] && id != self && id.Kind() == t.kind && nameOf(n) == name && !stateOf(n).Final() {
			return taken(t, name)
		}
	}
	var id writ.ID
	err := w.tx.QueryRowContext(ctx, "SELECT id FROM "+t.name+" WHERE org = $1 AND name = $2 AND state <> 'revoked'", w.org, name).Scan(&id)
	switch {
	case missing(err) || err == nil && id == self:
		return nil
	case err != nil:
		return w.readFailed(err)
	}
	return taken(t, name)
}

func taken(t *table, name string) error {
	e := writ.Errorf(writ.KindConflict, "there is a %s named %s already", t.word, writ.Printable(name, 80)).
		WithFix("choose another name, or look at it with: writ %s get %s", t.word, writ.Printable(name, 80))
	e.Field = "name"
	return e
}

// newID takes the caller's id, which must be of the kind and unused, or mints one.
func newID(given writ.ID, kind writ.Kind) (writ.ID, error) {
	if given == "" {
		return writ.NewID(kind), nil
	}
	if !given.Is(kind) {
		return "", writ.Invalid("id", "not an id of the right kind: "+writ.Printable(string(given), 40), "leave it away")
	}
	return given, nil
}

// actor checks that whoever acts may still do so, in the transaction of the
// act: an administrator who was revoked a moment ago gives nothing away. The
// zero Actor is the program itself, at the first start.
func (w *work) actor(ctx context.Context) error {
	if w.takes || w.founds || w.by.Identity == "" {
		return nil
	}
	gone := writ.Errorf(writ.KindUnauthenticated, "whoever asked for this may no longer act").
		WithFix("sign in again, or ask an admin")
	i, err := get[writ.Identity](ctx, w, w.by.Identity)
	if writ.KindOf(err) == writ.KindNotFound || err == nil && !i.Live(w.now) {
		return gone
	}
	if err != nil {
		return err
	}
	switch w.by.Via.Kind() {
	case writ.KindKey:
		k, err := get[writ.Key](ctx, w, w.by.Via)
		if writ.KindOf(err) == writ.KindNotFound || err == nil && (!k.Live(w.now, i.Cutoff) || k.Identity != i.ID) {
			return gone
		}
		return err
	case writ.KindSession:
		s, err := get[writ.Session](ctx, w, w.by.Via)
		if writ.KindOf(err) == writ.KindNotFound || err == nil && (!s.Live(w.now) || s.Created < i.Cutoff || s.Identity != i.ID) {
			return gone
		}
		return err
	}
	return nil
}
