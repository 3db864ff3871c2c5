package store

import (
	"context"

	"writ.dev/writ"
)

// One and a page of each kind of noun. A reference is an id, a unique beginning
// of an id, or a name; of an identity also "agent:NAME".

// Identity finds one by reference.
func (s *Store) Identity(ctx context.Context, org writ.ID, ref string) (*writ.Identity, error) {
	return one[writ.Identity](ctx, s.core, org, ref)
}

// Identities lists a page.
func (s *Store) Identities(ctx context.Context, org writ.ID, q Query) ([]*writ.Identity, string, error) {
	return page[writ.Identity](ctx, s.core, org, q)
}

// Application finds one by reference.
func (s *Store) Application(ctx context.Context, org writ.ID, ref string) (*writ.Application, error) {
	return one[writ.Application](ctx, s.core, org, ref)
}

// Applications lists a page.
func (s *Store) Applications(ctx context.Context, org writ.ID, q Query) ([]*writ.Application, string, error) {
	return page[writ.Application](ctx, s.core, org, q)
}

// Credential finds one by reference.
func (s *Store) Credential(ctx context.Context, org writ.ID, ref string) (*writ.Credential, error) {
	return one[writ.Credential](ctx, s.core, org, ref)
}

// Credentials lists a page.
func (s *Store) Credentials(ctx context.Context, org writ.ID, q Query) ([]*writ.Credential, string, error) {
	return page[writ.Credential](ctx, s.core, org, q)
}

// Version finds one by reference.
func (s *Store) Version(ctx context.Context, org writ.ID, ref string) (*writ.Version, error) {
	return one[writ.Version](ctx, s.core, org, ref)
}

// Versions lists a page.
func (s *Store) Versions(ctx context.Context, org writ.ID, q Query) ([]*writ.Version, string, error) {
	return page[writ.Version](ctx, s.core, org, q)
}

// Grant finds one by reference.
func (s *Store) Grant(ctx context.Context, org writ.ID, ref string) (*writ.Grant, error) {
	return one[writ.Grant](ctx, s.core, org, ref)
}

// Grants lists a page.
func (s *Store) Grants(ctx context.Context, org writ.ID, q Query) ([]*writ.Grant, string, error) {
	return page[writ.Grant](ctx, s.core, org, q)
}

// Session finds one by reference.
func (s *Store) Session(ctx context.Context, org writ.ID, ref string) (*writ.Session, error) {
	return one[writ.Session](ctx, s.core, org, ref)
}

// Sessions lists a page.
func (s *Store) Sessions(ctx context.Context, org writ.ID, q Query) ([]*writ.Session, string, error) {
	return page[writ.Session](ctx, s.core, org, q)
}

// Key finds one by reference.
func (s *Store) Key(ctx context.Context, org writ.ID, ref string) (*writ.Key, error) {
	return one[writ.Key](ctx, s.core, org, ref)
}

// Keys lists a page.
func (s *Store) Keys(ctx context.Context, org writ.ID, q Query) ([]*writ.Key, string, error) {
	return page[writ.Key](ctx, s.core, org, q)
}

// Policy finds one by reference.
func (s *Store) Policy(ctx context.Context, org writ.ID, ref string) (*writ.Policy, error) {
	return one[writ.Policy](ctx, s.core, org, ref)
}

// Policies lists a page.
func (s *Store) Policies(ctx context.Context, org writ.ID, q Query) ([]*writ.Policy, string, error) {
	return page[writ.Policy](ctx, s.core, org, q)
}

// UsesLeft is how many uses a limited grant has left.
func (s *Store) UsesLeft(ctx context.Context, org, grant writ.ID) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, `SELECT remaining FROM grant_uses WHERE org = $1 AND grant_id = $2`, org, grant).Scan(&n)
	if missing(err) {
		return 0, notFound("limited grant", string(grant))
	}
	return n, s.explain(err)
}
