package writ

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// T11, T12: every spelling that two servers could read differently is refused,
// and what is accepted has the one reading that the decision is about.
func TestParseTargetRefuses(t *testing.T) {
	for _, c := range []struct{ name, raw, reason string }{
		{"nothing", "", "begins with '/'"},
		{"absolute form", "http://a.test/x", "begins with '/'"},
		{"authority form", "a.test:443", "begins with '/'"},
		{"asterisk form", "*", "begins with '/'"},
		{"dot dot", "/a/../b", "'..'"},
		{"dot dot at the end", "/a/..", "'..'"},
		{"dot", "/a/./b", "'.'"},
		{"dot at the end", "/a/.", "'.'"},
		{"encoded dot dot", "/api/%2e%2e/admin", "'..'"},
		{"half-encoded dot dot", "/api/.%2E/admin", "'..'"},
		{"encoded dot", "/api/%2e/admin", "'.'"},
		{"doubly encoded dot", "/api/%252e%252e/admin", "twice"},
		{"doubly encoded slash", "/api%252fadmin", "twice"},
		{"triply encoded dot", "/api/%25252e/admin", "twice"},
		{"encoded slash", "/api%2fadmin", "encoded '/'"},
		{"encoded dot dot slash", "/api/..%2fadmin", "encoded '/'"},
		{"encoded backslash", "/api%5cadmin", `'\'`},
		{"encoded dot dot backslash", "/api/..%5c..%5cadmin", `'\'`},
		{"backslash", `/api\admin`, `'\'`},
		{"empty segment", "/api//admin", "'//'"},
		{"leading empty segment", "//admin", "'//'"},
		{"empty segment at the end", "/api//", "'//'"},
		{"path parameter", "/api;x=1/admin", "';'"},
		{"path parameter on dots", "/api/..;/admin", "';'"},
		{"path parameter at the end", "/admin;", "';'"},
		{"encoded semicolon", "/api/..%3b/admin", "';'"},
		{"NUL", "/admin%00.png", "control"},
		{"line break", "/a%0d%0aX:%20y", "control"},
		{"tab", "/a%09b", "control"},
		{"delete", "/a%7f", "control"},
		{"overlong slash", "/a%c0%afb", "UTF-8"},
		{"overlong dot", "/%c0%ae%c0%ae/b", "UTF-8"},
		{"overlong in three bytes", "/%e0%80%af", "UTF-8"},
		{"surrogate", "/%ed%a0%80", "UTF-8"},
		{"latin 1", "/%e9", "UTF-8"},
		{"cut escape", "/a%2", "hexadecimal"},
		{"cut escape at the end", "/a%", "hexadecimal"},
		{"wrong escape", "/a%zz", "hexadecimal"},
		{"IIS escape", "/a%u002f", "hexadecimal"},
		{"raw non-ASCII", "/é", "non-ASCII"},
		{"raw space", "/a b", "space"},
		{"raw NUL", "/a\x00", "control"},
		{"raw line break", "/a\r\nX: y", "control"},
		{"fragment", "/a#b", "fragment"},
		{"fragment after the query", "/a?b#c", "fragment"},
		{"too long", "/" + strings.Repeat("a", MaxTarget), "16 KiB"},
		{"query separator", "/a?b=1;c=2", "';'"},
		{"query cut escape", "/a?b=%2", "hexadecimal"},
		{"query not UTF-8", "/a?b=%ff", "UTF-8"},
		{"query control", "/a?b=%00", "control"},
		{"query name control", "/a?%0a=b", "control"},
		{"query backslash", `/a?b=\`, `'\'`},
	} {
		got, err := ParseTarget(c.raw, Profile{})
		var a *Ambiguity
		if !errors.As(err, &a) || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("%s: %q gave %q and %v, want a refusal that says %s", c.name, c.raw, got.Segments, err, c.reason)
		}
	}
}

func TestParseTargetReads(t *testing.T) {
	for _, c := range []struct {
		raw      string
		segments []string
		query    []Param
	}{
		{"/", []string{""}, nil},
		{"/?", []string{""}, nil},
		{"/a/b", []string{"a", "b"}, nil},
		{"/a/b/", []string{"a", "b", ""}, nil}, // a trailing slash stays visible
		{"/A/b", []string{"A", "b"}, nil},
		{"/a%20b", []string{"a b"}, nil},
		{"/a+b", []string{"a+b"}, nil}, // '+' is itself in a path
		{"/a%2Bb", []string{"a+b"}, nil},
		{"/%61%2d", []string{"a-"}, nil},
		{"/%c3%a9", []string{"é"}, nil},
		{"/100%25", []string{"100%"}, nil},
		{"/...", []string{"..."}, nil},
		{"/.well-known/x", []string{".well-known", "x"}, nil},
		{"/a:b@c!$&'()*,=~", []string{"a:b@c!$&'()*,=~"}, nil},
		{"/a%3fb", []string{"a?b"}, nil},
		{"/a%23b", []string{"a#b"}, nil},
		{"/a?b", []string{"a"}, []Param{{"b", ""}}},
		{"/a?b=", []string{"a"}, []Param{{"b", ""}}},
		{"/a?b=1&b=2&B=3", []string{"a"}, []Param{{"b", "1"}, {"b", "2"}, {"B", "3"}}},
		{"/a?b=x+y", []string{"a"}, []Param{{"b", "x y"}}},
		{"/a?b=x%20y", []string{"a"}, []Param{{"b", "x y"}}},
		{"/a?b=x%2By", []string{"a"}, []Param{{"b", "x+y"}}},
		{"/a?b%5B%5D=1", []string{"a"}, []Param{{"b[]", "1"}}},
		{"/a?&&b=1&", []string{"a"}, []Param{{"b", "1"}}},
		{"/a?b=1=2", []string{"a"}, []Param{{"b", "1=2"}}},
		{"/a?b=/../c?d", []string{"a"}, []Param{{"b", "/../c?d"}}},
		{"/a?b=%2F%3B%26", []string{"a"}, []Param{{"b", "/;&"}}},
		{"/a?b=%2520", []string{"a"}, []Param{{"b", "%20"}}}, // a value may be encoded text
	} {
		got, err := ParseTarget(c.raw, Profile{})
		if err != nil || got.Raw != c.raw || !slices.Equal(got.Segments, c.segments) || !slices.Equal(got.Query, c.query) {
			t.Errorf("%s: %q %q %v", c.raw, got.Segments, got.Query, err)
		}
	}
}

// A profile opens the one reading that it names and no other.
func TestProfilesDeclareReadings(t *testing.T) {
	slash, semicolon, empty := Profile{EncodedSlash: ReadOpaque}, Profile{Semicolon: ReadOpaque}, Profile{EmptySegment: ReadOpaque}
	for _, c := range []struct {
		raw      string
		profile  Profile
		segments []string
	}{
		{"/@scope%2fname", slash, []string{"@scope/name"}}, // npm
		{"/projects/group%2Fsub%2Fproject/issues", slash, []string{"projects", "group/sub/project", "issues"}},
		{"/a;v=1/b", semicolon, []string{"a;v=1", "b"}},
		{"/a%3Bb", semicolon, []string{"a;b"}},
		{"/a//b", empty, []string{"a", "", "b"}},
	} {
		if got, err := ParseTarget(c.raw, c.profile); err != nil || !slices.Equal(got.Segments, c.segments) {
			t.Errorf("%s under %+v: %q %v", c.raw, c.profile, got.Segments, err)
		}
	}
	all := Profile{EncodedSlash: ReadOpaque, Semicolon: ReadOpaque, EmptySegment: ReadOpaque}
	for _, c := range []struct {
		raw     string
		profile Profile
	}{
		{"/a%2f..%2fb", all}, {"/a%2f.", all}, {"/..%2fb", all}, {"/a%2f%2fb", all}, {"/%2f", all}, {"/a%2f", all}, {"/a%252fb", all},
		{"/a%5cb", all}, {"/../b", all}, {"/%2e%2e/b", all}, {"/%00", all}, {"/%c0%af", all}, {`/a\b`, all}, {"/a%252e", all},
		{"/a%2fb", semicolon}, {"/a%2fb", empty}, {"/a;b", slash}, {"/a;b", empty}, {"/a//b", slash}, {"/a//b", semicolon},
		{"/a%2fb", Profile{EncodedSlash: "transparent"}}, // a reading that nobody knows is none
	} {
		if got, err := ParseTarget(c.raw, c.profile); err == nil {
			t.Errorf("%s under %+v was read as %q", c.raw, c.profile, got.Segments)
		}
	}
	if got, err := ParseTarget("/a?b=1;c=2", semicolon); err != nil || !slices.Equal(got.Query, []Param{{"b", "1;c=2"}}) {
		t.Errorf("%q %v", got.Query, err)
	}
}

// FuzzParseTarget: what is accepted parses again to the same; its segments
// hold nothing that the profile forbids; spelled out anew it reads the same;
// and the standard library decodes the same path.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"/", "/a/b?c=d", "/a/../b", "/%2e%2e/x", "/%252e", "/%c0%af", "/..;/x", "/a;b=c", "//x", "/%00", `/a\b`, "/a+b?c=d+e", "/a%20b", "/a?b=1&b=2",
		"/@s%2fn", "/a%2f..%2fb", "/é", "/%ff", "/a%2", "/a#b", "/?a=%zz", "/%u002f", "/a%3fb?%3d=%26",
	} {
		for p := range 8 {
			f.Add(s, byte(p))
		}
	}
	f.Fuzz(func(t *testing.T, raw string, bits byte) {
		var p Profile
		for i, field := range []*string{&p.EncodedSlash, &p.Semicolon, &p.EmptySegment} {
			if bits&(1<<i) != 0 {
				*field = ReadOpaque
			}
		}
		got, err := ParseTarget(raw, p)
		if err != nil {
			var a *Ambiguity
			if !errors.As(err, &a) || a.Reason == "" {
				t.Fatalf("a refusal without a reason: %v", err)
			}
			return
		}
		again, err := ParseTarget(raw, p)
		if err != nil || got.Raw != raw || !slices.Equal(got.Segments, again.Segments) || !slices.Equal(got.Query, again.Query) {
			t.Fatalf("%q parses differently a second time: %v", raw, err)
		}
		checkSegments(t, raw, got.Segments, p)
		spelled := spell(got)
		third, err := ParseTarget(spelled, p)
		if err != nil || !slices.Equal(got.Segments, third.Segments) || !slices.Equal(got.Query, third.Query) {
			t.Fatalf("%q means %q %q, but %q means %q %q: %v", raw, got.Segments, got.Query, spelled, third.Segments, third.Query, err)
		}
		if u, err := url.ParseRequestURI(raw); err == nil {
			if path := "/" + strings.Join(got.Segments, "/"); u.Path != path && u.Host == "" {
				t.Fatalf("%q: net/url reads the path %q, not %q", raw, u.Path, path)
			}
			if p.Semicolon != ReadOpaque {
				values, err := url.ParseQuery(u.RawQuery)
				if err != nil {
					t.Fatalf("%q: net/url refuses the query: %v", raw, err)
				}
				want := map[string][]string{}
				for _, q := range got.Query {
					want[q.Name] = append(want[q.Name], q.Value)
				}
				for name := range values {
					if !slices.Equal(values[name], want[name]) {
						t.Fatalf("%q: net/url reads %s=%q, not %q", raw, name, values[name], want[name])
					}
				}
				if len(values) != len(want) {
					t.Fatalf("%q: net/url sees the parameters %v, not %v", raw, values, want)
				}
			}
		}
	})
}

func checkSegments(t *testing.T, raw string, segments []string, p Profile) {
	t.Helper()
	for i, s := range segments {
		switch {
		case s == "." || s == "..", strings.ContainsAny(s, "\x00\r\n\t\\"), strings.ContainsRune(s, '\ufffd') && !strings.Contains(strings.ToLower(raw), "%ef%bf%bd"):
			t.Fatalf("%q: the segment %q was accepted", raw, s)
		case strings.Contains(s, "/") && p.EncodedSlash != ReadOpaque, strings.Contains(s, ";") && p.Semicolon != ReadOpaque:
			t.Fatalf("%q: the segment %q needs a profile", raw, s)
		case s == "" && i < len(segments)-1 && p.EmptySegment != ReadOpaque:
			t.Fatalf("%q: an empty segment", raw)
		case hasEscape(s):
			t.Fatalf("%q: the segment %q decodes further", raw, s)
		}
		for piece := range strings.SplitSeq(s, "/") {
			if piece == "." || piece == ".." || piece == "" && s != "" {
				t.Fatalf("%q: the segment %q hides %q", raw, s, piece)
			}
		}
	}
}

// spell writes a target with every byte of its names encoded, and each
// parameter with its '='.
func spell(target Target) string {
	parts := make([]string, len(target.Segments))
	for i, s := range target.Segments {
		parts[i] = escape(s)
	}
	spelled := "/" + strings.Join(parts, "/")
	sep := "?"
	for _, q := range target.Query {
		spelled += sep + escape(q.Name) + "=" + escape(q.Value)
		sep = "&"
	}
	return spelled
}
