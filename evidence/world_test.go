package evidence_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/decide"
	"writ.dev/writ/evidence"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

// keys are the checkpoint keys of a store's logs, with their verifiers.
type keys struct {
	mu        sync.Mutex
	private   map[writ.ID]string
	verifiers map[writ.ID]string
}

func (k *keys) signer(org writ.ID) (note.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.private[org] == "" {
		private, verifier, err := note.GenerateKey(rand.Reader, storetest.Origin(org))
		if err != nil {
			return nil, err
		}
		k.private[org], k.verifiers[org] = private, verifier
	}
	return note.NewSigner(k.private[org])
}

// world is a real store and ledger in memory with the index that decides.
type world struct {
	*storetest.Kit
	keys  *keys
	index *authority.Index
	log   *ledger.Log
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{keys: &keys{private: map[writ.ID]string{}, verifiers: map[writ.ID]string{}}}
	clock, engine := storetest.NewClock(), storetest.NewMemory(t)
	s, err := store.Open(t.Context(), store.Config{Engine: engine, Clock: clock.Now, Signer: w.keys.signer, Origin: storetest.Origin, CheckPolicy: decide.CheckPolicy})
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error("closing the store:", err)
		}
	})
	w.index = authority.New(authority.Config{Load: s.Load, Locate: s.Locate, Clock: clock.Now})
	s.Subscribe(w.index)
	kit := &storetest.Kit{T: t, Store: s, Clock: clock, DB: engine.DB()}
	return w.in(kit.Found("acme"))
}

// in is the same world seen from another of its organizations.
func (w *world) in(kit *storetest.Kit) *world {
	kit.T.Helper()
	log, err := kit.Store.Log(kit.T.Context(), kit.Org)
	must(kit.T, err)
	return &world{Kit: kit, keys: w.keys, index: w.index, log: log}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v: %v", err, errors.Unwrap(err))
	}
}

// verifiers is the key of the organization's log.
func (w *world) verifiers() []note.Verifier {
	w.T.Helper()
	_, err := w.keys.signer(w.Org)
	must(w.T, err)
	v, err := note.NewVerifier(w.keys.verifiers[w.Org])
	must(w.T, err)
	return []note.Verifier{v}
}

// ask is a request in a session, changed by edit.
func (w *world) ask(s *writ.Session, method, host, target string, edit ...func(*writ.Ask)) *writ.Ask {
	w.T.Helper()
	parsed, err := writ.ParseTarget(target, writ.Profile{EncodedSlash: writ.ReadOpaque})
	must(w.T, err)
	a := &writ.Ask{
		ID: writ.NewOrderedID(writ.KindDecision, w.Clock.Now()), Org: w.Org, Session: s.ID, Time: writ.At(w.Clock.Now()), Scheme: "https",
		Request: writ.Request{Method: method, Host: host, Target: parsed}, Info: writ.Body{Mode: writ.BodyNone}, Source: netip.MustParseAddr("127.0.0.1"),
		Runtime: writ.Runtime{Program: "curl", PID: 4711, Isolation: "none"},
	}
	for _, e := range edit {
		e(a)
	}
	return a
}

// allow decides the ask, which must be allowed, and records it.
func (w *world) allow(a *writ.Ask) writ.ID {
	w.T.Helper()
	facts, err := w.index.Facts(w.T.Context(), a)
	must(w.T, err)
	d, allow := decide.Decide(a, facts)
	if !d.Allow {
		w.T.Fatalf("denied: %v %s", d.Reasons, d.Detail)
	}
	w.Clock.Add(3 * time.Millisecond)
	_, err = w.log.Append(w.T.Context(), allow, "currency")
	must(w.T, err)
	return writ.UseOf(d.ID)
}

// ended records outcomes, all in one batch, and returns when they are durable.
func (w *world) ended(outcomes ...writ.Outcome) {
	w.T.Helper()
	w.Clock.Add(20 * time.Millisecond)
	// The act holds the batch open, so that the outcomes gather behind it.
	must(w.T, w.log.Act(w.T.Context(), false, func(context.Context, ledger.Tx, *ledger.Batch) (func(), error) {
		for _, o := range outcomes {
			w.log.Outcome(o)
		}
		return nil, nil
	}))
	for _, o := range outcomes {
		for {
			_, err := w.Store.OutcomeOf(w.T.Context(), w.Org, o.Use)
			if err == nil {
				break
			}
			if writ.KindOf(err) != writ.KindNotFound {
				w.T.Fatal(err)
			}
			// A batch of our own comes behind the one with the outcomes.
			must(w.T, w.log.Act(w.T.Context(), false, func(context.Context, ledger.Tx, *ledger.Batch) (func(), error) { return nil, nil }))
		}
	}
}

func (w *world) export(use writ.ID) []byte {
	w.T.Helper()
	var b bytes.Buffer
	must(w.T, evidence.Export(w.T.Context(), w.Store, w.Org, use, &b))
	return b.Bytes()
}

func (w *world) verify(b []byte) *evidence.Report {
	w.T.Helper()
	r, err := evidence.Verify(bytes.NewReader(b), w.verifiers())
	must(w.T, err)
	return r
}

// story is the use that most tests are about: an agent, started by a person,
// with a grant delegated from another, guardrails, and an outcome among others.
type story struct {
	*world
	agent   *writ.Identity
	app     *writ.Application
	cred    *writ.Credential
	root    *writ.Grant
	grant   *writ.Grant
	session *writ.Session
	use     writ.ID
	bundle  []byte
}

func tell(t testing.TB) *story {
	t.Helper()
	s := &story{world: newWorld(t)}
	ben := s.Person("ben@acme.dev")
	s.agent = s.Agent(func(i *writ.Identity) { i.Name = "claude-pay" })
	s.app = s.App("api.acme.test")
	s.cred = s.Credential(s.app, func(c *writ.Credential) {
		c.Name, c.Purpose, c.Authoriser = "payments", "refunds to customers", ben.ID
	})
	other := s.Credential(s.App("api.other.test"))
	s.Grant(s.agent, other)
	// Another grant that opens the same host is a fact of the decision too.
	s.Grant(s.agent, s.cred, func(g *writ.Grant) { g.Purpose = "reading the secret plans" })
	s.root = s.Grant(s.Ana, s.cred, func(g *writ.Grant) {
		g.Rules, g.Expires = []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}, s.In(30*24*time.Hour)
	})
	s.grant = s.Grant(s.agent, s.cred, func(g *writ.Grant) {
		g.Parent, g.Depth, g.Expires, g.Purpose = s.root.ID, 1, s.In(time.Hour), "refunds"
		g.Rules = []writ.Rule{
			{Methods: []string{"GET"}, Path: "/v1/balance"},
			{Methods: []string{"POST"}, Host: "api.acme.test", Path: "/v1/refunds/*", Query: []writ.Condition{{Key: "currency", Op: writ.OpEq, Values: []writ.Scalar{writ.String("EUR")}}}},
		}
	})
	s.Policy(`forbid (principal, action, resource) when { resource.env == "prod" };`)
	s.session = s.Session(s.agent, func(x *writ.Session) { x.Task = "refund order 17" })
	first := s.allow(s.ask(s.session, "GET", "api.acme.test", "/v1/balance"))
	s.use = s.allow(s.ask(s.session, "POST", "api.acme.test", "/v1/refunds/17?currency=EUR&note=hush"))
	third := s.allow(s.ask(s.session, "GET", "api.acme.test", "/v1/balance"))
	s.ended(writ.Outcome{Use: first, Kind: writ.Cut, Millis: 99}, writ.Outcome{Use: s.use, Kind: writ.Completed, Status: 201, Millis: 12, Sent: 40, Received: 200, Masked: 1},
		writ.Outcome{Use: third, Kind: writ.Failed, Millis: 1, Error: "the upstream hung up"})
	s.bundle = s.export(s.use)
	return s
}

// says reports whether a statement contains the text.
func says(list []evidence.Statement, text string) bool {
	for _, s := range list {
		if strings.Contains(s.Text, text) {
			return true
		}
	}
	return false
}
