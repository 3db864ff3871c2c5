package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// Bounds of a secret's length, in bytes.
const (
	MinSecret = 6
	MaxSecret = 16 << 10
)

// Marker is what stands in place of a value. A value shorter than it leaves a
// run of its own length of '*', so that nothing grows.
const Marker = "[writ:masked]"

// ErrLength means that a secret is too short or too long to be masked.
var ErrLength = errors.New("mask: a secret must have 6 bytes to 16 KiB to be masked")

// Set is what to look for. It is not changed after New, so goroutines share
// it. It holds the secrets: Wipe it when the credential's version is dropped.
type Set struct {
	text  trie      // values and their base64, as they are
	hexes trie      // their hexadecimal, looked up in lower case
	stir  [256]bool // bytes that can begin a match
	ring  int       // a power of two above the longest pattern
	long  string    // the marker
	short byte      // the filler of short ones
}

// New prepares a set of secrets.
func New(secrets ...[]byte) (*Set, error) {
	s := &Set{ring: 8}
	var all []byte
	for _, secret := range secrets {
		if len(secret) < MinSecret || len(secret) > MaxSecret {
			return nil, ErrLength
		}
		s.addText(secret)
		if bytes.IndexByte(secret, ' ') >= 0 {
			s.addText(bytes.ReplaceAll(secret, []byte(" "), []byte("+")))
		}
		s.addBase64(secret)
		s.hexes.add(hex.AppendEncode(nil, secret))
		s.grow(2 * len(secret))
		all = append(all, secret...)
	}
	s.text.link()
	s.hexes.link()
	for c := range 256 {
		s.stir[c] = s.text.root[c] != 0 || s.hexes.root[lower[c]] != 0 || c == '%' || c == '\\'
	}
	s.chooseFiller(all, secrets)
	clear(all)
	return s, nil
}

func (s *Set) addText(pattern []byte) {
	s.text.add(pattern)
	s.grow(len(pattern))
}

func (s *Set) grow(length int) {
	for s.ring <= length {
		s.ring *= 2
	}
}

// addBase64 enters the characters that depend on the secret alone, for each
// number of bytes (modulo 3) that may stand before it (RFC 4648, section 4):
// the encoding is cut into groups of 6 bits, and bytes before shift them.
func (s *Set) addBase64(secret []byte) {
	for before := range 3 {
		plain := make([]byte, before+len(secret)+2)
		copy(plain[before:], secret)
		from, to := (8*before+5)/6, 8*(before+len(secret))/6
		std := base64.RawStdEncoding.AppendEncode(nil, plain)[from:to]
		s.addText(std)
		if bytes.ContainsAny(std, "+/") {
			s.addText(base64.RawURLEncoding.AppendEncode(nil, plain)[from:to])
		}
		clear(plain)
	}
}

// chooseFiller sees to it that what is put in cannot, with its neighbours,
// make up a value again: its ends are bytes that no secret has.
func (s *Set) chooseFiller(all []byte, secrets [][]byte) {
	s.short = '*'
	for _, c := range []byte("*#~^|!@") {
		if bytes.IndexByte(all, c) < 0 {
			s.short = c
			break
		}
	}
	s.long = Marker
	inside := bytes.ContainsAny(all, "[]")
	for _, secret := range secrets {
		inside = inside || strings.Contains(Marker, string(secret))
	}
	if inside {
		s.long = strings.Repeat(string(rune(s.short)), len(Marker))
	}
}

// filler is what stands for n bytes: never longer.
func (s *Set) filler(n int64) string {
	if n >= int64(len(s.long)) {
		return s.long
	}
	return strings.Repeat(string(rune(s.short)), int(n))
}

// Wipe overwrites what the set knows of the secrets. Nothing may use it any
// more.
func (s *Set) Wipe() {
	for _, t := range []*trie{&s.text, &s.hexes} {
		clear(t.nodes)
		clear(t.root[:])
	}
}

// String says nothing, so that no log does.
func (s *Set) String() string { return "mask.Set" }

// GoString is for %#v.
func (s *Set) GoString() string { return "mask.Set" }

// lower maps ASCII letters to lower case.
var lower = func() (t [256]byte) {
	for c := range 256 {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()
