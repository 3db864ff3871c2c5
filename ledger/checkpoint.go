package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// Checkpoint is what a signed note says about a log (C2SP tlog-checkpoint). The
// extension line commits it to the number of changes and the newest of them, so
// that who walks the chain of changes from there knows that none is missing.
type Checkpoint struct {
	Origin     string
	Size       int64
	Root       [32]byte
	Epoch      writ.Epoch
	LastChange int64 // seq of the newest change entry, -1 when there is none
}

// Text is the note's text.
func (c *Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n" +
		"epoch " + strconv.FormatInt(c.Epoch.Incarnation, 10) + " " + strconv.FormatInt(c.Epoch.N, 10) + " " + strconv.FormatInt(c.LastChange, 10) + "\n"
}

var errCheckpoint = errors.New("ledger: not a checkpoint")

// ParseCheckpoint reads the text of a checkpoint whose signature was checked.
// Other extension lines are allowed and ignored.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" || lines[0] == "" {
		return Checkpoint{}, errCheckpoint
	}
	c := Checkpoint{Origin: lines[0], LastChange: -1}
	var ok bool
	if c.Size, ok = parseCount(lines[1]); !ok {
		return Checkpoint{}, errCheckpoint
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != 32 {
		return Checkpoint{}, errCheckpoint
	}
	c.Root = [32]byte(root)
	for _, line := range lines[3 : len(lines)-1] {
		rest, found := strings.CutPrefix(line, "epoch ")
		f := strings.Split(rest, " ")
		if !found || len(f) != 3 {
			continue
		}
		var ok1, ok2, ok3 bool
		c.Epoch.Incarnation, ok1 = parseCount(f[0])
		c.Epoch.N, ok2 = parseCount(f[1])
		if f[2] != "-1" {
			c.LastChange, ok3 = parseCount(f[2])
		}
		if !ok1 || !ok2 || !ok3 && f[2] != "-1" {
			return Checkpoint{}, errCheckpoint
		}
		return c, nil
	}
	return Checkpoint{}, errCheckpoint
}

// parseCount reads a decimal number with one spelling.
func parseCount(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// OpenCheckpoint checks a note's signature against known keys and reads it.
func OpenCheckpoint(signed []byte, keys note.Verifiers) (Checkpoint, error) {
	n, err := note.Open(signed, keys)
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(n.Text)
}

// signed is the newest checkpoint that was made.
type signed struct {
	mu   sync.Mutex
	head Head
	note []byte
	kept bool // it is in the anchor
	// anchored is the size of the newest checkpoint that is in the anchor.
	anchored int64
}

// Checkpoint signs the newest durable size and gives the note; it is anchored
// when this returns without error. Checkpoints are made in the order of their
// sizes and of published states only, each of which extends the one before, so
// no two of them can contradict each other.
func (l *Log) Checkpoint(context.Context) ([]byte, error) {
	l.signed.mu.Lock()
	defer l.signed.mu.Unlock()
	s := l.state.Load()
	if l.signed.note == nil || !sameHead(&l.signed.head, &s.head) {
		c := s.checkpoint(l.cfg.Origin)
		n, err := note.Sign(&note.Note{Text: c.Text()}, l.cfg.Signer)
		if err != nil {
			return nil, err
		}
		l.signed.head, l.signed.note, l.signed.kept = s.head, n, false
	}
	if !l.signed.kept && l.cfg.Anchor != nil {
		if err := l.cfg.Anchor.Save(l.cfg.Org, l.signed.note); err != nil {
			return nil, err
		}
	}
	l.signed.kept, l.signed.anchored = true, l.signed.head.Size
	return l.signed.note, nil
}

func (s *state) checkpoint(origin string) Checkpoint {
	return Checkpoint{Origin: origin, Size: s.head.Size, Root: s.tree.root(),
		Epoch: writ.Epoch{Incarnation: s.head.Incarnation, N: s.head.Epoch}, LastChange: s.head.LastChange}
}

// checkpointLoop signs and anchors a growing log every second. A failure is
// tried again a second later; Checkpoint's callers see it, and Counts shows an
// anchor that stays behind.
func (l *Log) checkpointLoop() {
	defer close(l.sealed)
	for {
		s := l.state.Load()
		l.signed.mu.Lock()
		fresh := l.signed.kept && sameHead(&l.signed.head, &s.head)
		l.signed.mu.Unlock()
		if fresh {
			select {
			case <-s.grown:
				continue
			case <-l.done:
				return
			}
		}
		_, _ = l.Checkpoint(l.ctx)
		select {
		case <-time.After(checkpointEvery):
		case <-l.done:
			return
		}
	}
}

// checkAnchor refuses a database that does not extend the newest checkpoint
// kept outside it.
func (l *Log) checkAnchor(ctx context.Context, head Head, t *tree) error {
	if l.cfg.Anchor == nil {
		return nil
	}
	saved, err := l.cfg.Anchor.Load(l.cfg.Org)
	if err != nil || saved == nil {
		return err
	}
	const damaged = "the checkpoint kept outside the database cannot be used"
	text, err := l.ownNote(saved)
	if err != nil {
		return refuseHistory(damaged, "it is not signed with this log's key", "put back the checkpoint file and the key that belong to this database").WithCause(err)
	}
	c, err := ParseCheckpoint(text)
	if err != nil || c.Origin != l.cfg.Origin {
		return refuseHistory(damaged, "it belongs to another log or is damaged", "put back the checkpoint file that belongs to this database")
	}
	const fix = "put back the newest copy of the database; an older one lacks changes that were made since, revocations among them"
	if c.Size > head.Size {
		return refuseHistory("the database is older than the last checkpoint kept outside it",
			"the checkpoint covers "+strconv.FormatInt(c.Size, 10)+" entries and the database has "+strconv.FormatInt(head.Size, 10), fix)
	}
	root, err := rootAt(ctx, l.cfg.Storage, l.cfg.Org, t, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return refuseHistory("the database's history was rewritten", "its first "+strconv.FormatInt(c.Size, 10)+" entries are not those of the last checkpoint kept outside it", fix)
	}
	return checkTail(ctx, l.cfg.Storage, head, &c)
}

// ownNote gives the text of a note that this log's key signed. A Signer cannot
// verify, but Ed25519 is deterministic: signing the text again gives the very
// signature.
func (l *Log) ownNote(saved []byte) (string, error) {
	body, signatures, ok := strings.Cut(string(saved), "\n\n")
	if !ok {
		return "", errCheckpoint
	}
	text := body + "\n"
	again, err := note.Sign(&note.Note{Text: text}, l.cfg.Signer)
	if err != nil {
		return "", err
	}
	ours := strings.TrimPrefix(string(again), text+"\n")
	for line := range strings.Lines(signatures) {
		if line == ours {
			return text, nil
		}
	}
	return "", errCheckpoint
}

// checkTail counts the changes behind a trusted checkpoint, so that the head's
// epoch and newest change are what the entries say and not what a row claims.
func checkTail(ctx context.Context, r Reader, head Head, c *Checkpoint) error {
	epoch, last := c.Epoch.N, c.LastChange
	err := r.Entries(ctx, head.Org, c.Size, head.Size, func(e Entry) error {
		leaf, err := ParseLeaf(e.Leaf)
		if err == nil && leaf.Type == TypeChange {
			epoch, last = epoch+1, e.Seq
		}
		return err
	})
	if err != nil {
		return err
	}
	if epoch != head.Epoch || last != head.LastChange || head.Incarnation < c.Epoch.Incarnation {
		return refuseHistory("the ledger's head does not match its changes", "something changed the database without going through Writ", "run: writ ledger verify --data FOLDER; then restore the database from a backup")
	}
	return nil
}

// extends reports that the new log has the old one as its beginning.
func extends(ctx context.Context, r Reader, old Head, before *tree, head Head, t *tree) error {
	const why, fix = "another process wrote to the database, or it was replaced", "stop every other server on this database, then start this one again"
	if head.Size < old.Size || head.Incarnation < old.Incarnation || head.Epoch < old.Epoch || head.Time < old.Time {
		return refuseHistory("the ledger's head went backwards", why, fix)
	}
	root, err := rootAt(ctx, r, head.Org, t, old.Size)
	if err != nil {
		return err
	}
	if root != before.root() {
		return refuseHistory("the ledger's history was rewritten while the server ran", why, fix)
	}
	return nil
}

// genesis opens the first incarnation of an empty log, through the same code
// that commits everything else.
func (l *Log) genesis(ctx context.Context) error {
	a := &act{waiter: waiter{done: make(chan error, 1)}, places: l.actPlaces}
	a.fn = func(_ context.Context, _ Tx, b *Batch) (func(), error) {
		b.head.Incarnation, b.head.LastChange = max(b.head.Incarnation, 1), -1
		var p packer
		core := appendInt([]byte(`{"key":`), int64(l.cfg.Signer.KeyHash()))
		core = append(appendID(append(core, `,"origin":`...), writ.ID(l.cfg.Origin)), '}')
		p.part(PartCore, core)
		b.add(TypeGenesis, &p)
		return nil, nil
	}
	l.actPlaces <- struct{}{}
	l.process(&work{acts: []*act{a}})
	return a.wait(ctx)
}

// tiles reads a tree's tiles: full ones from storage, open ones from memory.
type tiles struct {
	ctx  context.Context
	r    Reader
	org  writ.ID
	tree *tree
	err  error // of the storage, to tell it from tiles that do not fit
}

// ReadHashes gives hashes of the tree, every one checked against the root.
func (s *tiles) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	h, err := tlog.TileHashReader(tlog.Tree{N: s.tree.size, Hash: s.tree.root()}, s).ReadHashes(indexes)
	if err != nil && s.err == nil {
		return nil, refuseHistory("the ledger's stored tree does not match its root", "something changed the database without going through Writ", "run: writ ledger verify --data FOLDER").WithCause(err)
	}
	return h, err
}

// rootAt is the root of the tree over the first size entries.
func rootAt(ctx context.Context, r Reader, org writ.ID, t *tree, size int64) (tlog.Hash, error) {
	if size == 0 || size == t.size {
		if size == 0 {
			t = &tree{}
		}
		return t.root(), nil
	}
	return tlog.TreeHash(size, &tiles{ctx: ctx, r: r, org: org, tree: t})
}

// Height is that of C2SP tlog-tiles.
func (*tiles) Height() int { return tileHeight }

// SaveTiles keeps nothing: storage has the tiles already.
func (*tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles gives tiles of at most the tree's size.
func (s *tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(want))
	for i, t := range want {
		b, err := s.read(t.L, t.N, t.W)
		if err != nil {
			s.err = err
			return nil, err
		}
		data[i] = b
	}
	return data, nil
}

func (s *tiles) read(level int, index int64, width int) ([]byte, error) {
	if level < 0 || level >= tileLevels || index < 0 || width < 1 || width > tileWidth {
		return nil, errNoTile
	}
	have := s.tree.size>>(tileHeight*level) - index*tileWidth
	if have < int64(width) {
		return nil, errNoTile
	}
	hashes := s.tree.open[level]
	if have >= tileWidth {
		var err error
		if hashes, err = fullTile(s.ctx, s.r, s.org, level, index); err != nil {
			return nil, err
		}
	}
	return hashes[:width*tlog.HashSize], nil
}

var errNoTile = writ.Errorf(writ.KindNotFound, "the log has no such tile yet")
