package ledger

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// Inclusion is the RFC 6962 audit path (section 2.1.1) of the entry at seq in
// the tree over the first size entries.
func (l *Log) Inclusion(ctx context.Context, seq, size int64) (tlog.RecordProof, error) {
	t := l.state.Load().tree
	if seq < 0 || seq >= size || size > t.size {
		return nil, errOutside
	}
	return tlog.ProveRecord(size, seq, &tiles{ctx: ctx, r: l.cfg.Storage, org: l.cfg.Org, tree: t})
}

// Consistency is the RFC 6962 consistency proof (section 2.1.2) that the first
// older entries of the tree over newer entries are those of the older tree.
func (l *Log) Consistency(ctx context.Context, older, newer int64) (tlog.TreeProof, error) {
	t := l.state.Load().tree
	if older < 1 || older > newer || newer > t.size {
		return nil, errOutside
	}
	return tlog.ProveTree(newer, older, &tiles{ctx: ctx, r: l.cfg.Storage, org: l.cfg.Org, tree: t})
}

// Root is the tree's root over the first size entries.
func (l *Log) Root(ctx context.Context, size int64) (tlog.Hash, error) {
	t := l.state.Load().tree
	if size < 0 || size > t.size {
		return tlog.Hash{}, errOutside
	}
	return rootAt(ctx, l.cfg.Storage, l.cfg.Org, t, size)
}

var errOutside = writ.Errorf(writ.KindNotFound, "the log does not have that many entries")

// Entry is the entry at seq.
func (l *Log) Entry(ctx context.Context, seq int64) (Entry, error) {
	var found Entry
	if seq < 0 || seq >= l.state.Load().head.Size {
		return found, errOutside
	}
	err := l.cfg.Storage.Entries(ctx, l.cfg.Org, seq, seq+1, func(e Entry) error { found = e; return nil })
	if err == nil && found.Leaf == nil {
		err = missingEntry(seq)
	}
	return found, err
}

// Resource is one file of the log as C2SP tlog-tiles lays it out: a tile at a
// level, or the bundle of entries that a level-0 tile is over.
type Resource struct {
	Entries bool
	Level   int
	Index   int64
	Width   int // 256 when full
}

var errNoResource = writ.Errorf(writ.KindNotFound, "the log has no such file")

// ParseResource reads "tile/<L>/<N>[.p/<W>]" and "tile/entries/<N>[.p/<W>]",
// where N is written in groups of three digits, all but the last after an x.
func ParseResource(path string) (Resource, error) {
	r := Resource{Width: tileWidth}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return r, errNoResource
	}
	if level == "entries" {
		r.Entries = true
	} else if n, ok := parseCount(level); ok && n < tileLevels {
		r.Level = int(n)
	} else {
		return r, errNoResource
	}
	if number, width, partial := strings.Cut(rest, ".p/"); partial {
		n, ok := parseCount(width)
		if !ok || n < 1 || n >= tileWidth {
			return r, errNoResource
		}
		r.Width, rest = int(n), number
	}
	groups := strings.Split(rest, "/")
	if len(groups) > 5 {
		return r, errNoResource
	}
	for i, g := range groups {
		digits := strings.TrimPrefix(g, "x")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || len(digits) != 3 || (g == digits) != (i == len(groups)-1) {
			return r, errNoResource
		}
		r.Index = r.Index*1000 + int64(n)
	}
	if r.Path() != path {
		return r, errNoResource
	}
	return r, nil
}

// Path is the resource's path, the inverse of ParseResource.
func (r Resource) Path() string {
	n := r.Index
	s := pad(n % 1000)
	for n >= 1000 {
		n /= 1000
		s = "x" + pad(n%1000) + "/" + s
	}
	level := "entries"
	if !r.Entries {
		level = strconv.Itoa(r.Level)
	}
	if r.Width != tileWidth {
		s += ".p/" + strconv.Itoa(r.Width)
	}
	return "tile/" + level + "/" + s
}

func pad(n int64) string {
	s := strconv.FormatInt(n, 10)
	return "000"[len(s):] + s
}

// Read gives a resource's bytes, or writ.KindNotFound while the log is too
// short for it. A bundle is each entry's leaf after its length as a big-endian
// uint16.
func (l *Log) Read(ctx context.Context, r Resource) ([]byte, error) {
	if !r.Entries {
		return l.Tile(ctx, r.Level, r.Index, r.Width)
	}
	from := r.Index * tileWidth
	if r.Index < 0 || r.Width < 1 || r.Width > tileWidth || from+int64(r.Width) > l.state.Load().head.Size {
		return nil, errNoTile
	}
	var b []byte
	next := from
	err := l.cfg.Storage.Entries(ctx, l.cfg.Org, from, from+int64(r.Width), func(e Entry) error {
		if e.Seq != next || len(e.Leaf) > 1<<16-1 {
			return missingEntry(next)
		}
		next++
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Leaf)))
		b = append(b, e.Leaf...)
		return nil
	})
	if err == nil && next != from+int64(r.Width) {
		err = missingEntry(next)
	}
	return b, err
}

// Tile gives the first width hashes of a tile, 32 bytes each.
func (l *Log) Tile(ctx context.Context, level int, index int64, width int) ([]byte, error) {
	t := &tiles{ctx: ctx, r: l.cfg.Storage, org: l.cfg.Org, tree: l.state.Load().tree}
	return t.read(level, index, width)
}
