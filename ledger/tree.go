package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// Tiles are those of C2SP tlog-tiles: 8 levels of the tree high, 256 hashes wide.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileSize   = tileWidth * tlog.HashSize

	// tileLevels is enough for the 2^40 entries that an organization's keys have
	// room for.
	tileLevels = 6
)

// tree is the writer's view of the Merkle tree: the compact range over all
// leaves, and the tiles that are not full yet. It is changed by appending only,
// on a clone, so that a batch that fails leaves nothing behind and readers of a
// published tree are never disturbed.
type tree struct {
	size int64
	// frontier has the root of each perfect subtree, the largest first: one for
	// each set bit of size.
	frontier []tlog.Hash
	// open has, for each tile level, the hashes that are not in a full tile.
	// Clones share the arrays and append behind one another's length.
	open [tileLevels][]byte
}

func (t *tree) clone() *tree {
	c := *t
	c.frontier = append(make([]tlog.Hash, 0, len(t.frontier)+8), t.frontier...)
	return &c
}

// detach is a clone that shares nothing: what a failed batch appended behind
// the open tiles may still be in a storage's hands.
func (t *tree) detach() *tree {
	c := t.clone()
	for i := range c.open {
		c.open[i] = slices.Clone(c.open[i])
	}
	return c
}

// append adds a leaf hash and appends the tiles that it completed to full.
func (t *tree) append(leaf tlog.Hash, full []Node) []Node {
	h := leaf
	full = t.push(0, h, full)
	level := 0
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.frontier) - 1
		h = tlog.NodeHash(t.frontier[last], h)
		t.frontier = t.frontier[:last]
		if level++; level%tileHeight == 0 {
			full = t.push(level/tileHeight, h, full)
		}
	}
	t.frontier = append(t.frontier, h)
	t.size++
	return full
}

func (t *tree) push(level int, h tlog.Hash, full []Node) []Node {
	t.open[level] = append(t.open[level], h[:]...)
	if len(t.open[level]) == tileSize {
		index := (t.size+1)>>(tileHeight*(level+1)) - 1
		full = append(full, Node{Level: level, Index: index, Hashes: t.open[level]})
		t.open[level] = nil
	}
	return full
}

func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	h := t.frontier[len(t.frontier)-1]
	for i := len(t.frontier) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.frontier[i], h)
	}
	return h
}

func (t *tree) marshal() []byte {
	b := make([]byte, 0, len(t.frontier)*tlog.HashSize)
	for i := range t.frontier {
		b = append(b, t.frontier[i][:]...)
	}
	return b
}

// subtree is the root of a perfect subtree over hashes, whose number is a power
// of two.
func subtree(hashes []byte) (h tlog.Hash) {
	if len(hashes) == tlog.HashSize {
		copy(h[:], hashes)
		return h
	}
	half := len(hashes) / 2
	return tlog.NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}

// rebuild derives the tree over the first size entries from what is stored: the
// open tile of leaves from leaves, those above from full tiles. What it gives
// is worth as much as those are: the caller compares its root or frontier with
// something it trusts.
func rebuild(ctx context.Context, r Reader, org writ.ID, size int64) (*tree, error) {
	t := &tree{size: size}
	for level := range tileLevels {
		end := size >> (tileHeight * level)
		begin := end &^ (tileWidth - 1)
		if begin == end {
			continue
		}
		t.open[level] = make([]byte, 0, tileSize)
		if level == 0 {
			next := begin
			err := r.Entries(ctx, org, begin, end, func(e Entry) error {
				if e.Seq != next {
					return missingEntry(next)
				}
				next++
				h := tlog.RecordHash(e.Leaf)
				t.open[0] = append(t.open[0], h[:]...)
				return nil
			})
			if err == nil && next != end {
				err = missingEntry(next)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		for i := begin; i < end; i++ {
			n, err := fullTile(ctx, r, org, level-1, i)
			if err != nil {
				return nil, err
			}
			h := subtree(n)
			t.open[level] = append(t.open[level], h[:]...)
		}
	}
	for level := tileLevels - 1; level >= 0; level-- {
		hashes := t.open[level]
		for len(hashes) > 0 {
			k := tlog.HashSize << (bits.Len(uint(len(hashes)/tlog.HashSize)) - 1)
			t.frontier = append(t.frontier, subtree(hashes[:k]))
			hashes = hashes[k:]
		}
	}
	return t, nil
}

func fullTile(ctx context.Context, r Reader, org writ.ID, level int, index int64) ([]byte, error) {
	n, err := r.Node(ctx, org, level, index)
	if err != nil {
		return nil, err
	}
	if len(n.Hashes) != tileSize {
		return nil, refuseHistory("the ledger's stored tree is damaged", "a tile has the wrong size", "run: writ ledger verify --data FOLDER")
	}
	return n.Hashes, nil
}

func missingEntry(seq int64) error {
	return writ.Errorf(writ.KindCheckFailed, "entry %d of the ledger is missing", seq).
		WithWhy("the entries are numbered without gaps and the head says there are more").
		WithFix("restore the database from a backup, then run: writ ledger verify --data FOLDER")
}

// sameHead reports that both describe the same log at the same place.
func sameHead(a, b *Head) bool {
	return a.Org == b.Org && a.Incarnation == b.Incarnation && a.Size == b.Size && a.Epoch == b.Epoch &&
		a.LastChange == b.LastChange && a.Time == b.Time && bytes.Equal(a.Frontier, b.Frontier)
}
