// Package canon writes the one JSON spelling that records use: object members
// sorted by name, no white space, no floats, integers below 2^53, strings with
// only the escapes that JSON demands. Verifiers hash stored bytes and never
// re-encode, so the spelling need not be reproduced by others; having one keeps
// two writers of ours from disagreeing.
//
// It is the subset of RFC 8785 (JCS) that remains without floating point.
package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// MaxInteger is the largest integer a record holds: beyond it readers that use
// floating point would see another number.
const MaxInteger = 1<<53 - 1

var errNumber = errors.New("canon: a number is not an integer below 2^53")

// Marshal is v in canonical JSON. Strings that are not UTF-8 are an error: the
// caller encodes such bytes as base64url.
func Marshal(v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Canonical(plain)
}

// Canonical respells JSON canonically.
func Canonical(plain []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("canon: more than one value")
	}
	return appendValue(make([]byte, 0, len(plain)), tree)
}

// Check reports why b is not canonical JSON, or nil. Duplicate names, floats
// and every other spelling that two readers could take differently fail.
func Check(b []byte) error {
	c, err := Canonical(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, c) {
		return errors.New("canon: not in the canonical spelling")
	}
	return nil
}

func appendValue(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil || n > MaxInteger || n < -MaxInteger {
			return nil, errNumber
		}
		return strconv.AppendInt(b, n, 10), nil
	case string:
		return AppendString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendValue(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		return appendObject(b, v)
	}
	return nil, fmt.Errorf("canon: unexpected %T", v)
}

func appendObject(b []byte, m map[string]any) ([]byte, error) {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	var err error
	b = append(b, '{')
	for i, n := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, n), ':')
		if b, err = appendValue(b, m[n]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// AppendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
