package decide

import (
	"slices"
	"strings"

	"writ.dev/writ"
)

// gate is how far a candidate got; the further, the nearer the miss.
type gate int

const (
	atGrant gate = iota
	atDelegation
	atCovers
	atContext
	atRate
	atCredential
	atGovernance
	atAIUse
	atProof // covers the request, but a row under it does not match its record
	passed
)

// miss is why a candidate did not pass. It is a plain value, and its sentence
// is made only for the nearest, so that many grants cost little.
type miss struct {
	gate   gate
	near   writ.Outside // at atCovers
	reason writ.Reason
	grant  *writ.Grant // the grant at fault: the candidate's or an ancestor
	note   string
	facts  []string // missing ones
}

// choose finds the candidate that the use is made with. Among several that
// pass, of one credential, it is the oldest grant; of several credentials the
// request has to say which, since the choice decides whose account is used.
// When none passes it returns the nearest miss, with its candidate.
func choose(ask *writ.Ask, f *Facts) (*Candidate, int, denial) {
	var best, near *Candidate
	var rule int
	var nearest miss
	several := false
	for i := range f.Candidates {
		c := &f.Candidates[i]
		if c.Grant == nil || !hinted(ask, c) {
			continue
		}
		r, m := c.judge(ask, f)
		switch {
		case m.gate == passed && best == nil:
			best, rule = c, r
		case m.gate == passed:
			several = several || c.Credential.ID != best.Credential.ID
			if older(c.Grant, best.Grant) {
				best, rule = c, r
			}
		case near == nil || m.gate > nearest.gate || m.gate == nearest.gate && m.near > nearest.near:
			near, nearest = c, m
		}
	}
	switch {
	case best != nil && !several:
		return best, rule, denial{}
	case several:
		return nil, 0, deny(writ.RequestAmbiguous, "more than one credential would do; name one with the header Writ-Credential: NAME", "credential")
	case near != nil:
		return near, 0, nearest.denial(ask, near)
	case ask.Hint != "":
		return nil, 0, deny(writ.NoGrant, "it has no grant for a credential named "+writ.Printable(ask.Hint, 63)+" that opens "+ask.Host)
	}
	return nil, 0, deny(writ.NoGrant, "it has no grant for a credential that opens "+ask.Host)
}

// hinted reports whether the client's choice of a credential, when it made
// one, is this candidate's.
func hinted(ask *writ.Ask, c *Candidate) bool {
	return ask.Hint == "" || c.Credential != nil && (ask.Hint == c.Credential.Name || ask.Hint == string(c.Credential.ID))
}

func older(g, h *writ.Grant) bool {
	return g.Created < h.Created || g.Created == h.Created && g.ID < h.ID
}

// judge takes one candidate through its checks.
func (c *Candidate) judge(ask *writ.Ask, f *Facts) (rule int, m miss) {
	req := request(ask)
	if n := c.coherent(ask, f); n != "" {
		return 0, miss{gate: atGrant, reason: writ.StateUnproven, grant: c.Grant, note: n}
	}
	if len(f.Unproven) > 0 {
		if i := slices.IndexFunc(f.Unproven, c.restsOnlyOn); i >= 0 {
			m = miss{gate: atGrant, reason: writ.StateUnproven, grant: c.Grant, note: "the row " + string(f.Unproven[i]) + " does not match its record in the ledger"}
			if _, out := c.Grant.Covers(req); out == writ.Inside {
				m.gate = atProof // somebody tampered with just what this request needs: say so before anything else
			}
			return 0, m
		}
	}
	if !c.Grant.Live(ask.Time) {
		return 0, miss{gate: atGrant, reason: writ.GrantInactive, grant: c.Grant}
	}
	if m := c.delegation(ask, f.Org.Depth()); m.reason != "" {
		return 0, m
	}
	rule, m = c.covers(req, ask, f.Session.Device)
	if m.reason != "" {
		return 0, m
	}
	if !c.RateLeft {
		return 0, miss{gate: atRate, reason: writ.QuotaExceeded, grant: c.Grant}
	}
	if n := c.usable(ask); n != "" {
		return 0, miss{gate: atCredential, reason: writ.CredentialInvalid, grant: c.Grant, note: n}
	}
	if missing := c.ungoverned(f.Org.GraceDays, ask.Time); len(missing) > 0 {
		return 0, miss{gate: atGovernance, reason: writ.OutsideGovernance, grant: c.Grant, facts: missing}
	}
	if n := c.aiUse(f); n != "" {
		return 0, miss{gate: atAIUse, reason: writ.AIUseForbidden, grant: c.Grant, note: n}
	}
	return rule, miss{gate: passed}
}

// request is what rules are matched against. Values of a body that was not
// spooled bind nothing, since another body could be sent: they do not count
// (T18).
func request(ask *writ.Ask) *writ.Request {
	if ask.Body == nil || ask.Info.Mode == writ.BodySpooled && ask.Info.Unreadable == "" {
		return &ask.Request
	}
	r := ask.Request
	r.Body = nil
	return &r
}

// coherent asks whether the candidate is about this actor, host and
// organization and hangs together; facts that do not are a defect or tampering.
func (c *Candidate) coherent(ask *writ.Ask, f *Facts) string {
	g := c.Grant
	switch {
	case g.Org != ask.Org || slices.ContainsFunc(c.Ancestors, func(a *writ.Grant) bool { return a != nil && a.Org != ask.Org }),
		c.Credential != nil && c.Credential.Org != ask.Org, c.Version != nil && c.Version.Org != ask.Org,
		c.App != nil && c.App.Org != ask.Org, c.Owner != nil && c.Owner.Org != ask.Org:
		return "a fact of the decision belongs to another organization"
	case g.Identity != f.Identity.ID:
		return "the grant is another identity's"
	case c.Credential != nil && c.Credential.ID != g.Credential:
		return "the credential is not the grant's"
	case c.Credential != nil && c.App != nil && c.Credential.App != c.App.ID:
		return "the application is not the credential's"
	case c.App != nil && c.App.ID != f.Application.ID:
		return "the host belongs to another application than the credential"
	}
	return ""
}

// restsOnlyOn reports whether id is one of the candidate's own facts.
func (c *Candidate) restsOnlyOn(id writ.ID) bool {
	return c.Grant != nil && c.Grant.ID == id ||
		c.Credential != nil && c.Credential.ID == id ||
		c.Version != nil && c.Version.ID == id ||
		c.App != nil && c.App.ID == id ||
		c.Owner != nil && c.Owner.ID == id ||
		slices.ContainsFunc(c.Ancestors, func(a *writ.Grant) bool { return a != nil && a.ID == id })
}

// delegation asks whether the chain to the root grant is whole, alive and
// still narrowing (invariant 9): checked when a grant is made and again here,
// since rows outlive the code that checked them.
func (c *Candidate) delegation(ask *writ.Ask, maxDepth int) miss {
	broken := func(note string) miss {
		return miss{gate: atDelegation, reason: writ.DelegationBroken, grant: c.Grant, note: note}
	}
	if c.Broken {
		return broken("a grant it was made from is missing")
	}
	child := c.Grant
	for _, parent := range c.Ancestors {
		switch {
		case parent == nil || child.Parent != parent.ID:
			return broken("a grant it was made from is missing")
		case !parent.Live(ask.Time):
			return broken("the grant " + string(parent.ID) + " that it was made from is " + standing(parent.State, parent.Expires, ask.Time))
		}
		if err := writ.Attenuates(child, parent, maxDepth); err != nil {
			return broken("it is no longer narrower than " + string(parent.ID) + ": " + err.Error())
		}
		child = parent
	}
	if child.Parent != "" || child.Depth != 0 {
		return broken("a grant it was made from is missing")
	}
	return miss{}
}

// covers asks whether the grant and every ancestor cover the request and hold
// in its context. Attenuation makes the ancestors' answer follow from the
// child's; asking them costs little and does not rest on that proof.
func (c *Candidate) covers(req *writ.Request, ask *writ.Ask, device writ.ID) (int, miss) {
	ctx := writ.Context{Network: ask.Source, Executable: ask.Runtime.Executable, Device: device, Now: ask.Time}
	rule := 0
	for i := -1; i < len(c.Ancestors); i++ {
		g := c.Grant
		if i >= 0 {
			g = c.Ancestors[i]
		}
		r, out := g.Covers(req)
		if out != writ.Inside {
			return 0, miss{gate: atCovers, near: out, reason: outsideReason(out), grant: g}
		}
		if i < 0 {
			rule = r
		}
	}
	for i := -1; i < len(c.Ancestors); i++ {
		g := c.Grant
		if i >= 0 {
			g = c.Ancestors[i]
		}
		if unmet := g.Conditions.Hold(ctx); unmet != "" {
			return 0, miss{gate: atContext, reason: writ.ContextMismatch, grant: g, note: unmet, facts: []string{unmet}}
		}
	}
	return rule, miss{}
}

func outsideReason(o writ.Outside) writ.Reason {
	switch o {
	case writ.OutsideBody:
		return writ.ParameterViolation
	case writ.OutsideUnknownBody:
		return writ.BodyRequired
	}
	return writ.OutOfAuthority
}

// usable says what is wrong with the credential and its version, or "".
func (c *Candidate) usable(ask *writ.Ask) string {
	switch cr, v := c.Credential, c.Version; {
	case cr == nil || c.App == nil:
		return "the credential of the grant is missing"
	case !cr.Live(ask.Time):
		return "the credential " + cr.Name + " is " + standing(cr.State, cr.Expires, ask.Time)
	case v == nil || v.ID != cr.Current || v.Credential != cr.ID:
		return "the credential " + cr.Name + " has no current version"
	case v.State != writ.Active:
		return "the current version of the credential " + cr.Name + " is " + string(v.State)
	case c.App.State != writ.Active || !c.App.HasHost(ask.Host) || !slices.Contains(v.Hosts, ask.Host):
		return "the credential " + cr.Name + " is not sealed for the host " + ask.Host
	}
	return ""
}

// standing is the state in words, for what is not live.
func standing(s writ.State, expires, now writ.Time) string {
	if s == writ.Active && expires.Passed(now) {
		return "expired since " + expires.String()
	}
	return string(s)
}

// isUngoverned reports whether any fact of provenance is missing, without
// listing them.
func isUngoverned(c *writ.Credential) bool {
	return c.Owner == "" || c.Issuer == "" || c.Authoriser == "" || len(c.Triggers) == 0
}

// ungoverned lists the facts for want of which the credential may not be used
// (invariant 8): in production at once, elsewhere after the organization's
// grace. An owner who is named but no longer living gets no grace: that is
// suspension (invariant 7), not a missing record.
func (c *Candidate) ungoverned(graceDays int, now writ.Time) []string {
	if c.Credential.Owner != "" && !accountableFor(c.Credential, c.Owner, now) {
		return []string{"living owner"}
	}
	if !isUngoverned(c.Credential) {
		return nil
	}
	if !isProduction(c.App) && graceDays > 0 && !c.Credential.GraceEnds(graceDays).Passed(now) {
		return nil
	}
	return c.Credential.Ungoverned()
}

func accountableFor(c *writ.Credential, owner *writ.Identity, now writ.Time) bool {
	return owner != nil && owner.Kind == writ.Person && owner.Live(now) && (owner.ID == c.Owner || owner.ID == c.Backup)
}

// isProduction: an environment nobody knows is treated as production.
func isProduction(a *writ.Application) bool { return a.Env != writ.Dev && a.Env != writ.Staging }

// aiUse says why agents may not use the credential, or "" when they may or no
// agent is involved. An agent anywhere in the chain counts: it chooses what
// those below it do (R11).
func (c *Candidate) aiUse(f *Facts) string {
	agent := func(i *writ.Identity) bool { return i.Kind != writ.Person && i.Kind != writ.Service }
	if !agent(f.Identity) && !slices.ContainsFunc(f.Path, agent) && !slices.ContainsFunc(f.Parents, agent) {
		return ""
	}
	switch c.Credential.AIUse {
	case writ.AIAllowed:
		return ""
	case writ.AINeedsControls:
		if isProduction(c.App) {
			return "agents may not use the credential " + c.Credential.Name + " in production until its ai_use is set to allowed"
		}
		return ""
	}
	return "agents may not use the credential " + c.Credential.Name
}

// denial puts the miss into words.
func (m *miss) denial(ask *writ.Ask, c *Candidate) denial {
	grant := "grant " + string(m.grant.ID)
	text := m.note
	switch m.reason {
	case writ.GrantInactive:
		text = grant + " is " + standing(m.grant.State, m.grant.Expires, ask.Time)
	case writ.DelegationBroken:
		text = grant + " was delegated, and " + m.note
	case writ.OutOfAuthority:
		text = grant + " does not cover " + map[writ.Outside]string{
			writ.OutsideHost: "this host", writ.OutsideMethod: "this method", writ.OutsidePath: "this path", writ.OutsideQuery: "these query parameters",
		}[m.near]
	case writ.ParameterViolation:
		text = "the body has a value that " + grant + " does not allow, or lacks one it needs"
	case writ.BodyRequired:
		text = grant + " depends on the request's body, which could not be read as JSON"
		if ask.Info.Unreadable != "" {
			text += ": " + ask.Info.Unreadable
		}
	case writ.ContextMismatch:
		text = grant + " is bound to a " + m.note + " that this use does not have or cannot prove"
	case writ.QuotaExceeded:
		text = "the rate of " + grant + " is used up for now"
	case writ.OutsideGovernance:
		name := string(m.grant.Credential)
		if c.Credential != nil {
			name = c.Credential.Name
		}
		text = "the credential " + name + " is outside governance: it lacks " + strings.Join(m.facts, ", ")
	}
	return denial{reason: m.reason, text: text, missing: m.facts}
}
