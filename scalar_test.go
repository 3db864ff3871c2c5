package writ

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScalarsCompareExactly(t *testing.T) {
	same := [][2]Scalar{
		{Number("1"), Number("1.0")}, {Number("1"), Number("1.000")}, {Number("0"), Number("-0")}, {Number("10"), Number("1e1")}, {Number("0.5"), Number("5E-1")},
		{Number("1e400"), Number("10e399")}, {String("a"), String("a")}, {Bool(true), Bool(true)},
		{Number("9007199254740993"), Number("9007199254740993.0")},
	}
	for _, p := range same {
		if !p[0].Equal(p[1]) || !p[1].Equal(p[0]) {
			t.Errorf("%v and %v differ", p[0], p[1])
		}
	}
	different := [][2]Scalar{
		{Number("1"), String("1")}, {Bool(true), String("true")}, {Bool(false), Number("0")}, {String("a"), String("A")}, {String("é"), String("e\u0301")}, {Number("0.1"), Number("0.10000000000000001")},
		{Number("9007199254740993"), Number("9007199254740992")}, {Number("1e400"), Number("1e401")}, {Scalar{}, Scalar{}}, {Number(""), Number("")},
	}
	for _, p := range different {
		if p[0].Equal(p[1]) && p[0] != (Scalar{}) {
			t.Errorf("%v and %v are equal", p[0], p[1])
		}
	}
}

// A number that costs memory or time, or that JSON does not spell so, equals
// nothing, itself included, and has no order.
func TestNumbersAreJSONNumbersOfBoundedCost(t *testing.T) {
	start := time.Now()
	for _, text := range []string{
		"", "-", "+1", "01", "-01", ".5", "1.", "1.e1", "1e", "1e+", "e1", "1/2", "0x10", "0b1", "0o7", "1_000", "1p5", "0x1p9", "Inf", "-Inf", "NaN", "1 ", " 1", "1,0", "١",
		"1e1000", "1e-1000", "1e+1000", "1e0001", "1e999999999", "-1E+99999999", strings.Repeat("9", 65), "0." + strings.Repeat("0", 64),
	} {
		n := Number(text)
		if _, ok := n.rat(); ok {
			t.Errorf("%q is taken as a number", text)
		}
		if n.Equal(n) || (Condition{Op: OpLe, Values: []Scalar{Number("1")}}).holds(n) || (Condition{Op: OpGe, Values: []Scalar{Number("0")}}).holds(n) {
			t.Errorf("%q satisfies a condition", text)
		}
	}
	for _, text := range []string{"0", "-0", "1", "-1", "10", "1.5", "1e5", "1E+5", "1e-5", "0e0", "1e999", "1e-999", "1e+999", strings.Repeat("9", 64)} {
		if _, ok := Number(text).rat(); !ok {
			t.Errorf("%q is not taken as a number", text)
		}
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("comparing took %v", d)
	}
}

func TestNumberGrammarIsJSONs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.StringMatching(`[-+]?[0-9]{0,3}\.?[0-9]{0,2}[eE]?[-+]?[0-9]{0,2}`).Draw(rt, "s")
		var n json.Number
		valid := json.Valid([]byte(s)) && json.Unmarshal([]byte(s), &n) == nil && s != ""
		if isNumber(s) != valid {
			rt.Fatalf("%q: %v, JSON says %v", s, isNumber(s), valid)
		}
		if looksNumeric(s) && !valid {
			rt.Fatalf("%q looks like a number and is none", s)
		}
	})
}

// What is stored is read back as the same value, and a record holds no float.
func TestScalarJSONRoundTrips(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.OneOf(
			rapid.Map(rapid.String(), String), rapid.Map(rapid.Bool(), Bool),
			rapid.Map(rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?`), Number),
		).Draw(rt, "value")
		b, err := json.Marshal(v)
		if err != nil {
			rt.Fatal(err)
		}
		var back Scalar
		if err := json.Unmarshal(b, &back); err != nil {
			rt.Fatalf("%s: %v", b, err)
		}
		if back != v {
			rt.Fatalf("%v became %v by way of %s", v, back, b)
		}
		if b[0] != '"' && b[0] != '{' && b[0] != 't' && b[0] != 'f' {
			n, ok := new(big.Int).SetString(string(b), 10)
			if !ok || n.CmpAbs(big.NewInt(1<<53)) >= 0 {
				rt.Fatalf("%v is stored as the number %s", v, b)
			}
		}
	})
	for _, bad := range []string{
		`null`, `[]`, `[1]`, `{}`, `{"decimal":1}`, `{"decimal":"x"}`, `{"decimal":"1/2"}`, `{"decimal":"0x10"}`, `{"decimal":"1","x":1}`, `{"x":"1"}`, `1e99999`, `{"decimal":"` + strings.Repeat("1", 65) + `"}`,
	} {
		var s Scalar
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s was read as %v", bad, s)
		}
	}
	if _, err := json.Marshal(Scalar{}); err == nil {
		t.Error("a scalar without a kind was written")
	}
}
