package store

import (
	"context"
	"database/sql"
	"errors"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// snapshotTries bounds how often Load looks for a snapshot whose head the log
// has published. Batches take milliseconds and publishing microseconds, so one
// more look nearly always does.
const snapshotTries = 1000

// Load yields every noun of the organization as one consistent state, with its
// epoch: what a view of authority is built from. A noun is Proven when its row
// is, byte for byte, what the newest change entry that names it recorded, the
// row names that entry, and the entry is a leaf of the verified tree
// (invariant 12). So a row that somebody inserted, altered or set back to an
// older state comes out unproven, and so does one that was deleted: with its id
// and a nil Value. yield must not call the store.
func (s *Store) Load(ctx context.Context, org writ.ID, yield func(ledger.Noun) error) (writ.Epoch, error) {
	log, err := s.openLog(ctx, org)
	if err != nil {
		return writ.Epoch{}, err
	}
	for range snapshotTries {
		head, matched, err := s.loadSnapshot(ctx, log, org, yield)
		if err != nil || matched {
			return writ.Epoch{Incarnation: head.Incarnation, N: head.Epoch}, s.explain(err)
		}
	}
	return writ.Epoch{}, writ.Errorf(writ.KindUnavailable, "the ledger's head in the database is not the one that this server wrote").
		WithFix("look for another server on this database, then run: writ ledger verify")
}

// loadSnapshot loads one snapshot, if its head is one that the log has
// published: the log's tree is what the head is believed by. Otherwise it has
// yielded nothing and matched is false.
func (s *Store) loadSnapshot(ctx context.Context, log *ledger.Log, org writ.ID, yield func(ledger.Noun) error) (head ledger.Head, matched bool, err error) {
	before := log.Head()
	t, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return head, false, err
	}
	defer func() { err = errors.Join(err, t.Rollback()) }()
	r := reader{s.core, t}
	if head, err = r.Head(ctx, org); err != nil {
		return head, false, err
	}
	if after := log.Head(); !same(head, before) && !same(head, after) {
		return head, false, nil
	}
	proofs, err := ledger.Proven(ctx, r, head)
	if err != nil {
		return head, false, err
	}
	for _, tb := range tables {
		if err := loadTable(ctx, t, tb, org, proofs, yield); err != nil {
			return head, false, err
		}
	}
	for id, p := range proofs {
		if err := yield(ledger.Noun{ID: id, Seq: p.Seq}); err != nil {
			return head, false, err
		}
	}
	return head, true, nil
}

func same(a, b ledger.Head) bool {
	return a.Incarnation == b.Incarnation && a.Size == b.Size && a.Epoch == b.Epoch && string(a.Frontier) == string(b.Frontier)
}

// loadTable yields a table's rows, and takes their proofs out of proofs.
func loadTable(ctx context.Context, q querier, tb *table, org writ.ID, proofs map[writ.ID]ledger.RowProof, yield func(ledger.Noun) error) error {
	rows, err := q.QueryContext(ctx, "SELECT "+rowColumns+" FROM "+tb.name+" WHERE org = $1 ORDER BY created, id", org)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return err
		}
		n := ledger.Noun{ID: r.id, Seq: r.seq, Digest: r.digest}
		proof, ok := proofs[r.id]
		delete(proofs, r.id)
		n.Proven = ok && r.id.Is(tb.kind) && proof.Matches(r.seq, r.digest, r.body)
		if n.Value, err = tb.decode(r.body); err != nil {
			// Somebody wrote something there that is no such noun.
			n.Value, n.Proven = nil, false
		}
		if err := yield(n); err != nil {
			return err
		}
	}
	return rows.Err()
}
