package writ

import (
	"net/netip"
	"slices"
	"strconv"
)

// Window is a span of time in which a grant may be used: on the given days of
// the week (0 is Sunday; none means every day), from From to To in minutes
// after midnight UTC. To may lie before From: the span then crosses midnight.
type Window struct {
	Days []int `json:"days,omitempty"`
	From int   `json:"from"`
	To   int   `json:"to"`
}

// Conditions bound the context of a use. Each that is set must be proven; what
// is unknown does not satisfy it (invariant 3).
type Conditions struct {
	Networks []string `json:"networks,omitempty"` // the client's address lies in one of these
	Windows  []Window `json:"windows,omitempty"`  // now lies in one of these
	// Executables are SHA-256 digests, hex, one of which the calling program
	// must have. They come from the relay of `writ run` and are as good as the
	// isolation it states.
	Executables []string `json:"executables,omitempty"`
	Device      ID       `json:"device,omitempty"`
}

// Limits bound how often a grant is used.
type Limits struct {
	Uses      int64 `json:"uses,omitempty"`       // in all; 0 is unlimited
	PerMinute int   `json:"per_minute,omitempty"` // 0 is unlimited
}

// Grant is permission for one identity to use one credential.
type Grant struct {
	ID         ID         `json:"id"`
	Org        ID         `json:"org"`
	Identity   ID         `json:"identity"`
	Credential ID         `json:"credential"`
	Parent     ID         `json:"parent,omitempty"`
	Depth      int        `json:"depth,omitempty"` // hops from the root grant
	Rules      []Rule     `json:"rules"`
	Conditions Conditions `json:"conditions,omitzero"`
	Limits     Limits     `json:"limits,omitzero"`
	Purpose    string     `json:"purpose,omitempty"`
	Triggers   []Trigger  `json:"triggers,omitempty"`
	State      State      `json:"state"`
	Created    Time       `json:"created"`
	Expires    Time       `json:"expires,omitempty"`
	Authoriser ID         `json:"authoriser"` // the person who gave it
}

// maxOfACondition bounds each list of a grant's conditions: comparing a grant
// with its parent costs their product.
const maxOfACondition = 100

// Validate checks a grant by itself; Attenuates checks it against its parent.
func (g *Grant) Validate() error {
	if len(g.Rules) == 0 || len(g.Rules) > MaxRules {
		return Invalid("rules", "a grant has 1 to 100 rules", "say what it covers, as in --allow 'GET api.github.com/repos/**'")
	}
	for i := range g.Rules {
		if err := g.Rules[i].Validate("rules[" + strconv.Itoa(i) + "]"); err != nil {
			return err
		}
	}
	if len(g.Conditions.Networks) > maxOfACondition || len(g.Conditions.Windows) > maxOfACondition || len(g.Conditions.Executables) > maxOfACondition {
		return Invalid("conditions", "a grant has at most 100 networks, windows and executables each", "split the grant")
	}
	for _, n := range g.Conditions.Networks {
		if p, err := netip.ParsePrefix(n); err != nil || p != p.Masked() {
			return Invalid("conditions.networks", "not a network: "+Printable(n, 60), "write it as 10.1.0.0/16")
		}
	}
	for _, w := range g.Conditions.Windows {
		if w.From < 0 || w.From >= 1440 || w.To <= 0 || w.To > 1440 || w.From == w.To || len(w.Days) > 7 || slices.ContainsFunc(w.Days, func(d int) bool { return d < 0 || d > 6 }) {
			return Invalid("conditions.windows", "not a time window", "give minutes after midnight UTC, 0 to 1440, and days 0 (Sunday) to 6")
		}
	}
	for _, e := range g.Conditions.Executables {
		if len(e) != 64 || !isLowerHex(e) {
			return Invalid("conditions.executables", "not a SHA-256 digest: "+Printable(e, 70), "give 64 lower-case hexadecimal digits")
		}
	}
	if g.Limits.Uses < 0 || g.Limits.PerMinute < 0 {
		return Invalid("limits", "a limit cannot be negative", "leave it away for no limit")
	}
	if g.Expires != 0 && g.Expires <= g.Created {
		return Invalid("expires", "the grant would have ended before it began", "give a time in the future")
	}
	if err := CheckText("purpose", g.Purpose); err != nil {
		return err
	}
	return checkTriggers("triggers", g.Triggers)
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// Live reports whether the grant itself may be used at now; its ancestors are
// judged beside it.
func (g *Grant) Live(now Time) bool { return g.State == Active && !g.Expires.Passed(now) }

// Compile prepares the grant's rules for matching; see Rule.Compile.
func (g *Grant) Compile() {
	for i := range g.Rules {
		g.Rules[i].Compile()
	}
}

// NeedsBody reports whether any rule can only be judged with the request's body.
func (g *Grant) NeedsBody() bool {
	return slices.ContainsFunc(g.Rules, func(r Rule) bool { return len(r.Body) > 0 })
}

// Covers reports whether any rule covers the request, and if none does, which
// part of the nearest rule it is outside of.
func (g *Grant) Covers(req *Request) (rule int, miss Outside) {
	nearest := OutsideHost // also what a grant without rules is: it covers nothing
	for i := range g.Rules {
		switch m := g.Rules[i].Covers(req); {
		case m == Inside:
			return i, Inside
		case m > nearest:
			nearest = m
		}
	}
	return -1, nearest
}

// Context is what is known of where a use comes from.
type Context struct {
	Network    netip.Addr // the client's address, as the server sees it
	Executable string     // SHA-256 of the calling program, hex; "" is unknown
	Device     ID
	Now        Time
}

// Hold names the first condition that the context does not satisfy, or "".
func (c *Conditions) Hold(ctx Context) (unmet string) {
	if len(c.Networks) > 0 && !slices.ContainsFunc(c.Networks, func(n string) bool {
		p, err := netip.ParsePrefix(n)
		return err == nil && p.Contains(ctx.Network.Unmap())
	}) {
		return "network"
	}
	if len(c.Windows) > 0 && !slices.ContainsFunc(c.Windows, func(w Window) bool { return w.contains(ctx.Now) }) {
		return "time"
	}
	if len(c.Executables) > 0 && !slices.Contains(c.Executables, ctx.Executable) {
		return "runtime"
	}
	if c.Device != "" && c.Device != ctx.Device {
		return "device"
	}
	return ""
}

// contains reports whether the window holds t.
func (w Window) contains(t Time) bool {
	g := t.Go()
	minute := g.Hour()*60 + g.Minute()
	for _, s := range w.spans(int(g.Weekday())) {
		if minute >= s.from && minute < s.to {
			return true
		}
	}
	return false
}
