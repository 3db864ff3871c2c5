package writ

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The generators draw from a small world, so that rules meet requests and each
// other often, and the edges are in it: numbers in two spellings, texts that
// look like numbers, empty segments, names that some servers mix up.
var (
	someMethods  = []string{"GET", "POST", "DELETE", "*"}
	someHosts    = []string{"", "a.test", "b.test"}
	someSegments = []string{"v1", "items", "7", "a%2Fb", "%20", "%2A"}
	someNames    = []string{"n", "state", "N", "n[]", "f[a]", "f", "a b", "a=b"}
	somePointers = []string{"/n", "/state", "/a=b"}
	someNetworks = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "fd00::/8", "fd00:1::/32", "::/0", "192.0.2.7/32"}
	someAddrs    = []string{"10.1.2.3", "10.2.0.1", "192.0.2.7", "fd00:1::5", "fd00:2::5", "::ffff:10.1.2.3", "2001:db8::1"}
	someScalars  = []Scalar{
		Number("1"), Number("1.0"), Number("1.00"), Number("2"), Number("-1"), Number("0"), Number("-0"), Number("1.5"), Number("10"), Number("1e1"), Number("5e-1"),
		String("1"), String("1.0"), String("2"), String("open"), String("true"), String(""), String("a|b"), String("x and y"), String(`q"`), String("-0"), String("10"), Bool(true), Bool(false),
	}
)

func anyScalar() *rapid.Generator[Scalar] { return rapid.SampledFrom(someScalars) }

func anyCondition(keys []string) *rapid.Generator[Condition] {
	return rapid.Custom(func(t *rapid.T) Condition {
		c := Condition{Key: rapid.SampledFrom(keys).Draw(t, "key"), Op: rapid.SampledFrom([]Op{OpEq, OpIn, OpLe, OpGe}).Draw(t, "op")}
		n := 1
		if c.Op == OpIn {
			n = 4
		}
		values := anyScalar().Filter(func(v Scalar) bool {
			return v.validate("") == nil && (v.Kind == ScalarNumber || c.Op == OpEq || c.Op == OpIn)
		})
		c.Values = rapid.SliceOfN(values, 1, n).Draw(t, "values")
		return c
	})
}

func anyRule() *rapid.Generator[Rule] {
	return rapid.Custom(func(t *rapid.T) Rule {
		segments := rapid.SliceOfN(rapid.SampledFrom(append([]string{"*", ""}, someSegments...)), 0, 3).Draw(t, "segments")
		if rapid.Bool().Draw(t, "rest") {
			segments = append(segments, "**")
		}
		return Rule{
			Methods: rapid.SliceOfNDistinct(rapid.SampledFrom(someMethods), 1, 3, rapid.ID[string]).Draw(t, "methods"),
			Host:    rapid.SampledFrom(someHosts).Draw(t, "host"),
			Path:    "/" + strings.Join(segments, "/"),
			Query:   rapid.SliceOfN(anyCondition(someNames), 0, 2).Draw(t, "query"),
			Body:    rapid.SliceOfN(anyCondition(somePointers), 0, 2).Draw(t, "body"),
		}
	})
}

func anyWindow() *rapid.Generator[Window] {
	return rapid.Custom(func(t *rapid.T) Window {
		return Window{
			Days: rapid.SliceOfNDistinct(rapid.IntRange(0, 6), 0, 3, rapid.ID[int]).Draw(t, "days"),
			From: rapid.SampledFrom([]int{0, 60, 61, 720, 1380, 1439}).Draw(t, "from"),
			To:   rapid.SampledFrom([]int{1, 60, 61, 720, 1380, 1440}).Draw(t, "to"),
		}
	})
}

func anyGrant() *rapid.Generator[Grant] {
	return rapid.Custom(func(t *rapid.T) Grant {
		return Grant{
			Credential: "cred_1", Created: 1,
			Rules: rapid.SliceOfN(anyRule(), 1, 3).Draw(t, "rules"),
			Conditions: Conditions{
				Networks:    rapid.SliceOfN(rapid.SampledFrom(someNetworks), 0, 2).Draw(t, "networks"),
				Windows:     rapid.SliceOfN(anyWindow(), 0, 2).Draw(t, "windows"),
				Executables: rapid.SliceOfN(rapid.SampledFrom([]string{strings.Repeat("a", 64), strings.Repeat("b", 64)}), 0, 2).Draw(t, "executables"),
				Device:      rapid.SampledFrom([]ID{"", "", "dev_1", "dev_2"}).Draw(t, "device"),
			},
			Limits:  Limits{Uses: rapid.Int64Range(0, 2).Draw(t, "uses"), PerMinute: rapid.IntRange(0, 2).Draw(t, "rate")},
			Expires: Time(rapid.IntRange(0, 3).Draw(t, "expires") * 1000),
		}
	})
}

// narrowed draws a child near its parent: most parts are the parent's or a
// little narrower, so that attenuation holds often enough to be tested.
func narrowed(t *rapid.T, parent Grant) Grant {
	child := anyGrant().Draw(t, "child")
	keep := func(label string) bool { return rapid.IntRange(0, 9).Draw(t, label) > 0 }
	if keep("keep conditions") {
		child.Conditions = parent.Conditions
	}
	if keep("keep limits") {
		child.Limits, child.Expires = parent.Limits, parent.Expires
	}
	for i := range child.Rules {
		if !keep("derive") {
			continue
		}
		p := rapid.SampledFrom(parent.Rules).Draw(t, "from")
		r := &child.Rules[i]
		if keep("keep methods") {
			r.Methods = p.Methods
		}
		if p.Host != "" || keep("keep host") {
			r.Host = p.Host
		}
		if keep("keep path") {
			r.Path = fill(t, p.Path)
		}
		if keep("keep query") {
			r.Query = derive(t, p.Query, r.Query)
		}
		if keep("keep body") {
			r.Body = derive(t, p.Body, r.Body)
		}
	}
	child.Depth = 1
	return child
}

// fill puts segments in place of some of a pattern's wildcards.
func fill(t *rapid.T, path string) string {
	parts := strings.Split(path[1:], "/")
	for i, p := range parts {
		if (p == "*" || p == "**") && rapid.Bool().Draw(t, "fill") {
			parts[i] = rapid.SampledFrom(append([]string{"*", "*/**", ""}, someSegments...)).Draw(t, "with")
		}
	}
	return "/" + strings.Join(parts, "/")
}

// derive keeps each condition's key and, sometimes, changes how it compares.
func derive(t *rapid.T, parent, own []Condition) []Condition {
	out := slices.Clone(parent)
	for i := range out {
		if rapid.IntRange(0, 2).Draw(t, "change") == 0 {
			c := anyCondition([]string{out[i].Key}).Draw(t, "condition")
			out[i] = c
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
		out = append(out, own...)
	}
	return out
}

// somewhere draws a request that is likely to lie within the grant: an instance
// of one of its rules, with a few parts changed.
func somewhere(t *rapid.T, g Grant) (*Request, bool) {
	r := rapid.SampledFrom(g.Rules).Draw(t, "of")
	path := r.Path
	parts := strings.Split(path[1:], "/")
	for i, p := range parts {
		if p == "*" || p == "**" {
			parts[i] = rapid.SampledFrom(append([]string{"", "x/y"}, someSegments...)).Draw(t, "segment")
		}
	}
	target := "/" + strings.Join(parts, "/")
	var query []string
	value := func(c Condition) string {
		if rapid.IntRange(0, 3).Draw(t, "own value") > 0 {
			return rapid.SampledFrom(c.Values).Draw(t, "value").Text
		}
		return anyScalar().Draw(t, "value").Text
	}
	for _, c := range r.Query {
		query = append(query, escape(c.Key)+"="+escape(value(c)))
	}
	if rapid.IntRange(0, 5).Draw(t, "more query") == 0 {
		query = append(query, escape(rapid.SampledFrom(someNames).Draw(t, "name"))+"="+escape(anyScalar().Draw(t, "value").Text))
	}
	if len(query) > 0 {
		target += "?" + strings.Join(query, "&")
	}
	parsed, err := ParseTarget(target, patternProfile)
	if err != nil {
		return nil, false
	}
	method := rapid.SampledFrom(r.Methods).Draw(t, "method")
	if method == "*" {
		method = "PATCH"
	}
	req := &Request{Method: method, Host: r.Host, Target: parsed}
	if req.Host == "" {
		req.Host = rapid.SampledFrom(someHosts[1:]).Draw(t, "host")
	}
	if rapid.IntRange(0, 9).Draw(t, "read") > 0 {
		req.Body = Values{}
		for _, c := range r.Body {
			v := rapid.SampledFrom(c.Values).Draw(t, "body")
			if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
				v = anyScalar().Draw(t, "body")
			}
			req.Body[c.Key] = v
		}
	}
	return req, true
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func anyContext(t *rapid.T) Context {
	return Context{
		Network:    netip.MustParseAddr(rapid.SampledFrom(someAddrs).Draw(t, "network")),
		Executable: rapid.SampledFrom([]string{"", strings.Repeat("a", 64), strings.Repeat("b", 64)}).Draw(t, "executable"),
		Device:     rapid.SampledFrom([]ID{"", "dev_1", "dev_2"}).Draw(t, "device"),
		Now:        Time((rapid.Int64Range(0, 7*1440-1).Draw(t, "minute")) * 60_000),
	}
}

// TestInvariant09AttenuationIsSound: whatever a child admits that Attenuates
// accepts, its parent admits too. The test also counts that it looked at
// something: children accepted, and requests they admit.
func TestInvariant09AttenuationIsSound(t *testing.T) {
	var drawn, accepted, admitted int
	sound := func(rt *rapid.T) {
		drawn++
		parent := anyGrant().Draw(rt, "parent")
		child := narrowed(rt, parent)
		if parent.Validate() != nil || child.Validate() != nil || Attenuates(&child, &parent, 4) != nil {
			return
		}
		accepted++
		if parent.Expires != 0 && (child.Expires == 0 || child.Expires > parent.Expires) {
			rt.Fatal("the child outlives its parent")
		}
		for range 20 {
			req, ok := somewhere(rt, child)
			if !ok {
				continue
			}
			ctx := anyContext(rt)
			if _, out := child.Covers(req); out == Inside {
				admitted++
				if _, out := parent.Covers(req); out != Inside {
					rt.Fatalf("the child %v covers %s %s%s %v, the parent %v does not: %d", rulesOf(child), req.Method, req.Host, req.Target.Raw, req.Body, rulesOf(parent), out)
				}
			}
			if child.Conditions.Hold(ctx) == "" && parent.Conditions.Hold(ctx) != "" {
				rt.Fatalf("the child's conditions hold in %+v, the parent's do not", ctx)
			}
		}
	}
	for range 10 {
		rapid.Check(t, sound)
	}
	if accepted < drawn/20 || admitted < drawn/2 {
		t.Fatalf("the generators are too wide: of %d children %d accepted, %d requests admitted", drawn, accepted, admitted)
	}
	t.Logf("of %d children %d accepted, %d requests admitted by one", drawn, accepted, admitted)
}

func rulesOf(g Grant) []string {
	var texts []string
	for i := range g.Rules {
		texts = append(texts, g.Rules[i].String())
	}
	return texts
}

// What is the same or plainly narrower is accepted: a check that refused
// everything would be sound too.
func TestAttenuatesAccepts(t *testing.T) {
	for _, c := range []struct{ parent, child string }{
		{"GET /v1/**", "GET /v1/**"},
		{"* /v1/**", "GET,POST /v1/**"},
		{"GET /v1/**", "GET api.test/v1/**"},
		{"GET /v1/**", "GET /v1"},
		{"GET /v1/**", "GET /v1/a/*/c"},
		{"GET /v1/*", "GET /v1/a"},
		{"GET /**", "GET /**"},
		{"GET /x where n<=10", "GET /x where n<=9.5"},
		{"GET /x where n<=10", "GET /x where n=10"},
		{"GET /x where n<=10", "GET /x where n=1|2|3 and m=1"},
		{"GET /x where n=1|2", "GET /x where n=2"},
		{"GET /x where n=1", `GET /x where n="1.0"`},
		{"POST /x where /n>=5", "POST /x where /n>=5 and /n<=6"},
		{"POST /x where /s=a|b", "POST /x where /s=b"},
	} {
		parent, child := Grant{Rules: []Rule{rule(t, c.parent)}}, Grant{Rules: []Rule{rule(t, c.child)}, Depth: 1}
		if err := Attenuates(&child, &parent, 1); err != nil {
			t.Errorf("%s within %s: %v", c.child, c.parent, err)
		}
	}
}

func TestAttenuatesRefuses(t *testing.T) {
	for _, c := range []struct{ parent, child string }{
		{"GET /v1/**", "POST /v1/**"},
		{"GET /v1/**", "* /v1/**"},
		{"GET api.test/v1/**", "GET /v1/**"},
		{"GET api.test/v1/**", "GET other.test/v1/**"},
		{"GET /v1/**", "GET /**"},
		{"GET /v1/*", "GET /v1/**"},
		{"GET /v1/*", "GET /v1/"}, // the collection is no item
		{"GET /v1/*/**", "GET /v1/"},
		{"GET /v1/a", "GET /v1/*"},
		{"GET /x where n<=10", "GET /x"},
		{"GET /x where n<=10", "GET /x where n<=11"},
		{"GET /x where n<=10", "GET /x where n>=1"},
		{"GET /x where n<=10", "GET /x where m<=1"},
		{"GET /x where n=1", "GET /x where n=1|2"},
		{`GET /x where n="1"`, "GET /x where n=1"}, // 1.0 would pass the child
		{"POST /x where /n=1", `POST /x where /n="1"`},
		{"POST /x where /n<=10", "GET /x where /n<=10"},
		{"POST /x where /n<=10", "POST /x where n<=10"}, // query is not body
	} {
		parent, child := Grant{Rules: []Rule{rule(t, c.parent)}}, Grant{Rules: []Rule{rule(t, c.child)}, Depth: 1}
		if err := Attenuates(&child, &parent, 4); err == nil {
			t.Errorf("%s was taken as narrower than %s", c.child, c.parent)
		}
	}
	whole := func() (parent, child Grant) {
		parent = Grant{Org: "org_1", Credential: "cred_1", Rules: []Rule{rule(t, "GET /**")}, Expires: 10, Limits: Limits{5, 5}}
		child = parent
		child.Depth = 1
		return parent, child
	}
	if parent, child := whole(); Attenuates(&child, &parent, 4) != nil {
		t.Fatal("a copy is refused")
	}
	for name, change := range map[string]func(p, c *Grant){
		"organization": func(_, c *Grant) { c.Org = "org_2" },
		"credential":   func(_, c *Grant) { c.Credential = "cred_2" },
		"depth":        func(_, c *Grant) { c.Depth = 2 },
		"too deep":     func(p, c *Grant) { p.Depth, c.Depth = 4, 5 },
		"expiry":       func(_, c *Grant) { c.Expires = 11 },
		"no expiry":    func(_, c *Grant) { c.Expires = 0 },
		"uses":         func(_, c *Grant) { c.Limits.Uses = 6 },
		"all uses":     func(_, c *Grant) { c.Limits.Uses = 0 },
		"rate":         func(_, c *Grant) { c.Limits.PerMinute = 6 },
		"any rate":     func(_, c *Grant) { c.Limits.PerMinute = 0 },
	} {
		parent, child := whole()
		change(&parent, &child)
		if Attenuates(&child, &parent, 4) == nil {
			t.Errorf("%s was not checked", name)
		}
	}
}

// within is what counting the minutes of the week says it is, in both
// directions, and spans agree with the definition of a window.
func TestWindowsWithin(t *testing.T) {
	// 4 January 1970 was a Sunday.
	at := func(day, minute int) Time { return Time((int64(3+day)*1440 + int64(minute)) * 60_000) }
	defined := func(w Window, day, minute int) bool {
		on := func(d int) bool { return len(w.Days) == 0 || slices.Contains(w.Days, d) }
		if w.From < w.To {
			return on(day) && minute >= w.From && minute < w.To
		}
		return on(day) && minute >= w.From || on((day+6)%7) && minute < w.To
	}
	rapid.Check(t, func(rt *rapid.T) {
		w, v := anyWindow().Draw(rt, "w"), anyWindow().Draw(rt, "v")
		if rapid.Bool().Draw(rt, "same days") {
			w.Days = v.Days
		}
		g := Grant{Rules: []Rule{{Methods: []string{"*"}, Path: "/**"}}, Conditions: Conditions{Windows: []Window{w, v}}}
		if g.Validate() != nil {
			return
		}
		want := true
		for day := range 7 {
			for minute := range 1440 {
				inW := w.contains(at(day, minute))
				if inW != defined(w, day, minute) {
					rt.Fatalf("%+v on day %d at minute %d: %v", w, day, minute, inW)
				}
				want = want && (!inW || v.contains(at(day, minute)))
			}
		}
		if got := w.within(v); got != want {
			rt.Fatalf("%+v within %+v: %v, counting says %v", w, v, got, want)
		}
	})
}

func TestConditionsHold(t *testing.T) {
	exe := strings.Repeat("a", 64)
	whole := Context{Network: netip.MustParseAddr("10.1.2.3"), Executable: exe, Device: "dev_1", Now: At(time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC))}
	for _, c := range []struct {
		conditions Conditions
		ctx        Context
		want       string
	}{
		{Conditions{}, Context{}, ""},
		{Conditions{Networks: []string{"10.0.0.0/8"}}, whole, ""},
		{Conditions{Networks: []string{"192.0.2.0/24", "10.1.0.0/16"}}, whole, ""},
		{Conditions{Networks: []string{"10.0.0.0/8"}}, Context{}, "network"}, // unknown is not inside
		{Conditions{Networks: []string{"0.0.0.0/0"}}, Context{}, "network"},
		{Conditions{Networks: []string{"10.0.0.0/8"}}, Context{Network: netip.MustParseAddr("::ffff:10.1.2.3")}, ""},
		{Conditions{Networks: []string{"::/0"}}, whole, "network"},
		{Conditions{Networks: []string{"nonsense"}}, whole, "network"},
		{Conditions{Windows: []Window{{From: 570, To: 571}}}, whole, ""},
		{Conditions{Windows: []Window{{From: 571, To: 570}}}, whole, "time"},
		{Conditions{Windows: []Window{{Days: []int{2}, From: 0, To: 1440}}}, whole, ""},
		{Conditions{Windows: []Window{{Days: []int{1}, From: 0, To: 1440}}}, whole, "time"},
		{Conditions{Windows: []Window{{Days: []int{1}, From: 1380, To: 600}}}, whole, ""}, // began on Monday night
		{Conditions{Windows: []Window{{Days: []int{2}, From: 1380, To: 600}}}, whole, "time"},
		{Conditions{Executables: []string{exe}}, whole, ""},
		{Conditions{Executables: []string{exe}}, Context{}, "runtime"},
		{Conditions{Device: "dev_1"}, whole, ""},
		{Conditions{Device: "dev_1"}, Context{}, "device"},
	} {
		if got := c.conditions.Hold(c.ctx); got != c.want {
			t.Errorf("%+v in %+v: %q, want %q", c.conditions, c.ctx, got, c.want)
		}
	}
}
