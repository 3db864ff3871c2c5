package store

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddKey adds an API key by the hash of its text.
func (s *Store) AddKey(ctx context.Context, by writ.Actor, k writ.Key) (*writ.Key, ledger.Mark, error) {
	return do(ctx, s, k.Org, act{name: "add-key", by: by}, func(ctx context.Context, w *work) (*writ.Key, error) {
		n := k
		var err error
		if n.ID, err = newID(k.ID, writ.KindKey); err != nil {
			return nil, err
		}
		if !isHash(n.Hash) {
			return nil, writ.Errorf(writ.KindInternal, "a key without the hash of its text")
		}
		who, err := w.liveIdentity(ctx, "identity", n.Identity)
		if err != nil {
			return nil, err
		}
		n.State, n.Created = writ.Active, max(w.now, who.Cutoff) // as in StartSession
		if err := n.Validate(); err != nil {
			return nil, err
		}
		if err := w.free(ctx, tableFor[writ.Key](), n.Name, n.ID); err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// RevokeKey withdraws a key for good.
func (s *Store) RevokeKey(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Key, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-key", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Key, error) {
		k, err := find[writ.Key](ctx, w, ref.ID)
		if err != nil || k.State.Final() {
			return k, err
		}
		k.State = writ.Revoked
		w.put(k.ID, k)
		return k, nil
	})
}
