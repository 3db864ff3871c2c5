package ledger

import (
	"encoding/base64"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// The types of entry. The set is closed: a verifier refuses a log with another.
const (
	TypeGenesis  = "genesis"
	TypeChange   = "change"
	TypeAllow    = "allow"
	TypeOutcomes = "outcomes"
	TypeDenials  = "denials"
	TypeCut      = "cut"
	TypeKey      = "key"
	TypeErasure  = "erasure"
)

// The names of parts, in the order in which an entry has them.
const (
	PartCore     = "core"     // opaque ids and numbers only
	PartDetail   = "detail"   // what was asked or changed, in words and values
	PartMembers  = "members"  // of outcomes: one member a use
	PartPersonal = "personal" // rows about people, erasable by themselves
)

// Leaf is what the Merkle tree is over: where an entry stands and what its
// parts hash to.
type Leaf struct {
	Org         writ.ID
	Incarnation int64
	Seq         int64
	Time        writ.Time
	Type        string
	Parts       []PartRef
}

// PartRef commits a leaf to one part: SHA-256 over a domain, the name, a random
// salt and the bytes; of "members", the RFC 6962 root over the members.
type PartRef struct {
	Name string
	Hash [32]byte
}

// append spells the leaf in canonical JSON.
func (l *Leaf) append(b []byte) []byte {
	b = append(b, `{"incarnation":`...)
	b = strconv.AppendInt(b, l.Incarnation, 10)
	b = append(b, `,"org":`...)
	b = canon.AppendString(b, string(l.Org))
	b = append(b, `,"parts":[`...)
	for i := range l.Parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"hash":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, l.Parts[i].Hash[:])
		b = append(b, `","name":`...)
		b = canon.AppendString(b, l.Parts[i].Name)
		b = append(b, '}')
	}
	b = append(b, `],"seq":`...)
	b = strconv.AppendInt(b, l.Seq, 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, int64(l.Time), 10)
	b = append(b, `,"type":`...)
	b = canon.AppendString(b, l.Type)
	return append(b, `,"v":1}`...)
}

// Digest is the RFC 6962 leaf hash of the entry, by which rows name it.
func (e Entry) Digest() [32]byte { return tlog.RecordHash(e.Leaf) }
