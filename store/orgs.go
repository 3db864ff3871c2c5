package store

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// DefaultOrg is the organization of a fresh install. The name is reserved for it.
const DefaultOrg = "default"

// CreateOrg makes an organization with a log of its own. A crash between the
// head of its log and its row leaves a log that nothing names.
func (s *Store) CreateOrg(ctx context.Context, by writ.Actor, name string) (*writ.Org, ledger.Mark, error) {
	if name != DefaultOrg {
		if err := writ.CheckName("name", name); err != nil {
			return nil, ledger.Mark{}, err
		}
	}
	id := writ.NewID(writ.KindOrg)
	if other, err := s.orgNamed(ctx, name); err == nil && other.State != writ.Revoked {
		return nil, ledger.Mark{}, taken(tableFor[writ.Org](), name)
	}
	_, err := s.write.ExecContext(ctx, `INSERT INTO log_head (org, number, incarnation, size, epoch, last_change, time, frontier)
		VALUES ($1, (SELECT coalesce(max(number), 0) + 1 FROM log_head), 0, 0, 0, -1, 0, $2)`, id, []byte{})
	if err != nil {
		return nil, ledger.Mark{}, s.explain(err)
	}
	// Who makes an organization is not in it: the actor is recorded, not checked.
	return do(ctx, s, id, act{name: "create-org", by: by, founds: true}, func(_ context.Context, w *work) (*writ.Org, error) {
		o := &writ.Org{ID: id, Name: name, State: writ.Active, Created: w.now}
		w.add(id, o)
		return o, nil
	})
}

// EditOrg changes an organization's settings.
func (s *Store) EditOrg(ctx context.Context, by writ.Actor, org writ.ID, edit func(*writ.Org) error) (*writ.Org, ledger.Mark, error) {
	return do(ctx, s, org, act{name: "edit-org", by: by}, func(ctx context.Context, w *work) (*writ.Org, error) {
		o, err := get[writ.Org](ctx, w, org)
		if err != nil {
			return nil, err
		}
		was := *o
		if err := edit(o); err != nil {
			return nil, err
		}
		if o.ID != was.ID || o.Name != was.Name || o.State != was.State || o.Created != was.Created {
			return nil, fixed("id, name, state and created")
		}
		if o.GraceDays < 0 || o.GraceDays > 366 {
			return nil, writ.Invalid("grace_days", "the grace is 0 to 366 days", "choose a number of days, 0 for none")
		}
		if o.MaxDepth < 0 || o.MaxDepth > maxDepth {
			return nil, writ.Invalid("max_depth", "the depth of delegation is 1 to 16, or 0 for the default", "choose a smaller number")
		}
		w.put(org, o)
		return o, nil
	})
}

// maxDepth bounds what an organization may set as its depth of delegation.
const maxDepth = 16

// StopAll stops everything in the organization: it is marked as stopped, which
// denies every use, and every session ends.
func (s *Store) StopAll(ctx context.Context, by writ.Actor, org writ.ID, cause string) (*writ.Org, ledger.Mark, error) {
	return do(ctx, s, org, act{name: "stop-all", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Org, error) {
		// Not get: a row that is not believed denies everything already, and is
		// left to whoever finds out why.
		o, err := find[writ.Org](ctx, w, org)
		if err != nil {
			return nil, err
		}
		if w.doubted[org] {
			return nil, unproven(tableFor[writ.Org](), org)
		}
		if o.State == writ.Active {
			o.State = writ.Suspended
			w.put(org, o)
		}
		sessions, err := all[writ.Session](ctx, w, "state = 'active'")
		if err != nil {
			return nil, err
		}
		return o, w.end(ctx, sessions)
	})
}

// ResumeAll lets the organization work again. Sessions that were ended stay
// ended: whoever needs one starts a new one.
func (s *Store) ResumeAll(ctx context.Context, by writ.Actor, org writ.ID, cause string) (*writ.Org, ledger.Mark, error) {
	return do(ctx, s, org, act{name: "resume-all", by: by, cause: cause}, func(ctx context.Context, w *work) (*writ.Org, error) {
		o, err := get[writ.Org](ctx, w, org)
		if err != nil {
			return nil, err
		}
		if o.State == writ.Suspended {
			o.State = writ.Active
			w.put(org, o)
		}
		return o, nil
	})
}

// org is the organization of the act.
func (w *work) itsOrg(ctx context.Context) (*writ.Org, error) { return get[writ.Org](ctx, w, w.org) }
