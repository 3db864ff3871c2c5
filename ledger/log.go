package ledger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
)

// Config is what a Log is made of.
type Config struct {
	Org     writ.ID
	Storage Storage
	Signer  note.Signer // signs checkpoints; its name is the Origin
	Origin  string      // the checkpoints' first line, "writ/<org id>"; it never changes
	Clock   func() time.Time
	// Anchor keeps the newest checkpoint outside the database, so that a database
	// that was rolled back or rewritten is noticed; nil is none.
	Anchor Anchor
	// Uncertain is told that a commit's result is unknown or that the log had to
	// stop: what was read from it may be stale. It is called before any caller
	// of the batch wakes, and must not call the Log.
	Uncertain func(error)
}

// Anchor is where the newest checkpoint is kept outside the database. Save is
// durable when it returns.
type Anchor interface {
	// Load gives the last saved note, nil when there is none.
	Load(org writ.ID) ([]byte, error)
	Save(org writ.ID, note []byte) error
}

const (
	// batchTimeout bounds one batch's time in the database: far above any healthy
	// commit, below what a caller would wait for.
	batchTimeout = 30 * time.Second
	// patience is how long callers wait while nobody can tell whether their batch
	// was committed.
	patience = 5 * time.Second
	// lazyDelay is how long outcomes and denials wait for a batch to ride on.
	lazyDelay = 100 * time.Millisecond
	// retryDelay is how long they wait after a batch that failed.
	retryDelay = time.Second
	// checkpointEvery is how often a growing log is signed and anchored: what a
	// thief of the database could cut off unnoticed.
	checkpointEvery = time.Second

	// Bounds of one batch: large enough to amortise an fsync, small enough that
	// a revocation behind it waits for milliseconds.
	maxBatchActs     = 64
	maxBatchUses     = 1024
	maxBatchOutcomes = 4096
	maxBatchDenials  = 256

	// Bounds of what may wait. Beyond them callers of Append and Act wait for a
	// place; urgent acts have places of their own.
	queuedActs = 256
	queuedUses = 8192
	// manyOutcomes makes a batch of outcomes alone worth its fsync.
	manyOutcomes = 512
)

// Log is the ledger of one organization. It is safe for concurrent use. One
// goroutine, the committer, writes; see commit.go.
type Log struct {
	cfg Config

	ctx    context.Context // of the committer; cancelled when Close gives up
	cancel context.CancelFunc
	wake   chan struct{} // tells the committer that there is work
	done   chan struct{} // closed when the committer has ended
	sealed chan struct{} // closed when the checkpointer has ended

	urgentPlaces, actPlaces, usePlaces chan struct{}

	q queue
	// state is the newest durable one. Only the committer stores it.
	state atomic.Pointer[state]
	// tree and recent (see Batch) are the committer's: the published tree or a
	// detached copy of it, and what the newest changes touched.
	tree   *tree
	recent recent

	denied denialTable
	signed signed
	counts counters
}

// state is a place of the log that is durable; it never changes.
type state struct {
	head  Head
	tree  *tree
	grown chan struct{} // closed when a newer state is published
}

// queue is what waits for the committer, under its mutex.
type queue struct {
	mu       sync.Mutex
	urgent   []*act
	acts     []*act
	uses     []*use
	outcomes []writ.Outcome
	denials  []*packer
	lazyAt   time.Time // when outcomes and denials are written even alone; zero: none wait
	// open are the uses that were allowed and have no outcome yet: it bounds the
	// outcomes that can wait, and makes a second outcome of one use impossible.
	open    map[writ.ID]struct{}
	closing bool
	stopped error // set for good when the log cannot go on
}

type counters struct {
	batches, unauthenticated, strays atomic.Int64
}

// Counts are figures for metrics.
type Counts struct {
	Entries         int64
	Epoch           int64
	Batches         int64 // committed since the log was opened
	OpenUses        int   // allowed, without an outcome yet
	Unauthenticated int64 // denials of nobody in particular, which are only counted
	Strays          int64 // outcomes of uses that are not open: a defect of the caller
	Anchored        int64 // entries that the newest anchored checkpoint covers
}

// Counts gives the log's figures now.
func (l *Log) Counts() Counts {
	h := l.state.Load().head
	l.q.mu.Lock()
	open := len(l.q.open)
	l.q.mu.Unlock()
	l.signed.mu.Lock()
	anchored := l.signed.anchored
	l.signed.mu.Unlock()
	return Counts{Entries: h.Size, Epoch: h.Epoch, Anchored: anchored, Batches: l.counts.batches.Load(), OpenUses: open,
		Unauthenticated: l.counts.unauthenticated.Load(), Strays: l.counts.strays.Load()}
}

// Open recovers the log of an organization and starts its committer. It gives
// a writ.KindCheckFailed error when the database is not the one that the anchor
// vouches for. An empty log gets its genesis entry.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	switch {
	case cfg.Storage == nil || cfg.Signer == nil || cfg.Clock == nil || cfg.Org == "":
		return nil, errors.New("ledger: Config lacks Org, Storage, Signer or Clock")
	case cfg.Origin == "" || cfg.Signer.Name() != cfg.Origin:
		return nil, errors.New("ledger: the signer's name is not the origin")
	}
	if cfg.Uncertain == nil {
		cfg.Uncertain = func(error) {}
	}
	head, t, err := recoverHead(ctx, cfg.Storage, cfg.Org)
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg: cfg, tree: t,
		wake: make(chan struct{}, 1), done: make(chan struct{}), sealed: make(chan struct{}),
		urgentPlaces: make(chan struct{}, queuedActs), actPlaces: make(chan struct{}, queuedActs), usePlaces: make(chan struct{}, queuedUses),
	}
	l.q.open = map[writ.ID]struct{}{}
	l.denied.init()
	if err := l.checkAnchor(ctx, head, t); err != nil {
		return nil, err
	}
	l.state.Store(&state{head: head, tree: t, grown: make(chan struct{})})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if head.Size == 0 {
		if err := l.genesis(ctx); err != nil {
			l.cancel()
			return nil, err
		}
	}
	go l.commitLoop()
	go l.checkpointLoop()
	return l, nil
}

// recoverHead reads the head and rebuilds the tree that it describes. The same
// code serves a start and a commit whose result was unknown.
func recoverHead(ctx context.Context, r Reader, org writ.ID) (Head, *tree, error) {
	head, err := r.Head(ctx, org)
	if err != nil {
		return Head{}, nil, err
	}
	t, err := adopt(ctx, r, head)
	return head, t, err
}

// adopt rebuilds the tree of a head and checks that the head, its tiles and its
// newest entries agree.
func adopt(ctx context.Context, r Reader, head Head) (*tree, error) {
	const fix = "run: writ ledger verify --data FOLDER; if it says no, restore the database from a backup"
	t, err := rebuild(ctx, r, head.Org, head.Size)
	if err != nil {
		return nil, err
	}
	if string(t.marshal()) != string(head.Frontier) {
		return nil, refuseHistory("the ledger's head does not match its entries", "something changed the database without going through Writ, or the disk lost writes", fix)
	}
	if head.Size == 0 {
		return t, nil
	}
	err = r.Entries(ctx, head.Org, head.Size-1, head.Size, func(e Entry) error {
		leaf, err := ParseLeaf(e.Leaf)
		if err != nil || leaf.Org != head.Org || leaf.Seq != head.Size-1 || leaf.Incarnation != head.Incarnation || leaf.Time != head.Time {
			return refuseHistory("the ledger's head does not match its newest entry", "something changed the database without going through Writ", fix)
		}
		return nil
	})
	return t, err
}

// Head is the newest durable place of the log.
func (l *Log) Head() Head { return l.state.Load().head }

// Epoch is the newest durable epoch.
func (l *Log) Epoch() writ.Epoch {
	h := l.state.Load().head
	return writ.Epoch{Incarnation: h.Incarnation, N: h.Epoch}
}

// Await waits until the log has more than size entries and gives their number.
func (l *Log) Await(ctx context.Context, size int64) (int64, error) {
	for {
		s := l.state.Load()
		if s.head.Size > size {
			return s.head.Size, nil
		}
		select {
		case <-s.grown:
		case <-l.done:
			if s := l.state.Load(); s.head.Size > size {
				return s.head.Size, nil
			}
			return 0, errClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

var errClosed = writ.Errorf(writ.KindUnavailable, "the ledger is closed").WithFix("writ status")

// publish makes a committed state the newest.
func (l *Log) publish(head Head, t *tree, r recent) {
	l.recent = r
	old := l.state.Swap(&state{head: head, tree: t, grown: make(chan struct{})})
	l.tree = t
	close(old.grown)
}

// stop ends the log for good: what the database holds is not what was
// committed, and going on would fork the history.
func (l *Log) stop(err error) {
	l.q.mu.Lock()
	first := l.q.stopped == nil
	if first {
		l.q.stopped = err
	}
	l.q.mu.Unlock()
	if first {
		l.cfg.Uncertain(err)
	}
}

// Close is called when nothing that uses the log runs any more: an outcome that
// comes later is lost. It takes no more work, writes what waits, outcomes and summaries of
// denials included, signs and anchors the last checkpoint and ends. When ctx
// ends first, work that is not durable by then fails.
func (l *Log) Close(ctx context.Context) error {
	l.q.mu.Lock()
	l.q.closing = true
	l.q.mu.Unlock()
	l.poke()
	defer l.cancel()
	var late error
	select {
	case <-l.done:
	case <-ctx.Done():
		late = ctx.Err()
		l.cancel()
		<-l.done
	}
	<-l.sealed
	if late != nil {
		return late
	}
	_, err := l.Checkpoint(ctx)
	return err
}

func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// waiter is one caller who waits for a batch. Exactly one of them moves status:
// the committer when it answers, or the caller when it leaves.
type waiter struct {
	status atomic.Int32
	done   chan error // of capacity 1
}

const (
	waiting int32 = iota
	answered
	left
)

// answer wakes the caller, or reports that it has left.
func (w *waiter) answer(err error) bool {
	if !w.status.CompareAndSwap(waiting, answered) {
		return false
	}
	w.done <- err
	return true
}

func (w *waiter) gone() bool { return w.status.Load() == left }

// wait gives the committer's answer, or leaves when ctx ends first.
func (w *waiter) wait(ctx context.Context) error {
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.status.CompareAndSwap(waiting, left) {
			return unclear(ctx.Err())
		}
		return <-w.done
	}
}

// place takes a place in a bounded queue, waiting for one if need be.
func (l *Log) place(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-l.done:
		return errClosed
	case <-ctx.Done():
		return unavailable(ctx.Err()).WithWhy("more is waiting for the database than it takes")
	}
}

// admitLocked reports why nothing more may be queued.
func (q *queue) admitLocked() error {
	switch {
	case q.stopped != nil:
		return unavailable(q.stopped).WithWhy("the ledger stopped because the database is not what it was")
	case q.closing:
		return errClosed
	}
	return nil
}
