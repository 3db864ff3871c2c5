package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Config is what a Store is made of.
type Config struct {
	Engine Engine
	Clock  func() time.Time // nil is the system's
	// Signer gives the key that signs the organization's checkpoints.
	Signer func(org writ.ID) (note.Signer, error)
	// Origin is the name of an organization's log, for ever.
	Origin func(org writ.ID) string
	// Anchor keeps the newest checkpoints outside the database; nil keeps none.
	Anchor ledger.Anchor
	// CheckPolicy reports why a policy's text is none. It must be set.
	CheckPolicy func(text string) error
	Log         *slog.Logger // nil discards
}

// Subscriber is told what was committed. Apply is called in commit order for
// each organization, before the act that made the change returns; Stale, when
// nobody can tell what was committed. Both must be quick, and neither may call
// the store.
type Subscriber interface {
	Apply(ledger.Committed)
	Stale(org writ.ID)
}

// Believer knows which rows are proven: the authority index. An act that reads
// a row in order to change it, or to rest on it, asks first: otherwise the act
// would write what somebody put into the database into the ledger, and make it
// true (invariant 12).
type Believer interface {
	// Ready loads the organization where it is not loaded.
	Ready(ctx context.Context, org writ.ID) error
	// Believed gives a noun as it was last proven, with the seq of its entry. It
	// does no I/O.
	Believed(org, id writ.ID) (ledger.Noun, bool)
}

// Store is an open database with its logs. It is safe for concurrent use.
type Store struct {
	*core
	once *once // set on the copy that Once makes
}

// core is what all copies of a Store share.
type core struct {
	cfg         Config
	engine      Engine
	write, read *sql.DB
	token       string // ours in the table holder
	spare       spare
	uses        *useIndex
	limits      useLimits

	statements statements
	founding   sync.Mutex // one organization is made at a time
	numbers    sync.Map   // writ.ID of an organization -> int64, its number

	mu       sync.Mutex
	subs     []Subscriber
	believer Believer
	logs     map[writ.ID]*openLog // also those that are being opened
	closed   bool
}

// openLog is a log, or the opening of one, done when done is closed.
type openLog struct {
	done chan struct{}
	log  *ledger.Log
	err  error
}

// Open brings the schema up to date and takes the database over. The Store
// owns the engine from here on, also when Open fails.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &core{cfg: cfg, engine: cfg.Engine, token: rand.Text(), logs: map[writ.ID]*openLog{}}
	c.write, c.read = cfg.Engine.Pools()
	c.spare = spare{reserve: cfg.Engine.Reserve(), clock: cfg.Clock}
	c.uses = newUseIndex(c)
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(c.explain(err), cfg.Engine.Close())
	}
	c.uses.start()
	return &Store{core: c}, nil
}

func (c *core) open(ctx context.Context) error {
	if err := migrate(ctx, c.engine.Dialect(), c.write); err != nil {
		return err
	}
	_, err := c.write.ExecContext(ctx, `INSERT INTO holder (one, token) VALUES (1, $1)
		ON CONFLICT (one) DO UPDATE SET token = excluded.token`, c.token)
	return err
}

// Subscribe adds a subscriber. What was committed before is not told: load
// after subscribing.
func (s *Store) Subscribe(sub Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs = append(slices.Clone(s.subs), sub)
}

// Believe names who knows which rows are proven. Until it is called, and where
// it is never called, acts believe the rows they find.
func (s *Store) Believe(b Believer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.believer = b
}

func (c *core) subscribers() []Subscriber {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs
}

func (c *core) believes() Believer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.believer
}

// stale tells every subscriber that the organization's state is uncertain.
func (c *core) stale(org writ.ID, err error) {
	c.cfg.Log.Error("the state of the organization is uncertain until it is reloaded", "org", org, "cause", err)
	for _, sub := range c.subscribers() {
		sub.Stale(org)
	}
}

// Log is the organization's log, opened (and recovered) when it is first
// asked for.
func (s *Store) Log(ctx context.Context, org writ.ID) (*ledger.Log, error) {
	return s.openLog(ctx, org)
}

func (c *core) openLog(ctx context.Context, org writ.ID) (*ledger.Log, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, c.explain(sql.ErrConnDone)
	}
	if o, ok := c.logs[org]; ok {
		c.mu.Unlock()
		select {
		case <-o.done:
			return o.log, o.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	o := &openLog{done: make(chan struct{})}
	c.logs[org] = o
	c.mu.Unlock()

	o.log, o.err = c.recoverLog(ctx, org)
	if o.err != nil {
		// The next caller tries again: a log that cannot be opened now (the disk,
		// a signer that is not there yet) may be later.
		c.mu.Lock()
		delete(c.logs, org)
		c.mu.Unlock()
	}
	close(o.done)
	return o.log, o.err
}

func (c *core) recoverLog(ctx context.Context, org writ.ID) (*ledger.Log, error) {
	signer, err := c.cfg.Signer(org)
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(ctx, ledger.Config{
		Org: org, Storage: storage{c}, Signer: signer, Origin: c.cfg.Origin(org), Clock: c.cfg.Clock, Anchor: c.cfg.Anchor,
		Uncertain: func(err error) { c.stale(org, err) },
	})
	if err != nil {
		return nil, c.explain(err)
	}
	// Before anybody has the log, and so before anything is used.
	if err := c.countUses(ctx, l, org); err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	return l, nil
}

// Close ends the logs, which write what they have, and the database.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	logs := s.logs
	s.mu.Unlock()
	s.uses.stop()
	var errs []error
	for _, o := range logs {
		<-o.done
		if o.err == nil {
			errs = append(errs, o.log.Close(ctx))
		}
	}
	return errors.Join(append(errs, s.engine.Close())...)
}

// statements are texts prepared once on the writing pool. A text is run as it
// is the first time and prepared before the next transaction begins: on one
// connection, preparing inside a transaction would wait for itself.
type statements struct {
	ready  sync.Map // text -> *sql.Stmt
	mu     sync.Mutex
	wanted []string
}

// get is the prepared statement, or nil after noting that it is wanted.
func (s *statements) get(text string) *sql.Stmt {
	if st, ok := s.ready.Load(text); ok {
		return st.(*sql.Stmt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.wanted, text) {
		s.wanted = append(s.wanted, text)
	}
	return nil
}

// prepare prepares what is wanted. It must not be called inside a transaction.
func (s *statements) prepare(ctx context.Context, db *sql.DB) {
	s.mu.Lock()
	wanted := s.wanted
	s.wanted = nil
	s.mu.Unlock()
	for _, text := range wanted {
		// A text that cannot be prepared goes on being run as it is, and says why.
		if st, err := db.PrepareContext(ctx, text); err == nil {
			if _, twice := s.ready.LoadOrStore(text, st); twice {
				_ = st.Close()
			}
		}
	}
}
