package writ

import (
	"errors"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"api.github.com":                  "api.github.com",
		"API.GitHub.com":                  "api.github.com",
		"api.github.com.":                 "api.github.com",
		"api.github.com:443":              "api.github.com", // T8: the default port has one spelling
		"api.github.com:8443":             "api.github.com:8443",
		"api.github.com.:8443":            "api.github.com:8443",
		"localhost:1":                     "localhost:1",
		"a_b.test:65535":                  "a_b.test:65535",
		"xn--bcher-kva.test":              "xn--bcher-kva.test",
		"3com.test":                       "3com.test",
		"10.0.0.7":                        "10.0.0.7",
		"10.0.0.7:80":                     "10.0.0.7:80",
		"[::1]":                           "[::1]",
		"[::1]:443":                       "[::1]",
		"[0:0::1]:8443":                   "[::1]:8443",
		"[2001:DB8::A]":                   "[2001:db8::a]",
		strings.Repeat("a", 63) + ".test": strings.Repeat("a", 63) + ".test",
	} {
		got, err := ParseHost(in)
		if err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", in, got, err, want)
		}
		if again, err := ParseHost(got); err != nil || again != got {
			t.Errorf("%s: the canonical form %q becomes %q %v", in, got, again, err)
		}
	}
	for _, in := range []string{
		"", ".", "..", ":", ":443", "a.", "a..b", "a.test..", ".a.test", "a.test:", "a.test:0", "a.test:00443", "a.test:0443", "a.test:+443", "a.test:-1", "a.test:65536",
		"a.test:443:443", "a.test:https", "a.test:44 3", " a.test", "a.test ", "a.test/", "a.test/x", "a.test?x", "a.test#x", "user@a.test", "http://a.test", `a.test\b`,
		"a test", "a\x00.test", "a\n.test", "a%2etest", "*.test", "{a}.test", "-a.test", "a-.test", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 130) + "test",
		// T15: numbers that some resolvers take for addresses.
		"2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "1.2.3.4.5", "1.2.3.256", "1.2.3.04", "a.0x1", "a.1", "1", "017700000001",
		// T8: look-alikes of the ASCII they are folded to elsewhere.
		"apі.github.com", "api。github.com", "api．github.com", "ⓐpi.test", "\u212a.test", "bücher.test", "1２7.0.0.1", "a\u200b.test", "a\u00ad.test",
		"::1", "[::1", "::1]", "[::1]x", "[::1]]", "[[::1]]", "[]", "[]:443", "[1.2.3.4]", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[::1]:", "[::1]:0", "[a.test]", "[:", "[::1]:443:1",
	} {
		got, err := ParseHost(in)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindInvalid || e.Field != "host" || e.Fix == "" {
			if in == "a." && got == "a" {
				continue // a single label with its dot
			}
			t.Errorf("%q was read as %q: %v", in, got, err)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a.test", "A.test.:443", "[::1]:8443", "10.0.0.7", "0x7f.1", "a:b:c", "[", "é.test", "xn--a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := ParseHost(s)
		if err != nil {
			return
		}
		if again, err := ParseHost(host); err != nil || again != host {
			t.Fatalf("%q gave %q, which gives %q, %v", s, host, again, err)
		}
		name, port := SplitHost(host)
		if port == 0 || name == "" || strings.ContainsAny(host, " /\\@?#%") || host != strings.ToLower(host) {
			t.Fatalf("%q gave %q: %q %d", s, host, name, port)
		}
	})
}

func TestSplitHost(t *testing.T) {
	for host, want := range map[string]struct {
		name string
		port uint16
	}{
		"a.test": {"a.test", 443}, "a.test:8443": {"a.test", 8443}, "[::1]": {"[::1]", 443}, "[::1]:80": {"[::1]", 80}, "10.0.0.7:1": {"10.0.0.7", 1},
	} {
		if name, port := SplitHost(host); name != want.name || port != want.port {
			t.Errorf("%s: %q %d", host, name, port)
		}
	}
}

func TestApplicationValidate(t *testing.T) {
	whole := func() *Application {
		return &Application{Name: "stripe", Env: Prod, Hosts: []string{"a.test", "b.test:8443"}}
	}
	if err := whole().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(a *Application){
		"no name":          func(a *Application) { a.Name = "" },
		"no environment":   func(a *Application) { a.Env = "" },
		"odd environment":  func(a *Application) { a.Env = "production" },
		"no hosts":         func(a *Application) { a.Hosts = nil },
		"too many hosts":   func(a *Application) { a.Hosts = make([]string, MaxHosts+1) },
		"host not plain":   func(a *Application) { a.Hosts[0] = "A.test" },
		"host with port":   func(a *Application) { a.Hosts[0] = "a.test:443" },
		"host with path":   func(a *Application) { a.Hosts[0] = "a.test/x" },
		"host twice":       func(a *Application) { a.Hosts[1] = "a.test" },
		"odd profile":      func(a *Application) { a.Profile.EncodedSlash = "yes" },
		"odd semicolon":    func(a *Application) { a.Profile.Semicolon = "split" },
		"odd empty":        func(a *Application) { a.Profile.EmptySegment = "drop" },
		"pin of nobody":    func(a *Application) { a.Pinned = map[string][]string{"c.test": {"10.0.0.1"}} },
		"pin without":      func(a *Application) { a.Pinned = map[string][]string{"a.test": nil} },
		"pin to a name":    func(a *Application) { a.Pinned = map[string][]string{"a.test": {"localhost"}} },
		"network as host":  func(a *Application) { a.Networks = []string{"10.0.0.1/8"} },
		"network in words": func(a *Application) { a.Networks = []string{"private"} },
		"too large roots":  func(a *Application) { a.Roots = strings.Repeat("x", MaxRoots+1) },
	} {
		a := whole()
		change(a)
		var e *Error
		if err := a.Validate(); !errors.As(err, &e) || e.Kind != KindInvalid || e.Field == "" || e.Fix == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	a := whole()
	a.Pinned = map[string][]string{"a.test": {"10.0.0.7", "[fd00::1]:8443", "fd00::2"}}
	a.Networks = []string{"10.0.0.0/8", "fd00::/8"}
	if err := a.Validate(); err != nil {
		t.Error(err)
	}
}
