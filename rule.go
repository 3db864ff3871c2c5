package writ

import (
	"slices"
	"strconv"
	"strings"
)

// Op is how a condition compares. The set has no regular expressions, so that
// "is this rule narrower than that one" stays decidable.
type Op string

// The comparisons.
const (
	OpEq Op = "eq"
	OpIn Op = "in"
	OpLe Op = "le" // numbers only
	OpGe Op = "ge" // numbers only
)

// Condition bounds one query parameter (Key is its name) or one value of a
// JSON body (Key is an RFC 6901 pointer).
type Condition struct {
	Key    string   `json:"key"`
	Op     Op       `json:"op"`
	Values []Scalar `json:"values"`
}

// Rule says which requests a grant covers. A request must satisfy every part.
type Rule struct {
	Methods []string    `json:"methods"`        // upper case; "*" is any
	Host    string      `json:"host,omitempty"` // canonical; "" is any host of the credential
	Path    string      `json:"path"`           // segments; "*" is any one, a final "**" the rest
	Query   []Condition `json:"query,omitempty"`
	Body    []Condition `json:"body,omitempty"`

	path *pattern // Path, parsed by Compile; nil until then
}

// Compile parses the path once, so that matching does not. It must be called
// before the rule is shared between goroutines, or not at all.
func (r *Rule) Compile() {
	if p, err := parsePattern(r.Path); err == nil {
		r.path = &p
	}
}

func (r *Rule) pattern() (*pattern, bool) {
	if r.path != nil {
		return r.path, true
	}
	p, err := parsePattern(r.Path)
	return &p, err == nil
}

// Limits of a rule set.
const (
	MaxRules      = 100
	MaxConditions = 32
)

// Validate checks one rule.
func (r *Rule) Validate(field string) error {
	if len(r.Methods) == 0 || len(r.Methods) > 16 {
		return Invalid(field+".methods", "a rule needs 1 to 16 methods", `name them, as in GET, or "*" for any`)
	}
	for _, m := range r.Methods {
		if m != "*" && (!isToken(m) || m != strings.ToUpper(m)) {
			return Invalid(field+".methods", "not a method: "+Printable(m, 20), "write methods in upper case, as in GET")
		}
		if m == "CONNECT" || m == "TRACE" {
			return Invalid(field+".methods", m+" is never brokered", "leave it away")
		}
	}
	if r.Host != "" {
		if c, err := ParseHost(r.Host); err != nil || c != r.Host {
			return Invalid(field+".host", "not a host in its canonical form: "+Printable(r.Host, 80), "write it as api.github.com")
		}
	}
	if _, err := parsePattern(r.Path); err != nil {
		return Invalid(field+".path", "not a path: "+err.Error(), "write segments, '*' for one of them and a final '**' for the rest, as in /repos/acme/*/pulls/**")
	}
	for _, part := range []struct {
		name string
		cs   []Condition
	}{{"query", r.Query}, {"body", r.Body}} {
		if len(part.cs) > MaxConditions {
			return Invalid(field+"."+part.name, "a rule has at most 32 conditions", "split the grant")
		}
		for i, c := range part.cs {
			if err := c.validate(field+"."+part.name+"["+strconv.Itoa(i)+"]", part.name == "body"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c Condition) validate(field string, pointer bool) error {
	if pointer && (c.Key == "" || c.Key[0] != '/' || CheckText("", c.Key) != nil) {
		return Invalid(field+".key", "not a JSON pointer: "+Printable(c.Key, 60), "write it as /amount or /items/0/price")
	}
	if !pointer && (c.Key == "" || CheckText("", c.Key) != nil) {
		return Invalid(field+".key", "not a parameter name: "+Printable(c.Key, 60), "give the decoded name")
	}
	if len(c.Values) == 0 || len(c.Values) > 100 || (c.Op != OpIn && len(c.Values) != 1) {
		return Invalid(field+".values", "eq, le and ge compare with one value, in with 1 to 100", "")
	}
	for _, v := range c.Values {
		if err := v.validate(field + ".values"); err != nil {
			return err
		}
	}
	switch c.Op {
	case OpEq, OpIn:
	case OpLe, OpGe:
		if c.Values[0].Kind != ScalarNumber {
			return Invalid(field+".values", "le and ge compare numbers", "give a number")
		}
	default:
		return Invalid(field+".op", "unknown comparison: "+Printable(string(c.Op), 20), "use eq, in, le or ge")
	}
	return nil
}

// pattern is a parsed path pattern. A segment that is any is "*": one segment
// that is not empty, for /items/ is the collection and not an item of it (T11).
// rest is the final "**".
type pattern struct {
	segments []patternSegment
	rest     bool
}

type patternSegment struct {
	any  bool
	text string
}

// patternProfile reads patterns as literally as possible: what a pattern spells
// out is a decoded segment, whatever the application's profile.
var patternProfile = Profile{EncodedSlash: ReadOpaque, Semicolon: ReadOpaque, EmptySegment: ReadOpaque}

func parsePattern(s string) (pattern, error) {
	if s == "" || s[0] != '/' {
		return pattern{}, ambiguous("it does not begin with '/'")
	}
	if len(s) > MaxTarget || strings.ContainsAny(s, "?#\\") {
		return pattern{}, ambiguous("it has a '?', '#' or '\\', or is longer than 16 KiB")
	}
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return pattern{}, ambiguous("it has a space, control or non-ASCII byte; percent-encode it")
		}
	}
	parts := strings.Split(s[1:], "/")
	var p pattern
	for i, part := range parts {
		switch {
		case part == "**" && i == len(parts)-1:
			p.rest = true
		case part == "*":
			p.segments = append(p.segments, patternSegment{any: true})
		case strings.Contains(part, "*"):
			return pattern{}, ambiguous("'*' stands for a whole segment and '**' only at the end; write %2A for the character")
		default:
			text, err := decodeSegment(part, patternProfile)
			if err != nil {
				return pattern{}, err
			}
			p.segments = append(p.segments, patternSegment{text: text})
		}
	}
	return p, nil
}

func (p *pattern) match(segments []string) bool {
	if len(segments) < len(p.segments) || (len(segments) > len(p.segments) && !p.rest) {
		return false
	}
	for i, s := range p.segments {
		if s.any && segments[i] == "" || !s.any && s.text != segments[i] {
			return false
		}
	}
	return true
}

// Outside says which part of a rule a request does not satisfy, from the
// coarsest to the finest, so that a denial can name the nearest miss.
type Outside uint8

// The parts, in the order in which Covers checks them.
const (
	Inside Outside = iota
	OutsideHost
	OutsideMethod
	OutsidePath
	OutsideQuery
	OutsideBody        // the body is known and a value is outside
	OutsideUnknownBody // the rule needs the body and does not have it
)

// Request is what a rule is matched against: one intended request, parsed once.
type Request struct {
	Method string
	Host   string // canonical, as ParseHost gives it
	Target Target
	Body   Values
}

// Values are the values of a body at the pointers that rules ask for. A nil
// Values is a body that nobody read; a pointer that is absent from a non-nil
// Values was not found or was not a single scalar. Both fail the condition.
type Values map[string]Scalar

// Covers reports whether the rule covers the request; Inside is yes.
func (r *Rule) Covers(req *Request) Outside {
	if r.Host != "" && r.Host != req.Host {
		return OutsideHost
	}
	if !slices.Contains(r.Methods, req.Method) && !slices.Contains(r.Methods, "*") {
		return OutsideMethod
	}
	p, ok := r.pattern()
	if !ok || !p.match(req.Target.Segments) {
		return OutsidePath
	}
	for _, c := range r.Query {
		if !c.holdsForQuery(req.Target.Query) {
			return OutsideQuery
		}
	}
	if len(r.Body) > 0 && req.Body == nil {
		return OutsideUnknownBody
	}
	for _, c := range r.Body {
		v, ok := req.Body[c.Key]
		if !ok || !c.holds(v) {
			return OutsideBody
		}
	}
	return Inside
}

// holdsForQuery demands that the parameter is there, that every occurrence
// satisfies the condition, and that no other parameter is there which some
// server takes for the same: which of two a server takes is not ours to guess
// (T12). Whether there is one depends on the names alone, as records have them.
func (c Condition) holdsForQuery(params []Param) bool {
	found := false
	for _, p := range params {
		if p.Name != c.Key {
			if sameToSome(p.Name, c.Key) {
				return false
			}
			continue
		}
		found = true
		if !c.holds(String(p.Value)) && !(looksNumeric(p.Value) && c.holds(Number(p.Value))) {
			return false
		}
	}
	return found
}

// sameToSome reports whether some server takes the one name for the other:
// without regard to case or to spaces around it, with '.' and ' ' as '_', or
// as the list or map of that name (PHP, Rails, ASP.NET).
func sameToSome(name, key string) bool {
	n, k := foldName(name), foldName(key)
	return n == k || strings.HasPrefix(n, k+"[") || strings.HasPrefix(k, n+"[")
}

var foldedRunes = strings.NewReplacer(".", "_", " ", "_")

func foldName(s string) string { return foldedRunes.Replace(strings.ToLower(strings.TrimSpace(s))) }

// looksNumeric reports whether s is a decimal number without an exponent, in
// its usual spelling.
func looksNumeric(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || len(s) > maxNumber || (point && fraction == "") {
		return false
	}
	return strings.Trim(whole+fraction, "0123456789") == "" && (whole == "0" || whole[0] != '0')
}

func (c Condition) holds(v Scalar) bool {
	switch c.Op {
	case OpEq, OpIn:
		return slices.ContainsFunc(c.Values, v.Equal)
	case OpLe:
		o, ok := v.compare(c.Values[0])
		return ok && o <= 0
	case OpGe:
		o, ok := v.compare(c.Values[0])
		return ok && o >= 0
	}
	return false
}
