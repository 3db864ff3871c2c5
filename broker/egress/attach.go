package egress

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/internal/wire"
)

// errUnplaceable: the secret has bytes that its placement cannot carry (T25).
// The error never says which.
var errUnplaceable = errors.New("the secret has characters that its placement cannot carry")

// attach places the secret in the request: it changes the header, and gives the
// target to send. What the client sent in the same place is replaced, never
// added to (T24), and so is every Authorization: on this route the upstream is
// to see one identity.
func attach(p writ.Placement, secret []byte, rawTarget string, h *wire.Header) (string, error) {
	h.Del("Authorization")
	switch p.In {
	case writ.InBearer:
		if !headerSafe(secret) {
			return "", errUnplaceable
		}
		h.Set("Authorization", "Bearer "+string(secret))
	case writ.InBasic:
		for _, c := range secret {
			if c < 0x20 || c == 0x7f {
				return "", errUnplaceable
			}
		}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(append([]byte(p.Name+":"), secret...)))
	case writ.InHeader:
		if !headerSafe(secret) {
			return "", errUnplaceable
		}
		template := p.Template
		if template == "" {
			template = writ.SecretMark
		}
		h.Del(p.Name)
		h.Set(p.Name, strings.Replace(template, writ.SecretMark, string(secret), 1))
	case writ.InCookie:
		if !cookieSafe(secret) {
			return "", errUnplaceable
		}
		setCookie(h, p.Name, string(secret))
	case writ.InQuery:
		return setQuery(rawTarget, p.Name, string(secret)), nil
	default:
		return "", errUnplaceable
	}
	return rawTarget, nil
}

func headerSafe(secret []byte) bool {
	for i, c := range secret {
		if c < 0x20 || c > 0x7e || (c == ' ' && (i == 0 || i == len(secret)-1)) {
			return false
		}
	}
	return len(secret) > 0
}

// cookieSafe is RFC 6265, section 4.1.1: cookie-octet.
func cookieSafe(secret []byte) bool {
	for _, c := range secret {
		if c <= 0x20 || c > 0x7e || c == '"' || c == ',' || c == ';' || c == '\\' {
			return false
		}
	}
	return len(secret) > 0
}

// setCookie replaces the cookie in the client's Cookie fields, leaving others.
// It comes first, so that a quote that the client left open swallows none of it.
func setCookie(h *wire.Header, name, value string) {
	all := []string{name + "=" + value}
	for _, field := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(field, ";") {
			pair = strings.TrimSpace(pair)
			if n, _, _ := strings.Cut(pair, "="); pair != "" && !strings.EqualFold(strings.TrimSpace(n), name) {
				all = append(all, pair)
			}
		}
	}
	h.Del("Cookie")
	h.Set("Cookie", strings.Join(all, "; "))
}

// setQuery replaces the parameter in the raw target, in every spelling that some
// server takes for the same name (T24), byte for byte leaving the rest as it came.
func setQuery(raw, name, value string) string {
	path, query, _ := strings.Cut(raw, "?")
	var kept []string
	if query != "" {
		for part := range strings.SplitSeq(query, "&") {
			n, _, _ := strings.Cut(part, "=")
			if decoded, err := url.QueryUnescape(n); err == nil && paramName(decoded) == paramName(name) {
				continue
			}
			kept = append(kept, part)
		}
	}
	kept = append(kept, url.QueryEscape(name)+"="+url.QueryEscape(value))
	return path + "?" + strings.Join(kept, "&")
}
