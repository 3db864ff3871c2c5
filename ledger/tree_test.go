package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// mth is MTH of RFC 6962, section 2.1, word for word.
func mth(d [][]byte) (h [32]byte) {
	switch len(d) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, d[0]...))
	}
	k := 1
	for k*2 < len(d) {
		k *= 2
	}
	l, r := mth(d[:k]), mth(d[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

// verifyInclusion is RFC 9162, section 2.1.3.2, word for word.
func verifyInclusion(leaf [32]byte, index, size int64, path [][32]byte, root [32]byte) bool {
	if index >= size {
		return false
	}
	fn, sn, r := index, size-1, leaf
	for _, p := range path {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			r = sha256.Sum256(append(append([]byte{1}, p[:]...), r[:]...))
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = sha256.Sum256(append(append([]byte{1}, r[:]...), p[:]...))
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && r == root
}

// verifyConsistency is RFC 9162, section 2.1.4.2, word for word.
func verifyConsistency(first, second int64, older, newer [32]byte, path [][32]byte) bool {
	if first == second {
		return len(path) == 0 && older == newer
	}
	if first&(first-1) == 0 {
		path = append([][32]byte{older}, path...)
	}
	if len(path) == 0 {
		return false
	}
	fn, sn := first-1, second-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			fr = sha256.Sum256(append(append([]byte{1}, c[:]...), fr[:]...))
			sr = sha256.Sum256(append(append([]byte{1}, c[:]...), sr[:]...))
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = sha256.Sum256(append(append([]byte{1}, sr[:]...), c[:]...))
		}
		fn, sn = fn>>1, sn>>1
	}
	return fr == older && sr == newer && sn == 0
}

func plain(p []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(p))
	for i := range p {
		out[i] = p[i]
	}
	return out
}

// grown is a memory with n leaves that are just numbers.
func grown(tb testing.TB, n int64) (*memory, *tree) {
	tb.Helper()
	m, t := newMemory("org_x"), &tree{}
	for i := range n {
		leaf := binary.BigEndian.AppendUint64(nil, uint64(i))
		m.entries = append(m.entries, Entry{Seq: i, Leaf: leaf})
		for _, f := range t.append(tlog.RecordHash(leaf), nil) {
			m.nodes[[2]int64{int64(f.Level), f.Index}] = f.Hashes
		}
	}
	return m, t
}

func TestTreeIsThatOfRFC6962(t *testing.T) {
	var leaves [][]byte
	tr := &tree{}
	for i := range 600 {
		if got, want := tr.root(), mth(leaves); got != tlog.Hash(want) {
			t.Fatalf("root over %d leaves is %v, want %x", i, got, want)
		}
		leaf := []byte{byte(i), byte(i >> 8)}
		leaves = append(leaves, leaf)
		tr.append(tlog.RecordHash(leaf), nil)
	}
}

func TestRebuildGivesTheTreeAtEverySize(t *testing.T) {
	m, _ := grown(t, 66_100) // beyond 256 * 256, so that three levels of tiles exist
	check := func(size int64) {
		got, err := rebuild(t.Context(), m, "org_x", size)
		must(t, err)
		if size == 66_100 {
			// Growing on from a rebuilt tree gives what growing all the way gives.
			_, want := grown(t, 66_101)
			next := got.clone()
			next.append(tlog.RecordHash(binary.BigEndian.AppendUint64(nil, 66_100)), nil)
			if next.root() != want.root() {
				t.Error("a rebuilt tree grows differently")
			}
		}
		_, fresh := grown(t, size)
		if got.root() != fresh.root() || string(got.marshal()) != string(fresh.marshal()) {
			t.Errorf("rebuilt at %d: another root", size)
		}
		for l := range got.open {
			if string(got.open[l]) != string(fresh.open[l]) {
				t.Errorf("rebuilt at %d: another open tile at level %d", size, l)
			}
		}
	}
	for _, size := range []int64{0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_100} {
		check(size)
	}
}

func TestAFailedBatchLeavesThePublishedTreeAlone(t *testing.T) {
	_, t1 := grown(t, 300)
	root, open := t1.root(), string(t1.open[0])
	failed := t1.clone()
	for i := range 400 {
		failed.append(tlog.RecordHash([]byte{byte(i)}), nil)
	}
	retry := t1.detach()
	retry.append(tlog.RecordHash([]byte("other")), nil)
	if t1.root() != root || string(t1.open[0]) != open {
		t.Error("a clone's growth changed the original")
	}
}

// Every proof that the log gives convinces code that was written from the RFC.
func TestProofsConvinceAnIndependentVerifier(t *testing.T) {
	m, tr := grown(t, 66_100)
	l := &Log{cfg: Config{Org: "org_x", Storage: m}}
	l.state.Store(&state{head: Head{Size: tr.size}, tree: tr})
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int64{1, 2, 255, 256, 257, 65_536, 65_537, tr.size}
	for range 40 {
		sizes = append(sizes, 1+rng.Int64N(tr.size))
	}
	for _, size := range sizes {
		root, err := l.Root(t.Context(), size)
		must(t, err)
		seq := rng.Int64N(size)
		proof, err := l.Inclusion(t.Context(), seq, size)
		must(t, err)
		leaf := Entry{Leaf: m.entries[seq].Leaf}.Digest()
		if !verifyInclusion(leaf, seq, size, plain(proof), root) {
			t.Errorf("inclusion of %d in %d is not proven", seq, size)
		}
		if len(proof) > 0 {
			proof[rng.IntN(len(proof))][3] ^= 1
			if verifyInclusion(leaf, seq, size, plain(proof), root) {
				t.Errorf("a wrong path proves %d in %d", seq, size)
			}
		}
		older := 1 + rng.Int64N(size)
		before, err := l.Root(t.Context(), older)
		must(t, err)
		consistency, err := l.Consistency(t.Context(), older, size)
		must(t, err)
		if !verifyConsistency(older, size, before, root, plain(consistency)) {
			t.Errorf("consistency of %d with %d is not proven", older, size)
		}
	}
	for _, c := range [][2]int64{{-1, 5}, {5, 5}, {0, tr.size + 1}} {
		if _, err := l.Inclusion(t.Context(), c[0], c[1]); writ.KindOf(err) != writ.KindNotFound {
			t.Errorf("Inclusion(%d, %d) = %v", c[0], c[1], err)
		}
	}
	// A tile that was changed in the database is not used for a proof.
	m.nodes[[2]int64{0, 3}][100] ^= 1
	if _, err := l.Inclusion(t.Context(), 3*256+3, tr.size); writ.KindOf(err) != writ.KindCheckFailed {
		t.Errorf("a changed tile was used: %v", err)
	}
	m.setHook(func(string) fault { return refuses })
	if _, err := l.Inclusion(t.Context(), 5, tr.size); err != errDisk {
		t.Errorf("a failing storage looks like %v", err)
	}
}

func TestResourcesAreThoseOfTlogTiles(t *testing.T) {
	for path, want := range map[string]Resource{
		"tile/0/x001/x234/067":     {Level: 0, Index: 1234067, Width: 256},
		"tile/0/000.p/1":           {Level: 0, Index: 0, Width: 1},
		"tile/1/000.p/255":         {Level: 1, Index: 0, Width: 255},
		"tile/entries/x001/007":    {Entries: true, Index: 1007, Width: 256},
		"tile/entries/000.p/112":   {Entries: true, Index: 0, Width: 112},
		"tile/5/x999/x999/999.p/2": {Level: 5, Index: 999_999_999, Width: 2},
	} {
		got, err := ParseResource(path)
		if err != nil || got != want || got.Path() != path {
			t.Errorf("ParseResource(%q) = %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/0000", "tile/0/x001", "tile/0/x000/001", "tile/00/001", "tile/6/000", "tile/-1/000",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/1/2", "tile/entries/000/", "tile/entries/+01", "tile/data/000", "checkpoint", "tile/0/x001/x001/x001/x001/x001/001"} {
		if r, err := ParseResource(path); err == nil {
			t.Errorf("ParseResource(%q) = %+v", path, r)
		}
	}
}

func TestTilesAreServedFullAndPartial(t *testing.T) {
	b, w := opened(t)
	for range 300 {
		b.change(false, Change{Act: "edit", By: writ.Actor{Identity: w.ana.ID}}, nil)
	}
	var leaves []byte
	var bundle []byte
	for _, e := range b.m.entries {
		h := e.Digest()
		leaves = append(leaves, h[:]...)
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(e.Leaf))), e.Leaf...)
	}
	read := func(path string) []byte {
		r, err := ParseResource(path)
		must(t, err)
		got, err := b.Read(t.Context(), r)
		must(t, err)
		return got
	}
	if got := read("tile/0/000"); string(got) != string(leaves[:256*32]) {
		t.Error("the full tile is another")
	}
	if got := read("tile/0/000.p/7"); string(got) != string(leaves[:7*32]) {
		t.Error("a partial tile that is full by now is not its beginning")
	}
	if got := read("tile/0/001.p/46"); string(got) != string(leaves[256*32:302*32]) {
		t.Error("the open tile is another")
	}
	if got := read("tile/1/000.p/1"); string(got) != string(func() []byte { h := subtree(leaves[:256*32]); return h[:] }()) {
		t.Error("the tile above is another")
	}
	if got := append(read("tile/entries/000"), read("tile/entries/001.p/46")...); string(got) != string(bundle) {
		t.Error("the bundles are not the entries")
	}
	for _, path := range []string{"tile/0/001.p/47", "tile/0/001", "tile/1/000", "tile/2/000.p/1", "tile/entries/001.p/47", "tile/entries/002.p/1"} {
		r, err := ParseResource(path)
		must(t, err)
		if _, err := b.Read(t.Context(), r); writ.KindOf(err) != writ.KindNotFound {
			t.Errorf("%s = %v", path, err)
		}
	}
	b.close()
	b.verify()
}
