package store

import (
	"context"

	"writ.dev/writ"
)

// Keysets keeps the wrapped data keys of organizations. What it holds is
// sealed under a key provider's key, so it is no secret and carries no
// authority: a changed one opens nothing.
type Keysets struct{ c *core }

// Keysets gives the place for wrapped data keys.
func (s *Store) Keysets() Keysets { return Keysets{s.core} }

// Load gives an organization's wrapped keys, or writ.KindNotFound.
func (k Keysets) Load(ctx context.Context, org writ.ID) (wrapped []byte, err error) {
	err = k.c.read.QueryRowContext(ctx, `SELECT wrapped FROM keysets WHERE org = $1`, org).Scan(&wrapped)
	if missing(err) {
		return nil, notFound("keyset", string(org))
	}
	return wrapped, k.c.explain(err)
}

// Create stores them, durably on return. It fails with writ.KindConflict when
// the organization has some: replacing them would lose every secret.
func (k Keysets) Create(ctx context.Context, org writ.ID, wrapped []byte) error {
	r, err := k.c.write.ExecContext(ctx, `INSERT INTO keysets (org, wrapped) VALUES ($1, $2) ON CONFLICT (org) DO NOTHING`, org, wrapped)
	if err != nil {
		return k.c.explain(err)
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return writ.Errorf(writ.KindConflict, "the organization has data keys already").WithCause(err)
	}
	return nil
}
