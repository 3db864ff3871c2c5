package api

import (
	"context"
	"encoding/hex"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/signin"
	"writ.dev/writ/store"
)

func (s *Server) keyRoutes() {
	const tag = "keys"
	operate(s, operation{id: "add-key", method: "POST", path: "/v1/keys", tag: tag, access: admin, summary: "Make an API key; its text is shown once"}, s.addKey)

	operate(s, operation{id: "list-keys", method: "GET", path: "/v1/keys", tag: tag, access: reader, summary: "List API keys"},
		func(ctx context.Context, in *client.KeyFilter) (*Out[client.Page[client.Key]], error) {
			q := store.Query{State: in.State}
			if err := s.references(ctx, wanted{"identity", writ.KindIdentity, in.Identity, &q.Identity}); err != nil {
				return nil, err
			}
			return list(ctx, s, q, in.Listing, nil, (*names).key)
		})

	operate(s, operation{id: "get-key", method: "GET", path: "/v1/keys/{ref}", tag: tag, access: reader, summary: "Get an API key, without its text"},
		func(ctx context.Context, in *Named) (*Out[client.Key], error) {
			return show(ctx, s, in.Ref, (*names).key)
		})

	operate(s, operation{id: "revoke-key", method: "POST", path: "/v1/keys/{ref}/revoke", tag: tag, access: admin, summary: "End an API key"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Key](ctx, s, in, "revoke", s.Store.RevokeKey)
		})
}

func (s *Server) addKey(ctx context.Context, in *struct {
	Creation
	Body client.NewKey
}) (*Out[client.KeyOnce], error) {
	c, b := callerOf(ctx), &in.Body
	k := writ.Key{Org: c.Org, Role: b.Role, Name: b.Name, Expires: b.Expires, State: writ.Active, Created: s.now()}
	if err := s.references(ctx, wanted{"identity", writ.KindIdentity, b.Identity, &k.Identity}); err != nil {
		return nil, err
	}
	if in.DryRun {
		if err := k.Validate(); err != nil {
			return nil, err
		}
		return out(client.KeyOnce{Key: s.names(ctx, c.Org).key(&k), DryRun: true}), nil
	}
	st, err := s.once(in.Creation, "add-key", b)
	if err != nil {
		return nil, err
	}
	text, hash := signin.NewKey()
	k.Hash = hex.EncodeToString(hash[:])
	n, mark, err := st.AddKey(ctx, c.Actor(), k)
	if err != nil {
		return nil, err
	}
	if n.Hash != k.Hash {
		text = "" // made by an earlier request under the same idempotency key: shown then
	}
	return out(client.KeyOnce{Key: s.names(ctx, c.Org).key(n), Text: text, Record: recorded(mark)}), nil
}

// firstKeyLife is how long the first key of an organization lives: long enough
// to make others.
const firstKeyLife = 24 * time.Hour

func (s *Server) orgRoutes() {
	const tag = "organizations"
	operate(s, operation{id: "add-org", method: "POST", path: "/v1/orgs", tag: tag, access: admin, summary: "Make an organization with its first administrator; her key's text is shown once"}, s.addOrg)

	operate(s, operation{id: "list-orgs", method: "GET", path: "/v1/orgs", tag: tag, access: reader, summary: "List the organizations that the caller may see: her own"},
		func(ctx context.Context, in *client.Paging) (*Out[client.Page[client.Org]], error) {
			c := callerOf(ctx)
			o, err := find[writ.Org](ctx, s, c.Org, string(c.Org))
			if err != nil {
				return nil, err
			}
			return out(client.Page[client.Org]{Items: []client.Org{s.names(ctx, c.Org).organization(o)}}), nil
		})

	operate(s, operation{id: "get-org", method: "GET", path: "/v1/orgs/{ref}", tag: tag, access: reader, summary: "Get an organization"},
		func(ctx context.Context, in *Named) (*Out[client.Org], error) {
			return show(ctx, s, in.Ref, (*names).organization)
		})

	operate(s, operation{id: "edit-org", method: "PATCH", path: "/v1/orgs/{ref}", tag: tag, access: admin, summary: "Change an organization's settings"},
		func(ctx context.Context, in *struct {
			Named
			Mutation
			Body client.EditOrg
		}) (*Out[client.Change[client.Org]], error) {
			c := callerOf(ctx)
			o, err := find[writ.Org](ctx, s, c.Org, in.Ref)
			if err != nil {
				return nil, err
			}
			edit := func(o *writ.Org) error {
				set(&o.GraceDays, in.Body.GraceDays)
				set(&o.MaxDepth, in.Body.MaxDepth)
				return nil
			}
			n := s.names(ctx, c.Org)
			if in.DryRun {
				_ = edit(o)
				return dry(nil, n.organization(o))
			}
			o, mark, err := s.Store.EditOrg(ctx, c.Actor(), o.ID, edit)
			if err != nil {
				return nil, err
			}
			return changed(n.organization(o), mark), nil
		})
}

// addOrg makes an organization, its first person and her key. It is three acts:
// an organization whose making broke off has nobody in it and is of no use, and
// its name is taken.
func (s *Server) addOrg(ctx context.Context, in *struct {
	Mutation
	Body client.NewOrg
}) (*Out[client.OrgOnce], error) {
	c, b := callerOf(ctx), &in.Body
	if c.Org != s.Operator {
		return nil, writ.Errorf(writ.KindForbidden, "only administrators of the server's first organization make others").
			WithFix("ask whoever operates the server")
	}
	if err := writ.CheckName("name", b.Name); err != nil {
		return nil, err
	}
	person := writ.Identity{Kind: writ.Person, Name: b.Admin}
	if err := writ.CheckPersonName("admin", b.Admin); err != nil {
		return nil, err
	}
	if in.DryRun {
		return out(client.OrgOnce{Org: client.Org{Org: writ.Org{Name: b.Name}}, DryRun: true}), nil
	}
	o, _, err := s.Store.CreateOrg(ctx, c.Actor(), b.Name)
	if err != nil {
		return nil, err
	}
	person.Org = o.ID
	// In the new organization nobody has acted yet: the program itself does.
	p, _, err := s.Store.AddIdentity(ctx, writ.Actor{}, person)
	if err != nil {
		return nil, err
	}
	text, hash := signin.NewKey()
	k, _, err := s.Store.AddKey(ctx, writ.Actor{}, writ.Key{
		Org: o.ID, Identity: p.ID, Role: writ.RoleAdmin, Name: "first", Hash: hex.EncodeToString(hash[:]), Expires: s.now().Add(firstKeyLife),
	})
	if err != nil {
		return nil, err
	}
	n := s.names(ctx, o.ID)
	return out(client.OrgOnce{Org: n.organization(o), Admin: n.identity(p), Key: n.key(k), Text: text}), nil
}
