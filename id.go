package writ

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"
)

// ID names one thing of one kind. It is opaque: a prefix that tells the kind
// and a body in Crockford's base32 (lower case, without i, l, o, u). Ids are
// never reused, so a revoked id stays dead for good.
type ID string

// Kind is the kind of thing an ID names: the prefix before the underscore.
type Kind string

// The kinds of thing that have ids.
const (
	KindOrg         Kind = "org"
	KindIdentity    Kind = "idn"
	KindApplication Kind = "app"
	KindCredential  Kind = "cred"
	KindVersion     Kind = "cver"
	KindGrant       Kind = "grt"
	KindSession     Kind = "ses"
	KindPolicy      Kind = "pol"
	KindKey         Kind = "key"
	KindDecision    Kind = "dec"
	KindUse         Kind = "use"
	KindEvent       Kind = "ev"
)

const (
	crockford = "0123456789abcdefghjkmnpqrstvwxyz"

	rowBodyLen     = 16 // 80 random bits
	orderedBodyLen = 20 // 45 bits of milliseconds, then 55 random bits
)

// NewID mints an id of 80 random bits for a row.
func NewID(k Kind) ID {
	var b [10]byte
	randomBytes(b[:])
	var out [rowBodyLen]byte
	hi := binary.BigEndian.Uint64(append([]byte{0, 0, 0}, b[:5]...))
	lo := binary.BigEndian.Uint64(append([]byte{0, 0, 0}, b[5:]...))
	base32Into(out[:8], hi)
	base32Into(out[8:], lo)
	return ID(string(k) + "_" + string(out[:]))
}

// NewOrderedID mints an id that sorts by time, for what arrives in great
// number (decisions, uses, events): an index over such ids grows at its edge
// instead of touching random pages. The time in it is a hint, never evidence.
func NewOrderedID(k Kind, now time.Time) ID {
	var b [8]byte
	randomBytes(b[1:])
	var out [orderedBodyLen]byte
	base32Into(out[:9], uint64(now.UnixMilli())&(1<<45-1))
	base32Into(out[9:], binary.BigEndian.Uint64(b[:])&(1<<55-1))
	return ID(string(k) + "_" + string(out[:]))
}

// randomBytes fills b; crypto/rand.Read never fails on supported systems (it
// ends the process instead), which is what an id generator wants.
func randomBytes(b []byte) { _, _ = rand.Read(b) }

func base32Into(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = crockford[v&31]
		v >>= 5
	}
}

// Kind is the id's prefix, "" when it has none.
func (id ID) Kind() Kind {
	k, _, ok := strings.Cut(string(id), "_")
	if !ok {
		return ""
	}
	return Kind(k)
}

// Is reports whether the id is well formed and of kind k.
func (id ID) Is(k Kind) bool {
	prefix, body, ok := strings.Cut(string(id), "_")
	if !ok || Kind(prefix) != k || (len(body) != rowBodyLen && len(body) != orderedBodyLen) {
		return false
	}
	for i := range len(body) {
		if strings.IndexByte(crockford, body[i]) < 0 {
			return false
		}
	}
	return true
}

// UseOf is the id of the use that an allowed decision became: the same body
// under another prefix, so that either leads to the other without a lookup.
func UseOf(decision ID) ID {
	return ID(string(KindUse) + strings.TrimPrefix(string(decision), string(KindDecision)))
}

// DecisionOf is the inverse of UseOf.
func DecisionOf(use ID) ID {
	return ID(string(KindDecision) + strings.TrimPrefix(string(use), string(KindUse)))
}

// Ref is an id within its organization. What acts across packages takes a Ref,
// so that no id is ever used without the organization it belongs to.
type Ref struct {
	Org ID
	ID  ID
}

// Time is milliseconds since the Unix epoch, UTC; 0 means "not set". It is an
// integer so that a record has one spelling of each instant, and is shown as
// RFC 3339 with exactly three fractional digits.
type Time int64

const timeLayout = "2006-01-02T15:04:05.000Z"

// At is t as a Time, cut to the millisecond.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMilli())
}

// Go is the standard library's time for t, in UTC.
func (t Time) Go() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

// IsZero reports that no time is set.
func (t Time) IsZero() bool { return t == 0 }

// Add is t later by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Passed reports whether t is set and not after now: an instant of expiry has
// passed at that instant, not after it.
func (t Time) Passed(now Time) bool { return t != 0 && t <= now }

// String is RFC 3339 in UTC, "" when not set.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return t.Go().Format(timeLayout)
}

// MarshalText gives the RFC 3339 form.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads RFC 3339; "" is not set.
func (t *Time) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return Invalid("", "not a time: "+Printable(string(b), 40), "write RFC 3339, as in 2026-11-24T09:00:00Z")
	}
	*t = At(v)
	return nil
}
