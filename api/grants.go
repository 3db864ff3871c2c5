package api

import (
	"context"
	"strconv"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/decide"
	"writ.dev/writ/store"
)

func (s *Server) grantRoutes() {
	const tag = "grants"
	operate(s, operation{id: "add-grant", method: "POST", path: "/v1/grants", tag: tag, access: admin, summary: "Give a grant, or delegate one"}, s.addGrant)

	operate(s, operation{id: "list-grants", method: "GET", path: "/v1/grants", tag: tag, access: reader, summary: "List grants"},
		func(ctx context.Context, in *client.GrantFilter) (*Out[client.Page[client.Grant]], error) {
			q := store.Query{State: in.State}
			if err := s.references(ctx,
				wanted{"identity", writ.KindIdentity, in.Identity, &q.Identity},
				wanted{"credential", writ.KindCredential, in.Credential, &q.Credential},
				wanted{"parent", writ.KindGrant, in.Parent, &q.Parent}); err != nil {
				return nil, err
			}
			return list(ctx, s, q, in.Listing, nil, (*names).grant)
		})

	operate(s, operation{id: "get-grant", method: "GET", path: "/v1/grants/{ref}", tag: tag, access: reader, summary: "Get a grant"},
		func(ctx context.Context, in *Named) (*Out[client.Grant], error) {
			return show(ctx, s, in.Ref, (*names).grant)
		})

	operate(s, operation{id: "suspend-grant", method: "POST", path: "/v1/grants/{ref}/suspend", tag: tag, access: admin, summary: "Stop a grant until it is resumed"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Grant](ctx, s, in, "suspend", s.Store.SuspendGrant)
		})

	operate(s, operation{id: "resume-grant", method: "POST", path: "/v1/grants/{ref}/resume", tag: tag, access: admin, summary: "Let a suspended grant be used again"},
		func(ctx context.Context, in *act) (*Out[client.Change[client.Grant]], error) {
			return turn(ctx, s, in, s.Store.ResumeGrant, (*names).grant)
		})

	operate(s, operation{id: "revoke-grant", method: "POST", path: "/v1/grants/{ref}/revoke", tag: tag, access: admin, summary: "End a grant and all delegated from it, for good"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Grant](ctx, s, in, "revoke", s.Store.RevokeGrant)
		})
}

func (s *Server) addGrant(ctx context.Context, in *struct {
	Creation
	Body client.NewGrant
}) (*Out[client.Change[client.Grant]], error) {
	c, b := callerOf(ctx), &in.Body
	g := writ.Grant{
		Org: c.Org, Rules: b.Rules, Conditions: b.Conditions, Limits: b.Limits, Purpose: b.Purpose, Triggers: b.Triggers,
		Expires: b.Expires, State: writ.Active, Created: s.now(),
	}
	for i, text := range b.Allow {
		r, err := writ.ParseRule(text)
		if err != nil {
			return nil, inField(err, "allow["+strconv.Itoa(i)+"]")
		}
		g.Rules = append(g.Rules, r)
	}
	if err := s.references(ctx,
		wanted{"identity", writ.KindIdentity, b.Identity, &g.Identity},
		wanted{"credential", writ.KindCredential, b.Credential, &g.Credential},
		wanted{"parent", writ.KindGrant, b.Parent, &g.Parent}); err != nil {
		return nil, err
	}
	var parent *writ.Grant
	if g.Parent != "" {
		var err error
		if parent, err = find[writ.Grant](ctx, s, c.Org, string(g.Parent)); err != nil {
			return nil, err
		}
		if g.Credential == "" {
			g.Credential = parent.Credential
		}
	}
	if g.Credential == "" {
		return nil, writ.Invalid("credential", "the grant names no credential", "name one, or a parent grant")
	}
	n := s.names(ctx, c.Org)
	if in.DryRun {
		err := g.Validate()
		if err == nil && parent != nil {
			org, found := s.Store.Org(ctx, string(c.Org))
			if found != nil {
				return nil, found
			}
			g.Depth = parent.Depth + 1
			err = writ.Attenuates(&g, parent, org.Depth())
		}
		return dry(err, n.grant(&g))
	}
	st, err := s.once(in.Creation, "add-grant", b)
	if err != nil {
		return nil, err
	}
	made, mark, err := st.AddGrant(ctx, c.Actor(), g)
	if err != nil {
		return nil, err
	}
	return changed(n.grant(made), mark), nil
}

// inField names the field of an error about one input.
func inField(err error, field string) error {
	if e, ok := err.(*writ.Error); ok {
		named := *e
		named.Field = field
		return &named
	}
	return err
}

func (s *Server) policyRoutes() {
	const tag = "policies"
	operate(s, operation{id: "add-policy", method: "POST", path: "/v1/policies", tag: tag, access: admin, summary: "Add a guardrail"},
		func(ctx context.Context, in *struct {
			Creation
			Body client.NewPolicy
		}) (*Out[client.Change[client.Policy]], error) {
			c, b := callerOf(ctx), &in.Body
			p := writ.Policy{Org: c.Org, Name: b.Name, Text: b.Text, Observe: b.Observe, State: writ.Active, Version: 1, Created: s.now()}
			n := s.names(ctx, c.Org)
			if in.DryRun {
				return dry(checkPolicy(&p), n.policy(&p))
			}
			st, err := s.once(in.Creation, "add-policy", b)
			if err != nil {
				return nil, err
			}
			made, mark, err := st.AddPolicy(ctx, c.Actor(), p)
			if err != nil {
				return nil, err
			}
			s.settle(ctx, c.Org, mark) // what it forbids and is under way is cut
			return changed(n.policy(made), mark), nil
		})

	operate(s, operation{id: "list-policies", method: "GET", path: "/v1/policies", tag: tag, access: reader, summary: "List guardrails"},
		func(ctx context.Context, in *client.PolicyFilter) (*Out[client.Page[client.Policy]], error) {
			return list(ctx, s, store.Query{State: in.State}, in.Listing, nil, (*names).policy)
		})

	operate(s, operation{id: "get-policy", method: "GET", path: "/v1/policies/{ref}", tag: tag, access: reader, summary: "Get a guardrail"},
		func(ctx context.Context, in *Named) (*Out[client.Policy], error) {
			return show(ctx, s, in.Ref, (*names).policy)
		})

	operate(s, operation{id: "edit-policy", method: "PATCH", path: "/v1/policies/{ref}", tag: tag, access: admin, summary: "Change a guardrail"}, s.editPolicy)

	operate(s, operation{id: "revoke-policy", method: "POST", path: "/v1/policies/{ref}/revoke", tag: tag, access: admin, summary: "Take a guardrail away for good"},
		func(ctx context.Context, in *act) (*Out[client.Change[client.Policy]], error) {
			return turn(ctx, s, in, s.Store.RevokePolicy, (*names).policy)
		})

	operate(s, operation{id: "check-policy", method: "POST", path: "/v1/policies/check", tag: tag, access: reader, summary: "Check the text of a guardrail"},
		func(_ context.Context, in *struct{ Body client.PolicyText }) (*Out[client.PolicyCheck], error) {
			err := decide.CheckPolicy(in.Body.Text)
			if err == nil {
				return out(client.PolicyCheck{OK: true}), nil
			}
			if e, ok := err.(*writ.Error); ok {
				return out(client.PolicyCheck{Problem: e.Message, Fix: e.Fix}), nil
			}
			return nil, err
		})
}

func checkPolicy(p *writ.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return decide.CheckPolicy(p.Text)
}

func (s *Server) editPolicy(ctx context.Context, in *struct {
	Named
	Mutation
	Body client.EditPolicy
}) (*Out[client.Change[client.Policy]], error) {
	c := callerOf(ctx)
	p, err := find[writ.Policy](ctx, s, c.Org, in.Ref)
	if err != nil {
		return nil, err
	}
	edit := func(p *writ.Policy) error {
		set(&p.Text, in.Body.Text)
		set(&p.Observe, in.Body.Observe)
		return nil
	}
	n := s.names(ctx, c.Org)
	if in.DryRun {
		_ = edit(p)
		return dry(checkPolicy(p), n.policy(p))
	}
	p, mark, err := s.Store.EditPolicy(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: p.ID}, edit)
	if err != nil {
		return nil, err
	}
	s.settle(ctx, c.Org, mark)
	return changed(n.policy(p), mark), nil
}
