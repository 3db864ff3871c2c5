package decide

import (
	"slices"

	"writ.dev/writ"
)

// fresh asks whether the view may be used at all.
func fresh(ask *writ.Ask, f *Facts) denial {
	switch {
	case f.Stale:
		return deny(writ.AuthorityStale, "the server cannot prove that its view of who may use what is fresh")
	case f.Org == nil:
		return deny(writ.AuthorityStale, "the organization is not known here")
	case ask.Time <= 0:
		// Without a time nothing has expired: an unknown time must not mean "always".
		return deny(writ.AuthorityStale, "the time of the request is not known")
	case f.Stopped || f.Org.State != writ.Active:
		return deny(writ.Stopped, "everything in this organization is stopped")
	}
	return denial{}
}

// proven asks whether the rows under the decision are the recorded ones
// (invariant 12), and of this organization (invariant 14). What only one
// candidate rests on is judged with that candidate; an unproven guardrail
// counts here, since its absence would allow.
func proven(ask *writ.Ask, f *Facts) denial {
	for _, id := range f.Unproven {
		if !slices.ContainsFunc(f.Candidates, func(c Candidate) bool { return c.restsOnlyOn(id) }) || isCommon(f, id) {
			return deny(writ.StateUnproven, "the row "+string(id)+" does not match its record in the ledger")
		}
	}
	foreign := f.Org.ID != ask.Org ||
		f.Session != nil && f.Session.Org != ask.Org ||
		f.Identity != nil && f.Identity.Org != ask.Org ||
		f.Application != nil && f.Application.Org != ask.Org ||
		f.Owner != nil && f.Owner.Org != ask.Org ||
		slices.ContainsFunc(f.Sessions, func(s *writ.Session) bool { return s != nil && s.Org != ask.Org }) ||
		slices.ContainsFunc(f.Path, func(i *writ.Identity) bool { return i != nil && i.Org != ask.Org }) ||
		slices.ContainsFunc(f.Parents, func(i *writ.Identity) bool { return i != nil && i.Org != ask.Org })
	if foreign {
		return deny(writ.StateUnproven, "a fact of the decision belongs to another organization")
	}
	return denial{}
}

// isCommon reports whether every candidate rests on id.
func isCommon(f *Facts, id writ.ID) bool {
	named := func(i *writ.Identity) bool { return i != nil && i.ID == id }
	return f.Org.ID == id ||
		f.Session != nil && f.Session.ID == id ||
		slices.ContainsFunc(f.Sessions, func(s *writ.Session) bool { return s != nil && s.ID == id }) ||
		named(f.Identity) || named(f.Owner) || slices.ContainsFunc(f.Path, named) || slices.ContainsFunc(f.Parents, named) ||
		f.Application != nil && f.Application.ID == id
}

// readable asks whether the request is one request.
func readable(ask *writ.Ask, _ *Facts) denial {
	switch {
	case ask.Refused != "":
		return deny(ask.Refused, ask.RefusedText)
	case ask.Scheme != "https" && ask.Scheme != "http":
		return deny(writ.RequestAmbiguous, "the request is for neither https nor http")
	case ask.Method == "" || ask.Host == "" || len(ask.Target.Segments) == 0:
		return deny(writ.RequestAmbiguous, "the request has no method, host or path")
	}
	return denial{}
}

// session asks whether the run is still on: the session, and everything it was
// made from. A session made before the authorization cut-off of anybody it
// acts for is void.
func session(ask *writ.Ask, f *Facts) denial {
	s := f.Session
	if s == nil || f.Identity == nil || ask.Session == "" || s.ID != ask.Session || s.Identity != f.Identity.ID {
		return deny(writ.NoIdentity, "no session that Writ knows stands behind the request")
	}
	for child, next := s, 0; ; next++ {
		if !child.Live(ask.Time) {
			return deny(writ.SessionEnded, ended(child, s, ask.Time))
		}
		if child.Parent == "" {
			if next != len(f.Sessions) {
				return deny(writ.DelegationBroken, "the session's ancestors do not lead to where it began")
			}
			break
		}
		if next >= len(f.Sessions) || f.Sessions[next] == nil || f.Sessions[next].ID != child.Parent {
			return deny(writ.DelegationBroken, "a session that this one was made from is missing")
		}
		child = f.Sessions[next]
	}
	return cutOff(s, f)
}

func ended(s, own *writ.Session, now writ.Time) string {
	which := "the session"
	if s != own {
		which = "the session that this one was made from"
	}
	if s.State == writ.Active && s.Expires.Passed(now) {
		return which + " ran out at " + s.Expires.String()
	}
	return which + " is over"
}

// cutOff compares each session of the chain with the cut-offs of those it acts
// for: who acts in it, who started it, and the agents that the actor belongs
// to. Somebody in the chain whom the facts do not name cannot be compared, and
// breaks it.
func cutOff(s *writ.Session, f *Facts) denial {
	void := deny(writ.SessionEnded, "the session began before access was last withdrawn from somebody it rests on")
	for next := -1; next < len(f.Sessions); next++ {
		if next >= 0 {
			s = f.Sessions[next]
		}
		for _, id := range [2]writ.ID{s.Identity, s.Started} {
			i := onPath(f, id)
			if i == nil {
				return deny(writ.DelegationBroken, "somebody whom the session acts for is missing from its delegation path")
			}
			if s.Created < i.Cutoff {
				return void
			}
		}
	}
	for _, p := range f.Parents {
		if p != nil && f.Session.Created < p.Cutoff {
			return void
		}
	}
	return denial{}
}

func onPath(f *Facts, id writ.ID) *writ.Identity {
	for _, p := range f.Path {
		if p != nil && p.ID == id {
			return p
		}
	}
	return nil
}

// identities asks whether everybody in the chain may act, and whether a living
// person answers for the actor (invariant 7).
func identities(ask *writ.Ask, f *Facts) denial {
	outermost := f.Session
	if n := len(f.Sessions); n > 0 {
		outermost = f.Sessions[n-1]
	}
	// cutOff found the actor on the path, so the path is not empty.
	principal, actor := f.Path[0], f.Path[len(f.Path)-1]
	switch {
	case principal == nil || principal.ID != outermost.Started || actor == nil || actor.ID != f.Identity.ID:
		return deny(writ.DelegationBroken, "the delegation path does not lead from the principal to the actor")
	case !f.Identity.Live(ask.Time):
		return deny(writ.IdentityInactive, inactive(f.Identity, ask.Time))
	}
	for _, p := range f.Path {
		if p == nil {
			return deny(writ.IdentityInactive, "somebody in the delegation path is missing")
		}
		if !p.Live(ask.Time) {
			return deny(writ.IdentityInactive, inactive(p, ask.Time))
		}
	}
	child := f.Identity
	for _, p := range f.Parents {
		if p == nil || p.ID != child.Parent {
			return deny(writ.IdentityInactive, "an agent that this one belongs to is missing")
		}
		if !p.Live(ask.Time) {
			return deny(writ.IdentityInactive, inactive(p, ask.Time))
		}
		child = p
	}
	if child.Parent != "" {
		return deny(writ.IdentityInactive, "an agent that this one belongs to is missing")
	}
	if !accountable(f.Identity, f.Owner, ask.Time) {
		return deny(writ.IdentityInactive, "no living person is accountable for "+f.Identity.Label(), "owner")
	}
	return denial{}
}

// accountable reports whether owner is a living person who answers for i.
func accountable(i, owner *writ.Identity, now writ.Time) bool {
	if owner == nil || owner.Kind != writ.Person || !owner.Live(now) {
		return false
	}
	if i.Kind == writ.Person {
		return owner.ID == i.ID
	}
	return owner.ID == i.Owner || owner.ID == i.Backup
}

func inactive(i *writ.Identity, now writ.Time) string {
	if i.State == writ.Active && i.Expires.Passed(now) {
		return i.Label() + " expired at " + i.Expires.String()
	}
	return i.Label() + " is " + string(i.State)
}

// application asks whether the host is anybody's business here.
func application(ask *writ.Ask, f *Facts) denial {
	a := f.Application
	switch {
	case a == nil || !a.HasHost(ask.Host):
		return deny(writ.NoGrant, "no application declares the host "+ask.Host)
	case a.State != writ.Active:
		return deny(writ.NoGrant, "the application "+a.Name+" is "+string(a.State))
	case ask.Scheme == "http" && !a.Cleartext:
		// T26: a secret never goes over cleartext that nobody allowed.
		return deny(writ.PlacementViolation, "the application "+a.Name+" does not allow cleartext HTTP, which would show the credential to the network")
	}
	return denial{}
}
