package dialguard

import (
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"writ.dev/writ"
)

// Canonical gives the one spelling of host or host:port by which hosts are
// compared (T8): lower case, names in other scripts in their xn-- form, no
// trailing dot, no port when it is 443, IP literals in their shortest form and
// unmapped. A name that some resolver reads as a number ("0x7f.1",
// "2130706433", "0177.0.0.1") is no name, and neither is a label that mixes
// scripts that look alike.
func Canonical(host string) (string, error) {
	canonical, err := writ.ParseHost(host)
	if err == nil {
		return checkSpelling(host, canonical)
	}
	if isASCII(host) {
		return "", err
	}
	// UTS #46 maps other scripts' dots, digits and letters, so its result is
	// parsed like any other; but a number that was spelled in another script
	// was meant to be missed.
	name, port, hasPort := strings.Cut(host, ":")
	ascii, idnaErr := idna.Lookup.ToASCII(name)
	if idnaErr != nil {
		return "", notHost(host)
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(ascii, ".")); err == nil {
		return "", notHost(host)
	}
	if hasPort {
		ascii += ":" + port
	}
	canonical, err = writ.ParseHost(ascii)
	if err != nil {
		return "", notHost(host)
	}
	return checkSpelling(host, canonical)
}

// checkSpelling looks at what ParseHost has accepted: xn-- labels must decode
// to what would be encoded so, and mapped addresses lose their mapping.
func checkSpelling(host, canonical string) (string, error) {
	name, port := writ.SplitHost(canonical)
	if strings.HasPrefix(name, "[") {
		a, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if err != nil {
			return "", notHost(host)
		}
		if a.Is4In6() {
			return joinPort(a.Unmap().String(), port), nil
		}
		return canonical, nil
	}
	if !strings.HasPrefix(name, "xn--") && !strings.Contains(name, ".xn--") {
		return canonical, nil
	}
	if ascii, err := idna.Lookup.ToASCII(name); err != nil || ascii != name {
		return "", notHost(host)
	}
	text, err := idna.Lookup.ToUnicode(name)
	if err != nil {
		return "", notHost(host)
	}
	for label := range strings.SplitSeq(text, ".") {
		if mixed(label) {
			return "", writ.Invalid("host", "the host "+writ.Printable(canonical, 80)+" mixes scripts that look alike", "write the name as its owner does")
		}
	}
	return canonical, nil
}

// alike are the scripts that have letters like Latin ones.
var alike = []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic}

// mixed reports whether a label has letters of two of them. A label wholly in
// one is its own name: hosts are compared in their xn-- form, so it can only
// look like another, not be taken for it.
func mixed(label string) bool {
	seen := -1
	for _, r := range label {
		for i, script := range alike {
			if !unicode.Is(script, r) {
				continue
			}
			if seen >= 0 && seen != i {
				return true
			}
			seen = i
		}
	}
	return false
}

func notHost(s string) error {
	return writ.Invalid("host", "not a host: "+writ.Printable(s, 80), "write it as api.github.com or api.github.com:8443")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
