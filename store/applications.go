package store

import (
	"context"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddApplication declares an application. A host belongs to one application at
// most, so that a request is for one and is judged by one profile.
func (s *Store) AddApplication(ctx context.Context, by writ.Actor, a writ.Application) (*writ.Application, ledger.Mark, error) {
	return do(ctx, s, a.Org, act{name: "add-application", by: by}, func(ctx context.Context, w *work) (*writ.Application, error) {
		n := a
		var err error
		if n.ID, err = newID(a.ID, writ.KindApplication); err != nil {
			return nil, err
		}
		n.State, n.Created = writ.Active, w.now
		if err := n.Validate(); err != nil {
			return nil, err
		}
		if err := w.changedPerson(ctx, "owner", "", n.Owner); err != nil {
			return nil, err
		}
		if err := w.free(ctx, tableFor[writ.Application](), n.Name, n.ID); err != nil {
			return nil, err
		}
		if err := w.declareHosts(ctx, &n, nil); err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// declareHosts claims the application's hosts and lets go of those it had.
func (w *work) declareHosts(ctx context.Context, a *writ.Application, had []string) error {
	for _, h := range had {
		if !slices.Contains(a.Hosts, h) || a.State.Final() {
			if err := w.tx.exec(ctx, `DELETE FROM hosts WHERE org = $1 AND host = $2 AND app = $3`, w.org, h, a.ID); err != nil {
				return err
			}
		}
	}
	if a.State.Final() {
		return nil
	}
	for _, h := range a.Hosts {
		if err := w.tx.exec(ctx, `INSERT INTO hosts (org, host, app) VALUES ($1, $2, $3) ON CONFLICT (org, host) DO NOTHING`, w.org, h, a.ID); err != nil {
			return err
		}
		var owner writ.ID
		if err := w.tx.QueryRowContext(ctx, `SELECT app FROM hosts WHERE org = $1 AND host = $2`, w.org, h).Scan(&owner); err != nil {
			return w.readFailed(err)
		}
		if owner != a.ID {
			name := string(owner)
			if other, err := find[writ.Application](ctx, w, owner); err == nil {
				name = other.Name
			}
			return writ.Invalid("hosts", "the host "+h+" belongs to the application "+name+" already", "use that application, or take the host out of it first")
		}
	}
	return nil
}

// EditApplication changes an application, all but its id, state and creation.
// Taking a host away withdraws at once whatever was usable there; a credential
// is bound to the hosts it was sealed for, so adding one opens nothing until a
// new version is sealed.
func (s *Store) EditApplication(ctx context.Context, by writ.Actor, ref writ.Ref, edit func(*writ.Application) error) (*writ.Application, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "edit-application", by: by}, func(ctx context.Context, w *work) (*writ.Application, error) {
		a, err := get[writ.Application](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		was := *a
		was.Hosts = slices.Clone(a.Hosts)
		if was.State.Final() {
			return nil, gone(tableFor[writ.Application](), was.Name, was.State)
		}
		if err := edit(a); err != nil {
			return nil, err
		}
		if a.ID != was.ID || a.Org != was.Org || a.State != was.State || a.Created != was.Created {
			return nil, fixed("id, state and created")
		}
		if err := a.Validate(); err != nil {
			return nil, err
		}
		if err := w.changedPerson(ctx, "owner", was.Owner, a.Owner); err != nil {
			return nil, err
		}
		if err := w.free(ctx, tableFor[writ.Application](), a.Name, a.ID); err != nil {
			return nil, err
		}
		if err := w.declareHosts(ctx, a, was.Hosts); err != nil {
			return nil, err
		}
		w.put(a.ID, a)
		return a, nil
	})
}

// RevokeApplication withdraws an application for good. Its credentials and
// grants keep their state and open nothing: they are judged with it.
func (s *Store) RevokeApplication(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Application, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-application", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Application, error) {
		a, err := find[writ.Application](ctx, w, ref.ID)
		if err != nil || a.State.Final() {
			return a, err
		}
		a.State = writ.Revoked
		w.put(a.ID, a)
		return a, w.declareHosts(ctx, a, a.Hosts)
	})
}
