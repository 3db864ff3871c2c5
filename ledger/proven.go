package ledger

import (
	"context"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// RowProof binds a row's newest record: the entry's seq, and one hash over the
// entry's digest and the row's body. It is small because a store holds one for
// every row while it loads.
type RowProof struct {
	Seq  int64
	bind [32]byte
}

// Matches reports whether a stored row is the one that the newest change entry
// with its id recorded, and names that entry (invariant 12).
func (p RowProof) Matches(seq int64, digest [32]byte, body []byte) bool {
	return p.Seq == seq && p.bind == bind(digest, body)
}

func bind(digest [32]byte, body []byte) (sum [32]byte) {
	h := hashers.Get().(*hasher)
	h.h.Reset()
	h.h.Write(digest[:])
	h.h.Write(body)
	h.h.Sum(h.sum[:0])
	sum = h.sum
	hashers.Put(h)
	return sum
}

// Proven reads every change entry of the log up to its newest durable state
// and gives, for each row they name, what the row must be. Each entry's leaf is
// checked against the tree's root through its tile, and the chain of changes
// (each names the one before, and counts) against the head, so that no change
// can be hidden by taking away its row or its mark. A row whose newest record
// is withheld has no proof.
func (l *Log) Proven(ctx context.Context) (map[writ.ID]RowProof, writ.Epoch, error) {
	s := l.state.Load()
	rows, err := Proven(ctx, l.cfg.Storage, s.head)
	return rows, writ.Epoch{Incarnation: s.head.Incarnation, N: s.head.Epoch}, err
}

// Proven is like Log.Proven for a head that the caller trusts.
func Proven(ctx context.Context, r Reader, head Head) (map[writ.ID]RowProof, error) {
	t, err := rebuild(ctx, r, head.Org, head.Size)
	if err != nil {
		return nil, err
	}
	if string(t.marshal()) != string(head.Frontier) {
		return nil, refuseHistory("the ledger's head does not match its entries", "something changed the database without going through Writ", "run: writ ledger verify --data FOLDER")
	}
	rows := make(map[writ.ID]RowProof)
	leaves := leafPath{ctx: ctx, r: r, org: head.Org, tree: t}
	last, epoch := int64(-1), int64(0)
	err = r.Changes(ctx, head.Org, 0, head.Size, func(e Entry) error {
		digest := tlog.RecordHash(e.Leaf)
		want, err := leaves.hash(e.Seq)
		if err != nil {
			return err
		}
		ch, err := DecodeChange(e)
		if err != nil || want != digest || ch.Org != head.Org {
			return badChange(e.Seq, "it is not the entry that the tree has there")
		}
		if ch.Prev != last || ch.Epoch != epoch+1 {
			return badChange(e.Seq, "a change before it is missing")
		}
		last, epoch = e.Seq, ch.Epoch
		// What the entry names and does not show has no proof; a row that it shows
		// is bound below.
		for _, id := range ch.Refs {
			delete(rows, id)
		}
		for _, row := range ch.Rows {
			rows[row.ID] = RowProof{Seq: e.Seq, bind: bind(digest, row.Body)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last != head.LastChange || epoch != head.Epoch {
		return nil, badChange(head.LastChange, "the head counts "+strconv.FormatInt(head.Epoch, 10)+" changes and the log shows "+strconv.FormatInt(epoch, 10))
	}
	return rows, nil
}

func badChange(seq int64, why string) error {
	return refuseHistory("the change at entry "+strconv.FormatInt(seq, 10)+" of the ledger cannot be believed", why, "run: writ ledger verify --data FOLDER; then restore the database from a backup")
}

// leafPath gives proven leaf hashes in ascending order cheaply: it keeps the
// path of proven tiles from the top to the last leaf, and proves each new tile
// by the hash that its parent has for it.
type leafPath struct {
	ctx  context.Context
	r    Reader
	org  writ.ID
	tree *tree // proven: its open tiles were compared with the root

	index [tileLevels]int64 // of the tile kept at each level, plus 1; 0 is none
	full  [tileLevels][]byte
}

func (p *leafPath) hash(seq int64) (tlog.Hash, error) { return p.at(0, seq) }

// at is the hash number n at a tile level.
func (p *leafPath) at(level int, n int64) (h tlog.Hash, err error) {
	have := p.tree.size >> (tileHeight * level)
	if level >= tileLevels || n < 0 || n >= have {
		return h, errNoTile
	}
	index, within := n/tileWidth, n%tileWidth
	if index == have/tileWidth {
		copy(h[:], p.tree.open[level][within*tlog.HashSize:])
		return h, nil
	}
	if p.index[level] != index+1 {
		tile, err := fullTile(p.ctx, p.r, p.org, level, index)
		if err != nil {
			return h, err
		}
		want, err := p.at(level+1, index)
		if err != nil {
			return h, err
		}
		if subtree(tile) != want {
			return h, refuseHistory("the ledger's stored tree does not match its root", "a tile is not the one that the tree has there", "run: writ ledger verify --data FOLDER")
		}
		p.index[level], p.full[level] = index+1, tile
	}
	copy(h[:], p.full[level][within*tlog.HashSize:])
	return h, nil
}
