package ledger

import (
	"context"

	"writ.dev/writ"
)

// CutReport says what a revocation ended and how fast. Times that did not
// happen are zero.
type CutReport struct {
	Change  int64     // seq of the change entry that revoked
	Targets []writ.ID // what was revoked by name, not its cascade

	Event    writ.Time // t0: it happened
	Received writ.Time // t1: Writ was told
	Decided  writ.Time // t2: the change was durable
	Ended    writ.Time // t3: the last use that rested on it had ended here

	Sessions     int64 // ended with it
	Grants       int64
	Uses         int64 // cut while they were carried out
	Connections  int64 // tunnels and upgraded connections closed
	Processes    int64 // child processes told to end
	Acknowledged int64 // of them, those that confirmed
	UsesAfter    int64 // uses that were carried out although it was durable
}

// Cut records a report and returns when it is durable.
func (l *Log) Cut(ctx context.Context, r CutReport) error {
	return l.Act(ctx, false, func(_ context.Context, _ Tx, b *Batch) (func(), error) {
		_, err := b.Add(Draft{Type: TypeCut, Core: r.append(nil)})
		return nil, err
	})
}

// fields are the report's numbers in the order of their names.
func (r *CutReport) fields() []cutField {
	return []cutField{
		{"acknowledged", &r.Acknowledged}, {"change", &r.Change}, {"connections", &r.Connections},
		{"decided", (*int64)(&r.Decided)}, {"ended", (*int64)(&r.Ended)}, {"event", (*int64)(&r.Event)},
		{"grants", &r.Grants}, {"processes", &r.Processes}, {"received", (*int64)(&r.Received)}, {"sessions", &r.Sessions},
	}
}

type cutField struct {
	name  string
	value *int64
}

func (r *CutReport) append(b []byte) []byte {
	b = append(b, '{')
	for _, f := range r.fields() {
		b = appendInt(member(b, f.name), *f.value)
	}
	b = appendStrings(member(b, "targets"), r.Targets)
	b = appendInt(member(b, "uses"), r.Uses)
	b = appendInt(member(b, "uses_after"), r.UsesAfter)
	return append(b, '}')
}

// DecodeCut reads a cut entry.
func DecodeCut(e Entry) (*CutReport, error) {
	core, err := decoded(e, TypeCut, coreAlone)
	if err != nil {
		return nil, err
	}
	return readCut(core)
}

func readCut(b []byte) (*CutReport, error) {
	r, c := &CutReport{}, &cursor{b: b}
	c.lit("{")
	for _, f := range r.fields() {
		c.need(f.name)
		*f.value = c.int()
	}
	c.need("targets")
	r.Targets = strs[writ.ID](c)
	c.need("uses")
	r.Uses = c.int()
	c.need("uses_after")
	r.UsesAfter = c.int()
	c.lit("}")
	return r, c.done()
}

// KeyDraft is the entry that announces a checkpoint key, as a note verifier's
// text ("name+hash+key"), before it signs its first checkpoint.
func KeyDraft(by writ.Actor, verifier string) Draft {
	b := appendID([]byte(`{"by":{"identity":`), by.Identity)
	b = appendID(append(b, `,"via":`...), by.Via)
	b = appendID(append(b, `},"key":`...), writ.ID(verifier))
	return Draft{Type: TypeKey, Core: append(b, '}')}
}

// DecodeKey reads a key entry.
func DecodeKey(e Entry) (by writ.Actor, verifier string, err error) {
	core, err := decoded(e, TypeKey, coreAlone)
	if err != nil {
		return by, "", err
	}
	c := cursor{b: core}
	c.lit(`{"by":{"identity":`)
	by.Identity = c.id()
	c.lit(`,"via":`)
	by.Via = c.id()
	c.lit(`},"key":`)
	verifier = c.str()
	c.lit("}")
	return by, verifier, c.done()
}

// coreAlone gives the core of an entry that has nothing else.
func coreAlone(_ Leaf, parts []heldPart) ([]byte, error) {
	if err := named(parts, PartCore); err != nil {
		return nil, err
	}
	return parts[0].content, nil
}

// Genesis is what opens an incarnation.
type Genesis struct {
	Leaf
	Key    uint32 // hash of the first checkpoint key
	Origin string
}

// DecodeGenesis reads a genesis entry.
func DecodeGenesis(e Entry) (*Genesis, error) { return decoded(e, TypeGenesis, readGenesis) }

func readGenesis(leaf Leaf, parts []heldPart) (*Genesis, error) {
	if err := named(parts, PartCore); err != nil {
		return nil, err
	}
	g, c := &Genesis{Leaf: leaf}, &cursor{b: parts[0].content}
	c.lit(`{"key":`)
	n := c.int()
	c.lit(`,"origin":`)
	g.Origin = c.str()
	c.lit("}")
	if n < 0 || n > 1<<32-1 {
		c.fail()
	}
	g.Key = uint32(n)
	return g, c.done()
}
