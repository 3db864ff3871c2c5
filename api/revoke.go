package api

import (
	"context"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

func (s *Server) revokeRoutes() {
	const tag = "stop"
	operate(s, operation{id: "kill", method: "POST", path: "/v1/kill", tag: tag, access: member, summary: "Stop a session, identity, grant, credential, key or everything, now"}, s.kill)
	operate(s, operation{id: "resume", method: "POST", path: "/v1/resume", tag: tag, access: admin, summary: "Let what was stopped act again; no session or key from before comes back"}, s.resume)
}

// withdrawn carries out an act that takes authority away, waits until what
// rested on it is down, counts, and records what was cut.
func (s *Server) withdrawn(ctx context.Context, r *client.Revocation, do func() (ledger.Mark, error)) (*Out[client.Revocation], error) {
	org := callerOf(ctx).Org
	log, err := s.Store.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	received, before := s.Clock(), log.Head().Size
	r.Received = writ.At(received)
	mark, err := do()
	if err != nil {
		return nil, err
	}
	// What was asked is done. A caller who leaves now changes nothing about what
	// is still to be waited for and recorded.
	ctx = context.WithoutCancel(ctx)
	r.Record = recorded(mark)
	if mark.Seq < before {
		// It was withdrawn before, and the mark is of then: nothing was changed.
		r.Decided, r.Settled = s.now(), s.now()
		return out(*r), nil
	}
	report := s.Flights.Settle(ctx, org, mark.Epoch)
	r.Decided, r.Settled = writ.At(report.Decided), writ.At(report.Settled)
	r.Micros = max(0, report.Settled.Sub(received).Microseconds())
	r.Uses = client.Count{Found: report.Uses.Found, Down: report.Uses.Down}
	r.Connections = client.Count{Found: report.Connections.Found, Down: report.Connections.Down}
	r.Children = client.Count{Found: report.Children.Found, Down: report.Children.Down}
	err = s.countEnded(ctx, log, r, mark.Seq)
	if err == nil {
		err = log.Cut(ctx, ledger.CutReport{
			Change: mark.Seq, Targets: []writ.ID{r.Target.ID}, Event: r.Received, Received: r.Received, Decided: r.Decided, Ended: r.Settled,
			Sessions: int64(r.Sessions), Grants: int64(r.Grants), Uses: int64(r.Uses.Found), Connections: int64(r.Connections.Found),
			Processes: int64(r.Children.Found), Acknowledged: int64(r.Children.Down),
		})
	}
	if err != nil {
		// The withdrawal stands, and saying otherwise would be the worse error.
		s.log.ErrorContext(ctx, "what a withdrawal cut could not be recorded", "request", requestID(ctx), "seq", mark.Seq, "cause", err)
	}
	return out(*r), nil
}

// countEnded counts what the act ended, as its ledger entry says.
func (s *Server) countEnded(ctx context.Context, log *ledger.Log, r *client.Revocation, seq int64) error {
	e, err := log.Entry(ctx, seq)
	if err != nil {
		return err
	}
	change, err := ledger.DecodeChange(e)
	if err != nil {
		return err
	}
	for _, id := range change.Inactive {
		count(r, id)
	}
	return nil
}

// everything is the target that means the whole organization.
const everything = "all"

// aim finds what a target of kill and resume means. An id says its kind; a name
// is looked for among identities and credentials, and may carry its kind as in
// "agent:claude-pay" or "credential:github".
func (s *Server) aim(ctx context.Context, ref string) (any, error) {
	org := callerOf(ctx).Org
	if ref == everything {
		return s.ownOrg(ctx, org, string(org))
	}
	kinds := []writ.Kind{writ.KindIdentity, writ.KindCredential}
	if prefix, rest, ok := strings.Cut(ref, ":"); ok {
		for kind, word := range words {
			if word == prefix {
				kinds, ref = []writ.Kind{kind}, rest
			}
		}
	} else if kind := writ.ID(ref).Kind(); words[kind] != "" {
		kinds = []writ.Kind{kind}
	}
	var found []any
	for _, kind := range kinds {
		n, err := s.byRef(ctx, org, kind, ref)
		switch {
		case err == nil:
			found = append(found, n)
		case writ.KindOf(err) != writ.KindNotFound:
			return nil, err
		}
	}
	if len(found) > 1 {
		return nil, writ.Errorf(writ.KindInvalid, "%s could mean several things", writ.Printable(ref, 80)).
			WithFix("say which, as in credential:%s, or give its id", writ.Printable(ref, 80))
	}
	if len(found) == 0 {
		return nil, writ.Errorf(writ.KindNotFound, "there is nothing named %s to act on", writ.Printable(ref, 80)).
			WithFix("give a name or id: a session, identity, grant, credential or key, or all")
	}
	if err := s.concerning(ctx, found[0], ref); err != nil {
		return nil, err
	}
	return found[0], nil
}

func (s *Server) kill(ctx context.Context, in *struct {
	Mutation
	Body client.NewKill
}) (*Out[client.Revocation], error) {
	n, err := s.aim(ctx, in.Body.Target)
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	if err := mayKill(c.Role, c.Identity.ID, n); err != nil {
		return nil, err
	}
	r := &client.Revocation{Target: target(n)}
	ref, why, by := writ.Ref{Org: c.Org, ID: idOf(n)}, in.Body.Reason, c.Actor()
	var do func() (ledger.Mark, error)
	switch n.(type) {
	case *writ.Org:
		r.Act, r.Target.Label = "stop", everything
		do = func() (ledger.Mark, error) { _, m, err := s.Store.StopAll(ctx, by, c.Org, why); return m, err }
	case *writ.Session:
		r.Act = "end"
		do = func() (ledger.Mark, error) { _, m, err := s.Store.EndSession(ctx, by, ref, why); return m, err }
	case *writ.Identity:
		r.Act = "suspend"
		do = func() (ledger.Mark, error) { _, m, err := s.Store.SuspendIdentity(ctx, by, ref, why); return m, err }
	case *writ.Grant:
		r.Act = "suspend"
		do = func() (ledger.Mark, error) { _, m, err := s.Store.SuspendGrant(ctx, by, ref, why); return m, err }
	case *writ.Credential:
		r.Act = "suspend"
		do = func() (ledger.Mark, error) { _, m, err := s.Store.SuspendCredential(ctx, by, ref, why); return m, err }
	case *writ.Key:
		r.Act = "revoke"
		do = func() (ledger.Mark, error) { _, m, err := s.Store.RevokeKey(ctx, by, ref, why); return m, err }
	default:
		return nil, writ.Invalid("target", "a "+words[kindOfNoun(n)]+" cannot be stopped like this", "revoke it with: writ "+words[kindOfNoun(n)]+" revoke")
	}
	if in.DryRun {
		r.DryRun = true
		count(r, ref.ID)
		return out(*r), writ.CheckText("reason", why)
	}
	return s.withdrawn(ctx, r, do)
}

// mayKill bounds what a member may stop among what concerns her: what runs for
// her, and not the person herself or what others rest on too.
func mayKill(role writ.Role, me writ.ID, noun any) error {
	if role == writ.RoleAdmin {
		return nil
	}
	switch n := noun.(type) {
	case *writ.Session, *writ.Key:
		return nil
	case *writ.Identity:
		if n.Owner == me {
			return nil
		}
	case *writ.Grant:
		if n.Authoriser == me {
			return nil
		}
	case *writ.Credential:
		if n.Owner == me {
			return nil
		}
	}
	return writ.Errorf(writ.KindForbidden, "a member stops only what she answers for").
		WithWhy("sessions and keys of hers, and services, agents and credentials that she owns").
		WithFix("ask an admin")
}

func (s *Server) resume(ctx context.Context, in *struct {
	Mutation
	Body client.NewResume
}) (*Out[client.Resumed], error) {
	n, err := s.aim(ctx, in.Body.Target)
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	r := client.Resumed{Target: target(n)}
	ref, why, by := writ.Ref{Org: c.Org, ID: idOf(n)}, in.Body.Reason, c.Actor()
	var do func() (ledger.Mark, error)
	switch n.(type) {
	case *writ.Org:
		r.Target.Label = everything
		do = func() (ledger.Mark, error) { _, m, err := s.Store.ResumeAll(ctx, by, c.Org, why); return m, err }
	case *writ.Identity:
		do = func() (ledger.Mark, error) { _, m, err := s.Store.ResumeIdentity(ctx, by, ref, why); return m, err }
	case *writ.Grant:
		do = func() (ledger.Mark, error) { _, m, err := s.Store.ResumeGrant(ctx, by, ref, why); return m, err }
	case *writ.Credential:
		do = func() (ledger.Mark, error) { _, m, err := s.Store.ResumeCredential(ctx, by, ref, why); return m, err }
	default:
		return nil, writ.Errorf(writ.KindConflict, "a %s never comes back", words[kindOfNoun(n)]).WithFix("make a new one")
	}
	if in.DryRun {
		r.DryRun = true
		return out(r), writ.CheckText("reason", why)
	}
	mark, err := do()
	if err != nil {
		return nil, err
	}
	r.Record = recorded(mark)
	return out(r), nil
}

// RecoverSessions ends the attached sessions of an organization whose control
// streams did not survive a restart: their runs saw the stream break and ended
// their programs, or are gone. Call it before the server listens.
func (s *Server) RecoverSessions(ctx context.Context, org writ.ID) error {
	live, err := every[writ.Session](ctx, s, org, store.Query{State: writ.Active})
	if err != nil {
		return err
	}
	for _, x := range live {
		ref := writ.Ref{Org: org, ID: x.ID}
		if x.Attached && !s.children.attached(ref) {
			if _, _, err := s.Store.EndSession(ctx, writ.Actor{}, ref, causeRestart); err != nil {
				return err
			}
		}
	}
	return nil
}
