package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// seqBits is how many bits of an entry's key are its seq; the organization's
// number is above them. 2^40 entries are 35 years at 1,000 a second.
const seqBits = 40

// span is the half-open range of entry keys of one organization's seqs.
func span(number, from, to int64) (lo, hi int64) {
	return number<<seqBits | from, number<<seqBits + to
}

// querier is what reads need: a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// storage is the ledger's view of the store.
type storage struct{ c *core }

const sqlLockHead = `UPDATE log_head SET size = size WHERE org = $1
	RETURNING number, incarnation, size, epoch, last_change, time, frontier, (SELECT token FROM holder WHERE one = 1)`

// Begin implements ledger.Storage. The update locks the head's row: on SQLite
// by the one writer, on PostgreSQL until the end of the transaction.
func (s storage) Begin(ctx context.Context, org writ.ID) (ledger.Tx, ledger.Head, error) {
	if err := s.c.spare.admit(); err != nil {
		return nil, ledger.Head{}, err
	}
	// A batch is many callers' work: none of them may cancel it.
	ctx = context.WithoutCancel(ctx)
	s.c.statements.prepare(ctx, s.c.write)
	t, err := s.c.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, ledger.Head{}, s.c.explain(err)
	}
	h := ledger.Head{Org: org}
	var token string
	err = t.QueryRowContext(ctx, sqlLockHead, org).
		Scan(&h.Number, &h.Incarnation, &h.Size, &h.Epoch, &h.LastChange, &h.Time, &h.Frontier, &token)
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound("org", string(org))
	} else if err == nil && token != s.c.token {
		err = writ.Errorf(writ.KindUnavailable, "another server has taken over the database").
			WithFix("let only one of the two run, and restart it")
	}
	if err != nil {
		return nil, ledger.Head{}, errors.Join(s.c.explain(err), t.Rollback())
	}
	return &tx{c: s.c, sql: t, org: org, number: h.Number, written: map[writ.ID]int64{}, left: map[writ.ID]int64{}}, h, nil
}

// tx is the transaction of one batch.
type tx struct {
	c      *core
	sql    *sql.Tx
	org    writ.ID
	number int64
	// broken is set when the transaction must not go on; cause is the driver's
	// error behind it.
	broken, cause error
	// written are the nouns that acts of this batch have changed so far, with the
	// seq of the entry: the index does not know of them before COMMIT.
	written map[writ.ID]int64
	// left are the limited grants that this batch looked at, and the uses that
	// they have left once it is committed.
	left map[writ.ID]int64
}

// entryChunk is how many entries one statement inserts: past a few rows the
// statement costs less than its arguments.
const entryChunk = 16

var sqlInsertEntries, sqlInsertChanges = inserts(`INSERT INTO entries (at, leaf, pack) VALUES `, 3), inserts(`INSERT INTO changes (at) VALUES `, 1)

// inserts are the insert statements for 1 to entryChunk rows of n columns.
func inserts(head string, n int) (texts [entryChunk + 1]string) {
	for rows := 1; rows <= entryChunk; rows++ {
		texts[rows] = head + tuples(rows, n, 1)
	}
	return texts
}

// tuples is "($1,$2),($3,$4)" for rows tuples of n parameters from number first.
func tuples(rows, n, first int) string {
	var b strings.Builder
	for r := range rows {
		if r > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "$%d", first+r*n+i)
		}
		b.WriteByte(')')
	}
	return b.String()
}

const (
	sqlInsertNode = `INSERT INTO nodes (org, level, idx, hashes) VALUES ($1, $2, $3, $4)
		ON CONFLICT (org, level, idx) DO UPDATE SET hashes = excluded.hashes`
	sqlUpdateHead = `UPDATE log_head SET incarnation = $2, size = $3, epoch = $4, last_change = $5, time = $6, frontier = $7 WHERE org = $1`
)

// Write implements ledger.Tx.
func (t *tx) Write(ctx context.Context, entries []ledger.Entry, changes []int64, nodes []ledger.Node, head ledger.Head) error {
	ctx = context.WithoutCancel(ctx)
	args := make([]any, 0, 3*entryChunk)
	for len(entries) > 0 {
		n := min(len(entries), entryChunk)
		args = args[:0]
		for _, e := range entries[:n] {
			args = append(args, t.number<<seqBits|e.Seq, e.Leaf, e.Pack)
		}
		if err := t.exec(ctx, sqlInsertEntries[n], args...); err != nil {
			return err
		}
		entries = entries[n:]
	}
	for len(changes) > 0 {
		n := min(len(changes), entryChunk)
		args = args[:0]
		for _, seq := range changes[:n] {
			args = append(args, t.number<<seqBits|seq)
		}
		if err := t.exec(ctx, sqlInsertChanges[n], args...); err != nil {
			return err
		}
		changes = changes[n:]
	}
	for _, n := range nodes {
		if err := t.exec(ctx, sqlInsertNode, t.number, n.Level, n.Index, n.Hashes); err != nil {
			return err
		}
	}
	frontier := head.Frontier
	if frontier == nil {
		frontier = []byte{}
	}
	return t.exec(ctx, sqlUpdateHead, t.org, head.Incarnation, head.Size, head.Epoch, head.LastChange, int64(head.Time), frontier)
}

// Commit implements ledger.Tx.
func (t *tx) Commit(ctx context.Context) error {
	if t.broken != nil {
		return errors.Join(t.broken, t.Rollback(ctx))
	}
	err := t.sql.Commit() // both drivers end the transaction when it fails
	if err == nil {
		t.c.limits.set(t.org, t.left)
		t.c.uses.notice(t.org)
	}
	return t.c.explainCommit(err)
}

// Rollback implements ledger.Tx.
func (t *tx) Rollback(context.Context) error {
	if err := t.sql.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) && t.broken == nil {
		return t.c.explain(err)
	}
	return nil
}

// exec runs a statement, through its prepared form where there is one.
func (t *tx) exec(ctx context.Context, query string, args ...any) error {
	_, err := t.execRows(ctx, query, args...)
	return err
}

func (t *tx) execRows(ctx context.Context, query string, args ...any) (affected int64, err error) {
	if t.broken != nil {
		return 0, t.broken
	}
	var r sql.Result
	if st := t.c.statements.get(query); st != nil {
		r, err = t.sql.StmtContext(ctx, st).ExecContext(ctx, args...)
	} else {
		r, err = t.sql.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return 0, t.failed(err)
	}
	return r.RowsAffected()
}

// failed notes errors after which the database may have ended the transaction
// by itself (SQLite does on a full disk, among others). What is run after that
// would be outside any transaction and stay, so nothing more is run.
func (t *tx) failed(err error) error {
	shown := t.c.explain(err)
	class := t.c.engine.Class(err)
	over := class != ClassUnique && class != ClassOther || errors.Is(err, sql.ErrTxDone) || errors.Is(err, sql.ErrConnDone)
	if over && t.broken == nil {
		t.broken, t.cause = shown, err
	}
	return shown
}

// QueryContext and QueryRowContext make a tx a querier.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	if st := t.c.statements.get(query); st != nil {
		return t.sql.StmtContext(ctx, st).QueryContext(ctx, args...)
	}
	return t.sql.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if st := t.c.statements.get(query); st != nil {
		return t.sql.StmtContext(ctx, st).QueryRowContext(ctx, args...)
	}
	return t.sql.QueryRowContext(ctx, query, args...)
}

// spare is the disk reserve's state: once it was given up for an urgent act,
// nothing else is written until there is space again.
type spare struct {
	reserve Reserve
	clock   func() time.Time
	spent   atomic.Bool
	urgent  atomic.Int64 // urgent acts under way that may use the reserve
	tried   atomic.Int64 // when the reserve was last tried to be restored, Unix seconds
}

// admit refuses a batch while the reserve is spent, unless an urgent act is
// in it. Other work that shares that batch uses a little of the reserve too:
// the batch is bounded, and the next one is refused.
func (s *spare) admit() error {
	if s.reserve == nil || !s.spent.Load() || s.urgent.Load() > 0 {
		return nil
	}
	now := s.clock().Unix()
	if last := s.tried.Swap(now); last != now && s.reserve.Restore() {
		s.spent.Store(false)
		return nil
	}
	return writ.Errorf(writ.KindUnavailable, "the disk is full").
		WithWhy("what cannot be recorded is not done; the reserve is kept for revocations").
		WithFix("free space on the volume of the data folder; nothing needs a restart")
}

// retry reports whether an urgent act that failed with err should be tried
// again because the reserve was given up for it.
func (s *spare) retry(class Class) bool {
	if s.reserve == nil || class != ClassFull {
		return false
	}
	s.spent.Store(true)
	return s.reserve.Release()
}
