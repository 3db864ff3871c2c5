package store

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddIdentity registers an identity. The act sets its id where there is none,
// its state and its time.
func (s *Store) AddIdentity(ctx context.Context, by writ.Actor, i writ.Identity) (*writ.Identity, ledger.Mark, error) {
	return do(ctx, s, i.Org, act{name: "add-identity", by: by}, func(ctx context.Context, w *work) (*writ.Identity, error) {
		n := i
		var err error
		if n.ID, err = newID(i.ID, writ.KindIdentity); err != nil {
			return nil, err
		}
		n.State, n.Created, n.Cutoff = writ.Active, w.now, 0
		if err := n.Validate(); err != nil {
			return nil, err
		}
		if n.Expires.Passed(w.now) {
			return nil, writ.Invalid("expires", "the identity would have expired already", "give a time in the future")
		}
		if n.Kind != writ.Person {
			if err := w.livePerson(ctx, "owner", n.Owner); err != nil {
				return nil, err
			}
			if err := w.changedPerson(ctx, "backup", "", n.Backup); err != nil {
				return nil, err
			}
		}
		if n.Parent != "" {
			if err := w.parentAgent(ctx, n.Parent); err != nil {
				return nil, err
			}
		}
		if err := w.free(ctx, tableFor[writ.Identity](), n.Name, n.ID); err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// parentAgent checks that an agent may have one more below it.
func (w *work) parentAgent(ctx context.Context, id writ.ID) error {
	p, err := w.liveIdentity(ctx, "parent", id)
	if err != nil {
		return err
	}
	if p.Kind != writ.Agent {
		return writ.Invalid("parent", p.Label()+" is not an agent", "name the agent that this one belongs to")
	}
	org, err := w.itsOrg(ctx)
	if err != nil {
		return err
	}
	for depth := 1; p.Parent != ""; depth++ {
		if depth >= org.Depth() {
			return writ.Invalid("parent", "agents would be nested deeper than the organization allows", "name a parent nearer to the top")
		}
		if p, err = get[writ.Identity](ctx, w, p.Parent); err != nil {
			return err
		}
	}
	return nil
}

// EditIdentity changes what may change of an identity: its name, owner, backup,
// purpose and expiry. edit gets a copy, and its error ends the act.
func (s *Store) EditIdentity(ctx context.Context, by writ.Actor, ref writ.Ref, edit func(*writ.Identity) error) (*writ.Identity, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "edit-identity", by: by}, func(ctx context.Context, w *work) (*writ.Identity, error) {
		i, err := get[writ.Identity](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		was := *i
		if was.State.Final() {
			return nil, gone(tableFor[writ.Identity](), was.Name, was.State)
		}
		if err := edit(i); err != nil {
			return nil, err
		}
		if i.ID != was.ID || i.Org != was.Org || i.Kind != was.Kind || i.State != was.State || i.Created != was.Created || i.Cutoff != was.Cutoff || i.Parent != was.Parent {
			return nil, fixed("id, kind, state, created, cutoff and parent")
		}
		if err := i.Validate(); err != nil {
			return nil, err
		}
		if err := w.changedPerson(ctx, "owner", was.Owner, i.Owner); err != nil {
			return nil, err
		}
		if err := w.changedPerson(ctx, "backup", was.Backup, i.Backup); err != nil {
			return nil, err
		}
		if was.Expires.Passed(w.now) && !i.Expires.Passed(w.now) {
			// A longer life brings the identity back, not what it had running.
			i.Cutoff = after(i.Cutoff, w.now)
		}
		if err := w.free(ctx, tableFor[writ.Identity](), i.Name, i.ID); err != nil {
			return nil, err
		}
		w.put(i.ID, i)
		return i, nil
	})
}

// SuspendIdentity keeps an identity from acting until it is resumed. Its
// sessions end for good, its keys are void for good.
func (s *Store) SuspendIdentity(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Identity, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "suspend-identity", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Identity, error) {
		i, err := get[writ.Identity](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		switch {
		case i.State.Final():
			return nil, gone(tableFor[writ.Identity](), i.Name, i.State)
		case i.State == writ.Suspended:
			return i, nil
		}
		return i, w.suspend(ctx, i)
	})
}

// ResumeIdentity lets a suspended identity act again. Nothing that it had comes
// back: the cut-off advances past everything made before. Where its owner is
// gone, a living backup takes over; with neither it stays suspended.
func (s *Store) ResumeIdentity(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Identity, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "resume-identity", by: by, cause: cause}, func(ctx context.Context, w *work) (*writ.Identity, error) {
		i, err := get[writ.Identity](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		switch {
		case i.State.Final():
			return nil, gone(tableFor[writ.Identity](), i.Name, i.State)
		case i.State == writ.Active:
			return i, nil
		}
		if i.Kind != writ.Person {
			owner, err := w.successor(ctx, i.Owner)
			if err != nil {
				return nil, err
			}
			backup, err := w.successor(ctx, i.Backup)
			switch {
			case err != nil:
				return nil, err
			case owner == "" && backup == "":
				return nil, writ.Errorf(writ.KindConflict, "no living person is accountable for %s", i.Label()).
					WithFix("give it an owner first: writ identity edit %s --owner PERSON", i.Name)
			case owner == "":
				i.Owner, i.Backup = backup, ""
			}
		}
		i.State, i.Cutoff = writ.Active, after(i.Cutoff, w.now)
		w.put(i.ID, i)
		return i, nil
	})
}

// RevokeIdentity withdraws an identity for good, with everything that is only
// there because of it; see work.withdraw for what that is.
func (s *Store) RevokeIdentity(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Identity, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-identity", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Identity, error) {
		i, err := find[writ.Identity](ctx, w, ref.ID)
		if err != nil || i.State.Final() {
			return i, err
		}
		return i, w.withdraw(ctx, i)
	})
}
