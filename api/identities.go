package api

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/store"
)

// Named is the input of an operation on one thing.
type Named struct {
	Ref string `path:"ref" maxLength:"254" doc:"id, unique beginning of an id, or name"`
}

// act is the input of an act on one thing.
type act struct {
	Named
	Mutation
	Body client.Because
}

func (s *Server) identityRoutes() {
	const tag = "identities"
	operate(s, operation{id: "add-identity", method: "POST", path: "/v1/identities", tag: tag, access: admin, summary: "Register a person, service or agent"}, s.addIdentity)

	operate(s, operation{id: "list-identities", method: "GET", path: "/v1/identities", tag: tag, access: reader, summary: "List identities"},
		func(ctx context.Context, in *client.IdentityFilter) (*Out[client.Page[client.Identity]], error) {
			q := store.Query{State: in.State, Kind: in.Kind}
			if err := s.references(ctx, wanted{"owner", writ.KindIdentity, in.Owner, &q.Owner}); err != nil {
				return nil, err
			}
			return list(ctx, s, q, in.Listing, nil, (*names).identity)
		})

	operate(s, operation{id: "get-identity", method: "GET", path: "/v1/identities/{ref}", tag: tag, access: reader, summary: "Get an identity"},
		func(ctx context.Context, in *Named) (*Out[client.Identity], error) {
			return show(ctx, s, in.Ref, (*names).identity)
		})

	operate(s, operation{id: "edit-identity", method: "PATCH", path: "/v1/identities/{ref}", tag: tag, access: admin, summary: "Change an identity"}, s.editIdentity)

	operate(s, operation{id: "suspend-identity", method: "POST", path: "/v1/identities/{ref}/suspend", tag: tag, access: admin, summary: "Stop an identity until it is resumed"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Identity](ctx, s, in, "suspend", s.Store.SuspendIdentity)
		})

	operate(s, operation{id: "resume-identity", method: "POST", path: "/v1/identities/{ref}/resume", tag: tag, access: admin, summary: "Let a suspended identity act again"},
		func(ctx context.Context, in *act) (*Out[client.Change[client.Identity]], error) {
			return turn(ctx, s, in, s.Store.ResumeIdentity, (*names).identity)
		})

	operate(s, operation{id: "revoke-identity", method: "POST", path: "/v1/identities/{ref}/revoke", tag: tag, access: admin, summary: "End an identity and all that derives from it, for good"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Identity](ctx, s, in, "revoke", s.Store.RevokeIdentity)
		})
}

func (s *Server) addIdentity(ctx context.Context, in *struct {
	Creation
	Body client.NewIdentity
}) (*Out[client.Change[client.Identity]], error) {
	c, b := callerOf(ctx), &in.Body
	i := writ.Identity{Org: c.Org, Kind: b.Kind, Name: b.Name, Purpose: b.Purpose, Expires: b.Expires, State: writ.Active, Created: s.now()}
	if err := s.references(ctx,
		wanted{"owner", writ.KindIdentity, b.Owner, &i.Owner},
		wanted{"backup", writ.KindIdentity, b.Backup, &i.Backup},
		wanted{"parent", writ.KindIdentity, b.Parent, &i.Parent}); err != nil {
		return nil, err
	}
	if in.DryRun {
		return dry(i.Validate(), s.names(ctx, c.Org).identity(&i))
	}
	st, err := s.once(in.Creation, "add-identity", b)
	if err != nil {
		return nil, err
	}
	n, mark, err := st.AddIdentity(ctx, c.Actor(), i)
	if err != nil {
		return nil, err
	}
	return changed(s.names(ctx, c.Org).identity(n), mark), nil
}

func (s *Server) editIdentity(ctx context.Context, in *struct {
	Named
	Mutation
	Body client.EditIdentity
}) (*Out[client.Change[client.Identity]], error) {
	c, b := callerOf(ctx), &in.Body
	n, err := find[writ.Identity](ctx, s, c.Org, in.Ref)
	if err != nil {
		return nil, err
	}
	var owner, backup writ.ID
	if err := s.references(ctx, wanted{"owner", writ.KindIdentity, value(b.Owner), &owner}, wanted{"backup", writ.KindIdentity, value(b.Backup), &backup}); err != nil {
		return nil, err
	}
	edit := func(i *writ.Identity) error {
		setTo(&i.Owner, b.Owner != nil, owner)
		setTo(&i.Backup, b.Backup != nil, backup)
		set(&i.Purpose, b.Purpose)
		set(&i.Expires, b.Expires)
		return nil
	}
	if in.DryRun {
		_ = edit(n)
		return dry(n.Validate(), s.names(ctx, c.Org).identity(n))
	}
	n, mark, err := s.Store.EditIdentity(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: n.ID}, edit)
	if err != nil {
		return nil, err
	}
	return changed(s.names(ctx, c.Org).identity(n), mark), nil
}
