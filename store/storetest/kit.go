package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock stands at an instant that has no meaning.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock, back too.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Keys makes and keeps a checkpoint key for each organization.
type Keys struct {
	mu   sync.Mutex
	keys map[writ.ID]string
}

// Signer gives the organization's key.
func (k *Keys) Signer(org writ.ID) (note.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[writ.ID]string{}
	}
	if _, ok := k.keys[org]; !ok {
		private, _, err := note.GenerateKey(rand.Reader, Origin(org))
		if err != nil {
			return nil, err
		}
		k.keys[org] = private
	}
	return note.NewSigner(k.keys[org])
}

// Origin is the log name that tests use.
func Origin(org writ.ID) string { return "writ/" + string(org) }

// CheckPolicy accepts any text that begins like a Cedar forbid.
func CheckPolicy(text string) error {
	if !strings.HasPrefix(text, "forbid") {
		return writ.Invalid("text", "not a policy", "write one Cedar forbid policy")
	}
	return nil
}

// Open opens a store that is closed at the end of the test.
func Open(t testing.TB, e store.Engine, clock *Clock, keys *Keys) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Engine: e, Clock: clock.Now, Signer: keys.Signer, Origin: Origin, CheckPolicy: CheckPolicy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error("closing the store:", err)
		}
	})
	return s
}

// Kit is a store with an organization and a person in it, and the shortest way
// to more. Its methods fail the test when the act does.
type Kit struct {
	T     testing.TB
	Store *store.Store
	Clock *Clock
	Keys  *Keys
	Org   writ.ID
	Ana   *writ.Identity // a person, the owner of what the kit makes
	By    writ.Actor     // Ana
	DB    *sql.DB        // the database itself, for tests that change it behind the store's back
	n     int
}

// NewKit opens a store on e with the organization "acme".
func NewKit(t testing.TB, e store.Engine) *Kit {
	t.Helper()
	k := &Kit{T: t, Clock: NewClock(), Keys: &Keys{}}
	k.Store = Open(t, e, k.Clock, k.Keys)
	k.DB, _ = e.Pools()
	return k.Found("acme")
}

// Found makes another organization in the same store, with its own Ana.
func (k *Kit) Found(name string) *Kit {
	k.T.Helper()
	o, _, err := k.Store.CreateOrg(k.T.Context(), writ.Actor{}, name)
	k.must(err)
	c := &Kit{T: k.T, Store: k.Store, Clock: k.Clock, Keys: k.Keys, Org: o.ID, DB: k.DB}
	c.Ana, _, err = c.Store.AddIdentity(c.T.Context(), writ.Actor{}, writ.Identity{Org: c.Org, Kind: writ.Person, Name: "ana@acme.dev"})
	c.must(err)
	c.By = writ.Actor{Identity: c.Ana.ID}
	return c
}

func (k *Kit) must(err error) {
	k.T.Helper()
	if err != nil {
		k.T.Fatal(err)
	}
}

// Ref names something of the kit's organization.
func (k *Kit) Ref(id writ.ID) writ.Ref { return writ.Ref{Org: k.Org, ID: id} }

// Name is a name nobody has yet.
func (k *Kit) Name(kind string) string {
	k.n++
	return fmt.Sprintf("%s-%d", kind, k.n)
}

// In is the time d from now.
func (k *Kit) In(d time.Duration) writ.Time { return writ.At(k.Clock.Now().Add(d)) }

// Person adds a person.
func (k *Kit) Person(name string) *writ.Identity {
	k.T.Helper()
	i, _, err := k.Store.AddIdentity(k.T.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: name})
	k.must(err)
	return i
}

// Agent adds an agent of Ana's, changed by edit.
func (k *Kit) Agent(edit ...func(*writ.Identity)) *writ.Identity {
	k.T.Helper()
	i := writ.Identity{Org: k.Org, Kind: writ.Agent, Name: k.Name("agent"), Owner: k.Ana.ID, Purpose: "tests", Expires: k.In(90 * 24 * time.Hour)}
	for _, e := range edit {
		e(&i)
	}
	added, _, err := k.Store.AddIdentity(k.T.Context(), k.By, i)
	k.must(err)
	return added
}

// App declares an application for the hosts.
func (k *Kit) App(hosts ...string) *writ.Application {
	k.T.Helper()
	a, _, err := k.Store.AddApplication(k.T.Context(), k.By, writ.Application{Org: k.Org, Name: k.Name("app"), Env: writ.Dev, Hosts: hosts})
	k.must(err)
	return a
}

// SealedVersion is a version for the hosts and its ciphertext, which is none.
func (k *Kit) SealedVersion(hosts ...string) (writ.Version, []byte) {
	sealed := []byte("sealed " + k.Name("value"))
	sum := sha256.Sum256(sealed)
	return writ.Version{Hosts: hosts, Placement: writ.Placement{In: writ.InBearer}, Fingerprint: "00", KeyID: "k1", SealedHash: hex.EncodeToString(sum[:])}, sealed
}

// Credential adds a governed credential with one version for all of the
// application's hosts, changed by edit.
func (k *Kit) Credential(a *writ.Application, edit ...func(*writ.Credential)) *writ.Credential {
	k.T.Helper()
	c := writ.Credential{Org: k.Org, Name: k.Name("cred"), App: a.ID, Owner: k.Ana.ID, Issuer: "the test", Authoriser: k.Ana.ID,
		Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed}
	for _, e := range edit {
		e(&c)
	}
	v, sealed := k.SealedVersion(a.Hosts...)
	added, _, err := k.Store.AddCredential(k.T.Context(), k.By, c, &v, sealed)
	k.must(err)
	return added
}

// Rule is a rule that covers every GET.
func Rule() writ.Rule { return writ.Rule{Methods: []string{"GET"}, Path: "/**"} }

// Grant grants a credential to an identity, changed by edit.
func (k *Kit) Grant(to *writ.Identity, c *writ.Credential, edit ...func(*writ.Grant)) *writ.Grant {
	k.T.Helper()
	g := writ.Grant{Org: k.Org, Identity: to.ID, Credential: c.ID, Rules: []writ.Rule{Rule()}, Authoriser: k.Ana.ID}
	for _, e := range edit {
		e(&g)
	}
	added, _, err := k.Store.AddGrant(k.T.Context(), k.By, g)
	k.must(err)
	return added
}

// Hash is the hash of a token made from text.
func Hash(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// Session starts an hour's session of an identity, started by Ana, changed by
// edit. Its token is "token-" and its number.
func (k *Kit) Session(of *writ.Identity, edit ...func(*writ.Session)) *writ.Session {
	k.T.Helper()
	h := Hash(string(k.Org) + k.Name("token"))
	s := writ.Session{Org: k.Org, Identity: of.ID, Started: k.Ana.ID, Expires: k.In(time.Hour), Isolation: "none", Hash: hex.EncodeToString(h[:])}
	for _, e := range edit {
		e(&s)
	}
	started, _, err := k.Store.StartSession(k.T.Context(), k.By, s)
	k.must(err)
	return started
}

// Key adds a month's key of an identity.
func (k *Kit) Key(of *writ.Identity) *writ.Key {
	k.T.Helper()
	h := Hash(string(k.Org) + k.Name("key"))
	key, _, err := k.Store.AddKey(k.T.Context(), k.By, writ.Key{Org: k.Org, Identity: of.ID, Role: writ.RoleMember, Name: k.Name("key"),
		Hash: hex.EncodeToString(h[:]), Expires: k.In(30 * 24 * time.Hour)})
	k.must(err)
	return key
}

// Policy adds a guardrail.
func (k *Kit) Policy(text string) *writ.Policy {
	k.T.Helper()
	p, _, err := k.Store.AddPolicy(k.T.Context(), k.By, writ.Policy{Org: k.Org, Name: k.Name("policy"), Text: text})
	k.must(err)
	return p
}

// Watcher is a Subscriber that remembers.
type Watcher struct {
	mu      sync.Mutex
	changes []ledger.Committed
	stale   []writ.ID
}

// Apply implements store.Subscriber.
func (w *Watcher) Apply(c ledger.Committed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, c)
}

// Stale implements store.Subscriber.
func (w *Watcher) Stale(org writ.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale = append(w.stale, org)
}

// Take gives what was applied since the last Take.
func (w *Watcher) Take() []ledger.Committed {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.changes
	w.changes = nil
	return c
}

// Staled gives the organizations that became stale.
func (w *Watcher) Staled() []writ.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stale
}
