package writ

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of free text, in bytes.
const (
	MaxName = 63
	MaxText = 500
)

// reserved names would read as a command, a wildcard or another kind of thing
// where a name stands alone.
var reserved = map[string]bool{
	"all": true, "any": true, "none": true, "default": true, "me": true, "self": true, "root": true, "admin": true,
	"system": true, "writ": true, "new": true, "everyone": true, "anonymous": true, "unknown": true, "null": true,
}

// CheckName accepts a name for a service, agent, application, credential,
// policy or organization: lower-case ASCII letters, digits, '-', '_' and '.',
// beginning and ending with a letter or digit. One alphabet and one case leave
// no room for look-alikes, templates or case folding (T7).
func CheckName(field, name string) error {
	const fix = "use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit"
	switch {
	case name == "":
		return Invalid(field, "a name is missing", fix)
	case len(name) > MaxName:
		return Invalid(field, "the name is longer than 63 characters", fix)
	case reserved[name]:
		return Invalid(field, "the name "+name+" is reserved", "choose another name")
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(name)-1 || c != '-' && c != '_' && c != '.') {
			return Invalid(field, "the name "+Printable(name, 40)+" has a character that names may not have", fix)
		}
	}
	for _, k := range []Kind{KindOrg, KindIdentity, KindApplication, KindCredential, KindVersion, KindGrant, KindSession, KindPolicy, KindKey, KindDecision, KindUse, KindEvent} {
		if strings.HasPrefix(name, string(k)+"_") {
			return Invalid(field, "the name "+Printable(name, 40)+" reads like an id", "choose a name that does not begin with "+string(k)+"_")
		}
	}
	return nil
}

// CheckPersonName accepts the name of a person: an e-mail address in lower
// case ASCII. The address is an identifier here, nothing is sent to it.
func CheckPersonName(field, name string) error {
	const fix = "give the person's e-mail address in lower case, as in ana@acme.dev"
	local, domain, ok := strings.Cut(name, "@")
	if !ok || len(name) > 254 || local == "" || len(local) > 64 || strings.Contains(domain, "@") {
		return Invalid(field, "not an e-mail address: "+Printable(name, 60), fix)
	}
	for i := range len(local) {
		c := local[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_+", rune(c)) {
			return Invalid(field, "not an e-mail address: "+Printable(name, 60), fix)
		}
	}
	// The canonical form alone, or one person could have two names (T7); a domain
	// of mail is a name and no address.
	canonical, err := ParseHost(domain)
	_, numeric := netip.ParseAddr(domain)
	if err != nil || canonical != domain || numeric == nil || !strings.Contains(domain, ".") || strings.Contains(domain, ":") {
		return Invalid(field, "not an e-mail address: "+Printable(name, 60), fix)
	}
	return nil
}

// CheckText accepts free text shown to people: valid UTF-8 without control
// characters and without the marks that reorder or hide text, at most MaxText
// bytes. Such text can be long or odd, but it cannot deceive a terminal or a
// page about where it ends.
func CheckText(field, text string) error {
	const fix = "use plain text on one line, at most 500 bytes"
	if len(text) > MaxText {
		return Invalid(field, "the text is longer than 500 bytes", fix)
	}
	if !utf8.ValidString(text) {
		return Invalid(field, "the text is not valid UTF-8", fix)
	}
	for _, r := range text {
		if unsafeRune(r) {
			return Invalid(field, "the text has a control or direction-changing character", fix)
		}
	}
	return nil
}

func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}

// Printable makes any string safe for one line of a message: unsafe characters
// become '?', and what is longer than limit bytes is cut with an ellipsis.
func Printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		if unsafeRune(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
