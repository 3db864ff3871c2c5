package api

import (
	"context"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/store"
)

func (s *Server) applicationRoutes() {
	const tag = "applications"
	operate(s, operation{id: "add-application", method: "POST", path: "/v1/applications", tag: tag, access: admin, summary: "Declare an application"}, s.addApplication)

	operate(s, operation{id: "list-applications", method: "GET", path: "/v1/applications", tag: tag, access: reader, summary: "List applications"},
		func(ctx context.Context, in *client.ApplicationFilter) (*Out[client.Page[client.Application]], error) {
			keep := func(a *writ.Application) bool { return in.Env == "" || a.Env == in.Env }
			if in.Host != "" {
				host, err := writ.ParseHost(in.Host)
				if err != nil {
					return nil, err
				}
				keep = func(a *writ.Application) bool { return (in.Env == "" || a.Env == in.Env) && a.HasHost(host) }
			}
			return list(ctx, s, store.Query{State: in.State}, in.Listing, keep, (*names).application)
		})

	operate(s, operation{id: "get-application", method: "GET", path: "/v1/applications/{ref}", tag: tag, access: reader, summary: "Get an application"},
		func(ctx context.Context, in *Named) (*Out[client.Application], error) {
			return show(ctx, s, in.Ref, (*names).application)
		})

	operate(s, operation{id: "edit-application", method: "PATCH", path: "/v1/applications/{ref}", tag: tag, access: admin, summary: "Change an application"}, s.editApplication)

	operate(s, operation{id: "revoke-application", method: "POST", path: "/v1/applications/{ref}/revoke", tag: tag, access: admin, summary: "End an application for good"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Application](ctx, s, in, "revoke", s.Store.RevokeApplication)
		})
}

// canonicalHosts spells hosts as they are compared.
func canonicalHosts(hosts []string) ([]string, error) {
	canonical := make([]string, len(hosts))
	for i, h := range hosts {
		c, err := writ.ParseHost(h)
		if err != nil {
			return nil, err
		}
		canonical[i] = c
	}
	return canonical, nil
}

// canonicalPins spells the hosts of pinned addresses as they are compared.
func canonicalPins(pins map[string][]string) (map[string][]string, error) {
	if pins == nil {
		return nil, nil
	}
	canonical := make(map[string][]string, len(pins))
	for h, addresses := range pins {
		c, err := writ.ParseHost(h)
		if err != nil {
			return nil, err
		}
		canonical[c] = slices.Concat(canonical[c], addresses)
	}
	return canonical, nil
}

func (s *Server) addApplication(ctx context.Context, in *struct {
	Creation
	Body client.NewApplication
}) (*Out[client.Change[client.Application]], error) {
	c, b := callerOf(ctx), &in.Body
	a := writ.Application{
		Org: c.Org, Name: b.Name, Env: b.Env, Profile: b.Profile, Networks: b.Networks, Cleartext: b.Cleartext, Roots: b.Roots,
		State: writ.Active, Created: s.now(),
	}
	var err error
	if a.Hosts, err = canonicalHosts(b.Hosts); err != nil {
		return nil, err
	}
	if a.Pinned, err = canonicalPins(b.Pinned); err != nil {
		return nil, err
	}
	if err := s.references(ctx, wanted{"owner", writ.KindIdentity, b.Owner, &a.Owner}); err != nil {
		return nil, err
	}
	if in.DryRun {
		return dry(a.Validate(), s.names(ctx, c.Org).application(&a))
	}
	st, err := s.once(in.Creation, "add-application", b)
	if err != nil {
		return nil, err
	}
	n, mark, err := st.AddApplication(ctx, c.Actor(), a)
	if err != nil {
		return nil, err
	}
	return changed(s.names(ctx, c.Org).application(n), mark), nil
}

func (s *Server) editApplication(ctx context.Context, in *struct {
	Named
	Mutation
	Body client.EditApplication
}) (*Out[client.Change[client.Application]], error) {
	c, b := callerOf(ctx), &in.Body
	a, err := find[writ.Application](ctx, s, c.Org, in.Ref)
	if err != nil {
		return nil, err
	}
	var owner writ.ID
	if err := s.references(ctx, wanted{"owner", writ.KindIdentity, value(b.Owner), &owner}); err != nil {
		return nil, err
	}
	hosts, err := canonicalHosts(value(b.Hosts))
	if err != nil {
		return nil, err
	}
	pins, err := canonicalPins(value(b.Pinned))
	if err != nil {
		return nil, err
	}
	edit := func(a *writ.Application) error {
		set(&a.Env, b.Env)
		setTo(&a.Hosts, b.Hosts != nil, hosts)
		setTo(&a.Owner, b.Owner != nil, owner)
		set(&a.Profile, b.Profile)
		setTo(&a.Pinned, b.Pinned != nil, pins)
		set(&a.Networks, b.Networks)
		set(&a.Cleartext, b.Cleartext)
		set(&a.Roots, b.Roots)
		return nil
	}
	n := s.names(ctx, c.Org)
	if in.DryRun {
		_ = edit(a)
		return dry(a.Validate(), n.application(a))
	}
	a, mark, err := s.Store.EditApplication(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: a.ID}, edit)
	if err != nil {
		return nil, err
	}
	return changed(n.application(a), mark), nil
}
