package store

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddPolicy adds a guardrail.
func (s *Store) AddPolicy(ctx context.Context, by writ.Actor, p writ.Policy) (*writ.Policy, ledger.Mark, error) {
	return do(ctx, s, p.Org, act{name: "add-policy", by: by}, func(ctx context.Context, w *work) (*writ.Policy, error) {
		n := p
		var err error
		if n.ID, err = newID(p.ID, writ.KindPolicy); err != nil {
			return nil, err
		}
		n.State, n.Created, n.Version = writ.Active, w.now, 1
		if err := w.policy(ctx, &n); err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// policy checks what is the same for a new and an edited policy.
func (w *work) policy(ctx context.Context, p *writ.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if err := w.c.cfg.CheckPolicy(p.Text); err != nil {
		return err
	}
	return w.free(ctx, tableFor[writ.Policy](), p.Name, p.ID)
}

// EditPolicy changes a guardrail's name, text and mode, and counts its version.
func (s *Store) EditPolicy(ctx context.Context, by writ.Actor, ref writ.Ref, edit func(*writ.Policy) error) (*writ.Policy, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "edit-policy", by: by}, func(ctx context.Context, w *work) (*writ.Policy, error) {
		p, err := get[writ.Policy](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		was := *p
		if was.State.Final() {
			return nil, gone(tableFor[writ.Policy](), was.Name, was.State)
		}
		if err := edit(p); err != nil {
			return nil, err
		}
		if p.ID != was.ID || p.Org != was.Org || p.State != was.State || p.Created != was.Created || p.Version != was.Version {
			return nil, fixed("id, state, created and version")
		}
		p.Version++
		if err := w.policy(ctx, p); err != nil {
			return nil, err
		}
		w.put(p.ID, p)
		return p, nil
	})
}

// RevokePolicy takes a guardrail out of force for good. It gives back what the
// guardrail took away, so unlike other revocations it is no urgent act, and
// whoever asks must still be able to act.
func (s *Store) RevokePolicy(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Policy, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-policy", by: by, cause: cause}, func(ctx context.Context, w *work) (*writ.Policy, error) {
		p, err := find[writ.Policy](ctx, w, ref.ID)
		if err != nil || p.State.Final() {
			return p, err
		}
		p.State = writ.Revoked
		w.put(p.ID, p)
		return p, nil
	})
}
