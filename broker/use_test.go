package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/authority"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
	"writ.dev/writ/vault"
)

const host = "api.acme.test"

// scene is a broker on a real store, index and vault, whose database can be
// made to fail.
type scene struct {
	*storetest.Kit
	memory  *storetest.Memory
	index   *authority.Index
	broker  *broker.Broker
	agent   *writ.Identity
	cred    *writ.Credential
	grant   *writ.Grant
	session *writ.Session
}

const secret = "the-very-secret-value"

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{memory: storetest.NewMemory(t)}
	s.Kit = storetest.NewKit(t, s.memory)
	now := s.Clock.Now
	s.index = authority.New(authority.Config{Load: s.Store.Load, Locate: s.Store.Locate, Clock: now})
	keyFile := t.TempDir() + "/key"
	if err := vault.CreateKeyFile(keyFile); err != nil {
		t.Fatal(err)
	}
	provider, err := vault.OpenKeyFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	v := vault.New(vault.Config{Keys: provider, Keysets: s.Store.Keysets(), Versions: s.Store})
	s.broker = broker.New(broker.Config{Authority: s.index, Logs: s.Store, Vault: v, Clock: now, Logger: slog.New(slog.DiscardHandler)})
	s.Store.Subscribe(s.index)
	s.Store.Subscribe(s.broker)
	s.Store.Believe(s.index)

	app := s.App(host)
	version := writ.Version{ID: writ.NewID(writ.KindVersion), Org: s.Org, Credential: writ.NewID(writ.KindCredential), Number: 1, Hosts: app.Hosts, Placement: writ.Placement{In: writ.InBearer}}
	sealed, err := v.Seal(t.Context(), &version, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	if s.cred, _, err = s.Store.AddCredential(t.Context(), s.By, writ.Credential{
		ID: version.Credential, Org: s.Org, Name: "acme-key", App: app.ID, Owner: s.Ana.ID, Issuer: "the test", Authoriser: s.Ana.ID, Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
	}, &version, sealed); err != nil {
		t.Fatal(err)
	}
	s.agent = s.Agent()
	s.grant = s.Grant(s.agent, s.cred)
	s.session = s.Session(s.agent)
	return s
}

func (s *scene) ask() *writ.Ask {
	target, err := writ.ParseTarget("/v1/x", writ.Profile{})
	if err != nil {
		s.T.Fatal(err)
	}
	return &writ.Ask{
		Org: s.Org, Session: s.session.ID, Time: writ.At(s.Clock.Now()), Scheme: "https", Source: netip.MustParseAddr("127.0.0.1"),
		Request: writ.Request{Method: "GET", Host: host, Target: target}, Info: writ.Body{Mode: writ.BodyNone},
	}
}

// use makes one use and reports whether the carrier ran and saw the secret.
func (s *scene) use() (carried bool, d *writ.Decision, err error) {
	d, err = s.broker.Use(s.T.Context(), broker.Intent{Ask: s.ask()}, func(_ context.Context, u *broker.Use) writ.Outcome {
		carried = u.Send()
		err := u.Secret(func(b []byte) error {
			if string(b) != secret {
				s.T.Error("the carrier got another secret")
			}
			return nil
		})
		if err != nil {
			s.T.Error(err)
		}
		return writ.Outcome{Kind: writ.Completed, Status: 200}
	})
	return carried, d, err
}

func reason(err error) writ.Reason {
	var d *problem.Denied
	if errors.As(err, &d) {
		return d.Decision.Reason()
	}
	return ""
}

// R3: when the ledger cannot write, whatever fails and however, nothing is
// used; and what was used stands in the ledger.
func TestInvariant01NoRecordNoUse(t *testing.T) {
	for name, fault := range map[string]func(op storetest.Op) *storetest.Fault{
		"no transaction": func(op storetest.Op) *storetest.Fault {
			if op.Kind == "begin" {
				return &storetest.Fault{Class: store.ClassIO}
			}
			return nil
		},
		"no entry": func(op storetest.Op) *storetest.Fault {
			if op.Kind == "exec" {
				return &storetest.Fault{Class: store.ClassFull}
			}
			return nil
		},
		"no commit": func(op storetest.Op) *storetest.Fault {
			if op.Kind == "commit" {
				return &storetest.Fault{Class: store.ClassFull}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if carried, _, err := s.use(); err != nil || !carried {
				t.Fatalf("before: %v", err)
			}
			log, err := s.Store.Log(t.Context(), s.Org)
			if err != nil {
				t.Fatal(err)
			}
			var on atomic.Bool
			on.Store(true)
			s.memory.Hook(func(op storetest.Op) *storetest.Fault {
				if !on.Load() {
					return nil
				}
				return fault(op)
			})
			size := log.Head().Size
			for range 3 {
				carried, _, err := s.use()
				if carried || reason(err) != writ.LedgerUnavailable && reason(err) != writ.AuthorityStale {
					t.Fatalf("carried %v, %v (%s)", carried, err, reason(err))
				}
			}
			on.Store(false)
			await(t, func() bool { carried, _, err := s.use(); return carried && err == nil })
			if log.Head().Size <= size {
				t.Error("the use after the fault is not in the ledger")
			}
		})
	}
}

// await tries until it works: a log that lost its database needs a moment.
func await(t *testing.T, try func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !try() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it did not come back")
		}
	}
}

// A commit whose answer was lost but that took place is recognised: the use it
// records is carried out, once.
func TestCommitWithALostAnswerIsFoundOut(t *testing.T) {
	s := newScene(t)
	if _, _, err := s.use(); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	s.memory.Hook(func(op storetest.Op) *storetest.Fault {
		if op.Kind == "commit" && lost.CompareAndSwap(0, 1) {
			return &storetest.Fault{Class: store.ClassLost, Done: true}
		}
		return nil
	})
	carried, _, err := s.use()
	if err == nil != carried {
		t.Errorf("carried %v with %v", carried, err)
	}
	if lost.Load() != 1 {
		t.Error("no commit was lost: the test proves nothing")
	}
	await(t, func() bool { carried, _, err := s.use(); return carried && err == nil })
}

// Everything unknown on the way to a use denies, with its reason.
func TestInvariant03UnknownOnTheWayDenies(t *testing.T) {
	s := newScene(t)
	ask := s.ask()
	ask.Session = writ.NewID(writ.KindSession)
	_, err := s.broker.Use(t.Context(), broker.Intent{Ask: ask}, func(context.Context, *broker.Use) writ.Outcome {
		t.Error("an unknown session was carried")
		return writ.Outcome{}
	})
	if reason(err) != writ.NoIdentity {
		t.Errorf("unknown session: %s", reason(err))
	}
	s.index.Stale(s.Org)
	s.memory.Hook(func(op storetest.Op) *storetest.Fault {
		if op.Kind == "query" || op.Kind == "begin" {
			return &storetest.Fault{Class: store.ClassIO}
		}
		return nil
	})
	if carried, _, err := s.use(); carried || reason(err) != writ.AuthorityStale {
		t.Errorf("stale: carried %v, %s", carried, reason(err))
	}
	s.memory.Hook(nil)
	s.Clock.Add(time.Second) // a load that failed is tried again after a moment
	await(t, func() bool { carried, _, err := s.use(); return carried && err == nil })
}

// An allow whose decision was overtaken by a revocation is not recorded, and
// what a revocation finds in flight is told to end before the call returns.
func TestInvariant06RevocationFindsWhatIsInFlight(t *testing.T) {
	s := newScene(t)
	in, out := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.broker.Use(t.Context(), broker.Intent{Ask: s.ask()}, func(ctx context.Context, u *broker.Use) writ.Outcome {
			if !u.Send() {
				t.Error("the first byte was refused before any revocation")
			}
			close(in)
			<-ctx.Done()
			out <- context.Cause(ctx)
			return writ.Outcome{Kind: writ.Failed}
		})
		if err != nil {
			t.Error(err)
		}
	}()
	<-in
	_, mark, err := s.Store.RevokeGrant(t.Context(), s.By, s.Ref(s.grant.ID), "test")
	if err != nil {
		t.Fatal(err)
	}
	r := s.broker.Settle(t.Context(), s.Org, mark.Epoch)
	if r.Uses != (broker.Count{Down: 1, Found: 1}) || r.Grants != 1 {
		t.Errorf("%+v", r)
	}
	if cause := <-out; !errors.Is(cause, broker.ErrCut) {
		t.Errorf("the use ended because of %v", cause)
	}
	if carried, _, err := s.use(); carried || reason(err) != writ.GrantInactive {
		t.Errorf("after: carried %v, %s", carried, reason(err))
	}
}

// A cut that comes between the decision and the first byte wins: nothing is sent.
func TestNothingIsSentAfterACut(t *testing.T) {
	s := newScene(t)
	_, err := s.broker.Use(t.Context(), broker.Intent{Ask: s.ask()}, func(_ context.Context, u *broker.Use) writ.Outcome {
		if _, _, err := s.Store.RevokeGrant(t.Context(), s.By, s.Ref(s.grant.ID), "test"); err != nil {
			t.Error(err)
		}
		if u.Send() {
			t.Error("the credential may be sent after the cut")
		}
		return writ.Outcome{Kind: writ.Suppressed}
	})
	if err != nil {
		t.Error(err)
	}
}

// Delegation: a child grant ends with its parent, and is checked when used.
func TestInvariant09DelegatedGrantEndsWithItsParent(t *testing.T) {
	s := newScene(t)
	helper := s.Agent()
	child := s.Grant(helper, s.cred, func(g *writ.Grant) { g.Parent, g.Depth = s.grant.ID, 1 })
	s.session = s.Session(helper)
	if carried, d, err := s.use(); !carried || d.Grant != child.ID {
		t.Fatalf("the child was not used: %v", err)
	}
	wide := writ.Grant{Org: s.Org, Identity: helper.ID, Credential: s.cred.ID, Parent: s.grant.ID, Depth: 1, Rules: []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}, Authoriser: s.Ana.ID}
	if _, _, err := s.Store.AddGrant(t.Context(), s.By, wide); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("a child wider than its parent was made: %v", err)
	}
	if _, _, err := s.Store.RevokeGrant(t.Context(), s.By, s.Ref(s.grant.ID), "test"); err != nil {
		t.Fatal(err)
	}
	if carried, _, err := s.use(); carried || reason(err) == "" {
		t.Errorf("the child outlived its parent: %v", err)
	}
	if _, _, err := s.Store.ResumeGrant(t.Context(), s.By, s.Ref(child.ID), "test"); err == nil {
		t.Error("a child of a revoked parent was resumed")
	}
}

// The log of all this verifies: no allow stands after the end of its basis.
func TestUsesVerifyInTheLedger(t *testing.T) {
	s := newScene(t)
	for range 20 {
		if _, _, err := s.use(); err != nil {
			t.Fatal(err)
		}
	}
	log, err := s.Store.Log(t.Context(), s.Org)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Store.RevokeGrant(t.Context(), s.By, s.Ref(s.grant.ID), "test"); err != nil {
		t.Fatal(err)
	}
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: s.Store.Reader(), Org: s.Org})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) != 0 || report.Allows != 20 || report.Size != log.Head().Size {
		t.Errorf("%+v", report)
	}
}
