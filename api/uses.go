package api

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/store"
)

func (s *Server) useRoutes() {
	const tag = "decisions"
	operate(s, operation{id: "list-uses", method: "GET", path: "/v1/uses", tag: tag, access: reader, summary: "Search uses and denials"}, s.searchUses)

	operate(s, operation{id: "get-trace", method: "GET", path: "/v1/trace/{ref}", tag: tag, access: reader, summary: "One use or denial in eight sentences"},
		func(ctx context.Context, in *Named) (*Out[client.Trace], error) {
			t, err := s.trace(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			return out(*t), nil
		})

	operate(s, operation{id: "get-why", method: "GET", path: "/v1/why/{ref}", tag: tag, access: reader, summary: "A decision, decided once more from what the ledger holds"},
		func(ctx context.Context, in *Named) (*Out[client.Why], error) {
			w, err := s.why(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			return out(*w), nil
		})

	operate(s, operation{id: "tail", method: "GET", path: "/v1/tail", tag: tag, access: reader, media: "text/event-stream",
		summary: "What is committed, as it is, as server-sent events"}, s.tail)
}

func (s *Server) searchUses(ctx context.Context, in *client.UseFilter) (*Out[client.Page[client.Use]], error) {
	q := store.UseQuery{
		After: in.Cursor, Limit: in.Limit, Reason: writ.Reason(in.Reason), Since: writ.At(in.Since), Until: writ.At(in.Until),
	}
	if err := s.references(ctx,
		wanted{"actor", writ.KindIdentity, in.Actor, &q.Identity},
		wanted{"credential", writ.KindCredential, in.Credential, &q.Credential},
		wanted{"grant", writ.KindGrant, in.Grant, &q.Grant},
		wanted{"session", writ.KindSession, in.Session, &q.Session}); err != nil {
		return nil, err
	}
	if in.Host != "" {
		host, err := writ.ParseHost(in.Host)
		if err != nil {
			return nil, err
		}
		q.Host = host
	}
	switch in.Result {
	case "":
	case "allowed":
		q.Allowed = true
	case "denied":
		q.Denied = true
	default:
		q.Allowed, q.Outcome = true, writ.OutcomeKind(in.Result)
	}
	c := callerOf(ctx)
	circle, err := s.circle(ctx)
	if err != nil {
		return nil, err
	}
	n := s.names(ctx, c.Org)
	answer := client.Page[client.Use]{Items: []client.Use{}}
	for range maxSkimmed {
		uses, next, err := s.Store.Uses(ctx, c.Org, q)
		if err != nil {
			return nil, err
		}
		for i := range uses {
			if circle == nil || circle.who[uses[i].Identity] {
				answer.Items = append(answer.Items, n.use(&uses[i]))
			}
		}
		answer.Next, q.After = next, next
		if next == "" || len(answer.Items) > 0 {
			break
		}
	}
	return out(answer), nil
}

func (n *names) use(u *store.Use) client.Use {
	v := client.Use{
		ID: u.Decision, Decision: u.Decision, Allowed: u.Allow, Reason: u.Reason, Time: u.Time,
		Identity: u.Identity, IdentityName: n.of(u.Identity), Session: u.Session, Credential: u.Credential, CredentialName: n.of(u.Credential),
		Grant: u.Grant, Method: u.Method, Host: u.Host, Path: u.Path, Repeats: u.Repeats, Outcome: u.Outcome, Status: u.Status, Millis: u.Millis, Seq: u.Seq,
	}
	if u.Allow {
		v.ID = writ.UseOf(u.Decision)
	}
	return v
}
