package decide

import (
	"slices"

	"writ.dev/writ"
)

// Decide answers the Ask from the facts alone. The Allow is worth something
// only when the decision allows; it is the only thing that the ledger turns
// into a receipt (invariant 1).
//
// The order of the checks is coarse to fine, and the first that fails gives
// the reason: is the view to be believed at all; is the request one request;
// who asks; what for; which grant covers it; do the guardrails leave it. A nil
// fact, an unknown value and a chain with a missing link fail their check
// (invariant 3).
func Decide(ask *writ.Ask, facts *Facts) (writ.Decision, Allow) {
	d, c := judge(ask, facts)
	if c == nil {
		return d, Allow{}
	}
	return d, newAllow(d, Terms{Ask: ask, Records: facts.Records, Until: until(facts, c), Limited: limited(c)})
}

// Simulate answers the Ask as Decide does and mints nothing: what replays and
// explains decisions can never use one.
func Simulate(ask *writ.Ask, facts *Facts) writ.Decision {
	d, _ := judge(ask, facts)
	return d
}

// denial is why not. The zero value is no denial.
type denial struct {
	reason  writ.Reason
	text    string // what follows "X may not M host/path: "
	missing []string
}

func deny(r writ.Reason, text string, missing ...string) denial {
	return denial{reason: r, text: text, missing: missing}
}

func (n *denial) is() bool { return n.reason != "" }

// judge comes to a decision. The candidate is what an allowed use is made
// with, and nil exactly when the decision denies.
func judge(ask *writ.Ask, facts *Facts) (writ.Decision, *Candidate) {
	if ask == nil || facts == nil {
		return writ.Decision{Reasons: []writ.Reason{writ.AuthorityStale}, Detail: "there is nothing to decide on"}, nil
	}
	d := describe(ask, facts)
	for _, gate := range gates {
		if n := gate(ask, facts); n.is() {
			return refuse(d, ask, facts, n), nil
		}
	}
	c, rule, n := choose(ask, facts)
	if c != nil {
		d.Credential, d.Grant = c.Grant.Credential, c.Grant.ID
	}
	if n.is() {
		return refuse(d, ask, facts, n), nil
	}
	d.Version, d.Rule, d.Basis = c.Version.ID, rule, basis(facts)
	v := facts.Guardrails.judge(ask, facts, c, d.Basis)
	d.Guardrails = v.policies
	if len(v.reasons) > 0 {
		d = refuse(d, ask, facts, denial{reason: v.reasons[0], text: v.text})
		d.Reasons = v.reasons
		return d, nil
	}
	d.Allow = true
	d.Detail = "allowed by grant " + string(c.Grant.ID) + v.text
	d.Rests = rests(facts, c)
	return d, c
}

// gates are the checks that need no candidate, coarse to fine.
var gates = [...]func(*writ.Ask, *Facts) denial{fresh, proven, readable, session, identities, application}

// describe is what a decision says whatever the answer: who, on what view.
func describe(ask *writ.Ask, facts *Facts) writ.Decision {
	d := writ.Decision{ID: ask.ID, Time: ask.Time, Session: ask.Session, Epoch: facts.Epoch, Policy: facts.Guardrails.Version()}
	if facts.Identity != nil {
		d.Identity = facts.Identity.ID
	}
	if facts.Application != nil {
		d.Application = facts.Application.ID
	}
	if len(facts.Path) > 0 {
		d.Path = make([]writ.ID, len(facts.Path))
		for i, p := range facts.Path {
			if p != nil {
				d.Path[i] = p.ID
			}
		}
	}
	return d
}

// refuse turns d into a denial with one sentence that a model can relay. It
// holds the path that was asked for and never the query, which may carry
// secrets (T54).
func refuse(d writ.Decision, ask *writ.Ask, facts *Facts, n denial) writ.Decision {
	who := "this request"
	if facts.Identity != nil {
		who = facts.Identity.Label()
	}
	path, _, _ := cutQuery(ask.Target.Raw)
	d.Allow, d.Version, d.Rule = false, "", 0
	d.Reasons, d.Missing = []writ.Reason{n.reason}, n.missing
	d.Detail = writ.Printable(who, 80) + " may not " + writ.Printable(ask.Method, 20) + " " + writ.Printable(ask.Host, 80) + writ.Printable(path, 100)
	if n.text != "" {
		d.Detail += ": " + writ.Printable(n.text, 300)
	}
	return d
}

func cutQuery(raw string) (path, query string, found bool) {
	for i := range len(raw) {
		if raw[i] == '?' {
			return raw[:i], raw[i+1:], true
		}
	}
	return raw, "", false
}

// basis says whose authority the use rests on, from the session and the
// identities and from nothing in the request (R9).
func basis(f *Facts) writ.AuthorityBasis {
	principal := f.Path[0]
	switch {
	case principal.Kind == writ.Person && principal.ID != f.Identity.ID:
		return writ.BasisDelegatedHuman
	case f.Identity.Kind == writ.Service && len(f.Path) == 1:
		return writ.BasisServiceAccount
	}
	return writ.BasisDirect
}

// rests lists what the use rests on. The accountable owners are not in it:
// when one leaves, succession decides whether anything ends (invariant 7), and
// what ends is suspended itself.
func rests(f *Facts, c *Candidate) []writ.ID {
	ids := make([]writ.ID, 0, 5+len(f.Sessions)+len(f.Path)+len(f.Parents)+len(c.Ancestors))
	ids = append(ids, f.Session.ID)
	for _, s := range f.Sessions {
		ids = append(ids, s.ID)
	}
	for _, p := range f.Path {
		ids = appendNew(ids, p.ID)
	}
	for _, p := range f.Parents {
		ids = appendNew(ids, p.ID)
	}
	ids = append(ids, c.Grant.ID)
	for _, a := range c.Ancestors {
		ids = append(ids, a.ID)
	}
	return append(ids, c.Credential.ID, c.Version.ID, c.App.ID)
}

func appendNew(ids []writ.ID, id writ.ID) []writ.ID {
	if slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

// Until is the earliest end of anything that a use made with the candidate
// rests on, zero when nothing of it ends: a use that is still under way then
// has lost its basis.
func Until(f *Facts, c *Candidate) writ.Time { return until(f, c) }

// until is the earliest end of anything the use rests on, zero when nothing of
// it ends. It covers the owners and the grace of an ungoverned credential too:
// what is decided anew after such an end may find another owner.
func until(f *Facts, c *Candidate) writ.Time {
	var t writ.Time
	sooner := func(u writ.Time) {
		if u != 0 && (t == 0 || u < t) {
			t = u
		}
	}
	sooner(f.Session.Expires)
	for _, s := range f.Sessions {
		sooner(s.Expires)
	}
	sooner(f.Identity.Expires)
	for _, p := range f.Path {
		sooner(p.Expires)
	}
	for _, p := range f.Parents {
		sooner(p.Expires)
	}
	sooner(f.Owner.Expires)
	sooner(c.Grant.Expires)
	for _, a := range c.Ancestors {
		sooner(a.Expires)
	}
	sooner(c.Credential.Expires)
	if c.Owner != nil {
		sooner(c.Owner.Expires)
	}
	if isUngoverned(c.Credential) {
		sooner(c.Credential.GraceEnds(f.Org.GraceDays))
	}
	return t
}

// limited lists the grants whose number of uses is bounded.
func limited(c *Candidate) []writ.ID {
	var ids []writ.ID
	if c.Grant.Limits.Uses != 0 {
		ids = append(ids, c.Grant.ID)
	}
	for _, a := range c.Ancestors {
		if a.Limits.Uses != 0 {
			ids = append(ids, a.ID)
		}
	}
	return ids
}
