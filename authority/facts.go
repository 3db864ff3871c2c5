package authority

import (
	"context"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// Facts gives everything that a decision about the Ask may read, as one view
// at one epoch. When the organization's view is stale and cannot be loaded,
// the facts say so; they are then worth a denial and nothing else.
func (x *Index) Facts(ctx context.Context, ask *writ.Ask) (*decide.Facts, error) {
	s := x.slot(ask.Org)
	s.mu.RLock()
	if s.view == nil {
		s.mu.RUnlock()
		if err := x.Ready(ctx, ask.Org); err != nil {
			return &decide.Facts{Stale: true}, nil //nolint:nilerr // the load's failure is what makes the facts stale
		}
		s.mu.RLock()
		if s.view == nil { // it went stale again
			s.mu.RUnlock()
			return &decide.Facts{Stale: true}, nil
		}
	}
	defer s.mu.RUnlock()
	g := gathering{v: s.view, now: ask.Time, f: &decide.Facts{Epoch: s.view.epoch, Guardrails: s.view.guardrails}}
	g.f.Records = make([]decide.Record, 0, 16)
	g.who(ask.Session)
	g.what(ask, x.cfg.Clock())
	return g.f, nil
}

// gathering collects facts and names each by its record.
type gathering struct {
	v   *view
	f   *decide.Facts
	now writ.Time // of the Ask
	// seen are the ids in Records, kept once there are too many to look through.
	seen map[writ.ID]bool
}

// fewRecords is up to how many records looking through them is the cheaper way.
const fewRecords = 32

// note adds a record unless it is there.
func (g *gathering) note(id writ.ID, seq int64) (added bool) {
	switch n := len(g.f.Records); {
	case n < fewRecords:
		for i := range g.f.Records {
			if g.f.Records[i].ID == id {
				return false
			}
		}
	case g.seen == nil:
		g.seen = make(map[writ.ID]bool, 2*n)
		for i := range g.f.Records {
			g.seen[g.f.Records[i].ID] = true
		}
		fallthrough
	default:
		if g.seen[id] {
			return false
		}
		g.seen[id] = true
	}
	g.f.Records = append(g.f.Records, decide.Record{ID: id, Seq: seq})
	return true
}

// take gives a noun and notes its record; an unproven one is noted as such.
func take[T any](g *gathering, id writ.ID) (T, bool) {
	var zero T
	if id == "" {
		return zero, false
	}
	n, ok := g.v.nouns[id]
	if !ok {
		return zero, false
	}
	if g.note(id, n.seq) && !n.proven {
		g.f.Unproven = append(g.f.Unproven, id)
	}
	t, ok := n.value.(T)
	return t, ok
}

// who gathers the session, everybody it acts for, and who answers for them.
func (g *gathering) who(id writ.ID) {
	f := g.f
	f.Org, _ = take[*writ.Org](g, g.v.org)
	if f.Org != nil {
		f.Stopped = f.Org.State == writ.Suspended
	}
	// A guardrail that is not proven, or is gone, concerns every decision.
	f.Records = append(f.Records, g.v.guarding...)
	f.Unproven = append(f.Unproven, g.v.doubtful...)
	var ok bool
	if f.Session, ok = take[*writ.Session](g, id); !ok {
		return
	}
	for at := f.Session; at.Parent != ""; {
		parent, ok := take[*writ.Session](g, at.Parent)
		f.Sessions = append(f.Sessions, parent) // nil where it is missing
		if !ok || len(f.Sessions) > maxChain {
			break
		}
		at = parent
	}
	f.Identity, _ = take[*writ.Identity](g, f.Session.Identity)
	g.path()
	if f.Identity == nil {
		return
	}
	for at := f.Identity; at.Parent != "" && len(f.Parents) <= maxChain; {
		parent, ok := take[*writ.Identity](g, at.Parent)
		f.Parents = append(f.Parents, parent)
		if !ok {
			break
		}
		at = parent
	}
	if f.Identity.Kind == writ.Person {
		f.Owner = f.Identity
		return
	}
	f.Owner = g.owner(f.Identity.Owner, f.Identity.Backup)
}

// maxChain bounds a chain of sessions or agents: longer ones are not made, and
// a cycle that somebody wrote into the database must not hold a reader.
const maxChain = 32

// path leads from whoever started the outermost session to the actor.
func (g *gathering) path() {
	f := g.f
	add := func(id writ.ID) {
		if n := len(f.Path); n > 0 && f.Path[n-1] != nil && f.Path[n-1].ID == id {
			return
		}
		i, _ := take[*writ.Identity](g, id)
		f.Path = append(f.Path, i) // nil where somebody is missing
	}
	hop := func(s *writ.Session) {
		// Whoever is on the path already and started a further session in it is
		// named once: ana → planner → worker, also when Ana started the worker's.
		if !slices.ContainsFunc(f.Path, func(i *writ.Identity) bool { return i != nil && i.ID == s.Started }) {
			add(s.Started)
		}
		add(s.Identity)
	}
	for i := len(f.Sessions) - 1; i >= 0; i-- {
		if s := f.Sessions[i]; s != nil {
			hop(s)
		}
	}
	hop(f.Session)
}

// owner is the living one of an owner and her backup.
func (g *gathering) owner(owner, backup writ.ID) *writ.Identity {
	for _, id := range [2]writ.ID{owner, backup} {
		if i, ok := take[*writ.Identity](g, id); ok && i.Kind == writ.Person && i.Live(g.now) {
			return i
		}
	}
	return nil
}

// what gathers the application and the grants that might cover the Ask.
func (g *gathering) what(ask *writ.Ask, now clockTime) {
	f := g.f
	f.Application, _ = take[*writ.Application](g, g.v.apps[ask.Host])
	if f.Identity == nil {
		return
	}
	if f.Application == nil {
		return
	}
	list := g.v.grants[place{f.Identity.ID, f.Application.ID}]
	if len(list) == 0 {
		return
	}
	f.Candidates = make([]decide.Candidate, 0, len(list))
	for _, grant := range list {
		if g.v.opens(grant, ask.Host) {
			f.Candidates = append(f.Candidates, g.candidate(grant, now))
		}
	}
}

// opens reports whether the grant's credential is sealed for the host. Where it
// has no current version that anybody could tell by, the grant stays among the
// candidates, so that the denial says what is wrong with it.
func (v *view) opens(g *writ.Grant, host string) bool {
	c, ok := value[*writ.Credential](v, g.Credential)
	if !ok {
		return false
	}
	version, ok := value[*writ.Version](v, c.Current)
	return !ok || slices.Contains(version.Hosts, host)
}

func (g *gathering) candidate(grant *writ.Grant, now clockTime) decide.Candidate {
	c := decide.Candidate{Grant: grant}
	take[*writ.Grant](g, grant.ID)
	for at := grant; at.Parent != ""; {
		parent, ok := take[*writ.Grant](g, at.Parent)
		if !ok || len(c.Ancestors) > maxChain {
			c.Broken = true
			break
		}
		c.Ancestors = append(c.Ancestors, parent)
		at = parent
	}
	var ok bool
	if c.Credential, ok = take[*writ.Credential](g, grant.Credential); ok {
		c.Version, _ = take[*writ.Version](g, c.Credential.Current)
		c.App, _ = take[*writ.Application](g, c.Credential.App)
		c.Owner = g.owner(c.Credential.Owner, c.Credential.Backup)
	}
	c.RateLeft = g.v.rates.left(grant, now)
	for _, a := range c.Ancestors {
		c.RateLeft = c.RateLeft && g.v.rates.left(a, now)
	}
	return c
}
