package writ

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
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

// Number makes a number scalar from its JSON literal; see ParseNumber.
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
	if s.Kind != ScalarNumber || len(s.Text) > maxNumber {
		return nil, false
	}
	if i := strings.IndexAny(s.Text, "eE"); i >= 0 && len(s.Text)-i > 5 {
		return nil, false
	}
	return new(big.Rat).SetString(s.Text)
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
