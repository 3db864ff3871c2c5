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
	// Numbers are given out one after another.
	s.founding.Lock()
	defer s.founding.Unlock()
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

// stopChunk bounds the sessions that one act of StopAll ends: an entry of the
// ledger takes so much and no more, and stopping must work at any size.
const stopChunk = 20_000

// StopAll stops everything in the organization: it is marked as stopped, which
// denies every use, and every session ends. The mark and the first sessions are
// one act; further acts end what is left of very many.
func (s *Store) StopAll(ctx context.Context, by writ.Actor, org writ.ID, cause string) (*writ.Org, ledger.Mark, error) {
	return s.endAll(ctx, org, act{name: "stop-all", by: by, cause: cause, takes: true}, stopChunk)
}

// endAll stops the organization and ends every session in it, some at a time.
// It returns the first act's mark: what the rest end cannot act any more.
func (s *Store) endAll(ctx context.Context, org writ.ID, a act, chunk int) (stopped *writ.Org, first ledger.Mark, err error) {
	for n := 0; ; n++ {
		more := false
		o, mark, err := do(ctx, s, org, a, func(ctx context.Context, w *work) (*writ.Org, error) {
			o, err := get[writ.Org](ctx, w, org)
			if err != nil {
				return nil, err
			}
			if o.State == writ.Active {
				o.State = writ.Suspended
				w.put(org, o)
			}
			sessions, err := all[writ.Session](ctx, w, "state = 'active' LIMIT $2", chunk)
			if err != nil {
				return nil, err
			}
			more = len(sessions) == chunk
			return o, w.end(ctx, sessions)
		})
		if n == 0 {
			stopped, first = o, mark
		}
		if err != nil || !more {
			return stopped, first, err
		}
	}
}

// ResumeAll lets the organization work again. Sessions that were ended stay
// ended: whoever needs one starts a new one.
func (s *Store) ResumeAll(ctx context.Context, by writ.Actor, org writ.ID, cause string) (*writ.Org, ledger.Mark, error) {
	return do(ctx, s, org, act{name: "resume-all", by: by, cause: cause}, func(ctx context.Context, w *work) (*writ.Org, error) {
		o, err := get[writ.Org](ctx, w, org)
		if err != nil || o.State != writ.Suspended {
			return o, err
		}
		// None can start while all is stopped, so one that runs is one that a
		// StopAll did not come to: it would be revived.
		left, err := all[writ.Session](ctx, w, "state = 'active' LIMIT 1")
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			return nil, writ.Errorf(writ.KindConflict, "stopping has not ended every session yet").WithFix("stop once more, which ends the rest: writ kill all")
		}
		o.State = writ.Active
		w.put(org, o)
		return o, nil
	})
}

// org is the organization of the act.
func (w *work) itsOrg(ctx context.Context) (*writ.Org, error) { return get[writ.Org](ctx, w, w.org) }
