package writ

import (
	"strings"
	"unicode/utf8"
)

// Param is one query parameter, decoded.
type Param struct {
	Name  string
	Value string
}

// Target is a request target in origin form (RFC 9112, section 3.2.1), parsed
// once. Raw goes upstream byte for byte; the decision is about Segments and
// Query. ParseTarget accepts only what has a single reading, so the two cannot
// part (invariant 5, T9, T11, T12).
type Target struct {
	Raw      string
	Segments []string // decoded path segments; "/" is one empty segment
	Query    []Param  // decoded, in order, duplicates kept
}

// MaxTarget bounds a request target, in bytes.
const MaxTarget = 16 << 10

// Ambiguity says why a request has more than one reading.
type Ambiguity struct{ Reason string }

// Error is the reason, safe to show.
func (a *Ambiguity) Error() string { return a.Reason }

func ambiguous(reason string) error { return &Ambiguity{Reason: reason} }

// ParseTarget parses raw as the application with the given profile reads it.
// Every error is an *Ambiguity.
func ParseTarget(raw string, p Profile) (Target, error) {
	if raw == "" || raw[0] != '/' {
		return Target{}, ambiguous("the target is not a path that begins with '/'")
	}
	if len(raw) > MaxTarget {
		return Target{}, ambiguous("the target is longer than 16 KiB")
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= 0x20 || c >= 0x7f:
			return Target{}, ambiguous("the target has a control, space or non-ASCII byte")
		case c == '\\':
			return Target{}, ambiguous(`the target has a '\', which some servers read as '/'`)
		case c == '#':
			return Target{}, ambiguous("the target has a fragment")
		}
	}
	path, query, _ := strings.Cut(raw, "?")
	segments, err := parsePath(path, p)
	if err != nil {
		return Target{}, err
	}
	params, err := parseQuery(query, p)
	if err != nil {
		return Target{}, err
	}
	return Target{Raw: raw, Segments: segments, Query: params}, nil
}

func parsePath(path string, p Profile) ([]string, error) {
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		if part == "" && i < len(parts)-1 && p.EmptySegment != ReadOpaque {
			return nil, ambiguous("the path has '//', which some servers read as '/'")
		}
		s, err := decodeSegment(part, p)
		if err != nil {
			return nil, err
		}
		parts[i] = s
	}
	return parts, nil
}

// decodeSegment decodes one segment and refuses what a server might read as
// more than one segment, as another segment, or differently on a second
// decoding.
func decodeSegment(raw string, p Profile) (string, error) {
	if strings.Contains(raw, ";") && p.Semicolon != ReadOpaque {
		return "", ambiguous("the path has a ';', which some servers read as the end of the segment")
	}
	s, err := decodePercent(raw, false)
	if err != nil {
		return "", err
	}
	pieces := []string{s}
	if strings.ContainsRune(s, '/') {
		if p.EncodedSlash != ReadOpaque {
			return "", ambiguous("the path has an encoded '/' and the application's profile does not say how it reads one")
		}
		pieces = strings.Split(s, "/")
	}
	for _, piece := range pieces {
		if piece == "." || piece == ".." {
			return "", ambiguous("the path has a '.' or '..' segment")
		}
		if len(pieces) > 1 && piece == "" {
			return "", ambiguous("the path has an encoded '/' beside another '/'")
		}
	}
	switch {
	case strings.ContainsRune(s, '\\'):
		return "", ambiguous(`the path has an encoded '\'`)
	case strings.ContainsRune(s, ';') && p.Semicolon != ReadOpaque:
		return "", ambiguous("the path has an encoded ';'")
	case hasEscape(s):
		return "", ambiguous("the path is percent-encoded twice")
	}
	return s, nil
}

func parseQuery(query string, p Profile) ([]Param, error) {
	if query == "" {
		return nil, nil
	}
	if strings.Contains(query, ";") && p.Semicolon != ReadOpaque {
		return nil, ambiguous("the query has a ';', which some servers read as '&'")
	}
	var params []Param
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := decodePercent(rawName, true)
		if err != nil {
			return nil, err
		}
		value, err := decodePercent(rawValue, true)
		if err != nil {
			return nil, err
		}
		params = append(params, Param{name, value})
	}
	return params, nil
}

// decodePercent decodes percent-encoding strictly. What it returns is valid
// UTF-8 (overlong forms are not) without control characters.
func decodePercent(s string, plus bool) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && plus:
			b = append(b, ' ')
		case s[i] != '%':
			b = append(b, s[i])
		case i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]):
			return "", ambiguous("the target has a '%' without two hexadecimal digits")
		default:
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		}
	}
	if !utf8.Valid(b) {
		return "", ambiguous("the target decodes to bytes that are not UTF-8")
	}
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return "", ambiguous("the target has an encoded control character")
		}
	}
	return string(b), nil
}

func hasEscape(s string) bool {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
