package ledger

import (
	"encoding/base64"
	"errors"
	"strconv"
	"unicode/utf8"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

var errSpelling = errors.New("ledger: not in the one spelling that records have")

// cursor reads canonical JSON of a known shape, strictly: it accepts the bytes
// that the writer would write and no others, so what a decoder accepts it can
// also spell again. After the first mismatch it is bad and stays so; callers
// check once, at the end.
type cursor struct {
	b   []byte
	i   int
	bad bool
}

// maxNesting bounds the depth of a value, so that no input exhausts the stack.
const maxNesting = 32

func (c *cursor) fail() { c.bad = true }

// done reports whether everything was read and fitted.
func (c *cursor) done() error {
	if c.bad || c.i != len(c.b) {
		return errSpelling
	}
	return nil
}

func (c *cursor) peek() byte {
	if c.bad || c.i >= len(c.b) {
		return 0
	}
	return c.b[c.i]
}

func (c *cursor) has(s string) bool {
	return !c.bad && len(c.b)-c.i >= len(s) && string(c.b[c.i:c.i+len(s)]) == s
}

// lit consumes s, which must be there.
func (c *cursor) lit(s string) {
	if !c.has(s) {
		c.fail()
		return
	}
	c.i += len(s)
}

// try consumes s if it is there.
func (c *cursor) try(s string) bool {
	if !c.has(s) {
		return false
	}
	c.i += len(s)
	return true
}

// opt consumes the name of an optional member if it comes next.
func (c *cursor) opt(name string) bool {
	at := c.i
	if c.bad || at == 0 {
		return false
	}
	if c.b[at-1] == '{' || c.try(",") {
		if c.try(`"`) && c.try(name) && c.try(`":`) {
			return true
		}
	}
	c.i = at
	return false
}

func (c *cursor) str() string {
	raw, plain := c.rawString()
	if c.bad {
		return ""
	}
	if plain {
		return string(raw)
	}
	return unescape(raw)
}

// rawString consumes a string and gives what is between the quotes; plain
// means that nothing in it is escaped.
func (c *cursor) rawString() (raw []byte, plain bool) {
	c.lit(`"`)
	start := c.i
	plain = true
	for !c.bad && c.i < len(c.b) {
		switch b := c.b[c.i]; {
		case b == '"':
			raw = c.b[start:c.i]
			c.i++
			return raw, plain
		case b == '\\':
			plain = false
			c.escape()
		case b < 0x20:
			c.fail()
		case b < utf8.RuneSelf:
			c.i++
		default:
			r, n := utf8.DecodeRune(c.b[c.i:])
			if r == utf8.RuneError && n == 1 {
				c.fail()
			}
			c.i += n
		}
	}
	c.fail()
	return nil, false
}

// escape consumes one escape as canon.AppendString writes them.
func (c *cursor) escape() {
	if len(c.b)-c.i < 2 {
		c.fail()
		return
	}
	switch c.b[c.i+1] {
	case '"', '\\', 'n', 'r', 't', 'b', 'f':
		c.i += 2
		return
	case 'u':
		if len(c.b)-c.i < 6 {
			break
		}
		n, err := strconv.ParseUint(string(c.b[c.i+2:c.i+6]), 16, 16)
		if err != nil || n >= 0x20 || string(canon.AppendString(nil, string(rune(n)))) != `"`+string(c.b[c.i:c.i+6])+`"` {
			break
		}
		c.i += 6
		return
	}
	c.fail()
}

// unescape is for what rawString accepted.
func unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'u':
			n, _ := strconv.ParseUint(string(raw[i+1:i+5]), 16, 8)
			out = append(out, byte(n))
			i += 4
		default:
			out = append(out, raw[i])
		}
	}
	return string(out)
}

// word is str for names that come again and again.
func (c *cursor) word() string {
	raw, plain := c.rawString()
	if c.bad || plain {
		return known(raw)
	}
	return unescape(raw)
}

// known is the string of b, without a copy when it is a usual name.
func known(b []byte) string {
	switch string(b) {
	case PartCore:
		return PartCore
	case PartDetail:
		return PartDetail
	case PartMembers:
		return PartMembers
	case PartPersonal:
		return PartPersonal
	case TypeAllow:
		return TypeAllow
	case TypeChange:
		return TypeChange
	case TypeOutcomes:
		return TypeOutcomes
	case TypeDenials:
		return TypeDenials
	}
	return string(b)
}

func (c *cursor) id() writ.ID { return writ.ID(c.str()) }

func (c *cursor) int() int64 {
	start := c.i
	c.try("-")
	digits := c.i
	var n int64
	for !c.bad && c.i < len(c.b) && c.b[c.i] >= '0' && c.b[c.i] <= '9' {
		if n = n*10 + int64(c.b[c.i]-'0'); n > canon.MaxInteger {
			c.fail()
		}
		c.i++
	}
	length := c.i - digits
	if c.bad || length == 0 || (length > 1 && c.b[digits] == '0') {
		c.fail()
		return 0
	}
	if digits > start {
		if n == 0 {
			c.fail() // "-0" is another spelling of 0
		}
		return -n
	}
	return n
}

// someInt is int for optional members, which are left out when they are zero.
func (c *cursor) someInt() int64 {
	n := c.int()
	if n == 0 {
		c.fail()
	}
	return n
}

// list calls each for every element of an array.
func (c *cursor) list(each func()) {
	c.lit("[")
	if c.try("]") {
		return
	}
	for !c.bad {
		each()
		if c.try("]") {
			return
		}
		c.lit(",")
	}
}

func strs[S ~string](c *cursor) []S {
	var list []S
	c.list(func() {
		if list == nil {
			list = make([]S, 0, 8)
		}
		list = append(list, S(c.str()))
	})
	return list
}

// hash reads 32 bytes in base64url without padding.
func (c *cursor) hash() (h [32]byte) {
	raw, plain := c.rawString()
	if c.bad || !plain || len(raw) != 43 {
		c.fail()
		return h
	}
	var buf [33]byte
	n, err := base64.RawURLEncoding.Strict().Decode(buf[:], raw)
	if err != nil || n != 32 {
		c.fail()
	}
	return [32]byte(buf[:32])
}

// value consumes any canonical value and gives its bytes.
func (c *cursor) value() []byte { return c.nested(0) }

func (c *cursor) nested(depth int) []byte {
	start := c.i
	if depth > maxNesting {
		c.fail()
		return nil
	}
	switch b := c.peek(); {
	case b == '{':
		c.members(depth, func(string, []byte) {})
	case b == '[':
		c.list(func() { c.nested(depth + 1) })
	case b == '"':
		c.rawString()
	case b == 't':
		c.lit("true")
	case b == 'f':
		c.lit("false")
	case b == 'n':
		c.lit("null")
	default:
		c.int()
	}
	if c.bad {
		return nil
	}
	return c.b[start:c.i]
}

// members consumes an object, whose names must ascend, and gives each member's
// name and value.
func (c *cursor) members(depth int, each func(name string, value []byte)) {
	c.lit("{")
	if c.try("}") {
		return
	}
	last, first := "", true
	for !c.bad {
		name := c.str()
		if !first && name <= last {
			c.fail()
		}
		last, first = name, false
		c.lit(":")
		v := c.nested(depth + 1)
		if c.bad {
			return
		}
		each(name, v)
		if c.try("}") {
			return
		}
		c.lit(",")
	}
}

// ParseLeaf reads a leaf, strictly.
func ParseLeaf(b []byte) (Leaf, error) {
	c := cursor{b: b}
	var l Leaf
	c.lit(`{"incarnation":`)
	l.Incarnation = c.int()
	c.lit(`,"org":`)
	l.Org = c.id()
	c.lit(`,"parts":`)
	l.Parts = make([]PartRef, 0, 2)
	c.list(func() {
		var p PartRef
		c.lit(`{"hash":`)
		p.Hash = c.hash()
		c.lit(`,"name":`)
		p.Name = c.word()
		c.lit("}")
		if n := len(l.Parts); n >= maxParts || p.Name == "" || len(p.Name) > 32 || (n > 0 && p.Name <= l.Parts[n-1].Name) {
			c.fail()
		}
		l.Parts = append(l.Parts, p)
	})
	c.lit(`,"seq":`)
	l.Seq = c.int()
	c.lit(`,"time":`)
	l.Time = writ.Time(c.int())
	c.lit(`,"type":`)
	l.Type = c.word()
	c.lit(`,"v":1}`)
	if l.Seq < 0 || l.Incarnation < 0 || l.Time < 0 || len(l.Parts) == 0 {
		c.fail()
	}
	return l, c.done()
}

// rowFacts are what the ledger itself looks at in a row.
type rowFacts struct {
	ID      writ.ID
	Org     writ.ID
	State   writ.State // "" where the noun has none
	Expires writ.Time
	Uses    int64 // the number of uses that a grant allows in all; 0 is unlimited
}

func (f *rowFacts) active() bool { return f.State == "" || f.State == writ.Active }

// readRow checks that a body is canonical JSON, an object, and reads its facts.
func readRow(body []byte) (f rowFacts, err error) {
	c := cursor{b: body}
	text := func(v []byte) string { s := cursor{b: v}; return s.str() }
	c.members(0, func(name string, v []byte) {
		switch name {
		case "id":
			f.ID = writ.ID(text(v))
		case "org":
			f.Org = writ.ID(text(v))
		case "state":
			f.State = writ.State(text(v))
		case "expires":
			if f.Expires.UnmarshalText([]byte(text(v))) != nil {
				c.fail()
			}
		case "limits":
			if v[0] != '{' {
				return
			}
			l := cursor{b: v}
			l.members(1, func(name string, v []byte) {
				if name == "uses" {
					n := cursor{b: v}
					f.Uses = n.int()
				}
			})
		}
	})
	return f, c.done()
}
