package ledger

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// VerifyConfig says which log to verify and against what.
type VerifyConfig struct {
	Reader Reader // of VerifyExport, nil
	Org    writ.ID
	// Checkpoints are signed notes that the log must match and extend; each needs
	// a signature by one of Keys.
	Keys        []note.Verifier
	Checkpoints [][]byte
	// Progress, when set, is called now and then with how many entries are done.
	Progress func(done, total int64)
	// Late is the age from which an allow without an outcome is a finding; zero is
	// ten minutes.
	Late time.Duration
	// Partial accepts parts that are withheld without an erasure entry: the log is
	// an extract that shows some parts only.
	Partial bool
}

// Report is what a verification found.
type Report struct {
	Org        writ.ID
	Size       int64
	Root       [32]byte
	Epoch      writ.Epoch
	LastChange int64

	Changes     int64
	Allows      int64
	Outcomes    int64 // uses that have one
	Denials     int64 // recorded one by one
	Repeats     int64 // counted in summaries
	Cuts        int64
	Withheld    int64 // parts that are erased or not shown
	Checkpoints int   // that matched

	Problems []Problem // why the log is not to be believed, in the order of the entries
	Findings []Finding // what is worth a look in a log that is
}

// OK reports that the log is what it says it is.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Problem is one reason not to believe the log.
type Problem struct {
	Seq   int64 // of the entry, -1 when it is about the whole
	What  string
	Means string
}

// Finding is something that the log shows, honestly, and somebody should know.
type Finding struct {
	Seq  int64
	ID   writ.ID
	What string
}

// maxProblems bounds a report: after the first few the rest are consequences.
const maxProblems = 20

// defaultLate is longer than any upstream is waited for without traffic.
const defaultLate = 10 * time.Minute

// Verify derives a log anew and compares everything that is stored with what it
// derives: spelling, order and time of entries, their parts, the tree with its
// tiles and head, the chain of changes, and that no allow follows the end of
// anything it rests on. It shares nothing with the writer but the formats: the
// tree is x/mod's tlog, the rules are written down a second time. The error is
// about reading; what is wrong with the log is in the report.
func Verify(ctx context.Context, cfg VerifyConfig) (*Report, error) {
	v, err := newVerification(&cfg)
	if err != nil {
		return nil, err
	}
	head, err := cfg.Reader.Head(ctx, cfg.Org)
	if err != nil {
		return nil, err
	}
	v.total = head.Size
	err = cfg.Reader.Entries(ctx, cfg.Org, 0, head.Size, func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.full = v.full[:0]
		if err := v.add(e); err != nil {
			return err
		}
		return v.checkTiles(ctx)
	})
	if errors.Is(err, errGap) {
		return v.finish(), nil
	}
	if err != nil {
		return nil, err
	}
	if v.size != head.Size {
		v.problem(v.size, "the entry is missing", "entries were deleted: the head says there are more")
		return v.finish(), nil
	}
	v.checkHead(&head)
	if err := v.checkMarks(ctx); err != nil {
		return nil, err
	}
	return v.finish(), v.checkBeyond(ctx, head)
}

// derivedTile is a full tile as the verification derived it.
type derivedTile struct {
	level  int
	index  int64
	hashes []byte
}

func (v *verification) checkTiles(ctx context.Context) error {
	for _, t := range v.full {
		n, err := v.cfg.Reader.Node(ctx, v.cfg.Org, t.level, t.index)
		switch {
		case writ.KindOf(err) == writ.KindNotFound:
			v.problem(v.size-1, "a tile of the tree is not stored", "proofs about these entries cannot be made")
		case err != nil:
			return err
		case string(n.Hashes) != string(t.hashes):
			seq := v.size - 1
			if t.level == 0 {
				seq = t.index*tileWidth + firstOther(n.Hashes, t.hashes)
			}
			v.problem(seq, "a stored tile of the tree is not the one that the entries make", "the tree was changed without its entries, or an entry without the tree")
		}
	}
	return nil
}

// firstOther is the number of the first hash in which two tiles differ.
func firstOther(a, b []byte) int64 {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return int64(i / tlog.HashSize)
		}
	}
	return 0
}

func (v *verification) checkHead(h *Head) {
	var frontier []byte
	for level := 62; level >= 0; level-- {
		if v.size>>level&1 == 1 {
			frontier = append(frontier, v.kept[level].hash[:]...)
		}
	}
	if string(frontier) != string(h.Frontier) {
		v.problem(-1, "the head's frontier is not the one that the entries make", "entries or the head were changed after they were written")
	}
	if h.Epoch != v.epoch || h.LastChange != v.lastChange {
		v.problem(-1, "the head counts changes that the entries do not show, or fewer", "the head was changed, or changes were hidden")
	}
	if v.size > 0 && (h.Time != v.time || h.Incarnation != v.incarnation) {
		v.problem(-1, "the head has another time or incarnation than the newest entry", "the head was changed")
	}
}

// checkMarks compares the change entries that the storage lists as such with
// those that are.
func (v *verification) checkMarks(ctx context.Context) error {
	i := 0
	err := v.cfg.Reader.Changes(ctx, v.cfg.Org, 0, v.size, func(e Entry) error {
		if i >= len(v.changes) || v.changes[i] != e.Seq {
			return errGap
		}
		i++
		return nil
	})
	if errors.Is(err, errGap) || err == nil && i != len(v.changes) {
		v.problem(-1, "the list of changes is not that of the change entries", "a change was hidden from whoever loads the state, or one was made up")
		return nil
	}
	return err
}

// checkBeyond looks for entries behind a head that has not moved meanwhile.
func (v *verification) checkBeyond(ctx context.Context, head Head) error {
	found := false
	err := v.cfg.Reader.Entries(ctx, v.cfg.Org, head.Size, head.Size+1, func(Entry) error { found = true; return nil })
	if err != nil || !found {
		return err
	}
	again, err := v.cfg.Reader.Head(ctx, v.cfg.Org)
	if err == nil && again.Size == head.Size {
		v.problem(head.Size, "there is an entry behind the head", "the head was set back, or an entry was written without it")
	}
	return err
}

// verification is the state of one run, over entries in order.
type verification struct {
	cfg    *VerifyConfig
	report *Report
	total  int64

	// The tree: of each level the newest complete subtree, which is all that tlog
	// asks for, and the hashes of tiles that are not full yet.
	size int64
	kept [63]keptHash
	open [tileLevels][]byte
	full []derivedTile // completed by the newest entry

	time        writ.Time
	incarnation int64
	epoch       int64
	lastChange  int64
	changes     []int64

	rows        map[writ.ID]rowState
	pending     map[writ.ID]pendingUse
	withheld    map[Erased]bool
	checkpoints []Checkpoint // the smallest first
}

type keptHash struct {
	n    int64 // the subtree's number at its level, plus 1
	hash tlog.Hash
}

// rowState is what the log says of a row so far.
type rowState struct {
	seq      int64 // of the newest change
	expires  writ.Time
	uses     int64 // allowed in all, 0 is unlimited
	used     int64
	inactive bool
	final    bool
}

type pendingUse struct {
	seq  int64
	time writ.Time
}

func newVerification(cfg *VerifyConfig) (*verification, error) {
	if cfg.Late == 0 {
		cfg.Late = defaultLate
	}
	v := &verification{cfg: cfg, lastChange: -1, report: &Report{Org: cfg.Org},
		rows: map[writ.ID]rowState{}, pending: map[writ.ID]pendingUse{}, withheld: map[Erased]bool{}}
	for _, signed := range cfg.Checkpoints {
		c, err := OpenCheckpoint(signed, note.VerifierList(cfg.Keys...))
		var unknown *note.UnverifiedNoteError
		switch {
		case errors.As(err, &unknown):
			return nil, writ.Errorf(writ.KindCheckFailed, "a checkpoint has no signature by a known key").WithFix("give the log's key, as printed by: writ status")
		case err != nil:
			return nil, writ.Errorf(writ.KindCheckFailed, "a checkpoint is damaged or was tampered with").WithCause(err)
		}
		v.checkpoints = append(v.checkpoints, c)
	}
	slices.SortFunc(v.checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return v, nil
}

func (v *verification) problem(seq int64, what, means string) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, Problem{seq, what, means})
	}
}

// ReadHashes gives tlog the hashes it needs to go on: always the newest
// complete subtrees.
func (v *verification) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		if level >= len(v.kept) || v.kept[level].n != n+1 {
			return nil, errors.New("ledger: a hash that is not kept")
		}
		out[i] = v.kept[level].hash
	}
	return out, nil
}

// grow adds a leaf to the tree.
func (v *verification) grow(leaf []byte) error {
	stored, err := tlog.StoredHashesForRecordHash(v.size, tlog.RecordHash(leaf), v)
	if err != nil {
		return err
	}
	for level, h := range stored {
		v.kept[level] = keptHash{n: v.size>>level + 1, hash: h}
		if level%tileHeight != 0 {
			continue
		}
		t := level / tileHeight
		v.open[t] = append(v.open[t], h[:]...)
		if len(v.open[t]) == tileSize {
			v.full = append(v.full, derivedTile{t, v.size >> (level + tileHeight), v.open[t]})
			v.open[t] = nil
		}
	}
	v.size++
	return nil
}

// checkpointsHere compares the checkpoints of the size just reached.
func (v *verification) checkpointsHere() error {
	for len(v.checkpoints) > 0 && v.checkpoints[0].Size <= v.size {
		c := v.checkpoints[0]
		v.checkpoints = v.checkpoints[1:]
		root, err := tlog.TreeHash(v.size, v)
		switch {
		case err != nil:
			return err
		case c.Size != v.size || root != c.Root:
			v.problem(v.size-1, "the entries up to here are not those that a signed checkpoint covers", "the history was rewritten after it was signed, or the checkpoint is another log's")
		case c.Epoch != (writ.Epoch{Incarnation: v.incarnation, N: v.epoch}) || c.LastChange != v.lastChange:
			v.problem(v.size-1, "a signed checkpoint counts other changes than the entries show", "the server that signed it was not this one")
		default:
			v.report.Checkpoints++
		}
	}
	return nil
}

// finish makes the report of what was seen.
func (v *verification) finish() *Report {
	r := v.report
	r.Size, r.LastChange, r.Epoch = v.size, v.lastChange, writ.Epoch{Incarnation: v.incarnation, N: v.epoch}
	if root, err := tlog.TreeHash(v.size, v); err == nil {
		r.Root = root
	}
	if len(v.checkpoints) > 0 && r.OK() {
		v.problem(-1, "a signed checkpoint covers more entries than the log has", "the newest entries were cut off, or the log is a copy older than the checkpoint")
	}
	if !v.cfg.Partial {
		gone := slices.SortedFunc(maps.Keys(v.withheld), func(a, b Erased) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, w := range gone {
			v.problem(w.Seq, "its part "+w.Part+" is gone and no entry announces an erasure", "somebody removed it without a record")
		}
	}
	var late []Finding
	for use, p := range v.pending {
		if v.time-p.time >= writ.Time(v.cfg.Late.Milliseconds()) {
			late = append(late, Finding{p.seq, use, "the use was allowed and has no outcome: a crash or a hang"})
		}
	}
	slices.SortFunc(late, func(a, b Finding) int { return cmp.Compare(a.Seq, b.Seq) })
	r.Findings = append(r.Findings, late...)
	if v.cfg.Progress != nil {
		v.cfg.Progress(v.size, max(v.total, v.size))
	}
	return r
}
