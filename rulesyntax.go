package writ

import (
	"slices"
	"strconv"
	"strings"
)

// String is the rule as people write it: "GET,POST api.acme.test/v1/** where
// /amount<=500 and currency=\"eur\"". ParseRule reads it.
func (r *Rule) String() string {
	var b strings.Builder
	b.WriteString(strings.Join(r.Methods, ",") + " " + r.Host + r.Path)
	sep := " where "
	for _, c := range slices.Concat(r.Query, r.Body) {
		b.WriteString(sep + c.String())
		sep = " and "
	}
	return b.String()
}

// String is the condition as people write it; see ParseCondition.
func (c Condition) String() string {
	key := c.Key
	if strings.ContainsAny(key, `=<>" `) {
		key = strconv.Quote(key)
	}
	texts := make([]string, len(c.Values))
	for i, v := range c.Values {
		texts[i] = v.Text
		if v.Kind == ScalarString {
			texts[i] = strconv.Quote(v.Text)
		}
	}
	return key + map[Op]string{OpEq: "=", OpIn: "=", OpLe: "<=", OpGe: ">="}[c.Op] + strings.Join(texts, "|")
}

// ParseRule reads "METHODS [host]/path [where CONDITION and CONDITION ...]", as
// in "GET,POST api.github.com/repos/**". For conditions see ParseCondition;
// here a value with spaces needs its quotes.
func ParseRule(s string) (Rule, error) {
	const fix = "write it as 'GET,POST api.github.com/repos/acme/**'"
	bad := Invalid("rule", "not a rule: "+Printable(s, 80), fix)
	methods, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	where, clause, conditional := strings.Cut(strings.TrimSpace(rest), " ")
	slash := strings.IndexByte(where, '/')
	if !ok || slash < 0 {
		return Rule{}, bad
	}
	r := Rule{Methods: strings.Split(strings.ToUpper(methods), ","), Path: where[slash:]}
	if slash > 0 {
		host, err := ParseHost(where[:slash])
		if err != nil {
			return Rule{}, bad
		}
		r.Host = host
	}
	if conditional {
		clause, ok = strings.CutPrefix(strings.TrimSpace(clause), "where ")
		if !ok {
			return Rule{}, bad.WithWhy("only 'where' and conditions may follow the path")
		}
		for more := true; more; {
			c, after, err := scanCondition(strings.TrimSpace(clause), " and ")
			if err != nil {
				return Rule{}, err
			}
			if c.Key[0] == '/' {
				r.Body = append(r.Body, c)
			} else {
				r.Query = append(r.Query, c)
			}
			clause, more = strings.CutPrefix(after, " and ")
		}
	}
	return r, r.Validate("rule")
}

// ParseCondition reads "KEY=VALUE|VALUE", "KEY<=NUMBER" or "KEY>=NUMBER". A
// value in double quotes is a string; true, false and plain numbers are
// themselves; anything else is a string. A key that begins with '/' is a body
// pointer; one with '=', '<', '>', '"' or a space stands in double quotes.
func ParseCondition(s string) (c Condition, body bool, err error) {
	c, _, err = scanCondition(s, "")
	if err != nil {
		return Condition{}, false, err
	}
	body = c.Key[0] == '/'
	return c, body, c.validate("where", body)
}

// scanCondition reads one condition from the beginning of s, up to stop or the
// end. It does not validate.
func scanCondition(s, stop string) (c Condition, rest string, err error) {
	bad := Invalid("where", "not a condition: "+Printable(s, 80), "write it as /amount<=500 or state=open|closed")
	if c.Key, rest = scanQuoted(s); rest == s && !strings.HasPrefix(s, `"`) {
		i := max(strings.IndexAny(s, "=<>"), 0)
		c.Key, rest = s[:i], s[i:]
	}
	for _, o := range []struct {
		text string
		op   Op
	}{{"<=", OpLe}, {">=", OpGe}, {"=", OpEq}} {
		if after, ok := strings.CutPrefix(rest, o.text); ok {
			c.Op, rest = o.op, after
			break
		}
	}
	if c.Key == "" || c.Op == "" {
		return c, "", bad
	}
	several := c.Op == OpEq
	for more := true; more; {
		text, after := scanQuoted(rest)
		value := String(text)
		if after == rest {
			if text, after = scanPlain(rest, stop, several); text == "" {
				return c, "", bad
			}
			value = parseScalar(text)
		}
		c.Values = append(c.Values, value)
		if rest, more = strings.CutPrefix(after, "|"); more && !several {
			return c, "", bad
		} else if more {
			c.Op = OpIn
		}
	}
	if rest != "" && (stop == "" || !strings.HasPrefix(rest, stop)) {
		return c, "", bad
	}
	return c, rest, nil
}

// scanQuoted reads a string in double quotes from the beginning of s; rest is
// s when there is none.
func scanQuoted(s string) (text, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return "", s
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", s
	}
	text, err = strconv.Unquote(quoted)
	if err != nil {
		return "", s
	}
	return text, s[len(quoted):]
}

// scanPlain reads a value without quotes: up to a '|' where there may be
// several, up to stop, or all. A quote at its beginning was meant as one, and
// where something may follow the value a space in it may be a slip; both give
// nothing.
func scanPlain(s, stop string, several bool) (text, rest string) {
	end := len(s)
	if i := strings.IndexByte(s, '|'); several && i >= 0 {
		end = i
	}
	if stop != "" {
		if i := strings.Index(s[:end], stop); i >= 0 {
			end = i
		}
	}
	if strings.HasPrefix(s, `"`) || stop != "" && strings.Contains(s[:end], " ") {
		return "", s
	}
	return s[:end], s[end:]
}

func parseScalar(t string) Scalar {
	switch {
	case t == "true" || t == "false":
		return Scalar{ScalarBool, t}
	case looksNumeric(t):
		return Number(t)
	}
	return String(t)
}
