package evidence

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// The ledger keeps an entry's parts in a pack (docs/formats/ledger.md). A
// bundle shows them as text instead, so that ordinary tools can read it. Here
// packs are taken apart for an export, whose entries the ledger's decoders have
// checked, and put together for those decoders to check a bundle's entries.
const (
	packVersion  = 1
	heldOpen     = 0
	heldWithheld = 1
	heldMembers  = 2

	saltSize     = 32
	memberDomain = "writ-member-v1\x00"
)

var errPack = errors.New("evidence: the parts are not those that the leaf names")

// packed is one part of a pack.
type packed struct {
	name    string
	open    bool
	hash    [32]byte // when not open
	salt    []byte
	content []byte
	members []packed // of "members", which is then not open
}

// pack spells parts; members are spelled where they are given.
func pack(parts []packed) []byte {
	b := []byte{packVersion, byte(len(parts))}
	for i := range parts {
		p := &parts[i]
		b = append(append(b, byte(len(p.name))), p.name...)
		if p.members == nil {
			b = p.append(b)
			continue
		}
		b = binary.BigEndian.AppendUint32(append(b, heldMembers), uint32(len(p.members)))
		for j := range p.members {
			b = p.members[j].append(b)
		}
	}
	return b
}

func (p *packed) append(b []byte) []byte {
	if !p.open {
		return append(append(b, heldWithheld), p.hash[:]...)
	}
	b = append(append(b, heldOpen), p.salt...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.content)))
	return append(b, p.content...)
}

// unpack takes a pack apart.
func unpack(b []byte) ([]packed, error) {
	r := unpacker{b: b}
	if r.byte() != packVersion {
		return nil, errPack
	}
	parts := make([]packed, r.byte())
	for i := range parts {
		p := &parts[i]
		p.name = string(r.take(int(r.byte())))
		if held := r.byte(); held != heldMembers {
			r.held(p, held)
			continue
		}
		n := r.length()
		if n > len(r.b)/(1+tlog.HashSize) {
			return nil, errPack
		}
		p.members = make([]packed, n)
		for j := range p.members {
			r.held(&p.members[j], r.byte())
		}
	}
	if r.bad || len(r.b) != 0 {
		return nil, errPack
	}
	return parts, nil
}

type unpacker struct {
	b   []byte
	bad bool
}

func (r *unpacker) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func (r *unpacker) byte() byte {
	if t := r.take(1); t != nil {
		return t[0]
	}
	return 0xff
}

func (r *unpacker) length() int {
	if t := r.take(4); t != nil {
		return int(binary.BigEndian.Uint32(t))
	}
	return 0
}

func (r *unpacker) held(p *packed, held byte) {
	switch held {
	case heldOpen:
		p.open = true
		p.salt = r.take(saltSize)
		p.content = r.take(r.length())
	case heldWithheld:
		copy(p.hash[:], r.take(tlog.HashSize))
	default:
		r.bad = true
	}
}

// memberHash is the RFC 6962 leaf hash of a member.
func memberHash(salt, content []byte) tlog.Hash {
	b := append([]byte(memberDomain), salt...)
	return tlog.RecordHash(append(b, content...))
}

// showMember gives the one outcome of an outcomes entry that is the use's, with
// its audit path among the members; nil when it is not there or erased.
func showMember(e ledger.Entry, use writ.ID) (*member, error) {
	all, err := ledger.DecodeOutcomes(e)
	if err != nil {
		return nil, err
	}
	parts, err := unpack(e.Pack)
	if err != nil {
		return nil, err
	}
	members := parts[len(parts)-1].members // "core", then "members"
	for i := range all.List {
		if all.List[i].Use != use {
			continue
		}
		at := all.Index[i]
		path, err := memberPath(members, int64(at))
		if err != nil {
			return nil, err
		}
		m := &members[at]
		return &member{Index: int64(at), Proof: spell(path), Salt: base64.RawURLEncoding.EncodeToString(m.salt), Text: string(m.content)}, nil
	}
	return nil, nil
}

func memberPath(members []packed, n int64) (tlog.RecordProof, error) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range members {
		h := tlog.Hash(members[i].hash)
		if members[i].open {
			h = memberHash(members[i].salt, members[i].content)
		}
		more, err := tlog.StoredHashesForRecordHash(int64(i), h, read)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	return tlog.ProveRecord(int64(len(members)), n, read)
}

// readMember checks a member against the leaf of its entry and reads it. count
// is how many members there are, by the entry's core.
func readMember(m *member, leaf *ledger.Leaf, count int64) (writ.Outcome, error) {
	salt, err := saltOf(m.Salt)
	if err != nil {
		return writ.Outcome{}, err
	}
	path, ok := hashes(m.Proof)
	if !ok || len(leaf.Parts) != 2 || leaf.Parts[1].Name != ledger.PartMembers {
		return writ.Outcome{}, errPack
	}
	h := memberHash(salt, []byte(m.Text))
	if err := tlog.CheckRecord(path, count, leaf.Parts[1].Hash, m.Index, h); err != nil {
		return writ.Outcome{}, err
	}
	// One member alone is spelled like an entry that has no other, which the
	// ledger's decoder reads as strictly as every entry.
	alone := ledger.Entry{Leaf: leafOfOne(leaf.Org, h), Pack: pack([]packed{
		{name: ledger.PartCore},
		{name: ledger.PartMembers, members: []packed{{open: true, salt: salt, content: []byte(m.Text)}}},
	})}
	o, err := ledger.DecodeOutcomes(alone)
	if err != nil {
		return writ.Outcome{}, err
	}
	return o.List[0], nil
}

func leafOfOne(org writ.ID, h tlog.Hash) []byte {
	var none [32]byte
	return []byte(`{"incarnation":1,"org":` + strconv.Quote(string(org)) + `,"parts":[{"hash":"` + base64.RawURLEncoding.EncodeToString(none[:]) + `","name":"core"},{"hash":"` +
		base64.RawURLEncoding.EncodeToString(h[:]) + `","name":"members"}],"seq":0,"time":0,"type":"outcomes","v":1}`)
}
