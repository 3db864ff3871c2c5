package writ

import (
	"net/netip"
	"slices"
)

// Attenuates reports why child is not an attenuation of parent, or nil when it
// is one: every request and context that child allows, parent allows too, and
// child ends no later (invariant 9). It is sound and conservative: each child
// rule must lie within a single parent rule, so a union of parent rules that
// only together cover a child rule is refused.
func Attenuates(child, parent *Grant, maxDepth int) error {
	const fix = "narrow the child until it lies within its parent"
	switch {
	case child.Org != parent.Org || child.Credential != parent.Credential:
		return Invalid("parent", "a delegated grant is for the same credential as its parent", fix)
	case child.Depth != parent.Depth+1:
		return Invalid("depth", "a delegated grant is one hop below its parent", fix)
	case child.Depth > maxDepth:
		return Invalid("depth", "the delegation would be deeper than the organization allows", "delegate from a grant nearer to the root")
	case parent.Expires != 0 && (child.Expires == 0 || child.Expires > parent.Expires):
		return Invalid("expires", "a delegated grant may not outlive its parent", "let it end by "+parent.Expires.String())
	case parent.Limits.Uses != 0 && (child.Limits.Uses == 0 || child.Limits.Uses > parent.Limits.Uses):
		return Invalid("limits.uses", "a delegated grant may not allow more uses than its parent", fix)
	case parent.Limits.PerMinute != 0 && (child.Limits.PerMinute == 0 || child.Limits.PerMinute > parent.Limits.PerMinute):
		return Invalid("limits.per_minute", "a delegated grant may not allow a higher rate than its parent", fix)
	}
	for i := range child.Rules {
		if !slices.ContainsFunc(parent.Rules, func(p Rule) bool { return child.Rules[i].within(&p) }) {
			return Invalid("rules", "the rule "+Printable(child.Rules[i].String(), 120)+" lies within none of the parent's", fix)
		}
	}
	return child.Conditions.attenuate(&parent.Conditions)
}

// within reports that every request the rule covers, p covers too.
func (r *Rule) within(p *Rule) bool {
	if p.Host != "" && p.Host != r.Host {
		return false
	}
	if !slices.Contains(p.Methods, "*") {
		for _, m := range r.Methods {
			if !slices.Contains(p.Methods, m) {
				return false
			}
		}
	}
	rp, ok := r.pattern()
	if !ok {
		return false
	}
	pp, ok := p.pattern()
	if !ok || !rp.within(pp) {
		return false
	}
	return conditionsWithin(r.Query, p.Query, true) && conditionsWithin(r.Body, p.Body, false)
}

// within reports that every path c matches, p matches too.
func (c *pattern) within(p *pattern) bool {
	if len(c.segments) < len(p.segments) || (c.rest && !p.rest) || (!p.rest && len(c.segments) > len(p.segments)) {
		return false
	}
	for i, s := range p.segments {
		switch of := c.segments[i]; {
		case s.any && !of.any && of.text == "":
			return false
		case !s.any && (of.any || of.text != s.text):
			return false
		}
	}
	return true
}

// conditionsWithin reports that whatever satisfies all of child satisfies all
// of parent: each parent condition must follow from one child condition on the
// same key.
func conditionsWithin(child, parent []Condition, query bool) bool {
	for _, p := range parent {
		if !slices.ContainsFunc(child, func(c Condition) bool { return c.Key == p.Key && c.implies(p, query) }) {
			return false
		}
	}
	return true
}

// implies reports that every value that satisfies c satisfies p. A query value
// is text that may also be read as a number, so a numeric value there is tried
// in both readings, as matching does.
func (c Condition) implies(p Condition, query bool) bool {
	holds := func(v Scalar) bool {
		if query && v.Kind == ScalarNumber {
			// The text "1.0" satisfies eq 1: what c admits is every spelling of the
			// number, so p must compare it as a number too.
			return p.holds(v)
		}
		if query && v.Kind == ScalarString && looksNumeric(v.Text) {
			return p.holds(v) || p.holds(Number(v.Text))
		}
		return p.holds(v)
	}
	switch c.Op {
	case OpEq, OpIn:
		for _, v := range c.Values {
			if !holds(v) {
				return false
			}
		}
		return true
	case OpLe:
		return p.Op == OpLe && p.holds(c.Values[0])
	case OpGe:
		return p.Op == OpGe && p.holds(c.Values[0])
	}
	return false
}

// attenuate reports why c does not lie within p.
func (c *Conditions) attenuate(p *Conditions) error {
	const fix = "repeat or narrow the parent's conditions"
	if len(p.Networks) > 0 {
		if len(c.Networks) == 0 {
			return Invalid("conditions.networks", "the parent is bound to networks and the child is not", fix)
		}
		for _, n := range c.Networks {
			if !slices.ContainsFunc(p.Networks, func(m string) bool { return networkWithin(n, m) }) {
				return Invalid("conditions.networks", "the network "+Printable(n, 60)+" lies within none of the parent's", fix)
			}
		}
	}
	if len(p.Windows) > 0 {
		if len(c.Windows) == 0 {
			return Invalid("conditions.windows", "the parent is bound to times and the child is not", fix)
		}
		for _, w := range c.Windows {
			if !slices.ContainsFunc(p.Windows, func(v Window) bool { return w.within(v) }) {
				return Invalid("conditions.windows", "a time window lies within none of the parent's", fix)
			}
		}
	}
	if len(p.Executables) > 0 {
		if len(c.Executables) == 0 {
			return Invalid("conditions.executables", "the parent is bound to programs and the child is not", fix)
		}
		for _, e := range c.Executables {
			if !slices.Contains(p.Executables, e) {
				return Invalid("conditions.executables", "the parent does not allow a program that the child does", fix)
			}
		}
	}
	if p.Device != "" && c.Device != p.Device {
		return Invalid("conditions.device", "the parent is bound to a device and the child is not bound to the same", fix)
	}
	return nil
}

func networkWithin(child, parent string) bool {
	c, err := netip.ParsePrefix(child)
	if err != nil {
		return false
	}
	p, err := netip.ParsePrefix(parent)
	return err == nil && c.Bits() >= p.Bits() && p.Contains(c.Addr())
}

// within reports that the window holds only times that v holds. On any one day
// a window is at most two spans that do not touch, so a span of w lies within
// the two of v together only if it lies within one of them.
func (w Window) within(v Window) bool {
	for day := range 7 {
		outer := v.spans(day)
		for _, s := range w.spans(day) {
			if s.from < s.to && !slices.ContainsFunc(outer[:], func(o span) bool { return o.from <= s.from && s.to <= o.to }) {
				return false
			}
		}
	}
	return true
}

// span is the minutes of a day from from up to, and without, to.
type span struct{ from, to int }

// spans gives the minutes of the day of the week that the window holds; a span
// that begins where it ends is none. The part after midnight of a window that
// crosses it belongs to the day on which the window began.
func (w Window) spans(day int) (s [2]span) {
	on := func(d int) bool { return len(w.Days) == 0 || slices.Contains(w.Days, (d+7)%7) }
	if w.From < w.To {
		if on(day) {
			s[0] = span{w.From, w.To}
		}
		return s
	}
	if on(day) {
		s[0] = span{w.From, 1440}
	}
	if on(day - 1) {
		s[1] = span{0, w.To}
	}
	return s
}
