package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"writ.dev/writ"
)

// Prefixes of tokens. They make a leaked token easy to find and name.
const (
	KeyPrefix     = "writ_key_"
	SessionPrefix = "writ_ses_"
)

const (
	secretLen = 52 // 256 bits in base32
	checkLen  = 6  // 30 bits
)

// base32 in the alphabet of ids: lower case, nothing that is read as a digit.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewKey makes the text of an API key, and the hash that is kept of it.
func NewKey() (text string, hash [32]byte) { return mint(KeyPrefix) }

// NewSessionToken makes a session's token, and the hash that is kept of it.
func NewSessionToken() (text string, hash [32]byte) { return mint(SessionPrefix) }

func mint(prefix string) (string, [32]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	text := prefix + encoding.EncodeToString(b[:])
	text += checksum(text)
	return text, Hash(text)
}

// Hash is what is kept of a token. A plain hash is enough for 256 random bits:
// there is nothing to guess that a slow hash would protect.
func Hash(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// checksum tells a mistyped or cut token from a wrong one. It is no secret and
// protects nothing.
func checksum(text string) string {
	sum := sha256.Sum256([]byte("writ-token-v1\x00" + text))
	return encoding.EncodeToString(sum[:])[:checkLen]
}

// Kind is what sort of token a text is.
type Kind int

// The kinds of token.
const (
	NoToken Kind = iota
	KeyToken
	SessionToken
)

// Parse reports what sort of token a text is, or how it cannot be one. The
// error never repeats the text.
func Parse(text string) (Kind, error) {
	kind, rest := NoToken, ""
	if r, ok := strings.CutPrefix(text, KeyPrefix); ok {
		kind, rest = KeyToken, r
	} else if r, ok := strings.CutPrefix(text, SessionPrefix); ok {
		kind, rest = SessionToken, r
	}
	switch {
	case kind == NoToken:
		return NoToken, unauthenticated("this is not a Writ token", "it begins with "+KeyPrefix+" or "+SessionPrefix)
	case len(rest) < secretLen+checkLen:
		return NoToken, unauthenticated("the token is cut short", "copy it whole")
	case len(rest) > secretLen+checkLen:
		return NoToken, unauthenticated("the token is too long", "copy it alone, without what stands behind it")
	case checksum(text[:len(text)-checkLen]) != rest[secretLen:]:
		return NoToken, unauthenticated("the token has a typing error", "copy it instead of typing it")
	}
	return kind, nil
}

func unauthenticated(message, fix string) *writ.Error {
	return writ.Errorf(writ.KindUnauthenticated, "%s", message).WithFix("%s", fix)
}
