package evidence

import (
	"context"
	"encoding/base64"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Source is the ledger that an export reads; package store has it. Methods are
// safe for concurrent use and give writ.KindNotFound for what is not there.
type Source interface {
	// EntryOf gives the seq of the entry that an id leads to: of a use, that
	// which allowed it; of a row, that which last changed it.
	EntryOf(ctx context.Context, org, id writ.ID) (int64, error)
	// OutcomeOf gives the seq of the entry with the outcome of a use.
	OutcomeOf(ctx context.Context, org, use writ.ID) (int64, error)
	Entry(ctx context.Context, org writ.ID, seq int64) (ledger.Entry, error)
	// Checkpoint gives a signed note over all that is durable.
	Checkpoint(ctx context.Context, org writ.ID) ([]byte, error)
	// Inclusion gives the RFC 6962 audit path of an entry in the tree over the
	// first size entries.
	Inclusion(ctx context.Context, org writ.ID, seq, size int64) (tlog.RecordProof, error)
}

// Export writes the bundle of one use. It opens what Verify reads and nothing
// else: no other use, and of the outcomes in its batch only its own. What would
// not verify is not written.
func Export(ctx context.Context, src Source, org, use writ.ID, w io.Writer) error {
	if !use.Is(writ.KindUse) {
		return writ.Invalid("use", "not the id of a use: "+writ.Printable(string(use), 40), "give a whole id, as writ use ls prints it")
	}
	x := exporter{ctx: ctx, src: src, org: org}
	m, err := x.gather(use)
	if err != nil {
		return err
	}
	b, err := x.bundle(m, use)
	if err != nil {
		return err
	}
	spelled := b.encode()
	if len(spelled) > MaxBundle {
		return writ.Errorf(writ.KindLimited, "the evidence of %s would be larger than 64 MiB", use).
			WithWhy("an entry that it rests on changed very much at once").WithFix("export the whole log: writ ledger export")
	}
	_, err = w.Write(spelled)
	return err
}

type exporter struct {
	ctx context.Context
	src Source
	org writ.ID
}

// gather reads the entries that the use rests on, whole, and judges the use,
// which tells what has to be opened.
func (x *exporter) gather(use writ.ID) (*material, error) {
	m := &material{changes: map[int64]*opened{}}
	seq, err := x.src.EntryOf(x.ctx, x.org, use)
	if err != nil {
		return nil, err
	}
	if m.allow, err = x.read(seq); err != nil {
		return nil, err
	}
	if m.allow.leaf.Type != ledger.TypeAllow {
		return nil, writ.Errorf(writ.KindConflict, "%s was denied, so there was no use to give evidence of", writ.DecisionOf(use)).
			WithFix("look at it with: writ trace %s", writ.DecisionOf(use))
	}
	if m.verdict, err = ledger.DecodeAllow(m.allow.entry); err != nil {
		return nil, unreadable(seq, err)
	}
	m.allow.reads(ledger.PartCore)
	for _, r := range m.verdict.Records {
		if m.changes[r.Seq] == nil {
			if m.changes[r.Seq], err = x.change(r.Seq); err != nil {
				return nil, err
			}
		}
	}
	if err := x.outcome(m, use); err != nil {
		return nil, err
	}
	if err := m.link(); err != nil {
		return nil, err
	}
	m.seek = func(id writ.ID) (*opened, error) {
		seq, err := x.src.EntryOf(x.ctx, x.org, id)
		if err != nil {
			return nil, err
		}
		o, err := x.change(seq)
		if err == nil && !slices.Contains(o.changed.Refs, id) {
			err = errPack
		}
		return o, err
	}
	if _, err = m.judge(&ledger.Checkpoint{}, nil, 0); err != nil {
		return nil, err
	}
	// Once more with what was found, as a verifier will: it reads from the same
	// entries, and what it reads is what has to be opened.
	for _, c := range m.changes {
		c.read = nil
	}
	m.seek = nil
	if err := m.link(); err != nil {
		return nil, err
	}
	_, err = m.judge(&ledger.Checkpoint{}, nil, 0)
	return m, err
}

func (x *exporter) read(seq int64) (*opened, error) {
	e, err := x.src.Entry(x.ctx, x.org, seq)
	if err != nil {
		return nil, err
	}
	o := &opened{field: "entry " + number(seq), entry: e}
	if o.leaf, err = ledger.ParseLeaf(e.Leaf); err != nil {
		return nil, unreadable(seq, err)
	}
	return o, nil
}

func (x *exporter) change(seq int64) (*opened, error) {
	o, err := x.read(seq)
	if err != nil {
		return nil, err
	}
	if o.changed, err = ledger.DecodeChange(o.entry); err != nil {
		return nil, unreadable(seq, err)
	}
	return o, nil
}

// outcome finds the use's outcome; there may be none yet, or none any more.
func (x *exporter) outcome(m *material, use writ.ID) error {
	seq, err := x.src.OutcomeOf(x.ctx, x.org, use)
	if writ.KindOf(err) == writ.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	o, err := x.read(seq)
	if err != nil {
		return err
	}
	shown, err := showMember(o.entry, use)
	if err != nil {
		return unreadable(seq, err)
	}
	if shown == nil {
		return nil
	}
	all, err := ledger.DecodeOutcomes(o.entry)
	if err != nil {
		return unreadable(seq, err)
	}
	i := slices.Index(all.Index, int(shown.Index))
	m.outcomes, m.outcome = o, &all.List[i]
	o.reads(ledger.PartCore)
	return nil
}

func unreadable(seq int64, err error) error {
	return writ.Errorf(writ.KindCheckFailed, "entry %d of the ledger cannot be believed", seq).
		WithWhy("it is not what an entry of its kind is, so it proves nothing").WithFix("run: writ ledger verify").WithCause(err)
}

// bundle opens what was read, proves every entry in one checkpoint, and
// verifies the result as a stranger would.
func (x *exporter) bundle(m *material, use writ.ID) (*bundle, error) {
	// After the entries were read: it covers them all.
	signed, err := x.src.Checkpoint(x.ctx, x.org)
	if err != nil {
		return nil, err
	}
	c, _, err := openCheckpoint(string(signed), nil)
	if err != nil {
		return nil, err
	}
	b := &bundle{Checkpoint: string(signed), Format: Format, Notice: Notice, Use: use}
	for _, seq := range m.all() {
		o := m.allow
		switch {
		case m.outcomes != nil && seq == m.outcomes.leaf.Seq:
			o = m.outcomes
		case m.changes[seq] != nil:
			o = m.changes[seq]
			o.reads(ledger.PartCore)
		}
		e, err := x.entry(o, &c)
		if err != nil {
			return nil, err
		}
		if o == m.outcomes {
			if e.Member, err = showMember(o.entry, use); err != nil {
				return nil, err
			}
		}
		b.Entries = append(b.Entries, *e)
	}
	_, err = b.judge(&c, nil)
	return b, err
}

func (x *exporter) entry(o *opened, c *ledger.Checkpoint) (*entry, error) {
	path, err := x.src.Inclusion(x.ctx, x.org, o.leaf.Seq, c.Size)
	if err != nil {
		return nil, err
	}
	e := &entry{Leaf: string(o.entry.Leaf), Parts: []part{}, Proof: spell(path)}
	parts, err := unpack(o.entry.Pack)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.open && slices.Contains(o.read, p.name) {
			e.Parts = append(e.Parts, part{Name: p.name, Salt: base64.RawURLEncoding.EncodeToString(p.salt), Text: string(p.content)})
		}
	}
	return e, nil
}
