package ledger

import (
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// Disclose is the entry with the named parts and the others as hashes only; of
// an outcomes entry, with show given, with those members only that it picks.
// What is withheld cannot be recovered from it, and what is shown still proves
// itself against the leaf.
func Disclose(e Entry, show func(writ.Outcome) bool, names ...string) (Entry, error) {
	_, parts, err := e.open()
	if err != nil {
		return Entry{}, err
	}
	b := []byte{packVersion, byte(len(parts))}
	at := 2
	for i := range parts {
		p := &parts[i]
		raw, rest := packedPart(e.Pack[at:], p)
		at = len(e.Pack) - len(rest)
		switch {
		case !slices.Contains(names, p.name):
			b = appendWithheld(b, p.name, p.hash)
		case p.held == heldMembers && show != nil:
			if b, err = appendShown(b, p, show); err != nil {
				return Entry{}, err
			}
		default:
			b = append(b, raw...)
		}
	}
	return Entry{Seq: e.Seq, Leaf: e.Leaf, Pack: b}, nil
}

// packedPart is one part's bytes at the start of b, and what follows them.
func packedPart(b []byte, p *heldPart) (raw, rest []byte) {
	n := 1 + len(p.name) + 1
	switch p.held {
	case heldOpen:
		n += saltSize + 4 + len(p.content)
	case heldWithheld:
		n += tlog.HashSize
	case heldMembers:
		n += 4
		for _, m := range p.members {
			n += len(m.raw)
		}
	}
	return b[:n], b[n:]
}

func appendWithheld(b []byte, name string, hash [32]byte) []byte {
	b = append(append(b, byte(len(name))), name...)
	return append(append(b, heldWithheld), hash[:]...)
}

func appendShown(b []byte, p *heldPart, show func(writ.Outcome) bool) ([]byte, error) {
	b = append(append(b, byte(len(p.name))), p.name...)
	n := len(p.members)
	b = append(b, heldMembers, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	for _, m := range p.members {
		if !m.withheld {
			o, err := readOutcome(m.content)
			if err != nil {
				return nil, err
			}
			if show(o) {
				b = append(b, m.raw...)
				continue
			}
		}
		b = append(append(b, heldWithheld), m.hash[:]...)
	}
	return b, nil
}

// Erase is the entry without one part's bytes; its leaf still holds. The store
// writes it in the transaction that appends the erasure entry.
func Erase(e Entry, name string) (Entry, error) {
	leaf, parts, err := e.open()
	if err != nil {
		return Entry{}, err
	}
	if name == PartCore {
		return Entry{}, writ.Errorf(writ.KindInternal, "a core holds no personal data and is never erased")
	}
	keep := make([]string, 0, len(parts))
	for _, p := range leaf.Parts {
		if p.Name != name {
			keep = append(keep, p.Name)
		}
	}
	if len(keep) == len(parts) {
		return Entry{}, writ.Errorf(writ.KindNotFound, "the entry has no such part")
	}
	return Disclose(e, nil, keep...)
}

// maxErased bounds what one erasure entry names.
const maxErased = 10_000

// Erased names one part of one entry.
type Erased struct {
	Seq  int64
	Part string
}

// ErasureDraft is the entry that announces erased parts; cause is why, in words.
func ErasureDraft(by writ.Actor, cause string, erased []Erased) (Draft, error) {
	if len(erased) == 0 || len(erased) > maxErased {
		return Draft{}, writ.Errorf(writ.KindInternal, "an erasure names 1 to 10,000 parts")
	}
	b := append([]byte(nil), `{"by":{"identity":`...)
	b = appendID(b, by.Identity)
	b = append(b, `,"via":`...)
	b = appendID(b, by.Via)
	b = append(b, `},"parts":[`...)
	for i, e := range erased {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(append(b, '['), e.Seq)
		b = canon.AppendString(append(b, ','), e.Part)
		b = append(b, ']')
	}
	b = append(b, `]}`...)
	return Draft{Type: TypeErasure, Core: b, Detail: append(optString([]byte("{"), "cause", cause), '}')}, nil
}

// DecodeErasure reads an erasure entry; its cause is in Detail's place and may
// be withheld.
func DecodeErasure(e Entry) (by writ.Actor, erased []Erased, err error) {
	core, err := decoded(e, TypeErasure, func(_ Leaf, parts []heldPart) ([]byte, error) {
		return parts[0].content, named(parts, PartCore, PartDetail)
	})
	if err != nil {
		return by, nil, err
	}
	c := cursor{b: core}
	c.lit(`{"by":{"identity":`)
	by.Identity = c.id()
	c.lit(`,"via":`)
	by.Via = c.id()
	c.lit(`},"parts":`)
	c.list(func() {
		var x Erased
		c.lit("[")
		x.Seq = c.int()
		c.lit(",")
		x.Part = c.str()
		c.lit("]")
		erased = append(erased, x)
	})
	c.lit("}")
	return by, erased, c.done()
}
