package writ

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"unicode/utf8"
)

// ScalarKind is the type of a Scalar.
type ScalarKind uint8

// The kinds of scalar.
const (
	ScalarString ScalarKind = iota + 1
	ScalarNumber
	ScalarBool
)

// Scalar is a value a condition compares with: a string, a decimal number or a
// boolean. Numbers keep their spelling and are compared exactly, never as
// floating point.
type Scalar struct {
	Kind ScalarKind
	Text string // the string; the number's literal; "true" or "false"
}

// String makes a string scalar.
func String(s string) Scalar { return Scalar{ScalarString, s} }

// Number makes a number scalar from its JSON literal. What is no such literal
// equals nothing.
func Number(literal string) Scalar { return Scalar{ScalarNumber, literal} }

// Bool makes a boolean scalar.
func Bool(b bool) Scalar {
	if b {
		return Scalar{ScalarBool, "true"}
	}
	return Scalar{ScalarBool, "false"}
}

// maxNumber bounds the spelling of a number, so that comparing it is cheap.
const maxNumber = 64

// rat is the exact value of a number scalar. Exponents are refused beyond
// three digits: 1e999999999 would take all memory.
func (s Scalar) rat() (*big.Rat, bool) {
	if s.Kind != ScalarNumber || len(s.Text) > maxNumber || !isNumber(s.Text) {
		return nil, false
	}
	if i := strings.IndexAny(s.Text, "eE"); i >= 0 && len(strings.TrimLeft(s.Text[i+1:], "+-")) > 3 {
		return nil, false
	}
	return new(big.Rat).SetString(s.Text)
}

// isNumber reports whether s is a number as JSON spells it (RFC 8259, section
// 6). math/big reads more: fractions, other bases, underscores.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	s = s[whole:]
	if strings.HasPrefix(s, ".") {
		n := digits(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// digits is how many decimal digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// validate checks a scalar that a condition compares with. Its number is a
// plain decimal, so that the condition has one spelling that people can write.
func (s Scalar) validate(field string) error {
	switch {
	case s.Kind == ScalarString && (len(s.Text) > MaxText || !utf8.ValidString(s.Text)):
		return Invalid(field, "a value is longer than 500 bytes or not UTF-8", "compare with a shorter text")
	case s.Kind == ScalarNumber && !looksNumeric(s.Text):
		return Invalid(field, "not a plain number: "+Printable(s.Text, 40), "write it as 500 or 499.95, without an exponent and with at most 64 characters")
	case s.Kind == ScalarBool && s.Text != "true" && s.Text != "false", s.Kind < ScalarString, s.Kind > ScalarBool:
		return Invalid(field, "not a value that a condition can compare", "use a string, a number, or true or false")
	}
	return nil
}

// Equal reports whether both are the same value; 1 and 1.0 are, "1" and 1 are not.
func (s Scalar) Equal(t Scalar) bool {
	if s.Kind != t.Kind {
		return false
	}
	if s.Kind != ScalarNumber {
		return s.Text == t.Text
	}
	c, ok := s.compare(t)
	return ok && c == 0
}

// compare orders two numbers; it knows no order of anything else.
func (s Scalar) compare(t Scalar) (int, bool) {
	a, ok := s.rat()
	if !ok {
		return 0, false
	}
	b, ok := t.rat()
	if !ok {
		return 0, false
	}
	return a.Cmp(b), true
}

// MarshalJSON gives strings, booleans and integers as themselves; another
// number as {"decimal":"499.95"}, since records hold no floats.
func (s Scalar) MarshalJSON() ([]byte, error) {
	switch s.Kind {
	case ScalarString:
		return json.Marshal(s.Text)
	case ScalarBool:
		return []byte(s.Text), nil
	case ScalarNumber:
		if isSmallInteger(s.Text) {
			return []byte(s.Text), nil
		}
		return json.Marshal(map[string]string{"decimal": s.Text})
	}
	return nil, Errorf(KindInternal, "a scalar without a kind")
}

// UnmarshalJSON reads what MarshalJSON writes, and plain numbers.
func (s *Scalar) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*s = String(v)
		return nil
	case bool:
		*s = Bool(v)
		return nil
	case json.Number:
		*s = Number(v.String())
	case map[string]any:
		text, ok := v["decimal"].(string)
		if !ok || len(v) != 1 {
			return errNotScalar
		}
		*s = Number(text)
	default:
		return errNotScalar
	}
	if _, ok := s.rat(); !ok {
		return errNotScalar
	}
	return nil
}

var errNotScalar = Invalid("value", "not a value that a condition can compare", "use a string, a number of at most 64 characters, or true or false")

func isSmallInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 15 || (digits[0] == '0' && digits != "0") || s == "-0" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}
