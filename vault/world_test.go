package vault

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
)

// canary is the secret of these tests.
const canary = "sk_live_CANARY-7f3a9c"

// rows is a KeysetStore and Versions in memory.
type rows struct {
	mu       sync.Mutex
	keysets  map[writ.ID][]byte
	versions map[writ.ID]*writ.Version
	sealed   map[writ.ID][]byte
	loads    int
}

func newRows() *rows {
	return &rows{keysets: map[writ.ID][]byte{}, versions: map[writ.ID]*writ.Version{}, sealed: map[writ.ID][]byte{}}
}

func (r *rows) Load(_ context.Context, org writ.ID) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loads++
	if b, ok := r.keysets[org]; ok {
		return b, nil
	}
	return nil, writ.Errorf(writ.KindNotFound, "no keys")
}

func (r *rows) Create(_ context.Context, org writ.ID, wrapped []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.keysets[org]; ok {
		return writ.Errorf(writ.KindConflict, "there are keys")
	}
	r.keysets[org] = wrapped
	return nil
}

func (r *rows) Version(_ context.Context, _ writ.ID, ref string) (*writ.Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.versions[writ.ID(ref)]; ok {
		return v, nil
	}
	return nil, writ.Errorf(writ.KindNotFound, "no version")
}

func (r *rows) Sealed(_ context.Context, _, version writ.ID) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.sealed[version]; ok {
		return b, nil
	}
	return nil, writ.Errorf(writ.KindNotFound, "no sealed bytes")
}

// provider is a key provider with a random key.
func provider(t testing.TB) KeyProvider {
	t.Helper()
	root := make([]byte, rootKeySize)
	_, _ = rand.Read(root)
	k, err := newLocalKey("file", root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// seal puts one sealed version into r.
func seal(t testing.TB, v *Vault, r *rows, org writ.ID, secret string) *writ.Version {
	t.Helper()
	version := &writ.Version{
		ID: writ.NewID(writ.KindVersion), Org: org, Credential: writ.NewID(writ.KindCredential), Number: 1,
		Hosts: []string{"a.test", "b.test"}, Placement: writ.Placement{In: writ.InHeader, Name: "X-Key", Template: "token {secret}"}, State: writ.Active,
	}
	sealed, err := v.Seal(t.Context(), version, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.versions[version.ID], r.sealed[version.ID] = version, sealed
	return version
}

func paidFor(v *writ.Version) ledger.Paid {
	return ledger.Paid{Org: v.Org, Use: "use_1", Credential: v.Credential, Version: v.ID}
}

func reveal(t testing.TB, s *Secret) string {
	t.Helper()
	var text string
	if err := s.Use(func(b []byte) error { text = string(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return text
}

// receipt has a use of the version decided and recorded in a real log, and
// gives the receipt.
func receipt(t testing.TB, log *ledger.Log, v *writ.Version) ledger.Receipt {
	t.Helper()
	now := writ.At(time.Now())
	org := &writ.Org{ID: v.Org, Name: "acme", State: writ.Active}
	ana := &writ.Identity{ID: writ.NewID(writ.KindIdentity), Org: v.Org, Kind: writ.Person, Name: "ana@acme.dev", State: writ.Active}
	app := &writ.Application{ID: writ.NewID(writ.KindApplication), Org: v.Org, Name: "a", State: writ.Active, Env: writ.Dev, Hosts: v.Hosts}
	credential := &writ.Credential{
		ID: v.Credential, Org: v.Org, Name: "c", App: app.ID, State: writ.Active, Owner: ana.ID, Issuer: "i", Authoriser: ana.ID,
		Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIForbidden, Current: v.ID,
	}
	grant := &writ.Grant{ID: writ.NewID(writ.KindGrant), Org: v.Org, Identity: ana.ID, Credential: v.Credential, State: writ.Active, Rules: []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}}
	session := &writ.Session{ID: writ.NewID(writ.KindSession), Org: v.Org, Identity: ana.ID, Started: ana.ID, State: writ.Active, Expires: now + 60_000, Isolation: "none"}
	guardrails, err := decide.CompileGuardrails(nil)
	if err != nil {
		t.Fatal(err)
	}
	target, err := writ.ParseTarget("/x", writ.Profile{})
	if err != nil {
		t.Fatal(err)
	}
	ask := &writ.Ask{
		ID: writ.NewOrderedID(writ.KindDecision, time.Now()), Org: v.Org, Session: session.ID, Time: now, Scheme: "https",
		Request: writ.Request{Method: "GET", Host: v.Hosts[0], Target: target}, Info: writ.Body{Mode: writ.BodyNone},
	}
	d, allow := decide.Decide(ask, &decide.Facts{
		Epoch: log.Epoch(), Org: org, Session: session, Identity: ana, Path: []*writ.Identity{ana}, Owner: ana, Application: app, Guardrails: guardrails,
		Candidates: []decide.Candidate{{Grant: grant, Credential: credential, Version: v, App: app, Owner: ana, RateLeft: true}},
	})
	if !allow.OK() {
		t.Fatal(d.Detail)
	}
	r, err := log.Append(t.Context(), allow)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openLog is a real ledger over memory.
func openLog(t testing.TB, org writ.ID) *ledger.Log {
	t.Helper()
	origin := "writ/" + string(org)
	private, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), ledger.Config{Org: org, Storage: &memory{head: ledger.Head{Org: org, Number: 1, Incarnation: 1, LastChange: -1}}, Signer: signer, Origin: origin, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close(context.Background()) })
	return log
}

// memory is a ledger.Storage for one organization.
type memory struct {
	mu      sync.Mutex // held by the open transaction
	read    sync.Mutex
	head    ledger.Head
	entries []ledger.Entry
	nodes   []ledger.Node
}

type memoryTx struct {
	m       *memory
	head    ledger.Head
	entries []ledger.Entry
	nodes   []ledger.Node
}

func (m *memory) Begin(context.Context, writ.ID) (ledger.Tx, ledger.Head, error) {
	m.mu.Lock()
	return &memoryTx{m: m, head: m.head}, m.head, nil
}

func (m *memory) Head(context.Context, writ.ID) (ledger.Head, error) {
	m.read.Lock()
	defer m.read.Unlock()
	return m.head, nil
}

func (m *memory) Entries(_ context.Context, _ writ.ID, from, to int64, yield func(ledger.Entry) error) error {
	m.read.Lock()
	entries := m.entries
	m.read.Unlock()
	for _, e := range entries {
		if e.Seq >= from && e.Seq < to {
			if err := yield(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Changes(context.Context, writ.ID, int64, int64, func(ledger.Entry) error) error {
	return nil
}

func (m *memory) Node(_ context.Context, _ writ.ID, level int, index int64) (ledger.Node, error) {
	m.read.Lock()
	defer m.read.Unlock()
	for _, n := range m.nodes {
		if n.Level == level && n.Index == index {
			return n, nil
		}
	}
	return ledger.Node{}, writ.Errorf(writ.KindNotFound, "no such tile")
}

func (t *memoryTx) Recheck(context.Context, []writ.ID, writ.Time) ([]writ.ID, error) { return nil, nil }
func (t *memoryTx) UsesLeft(context.Context, []writ.ID) (map[writ.ID]int64, error)   { return nil, nil }
func (t *memoryTx) TakeUses(context.Context, map[writ.ID]int64) error                { return nil }

func (t *memoryTx) Write(_ context.Context, entries []ledger.Entry, _ []int64, nodes []ledger.Node, head ledger.Head) error {
	t.entries, t.nodes, t.head = append(t.entries, entries...), append(t.nodes, nodes...), head
	return nil
}

func (t *memoryTx) Commit(context.Context) error {
	t.m.read.Lock()
	t.m.entries, t.m.nodes, t.m.head = append(t.m.entries, t.entries...), append(t.m.nodes, t.nodes...), t.head
	t.m.read.Unlock()
	t.m.mu.Unlock()
	t.m = nil
	return nil
}

func (t *memoryTx) Rollback(context.Context) error {
	if t.m != nil {
		t.m.mu.Unlock()
		t.m = nil
	}
	return nil
}
