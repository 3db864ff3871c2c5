package store

import (
	"context"
	"database/sql"
	"errors"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// reader reads logs through q: the read pool, or one transaction where several
// reads must see the same state.
type reader struct {
	c *core
	q querier
}

func (s storage) reader() reader { return reader{s.c, s.c.read} }

// Head implements ledger.Reader.
func (s storage) Head(ctx context.Context, org writ.ID) (ledger.Head, error) {
	return s.reader().Head(ctx, org)
}

// Entries implements ledger.Reader.
func (s storage) Entries(ctx context.Context, org writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	return s.reader().Entries(ctx, org, from, to, yield)
}

// Changes implements ledger.Reader.
func (s storage) Changes(ctx context.Context, org writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	return s.reader().Changes(ctx, org, from, to, yield)
}

// Node implements ledger.Reader.
func (s storage) Node(ctx context.Context, org writ.ID, level int, index int64) (ledger.Node, error) {
	return s.reader().Node(ctx, org, level, index)
}

// Head is where the organization's log stands.
func (r reader) Head(ctx context.Context, org writ.ID) (ledger.Head, error) {
	h := ledger.Head{Org: org}
	err := r.q.QueryRowContext(ctx, `SELECT number, incarnation, size, epoch, last_change, time, frontier FROM log_head WHERE org = $1`, org).
		Scan(&h.Number, &h.Incarnation, &h.Size, &h.Epoch, &h.LastChange, &h.Time, &h.Frontier)
	if errors.Is(err, sql.ErrNoRows) {
		return h, notFound("org", string(org))
	}
	return h, r.c.explain(err)
}

// number is the organization's number, which never changes.
func (r reader) number(ctx context.Context, org writ.ID) (int64, error) {
	if n, ok := r.c.numbers.Load(org); ok {
		return n.(int64), nil
	}
	h, err := r.Head(ctx, org)
	if err == nil {
		r.c.numbers.Store(org, h.Number)
	}
	return h.Number, err
}

// pageEntries bounds how many entries one query reads, so that a long scan
// holds neither much memory nor, on one connection, the database.
const pageEntries = 1024

const (
	sqlEntries = `SELECT at, leaf, pack FROM entries WHERE at >= $1 AND at < $2 ORDER BY at LIMIT $3`
	sqlChanges = `SELECT c.at, e.leaf, e.pack FROM changes c JOIN entries e ON e.at = c.at
		WHERE c.at >= $1 AND c.at < $2 ORDER BY c.at LIMIT $3`
)

// Entries yields the entries with from <= seq < to, in order.
func (r reader) Entries(ctx context.Context, org writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	return r.scan(ctx, sqlEntries, org, from, to, yield)
}

// Changes yields the change entries with from <= seq < to, in order.
func (r reader) Changes(ctx context.Context, org writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	return r.scan(ctx, sqlChanges, org, from, to, yield)
}

func (r reader) scan(ctx context.Context, query string, org writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	number, err := r.number(ctx, org)
	if err != nil {
		return err
	}
	lo, hi := span(number, max(from, 0), to)
	for lo < hi {
		page, err := r.page(ctx, query, lo, hi)
		if err != nil {
			return err
		}
		for _, e := range page {
			lo = e.Seq + 1
			e.Seq -= number << seqBits
			if err := yield(e); err != nil {
				return err
			}
		}
		if len(page) < pageEntries {
			return nil
		}
	}
	return nil
}

// page reads up to pageEntries entries; their Seq is still the whole key.
func (r reader) page(ctx context.Context, query string, lo, hi int64) ([]ledger.Entry, error) {
	rows, err := r.q.QueryContext(ctx, query, lo, hi, pageEntries)
	if err != nil {
		return nil, r.c.explain(err)
	}
	defer rows.Close()
	var page []ledger.Entry
	for rows.Next() {
		var e ledger.Entry
		if err := rows.Scan(&e.Seq, &e.Leaf, &e.Pack); err != nil {
			return nil, r.c.explain(err)
		}
		page = append(page, e)
	}
	return page, r.c.explain(rows.Err())
}

// Node gives the stored full tile.
func (r reader) Node(ctx context.Context, org writ.ID, level int, index int64) (ledger.Node, error) {
	n := ledger.Node{Level: level, Index: index}
	number, err := r.number(ctx, org)
	if err != nil {
		return n, err
	}
	err = r.q.QueryRowContext(ctx, `SELECT hashes FROM nodes WHERE org = $1 AND level = $2 AND idx = $3`, number, level, index).Scan(&n.Hashes)
	if errors.Is(err, sql.ErrNoRows) {
		return n, writ.Errorf(writ.KindNotFound, "no tile %d/%d", level, index)
	}
	return n, r.c.explain(err)
}
