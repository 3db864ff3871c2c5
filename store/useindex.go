package store

import (
	"context"
	"database/sql"
	"strconv"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// useIndex keeps the table uses behind the ledger. Rows and the watermark move
// in one transaction, so a crash at any point leaves a table that is right up
// to its watermark, and the next catch-up goes on from there.
type useIndex struct {
	c *core

	mu    sync.Mutex // one catch-up at a time; also guards names and texts
	names map[nameKey]int64
	texts map[int64]string // by number

	dirtyMu sync.Mutex
	dirty   map[writ.ID]struct{} // organizations whose logs grew

	poke   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

type nameKey struct {
	org  int64 // the organization's number: names of two never meet
	text string
}

const (
	// indexDelay is how long the index may lie behind: long enough to write in
	// bulk, short enough that little is left to do when somebody searches.
	indexDelay = 250 * time.Millisecond
	// indexChunk bounds one transaction, which holds the writer for milliseconds.
	indexChunk = 500
	// maxNames bounds the cache of names; a full cache begins anew.
	maxNames = 1 << 17
)

func newUseIndex(c *core) *useIndex {
	u := &useIndex{c: c, dirty: map[writ.ID]struct{}{}, poke: make(chan struct{}, 1), done: make(chan struct{})}
	u.forget()
	return u
}

func (u *useIndex) forget() {
	u.names, u.texts = map[nameKey]int64{}, map[int64]string{}
}

// start begins to follow the logs.
func (u *useIndex) start() {
	ctx, cancel := context.WithCancel(context.Background())
	u.cancel = cancel
	go func() {
		defer close(u.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-u.poke:
			}
			pause := time.NewTimer(indexDelay)
			select {
			case <-ctx.Done():
				pause.Stop()
				return
			case <-pause.C:
			}
			for _, org := range u.takeDirty() {
				if err := u.catchUp(ctx, org); err != nil && ctx.Err() == nil {
					// A search catches up by itself, and says what is wrong.
					u.c.cfg.Log.Warn("the index of uses lies behind", "org", org, "cause", err)
				}
			}
		}
	}()
}

func (u *useIndex) stop() {
	if u.cancel != nil {
		u.cancel()
		<-u.done
	}
}

// notice says that an organization's log grew. It never blocks.
func (u *useIndex) notice(org writ.ID) {
	u.dirtyMu.Lock()
	u.dirty[org] = struct{}{}
	u.dirtyMu.Unlock()
	select {
	case u.poke <- struct{}{}:
	default:
	}
}

func (u *useIndex) takeDirty() []writ.ID {
	u.dirtyMu.Lock()
	defer u.dirtyMu.Unlock()
	orgs := make([]writ.ID, 0, len(u.dirty))
	for org := range u.dirty {
		orgs = append(orgs, org)
	}
	clear(u.dirty)
	return orgs
}

// catchUp indexes what is durable and not indexed yet.
func (u *useIndex) catchUp(ctx context.Context, org writ.ID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var number, size, indexed int64
	err := u.c.read.QueryRowContext(ctx, `SELECT number, size, indexed FROM log_head WHERE org = $1`, org).Scan(&number, &size, &indexed)
	if missing(err) {
		return notFound("org", string(org))
	}
	for err == nil && indexed < size {
		to := min(indexed+indexChunk, size)
		if u.c.spare.spent.Load() {
			return u.c.spare.admit() // the reserve is for revocations
		}
		if err = u.index(ctx, org, number, indexed, to); err != nil {
			u.forget() // numbers of names that were rolled back
		}
		indexed = to
	}
	return err
}

// useRow is a row of uses before its texts are numbered.
type useRow struct {
	Use
	at int64
}

// index writes the rows for the entries from <= seq < to.
func (u *useIndex) index(ctx context.Context, org writ.ID, number, from, to int64) error {
	var rows []useRow
	byDecision := map[writ.ID]int{}
	var late []useRow // outcomes and repeats of what was indexed before
	err := storage{u.c}.Entries(ctx, org, from, to, func(e ledger.Entry) error {
		found, err := usesIn(e)
		if err != nil {
			return err
		}
		for _, r := range found {
			r.at = number<<seqBits | e.Seq
			i, here := byDecision[r.Decision]
			switch {
			case r.Time != 0 && !here:
				byDecision[r.Decision] = len(rows)
				rows = append(rows, r)
			case here:
				merge(&rows[i].Use, &r.Use)
			default:
				late = append(late, r)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t, err := u.c.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // after Commit it does nothing
	if err := u.insert(ctx, t, number, rows); err != nil {
		return err
	}
	lo, hi := span(number, 0, from)
	for _, r := range late {
		outcome, err := u.numbered(ctx, t, number, string(r.Outcome))
		if err != nil {
			return err
		}
		if _, err := t.ExecContext(ctx, `UPDATE uses SET repeats = repeats + $4, outcome = outcome + $5, outcome_at = outcome_at + $6, status = status + $7, millis = millis + $8
			WHERE decision = $1 AND at >= $2 AND at < $3`, r.Decision, lo, hi, r.Repeats, outcome, r.OutcomeSeq, r.Status, r.Millis); err != nil {
			return err
		}
	}
	if _, err := t.ExecContext(ctx, `UPDATE log_head SET indexed = $2 WHERE org = $1`, org, to); err != nil {
		return err
	}
	return t.Commit()
}

// usesIn reads what an entry says of uses: a row to be made (with its Time), or
// what is to be added to one that exists (without).
func usesIn(e ledger.Entry) ([]useRow, error) {
	leaf, err := ledger.ParseLeaf(e.Leaf)
	if err != nil {
		return nil, err
	}
	switch leaf.Type {
	case ledger.TypeAllow:
		v, err := ledger.DecodeAllow(e)
		if err != nil {
			return withheld(err)
		}
		return []useRow{verdictRow(v)}, nil
	case ledger.TypeDenials:
		d, err := ledger.DecodeDenials(e)
		if err != nil {
			return withheld(err)
		}
		if d.Verdict != nil {
			return []useRow{verdictRow(d.Verdict)}, nil
		}
		return []useRow{{Use: Use{Decision: d.Repeats.Decision, Repeats: d.Repeats.Count}}}, nil
	case ledger.TypeOutcomes:
		o, err := ledger.DecodeOutcomes(e)
		if err != nil {
			return withheld(err)
		}
		rows := make([]useRow, len(o.List))
		for i, out := range o.List {
			rows[i].Use = Use{Decision: writ.DecisionOf(out.Use), Outcome: out.Kind, OutcomeSeq: e.Seq, Status: out.Status, Millis: out.Millis}
		}
		return rows, nil
	}
	return nil, nil
}

// withheld lets entries pass whose parts were erased: there is nothing to find
// in them.
func withheld(err error) ([]useRow, error) {
	if err == ledger.ErrWithheld {
		return nil, nil
	}
	return nil, err
}

func verdictRow(v *ledger.Verdict) useRow {
	d := &v.Decision
	r := useRow{Use: Use{Time: v.Leaf.Time, Decision: d.ID, Allow: d.Allow, Reason: d.Reason(),
		Session: d.Session, Identity: d.Identity, Credential: d.Credential, Grant: d.Grant}}
	if v.Ask != nil {
		r.Method, r.Host, r.Path = v.Ask.Method, v.Ask.Host, v.Ask.Target.Raw
	}
	return r
}

func merge(into, more *Use) {
	into.Repeats += more.Repeats
	if more.Outcome != "" {
		into.Outcome, into.OutcomeSeq, into.Status, into.Millis = more.Outcome, more.OutcomeSeq, more.Status, more.Millis
	}
}

const useWidth = 17

var sqlInsertUses = inserts("INSERT INTO uses ("+useColumns+") VALUES ", useWidth)

func (u *useIndex) insert(ctx context.Context, t *sql.Tx, number int64, rows []useRow) error {
	args := make([]any, 0, useWidth*entryChunk)
	for len(rows) > 0 {
		n := min(len(rows), entryChunk)
		args = args[:0]
		for i := range rows[:n] {
			r := &rows[i]
			var names [8]int64
			for j, text := range []string{string(r.Session), string(r.Identity), string(r.Credential), string(r.Grant), r.Host, string(r.Reason), r.Method, string(r.Outcome)} {
				var err error
				if names[j], err = u.numbered(ctx, t, number, text); err != nil {
					return err
				}
			}
			allow := 0
			if r.Allow {
				allow = 1
			}
			args = append(args, r.at, r.Decision, allow, int64(r.Time), names[0], names[1], names[2], names[3], names[4], names[5], names[6],
				r.Path, r.Repeats, names[7], r.OutcomeSeq, r.Status, r.Millis)
		}
		if _, err := t.ExecContext(ctx, sqlInsertUses[n], args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// numbered is the integer for a text, made where there is none; 0 is "".
func (u *useIndex) numbered(ctx context.Context, t *sql.Tx, org int64, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	key := nameKey{org, text}
	if n, ok := u.names[key]; ok {
		return n, nil
	}
	var n int64
	err := t.QueryRowContext(ctx, `INSERT INTO names (org, text) VALUES ($1, $2) ON CONFLICT (org, text) DO UPDATE SET text = excluded.text RETURNING n`, org, text).Scan(&n)
	if err != nil {
		return 0, err
	}
	u.remember(key, n)
	return n, nil
}

func (u *useIndex) remember(key nameKey, n int64) {
	if len(u.names) >= maxNames {
		u.forget()
	}
	u.names[key], u.texts[n] = n, key.text
}

// number is the integer for a text, 0 when no use has it.
func (u *useIndex) number(ctx context.Context, org int64, text string) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := nameKey{org, text}
	if n, ok := u.names[key]; ok {
		return n, nil
	}
	var n int64
	err := u.c.read.QueryRowContext(ctx, `SELECT n FROM names WHERE org = $1 AND text = $2`, org, text).Scan(&n)
	if missing(err) {
		return 0, nil
	}
	if err == nil {
		u.remember(key, n)
	}
	return n, u.c.explain(err)
}

// text is the inverse of number.
func (u *useIndex) text(ctx context.Context, org, n int64) (string, error) {
	if n == 0 {
		return "", nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if text, ok := u.texts[n]; ok {
		return text, nil
	}
	var text string
	if err := u.c.read.QueryRowContext(ctx, `SELECT text FROM names WHERE org = $1 AND n = $2`, org, n).Scan(&text); err != nil {
		if missing(err) {
			return "", writ.Errorf(writ.KindInternal, "the index of uses has no name %s", strconv.FormatInt(n, 10))
		}
		return "", u.c.explain(err)
	}
	u.remember(nameKey{org, text}, n)
	return text, nil
}

// RebuildUses throws the index of uses away, so that it is made anew from the
// ledger.
func (s *Store) RebuildUses(ctx context.Context, org writ.ID) error {
	number, err := reader{s.core, s.read}.number(ctx, org)
	if err != nil {
		return err
	}
	lo, hi := span(number, 0, 1<<seqBits-1)
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	t, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(err)
	}
	defer func() { _ = t.Rollback() }()
	if _, err := t.ExecContext(ctx, `DELETE FROM uses WHERE at >= $1 AND at < $2`, lo, hi); err != nil {
		return s.explain(err)
	}
	if _, err := t.ExecContext(ctx, `DELETE FROM names WHERE org = $1`, number); err != nil {
		return s.explain(err)
	}
	if _, err := t.ExecContext(ctx, `UPDATE log_head SET indexed = 0 WHERE org = $1`, org); err != nil {
		return s.explain(err)
	}
	s.uses.forget()
	return s.explain(t.Commit())
}
