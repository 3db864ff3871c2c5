package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// A pack is the parts of one entry, as they lie beside its leaf:
//
//	u8 version (1), u8 number of parts, then for each
//	u8 length of the name, name, u8 how it is held, then
//	  open:     32 bytes of salt, u32 length, bytes
//	  withheld: 32 bytes, its hash (erased, or not shown in an export)
//	  members:  u32 number of members, then for each u8 how, and
//	            open: salt, u32 length, bytes; withheld: its RFC 6962 leaf hash
//
// Integers are big-endian. There is one spelling of every pack, and nothing may
// follow it.
const packVersion = 1

const (
	heldOpen     = 0
	heldWithheld = 1
	heldMembers  = 2
)

const (
	saltSize = 32
	maxParts = 8
	// maxPart bounds a part's bytes so that a length field cannot ask for memory
	// that the pack does not have.
	maxPart = 1 << 28

	partDomain   = "writ-part-v1\x00"
	memberDomain = "writ-member-v1\x00"
)

var errPack = errors.New("ledger: not a pack")

// hasher is a reusable SHA-256: one use hashes two parts, and the state would
// otherwise be allocated for each.
type hasher struct {
	h   hash.Hash
	sum [sha256.Size]byte
}

var hashers = sync.Pool{New: func() any { return &hasher{h: sha256.New()} }}

// partHash is what a leaf commits to for one part. The salt keeps a stranger
// who sees the leaf from guessing short parts; the domain and name keep one
// part from standing for another.
func partHash(name string, salt, content []byte) (sum [32]byte) {
	h := hashers.Get().(*hasher)
	h.h.Reset()
	var head [len(partDomain) + 64]byte
	prefix := append(append(append(head[:0], partDomain...), name...), 0)
	h.h.Write(prefix)
	h.h.Write(salt)
	h.h.Write(content)
	h.h.Sum(h.sum[:0])
	sum = h.sum
	hashers.Put(h)
	return sum
}

// memberHash is the RFC 6962 leaf hash of one member.
func memberHash(salt, content []byte) (sum tlog.Hash) {
	h := hashers.Get().(*hasher)
	h.h.Reset()
	// The leading zero byte is the leaf prefix of RFC 6962, section 2.1.
	h.h.Write([]byte("\x00" + memberDomain))
	h.h.Write(salt)
	h.h.Write(content)
	h.h.Sum(h.sum[:0])
	sum = h.sum
	hashers.Put(h)
	return sum
}

// membersRoot is MTH of RFC 6962, section 2.1, over member hashes.
func membersRoot(hashes []tlog.Hash) tlog.Hash {
	switch len(hashes) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	return tlog.NodeHash(membersRoot(hashes[:k]), membersRoot(hashes[k:]))
}

// packer builds a pack and the references to its parts side by side.
type packer struct {
	pack []byte
	refs [4]PartRef
	n    int

	start int // of the open part's salt
}

func (p *packer) header(name string, held byte) {
	if p.n == 0 {
		p.pack = append(p.pack, packVersion, 0)
	}
	p.pack = append(p.pack, byte(len(name)))
	p.pack = append(p.pack, name...)
	p.pack = append(p.pack, held)
	p.refs[p.n].Name = name
	p.n++
	p.pack[1] = byte(p.n)
}

// begin opens a part; the caller appends its bytes to p.pack and calls end.
func (p *packer) begin(name string) {
	p.header(name, heldOpen)
	p.start = len(p.pack)
	p.pack = appendSalt(p.pack)
	p.pack = append(p.pack, 0, 0, 0, 0)
}

func (p *packer) end() {
	salt := p.pack[p.start : p.start+saltSize]
	content := p.pack[p.start+saltSize+4:]
	binary.BigEndian.PutUint32(p.pack[p.start+saltSize:], uint32(len(content)))
	p.refs[p.n-1].Hash = partHash(p.refs[p.n-1].Name, salt, content)
}

func (p *packer) part(name string, content []byte) {
	p.begin(name)
	p.pack = append(p.pack, content...)
	p.end()
}

// members appends the members part, whose hash is the root over them.
func (p *packer) members(contents [][]byte) {
	p.header(PartMembers, heldMembers)
	p.pack = binary.BigEndian.AppendUint32(p.pack, uint32(len(contents)))
	hashes := make([]tlog.Hash, len(contents))
	salts := make([]byte, saltSize*len(contents))
	_, _ = rand.Read(salts) // one call for all of them
	for i, c := range contents {
		salt := salts[saltSize*i : saltSize*(i+1)]
		hashes[i] = memberHash(salt, c)
		p.pack = append(append(p.pack, heldOpen), salt...)
		p.pack = binary.BigEndian.AppendUint32(p.pack, uint32(len(c)))
		p.pack = append(p.pack, c...)
	}
	p.refs[p.n-1].Hash = membersRoot(hashes)
}

func (p *packer) parts() []PartRef { return p.refs[:p.n] }

func appendSalt(b []byte) []byte {
	at := len(b)
	var zero [saltSize]byte
	b = append(b, zero[:]...)
	_, _ = rand.Read(b[at:]) // never fails on supported systems
	return b
}

// heldPart is one part as a pack holds it.
type heldPart struct {
	name    string
	held    byte
	hash    [32]byte // what the leaf must commit to, computed unless withheld
	content []byte
	members []heldMember
}

type heldMember struct {
	withheld bool
	hash     tlog.Hash
	content  []byte
	raw      []byte // as spelled in the pack
}

// parsePack takes a pack apart and computes the parts' hashes. Every content is
// a part of b, not a copy.
func parsePack(b []byte) ([]heldPart, error) {
	r := packReader{b: b}
	if r.u8() != packVersion {
		return nil, errPack
	}
	n := int(r.u8())
	if n == 0 || n > maxParts {
		return nil, errPack
	}
	parts := make([]heldPart, n)
	for i := range parts {
		p := &parts[i]
		p.name = known(r.take(int(r.u8())))
		if p.name == "" || len(p.name) > 32 || (i > 0 && p.name <= parts[i-1].name) {
			return nil, errPack
		}
		switch p.held = r.u8(); {
		case r.bad:
			return nil, errPack
		case p.held == heldMembers && p.name == PartMembers:
			r.members(p)
		case p.held == heldOpen && p.name != PartMembers:
			salt := r.take(saltSize)
			p.content = r.take(r.length())
			p.hash = partHash(p.name, salt, p.content)
		case p.held == heldWithheld:
			copy(p.hash[:], r.take(32))
		default:
			return nil, errPack
		}
	}
	if r.bad || len(r.b) != 0 {
		return nil, errPack
	}
	return parts, nil
}

type packReader struct {
	b   []byte
	bad bool
}

func (r *packReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func (r *packReader) u8() byte {
	t := r.take(1)
	if t == nil {
		return 0xff
	}
	return t[0]
}

func (r *packReader) length() int {
	t := r.take(4)
	if t == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(t)
	if n > maxPart {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *packReader) members(p *heldPart) {
	n := r.length()
	// A member takes at least 33 bytes, so n is bounded by what is there.
	if r.bad || n == 0 || n > len(r.b)/33 {
		r.bad = true
		return
	}
	hashes := make([]tlog.Hash, n)
	p.members = make([]heldMember, n)
	for i := range p.members {
		m, from := &p.members[i], r.b
		switch r.u8() {
		case heldOpen:
			salt := r.take(saltSize)
			m.content = r.take(r.length())
			m.hash = memberHash(salt, m.content)
		case heldWithheld:
			m.withheld = true
			copy(m.hash[:], r.take(32))
		default:
			r.bad = true
		}
		if r.bad {
			return
		}
		m.raw = from[:len(from)-len(r.b)]
		hashes[i] = m.hash
	}
	p.hash = membersRoot(hashes)
}
