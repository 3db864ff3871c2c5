package store

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// StartSession begins a run. A session with a parent is a delegation: it has
// the same principal, ends no later, and everything above it must be running.
func (s *Store) StartSession(ctx context.Context, by writ.Actor, ses writ.Session) (*writ.Session, ledger.Mark, error) {
	return do(ctx, s, ses.Org, act{name: "start-session", by: by}, func(ctx context.Context, w *work) (*writ.Session, error) {
		n := ses
		var err error
		if n.ID, err = newID(ses.ID, writ.KindSession); err != nil {
			return nil, err
		}
		org, err := w.itsOrg(ctx)
		if err != nil {
			return nil, err
		}
		if org.State != writ.Active {
			return nil, writ.Errorf(writ.KindConflict, "everything in this organization is stopped").WithFix("resume it first: writ resume all --reason TEXT")
		}
		if !isHash(n.Hash) {
			return nil, writ.Errorf(writ.KindInternal, "a session without the hash of its token")
		}
		who, err := w.liveIdentity(ctx, "identity", n.Identity)
		if err != nil {
			return nil, err
		}
		if n.Parent != "" {
			if err := w.derived(ctx, &n, org.Depth()); err != nil {
				return nil, err
			}
		}
		if n.Started == "" {
			n.Started = by.Identity
		}
		starter, err := w.liveIdentity(ctx, "started", n.Started)
		if err != nil {
			return nil, err
		}
		// Dated no earlier than the cut-offs it is compared with, which may lie a
		// millisecond ahead of the clock.
		n.State, n.Created = writ.Active, max(w.now, who.Cutoff, starter.Cutoff)
		for up := who; up.Parent != ""; {
			if up, err = get[writ.Identity](ctx, w, up.Parent); err != nil {
				return nil, err
			}
			n.Created = max(n.Created, up.Cutoff)
		}
		if err := n.Validate(); err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// derived checks a session against its parent and everything above that.
func (w *work) derived(ctx context.Context, s *writ.Session, depth int) error {
	parent, err := get[writ.Session](ctx, w, s.Parent)
	if writ.KindOf(err) == writ.KindNotFound {
		return writ.Invalid("parent", "there is no session "+writ.Printable(string(s.Parent), 40), "list them with: writ session ls")
	}
	if err != nil {
		return err
	}
	switch {
	case s.Started == "":
		s.Started = parent.Started
	case s.Started != parent.Started:
		return writ.Invalid("started", "a session made from a session has the same principal", "leave it away")
	}
	if s.Expires > parent.Expires {
		return writ.Invalid("expires", "a session may not outlive the one it was made from", "let it end by "+parent.Expires.String())
	}
	for n, up := 1, parent; ; n++ {
		if n > depth {
			return writ.Invalid("parent", "the delegation would be deeper than the organization allows", "start it from a session nearer to the first")
		}
		if !up.Live(w.now) {
			return writ.Invalid("parent", "the session "+string(up.ID)+" is over", "start a new one")
		}
		if _, err := w.liveIdentity(ctx, "parent", up.Identity); err != nil {
			return err
		}
		if up.Parent == "" {
			return nil
		}
		if up, err = get[writ.Session](ctx, w, up.Parent); err != nil {
			return err
		}
	}
}

// EndSession ends a run for good, with every session made from it.
func (s *Store) EndSession(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Session, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "end-session", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Session, error) {
		ses, err := find[writ.Session](ctx, w, ref.ID)
		if err != nil || ses.State.Final() {
			return ses, err
		}
		sessions, err := all[writ.Session](ctx, w, sessionsFrom, ses.ID)
		if err != nil {
			return nil, err
		}
		return ses, w.end(ctx, sessions)
	})
}
