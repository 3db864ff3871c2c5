package store

import (
	"context"
	"strconv"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddGrant gives an identity a credential to use. A grant with a parent is a
// delegation: it must lie within the parent, and everything above it must stand
// (invariant 9). Both are checked in the act's transaction, so a parent that is
// revoked at the same time has either ended this grant or refuses it.
func (s *Store) AddGrant(ctx context.Context, by writ.Actor, g writ.Grant) (*writ.Grant, ledger.Mark, error) {
	return do(ctx, s, g.Org, act{name: "add-grant", by: by}, func(ctx context.Context, w *work) (*writ.Grant, error) {
		n := g
		var err error
		if n.ID, err = newID(g.ID, writ.KindGrant); err != nil {
			return nil, err
		}
		n.State, n.Created, n.Depth = writ.Active, w.now, 0
		if err := n.Validate(); err != nil {
			return nil, err
		}
		if _, err := w.liveIdentity(ctx, "identity", n.Identity); err != nil {
			return nil, err
		}
		if err := w.opens(ctx, &n); err != nil {
			return nil, err
		}
		if n.Parent != "" {
			if err := w.delegated(ctx, &n); err != nil {
				return nil, err
			}
		}
		if n.Authoriser == "" {
			n.Authoriser = by.Identity
		}
		if err := w.livePerson(ctx, "authoriser", n.Authoriser); err != nil {
			return nil, err
		}
		if n.Limits.Uses > 0 {
			if err := w.tx.exec(ctx, `INSERT INTO grant_uses (org, grant_id, remaining) VALUES ($1, $2, $3)`, w.org, n.ID, n.Limits.Uses); err != nil {
				return nil, err
			}
			w.tx.left[n.ID] = n.Limits.Uses
		}
		w.add(n.ID, &n)
		return &n, nil
	})
}

// opens checks the credential of a grant, and that the hosts its rules name are
// ones that the credential's application declares: a rule for another host
// would never match, and somebody would believe it does.
func (w *work) opens(ctx context.Context, g *writ.Grant) error {
	c, err := get[writ.Credential](ctx, w, g.Credential)
	if writ.KindOf(err) == writ.KindNotFound {
		return writ.Invalid("credential", "there is no credential "+writ.Printable(string(g.Credential), 40), "list them with: writ credential ls")
	}
	if err != nil {
		return err
	}
	if !c.Live(w.now) {
		return writ.Invalid("credential", "the credential "+c.Name+" is not active", "look at it with: writ credential get "+c.Name)
	}
	app, err := w.liveApplication(ctx, c.App)
	if err != nil {
		return err
	}
	for i := range g.Rules {
		if h := g.Rules[i].Host; h != "" && !app.HasHost(h) {
			return writ.Invalid("rules["+strconv.Itoa(i)+"].host", "the host "+h+" is not one of the application "+app.Name, "name one of its hosts, or leave the host away for all of them")
		}
	}
	return nil
}

// delegated checks a grant against its parent and everything above that. Who
// authorised the parent has authorised what lies within it, unless another
// person is named.
func (w *work) delegated(ctx context.Context, g *writ.Grant) error {
	org, err := w.itsOrg(ctx)
	if err != nil {
		return err
	}
	parent, err := get[writ.Grant](ctx, w, g.Parent)
	if writ.KindOf(err) == writ.KindNotFound {
		return writ.Invalid("parent", "there is no grant "+writ.Printable(string(g.Parent), 40), "list them with: writ grant ls")
	}
	if err != nil {
		return err
	}
	g.Depth = parent.Depth + 1
	if err := writ.Attenuates(g, parent, org.Depth()); err != nil {
		return err
	}
	if g.Authoriser == "" {
		g.Authoriser = parent.Authoriser
	}
	for up := parent; ; {
		if !up.Live(w.now) {
			return writ.Invalid("parent", "the grant "+string(up.ID)+" is not in force", "delegate from one that is")
		}
		if _, err := w.liveIdentity(ctx, "parent", up.Identity); err != nil {
			return err
		}
		if up.Parent == "" {
			return nil
		}
		if up, err = get[writ.Grant](ctx, w, up.Parent); err != nil {
			return err
		}
	}
}

// SuspendGrant keeps a grant, and all that was delegated from it, from being
// used until it is resumed.
func (s *Store) SuspendGrant(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Grant, ledger.Mark, error) {
	return s.turnGrant(ctx, ref, act{name: "suspend-grant", by: by, cause: cause, takes: true}, writ.Suspended)
}

// ResumeGrant puts a suspended grant into force again.
func (s *Store) ResumeGrant(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Grant, ledger.Mark, error) {
	return s.turnGrant(ctx, ref, act{name: "resume-grant", by: by, cause: cause}, writ.Active)
}

func (s *Store) turnGrant(ctx context.Context, ref writ.Ref, a act, to writ.State) (*writ.Grant, ledger.Mark, error) {
	return do(ctx, s, ref.Org, a, func(ctx context.Context, w *work) (*writ.Grant, error) {
		g, err := get[writ.Grant](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		if g.State.Final() {
			return nil, gone(tableFor[writ.Grant](), string(g.ID), g.State)
		}
		if g.State != to {
			g.State = to
			w.put(g.ID, g)
		}
		return g, nil
	})
}

// RevokeGrant withdraws a grant for good, and every grant that was made from
// it, in any number of steps.
func (s *Store) RevokeGrant(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Grant, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-grant", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Grant, error) {
		g, err := find[writ.Grant](ctx, w, ref.ID)
		if err != nil || g.State.Final() {
			return g, err
		}
		return g, w.revokeGrants(ctx, grantsFrom, g.ID)
	})
}
