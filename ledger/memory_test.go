package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/canon"
)

// fault is what a memory's hook makes of one operation.
type fault int

const (
	fine     fault = iota
	refuses        // an error, nothing done
	persists       // done, and an error all the same
	unsure         // ErrUnknownCommit, nothing done
	unsureIn       // ErrUnknownCommit, done
)

var errDisk = errors.New("disk full")

// memory is a Storage in memory whose hook can make any operation fail, and
// persist what it fails.
type memory struct {
	locked chan struct{} // the head's lock

	mu      sync.Mutex
	head    Head
	entries []Entry
	changes []int64
	nodes   map[[2]int64][]byte
	dead    map[writ.ID]bool
	uses    map[writ.ID]int64

	hook     func(op string) fault
	commits  atomic.Int64
	rechecks atomic.Int64
}

func newMemory(org writ.ID) *memory {
	m := &memory{locked: make(chan struct{}, 1), nodes: map[[2]int64][]byte{}, dead: map[writ.ID]bool{}, uses: map[writ.ID]int64{}}
	m.head = Head{Org: org, Number: 1, LastChange: -1}
	return m
}

func (m *memory) fault(op string) fault {
	m.mu.Lock()
	h := m.hook
	m.mu.Unlock()
	if h == nil {
		return fine
	}
	return h(op)
}

func (m *memory) setHook(h func(op string) fault) {
	m.mu.Lock()
	m.hook = h
	m.mu.Unlock()
}

func (m *memory) Begin(ctx context.Context, org writ.ID) (Tx, Head, error) {
	if m.fault("begin") != fine {
		return nil, Head{}, errDisk
	}
	select {
	case m.locked <- struct{}{}:
	case <-ctx.Done():
		return nil, Head{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryTx{m: m, died: map[writ.ID]bool{}, took: map[writ.ID]int64{}}, m.copyHead(), nil
}

func (m *memory) copyHead() Head {
	h := m.head
	h.Frontier = slices.Clone(h.Frontier)
	return h
}

func (m *memory) Head(context.Context, writ.ID) (Head, error) {
	if m.fault("head") != fine {
		return Head{}, errDisk
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.copyHead(), nil
}

func (m *memory) Entries(_ context.Context, _ writ.ID, from, to int64, yield func(Entry) error) error {
	if m.fault("entries") != fine {
		return errDisk
	}
	m.mu.Lock()
	list := slices.Clone(m.entries)
	m.mu.Unlock()
	for _, e := range list {
		if e.Seq >= from && e.Seq < to {
			if err := yield(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Changes(ctx context.Context, org writ.ID, from, to int64, yield func(Entry) error) error {
	m.mu.Lock()
	changes := slices.Clone(m.changes)
	m.mu.Unlock()
	return m.Entries(ctx, org, from, to, func(e Entry) error {
		if !slices.Contains(changes, e.Seq) {
			return nil
		}
		return yield(e)
	})
}

func (m *memory) Node(_ context.Context, _ writ.ID, level int, index int64) (Node, error) {
	if m.fault("node") != fine {
		return Node{}, errDisk
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.nodes[[2]int64{int64(level), index}]
	if !ok {
		return Node{}, writ.Errorf(writ.KindNotFound, "no node")
	}
	return Node{Level: level, Index: index, Hashes: b}, nil
}

type memoryTx struct {
	m       *memory
	died    map[writ.ID]bool
	took    map[writ.ID]int64
	entries []Entry
	changes []int64
	nodes   []Node
	head    *Head
	over    bool
}

func (t *memoryTx) Recheck(_ context.Context, rests []writ.ID, _ writ.Time) ([]writ.ID, error) {
	t.m.rechecks.Add(1)
	if t.m.fault("recheck") != fine {
		return nil, errDisk
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	var dead []writ.ID
	for _, id := range rests {
		if t.m.dead[id] || t.died[id] {
			dead = append(dead, id)
		}
	}
	return dead, nil
}

func (t *memoryTx) UsesLeft(_ context.Context, grants []writ.ID) (map[writ.ID]int64, error) {
	if t.m.fault("uses") != fine {
		return nil, errDisk
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	left := map[writ.ID]int64{}
	for _, g := range grants {
		left[g] = t.m.uses[g] - t.took[g]
	}
	return left, nil
}

func (t *memoryTx) TakeUses(_ context.Context, taken map[writ.ID]int64) error {
	if t.m.fault("take") != fine {
		return errDisk
	}
	for g, n := range taken {
		t.took[g] += n
	}
	return nil
}

func (t *memoryTx) Write(_ context.Context, entries []Entry, changes []int64, nodes []Node, head Head) error {
	if t.m.fault("write") != fine {
		return errDisk
	}
	for _, e := range entries {
		t.entries = append(t.entries, Entry{e.Seq, slices.Clone(e.Leaf), slices.Clone(e.Pack)})
	}
	for _, n := range nodes {
		t.nodes = append(t.nodes, Node{n.Level, n.Index, slices.Clone(n.Hashes)})
	}
	t.changes = append(t.changes, changes...)
	head.Frontier = slices.Clone(head.Frontier)
	t.head = &head
	return nil
}

func (t *memoryTx) Commit(context.Context) error {
	f := t.m.fault("commit")
	if t.over {
		return errors.New("transaction is over")
	}
	t.over = true
	if f == fine || f == persists || f == unsureIn {
		t.apply()
	}
	<-t.m.locked
	switch f {
	case refuses, persists:
		return errDisk
	case unsure, unsureIn:
		return fmt.Errorf("%w: connection reset", ErrUnknownCommit)
	}
	return nil
}

func (t *memoryTx) apply() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.commits.Add(1)
	t.m.entries = append(t.m.entries, t.entries...)
	t.m.changes = append(t.m.changes, t.changes...)
	for _, n := range t.nodes {
		t.m.nodes[[2]int64{int64(n.Level), n.Index}] = n.Hashes
	}
	for id := range t.died {
		t.m.dead[id] = true
	}
	for g, n := range t.took {
		t.m.uses[g] -= n
	}
	if t.head != nil {
		t.m.head = *t.head
	}
}

func (t *memoryTx) Rollback(context.Context) error {
	if !t.over {
		t.over = true
		<-t.m.locked
	}
	if t.m.fault("rollback") != fine {
		return errDisk
	}
	return nil
}

// keptNote is an Anchor in memory.
type keptNote struct {
	mu   sync.Mutex
	note []byte
	err  error
}

func (k *keptNote) Load(writ.ID) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.note, k.err
}

func (k *keptNote) Save(_ writ.ID, n []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.note = slices.Clone(n)
	}
	return k.err
}

// set replaces what is kept, and the error that both methods give.
func (k *keptNote) set(n []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note, k.err = n, err
}

// bench is a log over a memory with everything a test needs around it.
type bench struct {
	tb       testing.TB
	org      writ.ID
	origin   string
	m        *memory
	anchor   *keptNote
	signer   note.Signer
	verifier note.Verifier
	clock    atomic.Int64 // milliseconds
	unsure   atomic.Int64 // calls of Uncertain
	*Log
}

var start = writ.At(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))

func newBench(tb testing.TB) *bench {
	tb.Helper()
	b := &bench{tb: tb, org: writ.NewID(writ.KindOrg), anchor: &keptNote{}}
	b.m = newMemory(b.org)
	b.origin = "writ/" + string(b.org)
	skey, vkey, err := note.GenerateKey(rand.Reader, b.origin)
	must(tb, err)
	b.signer, err = note.NewSigner(skey)
	must(tb, err)
	b.verifier, err = note.NewVerifier(vkey)
	must(tb, err)
	b.clock.Store(int64(start))
	return b
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (b *bench) config() Config {
	return Config{Org: b.org, Storage: b.m, Signer: b.signer, Origin: b.origin, Anchor: b.anchor,
		Clock:     func() time.Time { return writ.Time(b.clock.Load()).Go() },
		Uncertain: func(error) { b.unsure.Add(1) }}
}

func (b *bench) open() *bench {
	b.tb.Helper()
	l, err := Open(context.Background(), b.config())
	must(b.tb, err)
	b.Log = l
	b.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.Close(ctx)
	})
	return b
}

func (b *bench) close() {
	b.tb.Helper()
	must(b.tb, b.Close(context.Background()))
}

// opened is a log with a small world recorded in it.
func opened(tb testing.TB) (*bench, *world) {
	tb.Helper()
	b := newBench(tb).open()
	w := newWorld(tb, b.org)
	b.record(w)
	return b, w
}

// record commits the world's rows.
func (b *bench) record(w *world) Mark {
	b.tb.Helper()
	return b.change(false, Change{Act: "set-up", By: writ.Actor{Identity: w.ana.ID}, Rows: w.rows(b.tb)}, nil)
}

// change commits one change; ids in dead are dead rows from then on.
func (b *bench) change(urgent bool, c Change, dead []writ.ID) Mark {
	b.tb.Helper()
	var mark Mark
	must(b.tb, b.Act(context.Background(), urgent, func(_ context.Context, tx Tx, batch *Batch) (func(), error) {
		for _, id := range dead {
			tx.(*memoryTx).died[id] = true
		}
		var err error
		mark, err = batch.Change(c)
		return nil, err
	}))
	return mark
}

// world is a small organization in which everything is in order.
type world struct {
	tb         testing.TB
	org        *writ.Org
	ana, agent *writ.Identity
	session    *writ.Session
	app        *writ.Application
	credential *writ.Credential
	version    *writ.Version
	grant      *writ.Grant
	guardrails *decide.Guardrails
	target     writ.Target
}

func newWorld(tb testing.TB, org writ.ID) *world {
	tb.Helper()
	w := &world{tb: tb}
	w.org = &writ.Org{ID: org, Name: "acme", State: writ.Active, Created: start - 1000_000}
	w.ana = &writ.Identity{ID: writ.NewID(writ.KindIdentity), Org: org, Kind: writ.Person, Name: "ana@acme.dev", State: writ.Active}
	w.agent = &writ.Identity{ID: writ.NewID(writ.KindIdentity), Org: org, Kind: writ.Agent, Name: "claude-pay", State: writ.Active, Owner: w.ana.ID, Purpose: "pays", Expires: start + 90_000_000}
	w.session = &writ.Session{ID: writ.NewID(writ.KindSession), Org: org, Identity: w.agent.ID, Started: w.ana.ID, State: writ.Active, Created: start - 1000, Expires: start + 3_600_000, Isolation: "none"}
	w.app = &writ.Application{ID: writ.NewID(writ.KindApplication), Org: org, Name: "acme-api", State: writ.Active, Env: writ.Staging, Hosts: []string{"api.acme.test"}}
	w.credential = &writ.Credential{ID: writ.NewID(writ.KindCredential), Org: org, Name: "acme-key", App: w.app.ID, State: writ.Active, Created: start - 1000_000,
		Owner: w.ana.ID, Issuer: "acme.test", Authoriser: w.ana.ID, Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed, Current: writ.NewID(writ.KindVersion)}
	w.version = &writ.Version{ID: w.credential.Current, Org: org, Credential: w.credential.ID, Number: 1, Hosts: []string{"api.acme.test"}, Placement: writ.Placement{In: writ.InBearer}, State: writ.Active}
	w.grant = &writ.Grant{ID: writ.NewID(writ.KindGrant), Org: org, Identity: w.agent.ID, Credential: w.credential.ID, State: writ.Active, Created: start - 500_000, Expires: start + 7_200_000,
		Rules: []writ.Rule{{Methods: []string{"GET", "POST"}, Path: "/v1/**"}}}
	var err error
	w.guardrails, err = decide.CompileGuardrails(nil)
	must(tb, err)
	w.target, err = writ.ParseTarget("/v1/charges?limit=3&key=sk_secret", writ.Profile{})
	must(tb, err)
	return w
}

func (w *world) rows(tb testing.TB) []Row {
	tb.Helper()
	return []Row{row(tb, w.ana.ID, w.ana, true), row(tb, w.agent.ID, w.agent, false), row(tb, w.session.ID, w.session, false), row(tb, w.app.ID, w.app, false),
		row(tb, w.credential.ID, w.credential, false), row(tb, w.version.ID, w.version, false), row(tb, w.grant.ID, w.grant, false)}
}

func row(tb testing.TB, id writ.ID, noun any, personal bool) Row {
	tb.Helper()
	body, err := canon.Marshal(noun)
	must(tb, err)
	return Row{ID: id, Body: body, Personal: personal}
}

func (w *world) ask() *writ.Ask {
	return &writ.Ask{ID: writ.NewOrderedID(writ.KindDecision, start.Go()), Org: w.org.ID, Session: w.session.ID, Time: start, Scheme: "https",
		Request: writ.Request{Method: "GET", Host: "api.acme.test", Target: w.target},
		Info:    writ.Body{Mode: writ.BodyNone}, Source: netip.MustParseAddr("10.1.2.3"),
		Runtime: writ.Runtime{PID: 4711, Program: "curl", Isolation: "none"}}
}

func (w *world) facts(e writ.Epoch) *decide.Facts {
	return &decide.Facts{Epoch: e, Org: w.org, Session: w.session, Identity: w.agent, Path: []*writ.Identity{w.ana, w.agent}, Owner: w.ana,
		Application: w.app, Guardrails: w.guardrails,
		Candidates: []decide.Candidate{{Grant: w.grant, Credential: w.credential, Version: w.version, App: w.app, Owner: w.ana, RateLeft: true}},
		Records:    []decide.Record{{ID: w.agent.ID, Seq: 1}, {ID: w.grant.ID, Seq: 1}}}
}

// allow decides a use at an epoch.
func (w *world) allow(e writ.Epoch) (writ.ID, decide.Allow) {
	w.tb.Helper()
	d, a := decide.Decide(w.ask(), w.facts(e))
	if !a.OK() {
		w.tb.Fatalf("denied: %v %s", d.Reasons, d.Detail)
	}
	return d.ID, a
}
