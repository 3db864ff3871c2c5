package broker_test

import (
	"context"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/decide"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

// between is the live index, with something that happens once, after the facts
// were read and before anything is done with them.
type between struct {
	broker.Authority
	act func()
}

func (b *between) Facts(ctx context.Context, ask *writ.Ask) (*decide.Facts, error) {
	f, err := b.Authority.Facts(ctx, ask)
	if act := b.act; act != nil {
		b.act = nil
		act()
	}
	return f, err
}

// T2, invariant 6: a credential that is narrowed, not revoked, between the
// facts and the entry. Its row stays active, so the recheck of the entry passes
// it; nothing that is decided on the old facts may be carried out all the same.
func TestAttackNarrowedBetweenFactsAndEntry(t *testing.T) {
	s := newScene(t)
	narrow := func() {
		_, _, err := s.Store.EditCredential(t.Context(), s.By, s.Ref(s.cred.ID), func(c *writ.Credential) error {
			c.AIUse = writ.AIForbidden
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	hooked := &between{Authority: s.index, act: narrow}
	config := s.broker.Config
	config.Authority = hooked
	b := broker.New(config)
	s.Store.Subscribe(b)
	_, err := b.Use(t.Context(), broker.Intent{Ask: s.ask()}, func(_ context.Context, u *broker.Use) writ.Outcome {
		if u.Send() {
			t.Error("the credential may be sent although agents may no longer use it")
		}
		return writ.Outcome{Kind: writ.Suppressed}
	})
	if reason(err) != writ.AIUseForbidden {
		t.Errorf("got %v, want %s", err, writ.AIUseForbidden)
	}
}

// Invariant 6: what is in flight is judged again on a copy of its Ask. A use
// that is decided anew still writes to its own, and so may its carrier; what is
// judged must be what was decided, and reading it must not race.
func TestAttackJudgedOnAnotherAsk(t *testing.T) {
	s := newScene(t)
	ask := s.ask()
	_, err := s.broker.Use(t.Context(), broker.Intent{Ask: ask}, func(_ context.Context, u *broker.Use) writ.Outcome {
		ask.Method = "DELETE"
		_, mark, err := s.Store.EditCredential(t.Context(), s.By, s.Ref(s.cred.ID), func(c *writ.Credential) error {
			c.Purpose = "another"
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		s.broker.Settle(t.Context(), s.Org, mark.Epoch)
		if u.WasCut() {
			t.Error("the use was judged by a request that nobody decided on")
		}
		return writ.Outcome{Kind: writ.Suppressed}
	})
	if err != nil {
		t.Error(err)
	}
}

// However a use ends, nothing of it stays in the registry: what stays is
// judged with every change and waited for by every revocation.
func TestAttackNothingStaysInTheRegistry(t *testing.T) {
	s := newScene(t)
	use := func(ctx context.Context, ask *writ.Ask, carry broker.Carrier) {
		defer func() { _ = recover() }()
		_, _ = s.broker.Use(ctx, broker.Intent{Ask: ask}, carry)
	}
	fine := func(context.Context, *broker.Use) writ.Outcome { return writ.Outcome{Kind: writ.Completed} }
	denied := s.ask()
	denied.Method = "DELETE"
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	use(t.Context(), s.ask(), fine)
	use(t.Context(), denied, fine)
	use(gone, s.ask(), fine)
	use(t.Context(), s.ask(), func(context.Context, *broker.Use) writ.Outcome { panic("a defect of the carrier") })
	use(t.Context(), s.ask(), func(_ context.Context, u *broker.Use) writ.Outcome {
		u.Close()
		u.Lose()
		return writ.Outcome{}
	})
	s.memory.Hook(func(op storetest.Op) *storetest.Fault {
		if op.Kind == "begin" {
			return &storetest.Fault{Class: store.ClassIO}
		}
		return nil
	})
	use(t.Context(), s.ask(), fine)
	s.memory.Hook(nil)
	s.broker.Connect(t.Context(), s.Org, s.session.ID).Close()
	s.broker.Attach(t.Context(), s.Org, s.session.ID).Lose()
	if n := broker.Flying(s.broker); n != 0 {
		t.Errorf("%d entries stay in the registry", n)
	}
}
