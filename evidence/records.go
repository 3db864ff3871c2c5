package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
	"writ.dev/writ/ledger"
)

type hash = tlog.Hash

// opened is one entry whose open parts are those that its leaf commits to.
type opened struct {
	field   string // where it stands in the bundle
	entry   ledger.Entry
	leaf    ledger.Leaf
	changed *ledger.Changed // of a change entry
	read    []string        // the parts that the judgement read: what an export opens
}

func (o *opened) reads(part string) {
	if !slices.Contains(o.read, part) {
		o.read = append(o.read, part)
	}
}

func (o *opened) has(part string) bool {
	return slices.ContainsFunc(o.leaf.Parts, func(p ledger.PartRef) bool { return p.Name == part })
}

// material is what a use is judged on: its allow entry, its outcome, and the
// change entries that the decision names for its facts.
type material struct {
	allow    *opened
	verdict  *ledger.Verdict
	outcomes *opened // nil when there is no outcome
	outcome  *writ.Outcome
	changes  map[int64]*opened
	records  map[writ.ID]int64 // as the decision names them
	// others are identities that no record names, with the newest entry here that
	// wrote them: authorisers, whose names a reader wants to know; wanted are those
	// that were asked for.
	others map[writ.ID]int64
	wanted map[writ.ID]bool
	// seek finds such an identity's entry in the ledger, in an export.
	seek func(id writ.ID) (*opened, error)
}

// link enters the records of the decision and compares them with the entries:
// each must name a change entry before the use that wrote the very thing, and
// no other entry of the bundle may have changed it since.
func (m *material) link() error {
	d := &m.verdict.Decision
	m.records = make(map[writ.ID]int64, len(m.verdict.Records))
	for _, r := range m.verdict.Records {
		if was, twice := m.records[r.ID]; twice && was != r.Seq {
			return failed(m.allow.field, "the decision names two records of "+string(r.ID), "entries "+number(was)+" and "+number(r.Seq))
		}
		m.records[r.ID] = r.Seq
		c := m.changes[r.Seq]
		switch {
		case c == nil:
			return failed("entries", "the decision rests on "+string(r.ID)+" as of entry "+number(r.Seq)+", which the file does not have", "an entry was left out")
		case !slices.Contains(c.changed.Refs, r.ID):
			return failed(c.field, "entry "+number(r.Seq)+" is not about "+string(r.ID), "the decision names it as the record of "+string(r.ID))
		case r.Seq >= m.allow.leaf.Seq:
			return failed(c.field, "entry "+number(r.Seq)+" is not older than the use that rests on it", "the decision names a record that did not exist yet")
		case c.leaf.Incarnation > d.Epoch.Incarnation || c.leaf.Incarnation == d.Epoch.Incarnation && c.changed.Epoch > d.Epoch.N:
			return failed(c.field, "entry "+number(r.Seq)+" is newer than the view that the use was decided on", "the decision names its epoch, and the entry has a later one")
		}
	}
	m.others, m.wanted = map[writ.ID]int64{}, map[writ.ID]bool{}
	for seq, c := range m.changes {
		for _, id := range c.changed.Refs {
			rec, recorded := m.records[id]
			switch {
			case recorded && rec < seq && seq < m.allow.leaf.Seq && c.leaf.Incarnation == d.Epoch.Incarnation && c.changed.Epoch <= d.Epoch.N:
				return failed(c.field, "entry "+number(seq)+" changed "+string(id)+" after the record that the decision names", "the decision was made on an old state of it")
			case !recorded && id.Is(writ.KindIdentity):
				m.others[id] = max(m.others[id], seq)
			}
		}
	}
	return nil
}

// spare gives a change entry that the judgement had no use for, nil when there
// is none: a bundle shows nothing that is not about its use.
func (m *material) spare() *opened {
	named := map[int64]bool{}
	for _, seq := range m.records {
		named[seq] = true
	}
	for seq, c := range m.changes {
		if !named[seq] && !slices.ContainsFunc(c.changed.Refs, func(id writ.ID) bool { return m.wanted[id] }) {
			return c
		}
	}
	return nil
}

// errErased says that a row lies in a part that is erased or left out.
var errErased = errors.New("evidence: the row is erased or left out")

// recorded reads the row that the decision rests on. errErased: it is about a
// person, and the entry's personal part is closed.
func recorded[T any](m *material, id writ.ID) (*T, int64, error) {
	seq, ok := m.records[id]
	if !ok {
		return nil, 0, failed(m.allow.field, "the use rests on "+string(id)+", and the decision names no record of it", "it was decided on something that was never recorded")
	}
	n, err := rowIn[T](m.changes[seq], id)
	return n, seq, err
}

// rowIn reads one row of a change entry.
func rowIn[T any](c *opened, id writ.ID) (*T, error) {
	for _, row := range c.changed.Rows {
		if row.ID != id {
			continue
		}
		part := ledger.PartDetail
		if row.Personal {
			part = ledger.PartPersonal
		}
		c.reads(part)
		return read[T](c, row)
	}
	// It is not shown. Only rows about people may be missing, and they are in the
	// personal part: that the detail has no such row must be seen.
	c.reads(ledger.PartDetail)
	if !id.Is(writ.KindIdentity) || !c.has(ledger.PartPersonal) || closed(c, ledger.PartDetail) {
		return nil, failed(c.field+".parts", "the file does not show "+string(id)+", which the use rests on", "the part of entry "+number(c.leaf.Seq)+" that has it was left out")
	}
	return nil, errErased
}

// closed reports that a part of the entry is not open.
func closed(c *opened, name string) bool {
	parts, err := unpack(c.entry.Pack)
	return err != nil || !slices.ContainsFunc(parts, func(p packed) bool { return p.name == name && p.open })
}

// read decodes a row. It must be spelled exactly as its reading is: a row that
// says more than this program knows, a condition of a newer version say, must
// not be read as if it did not.
func read[T any](c *opened, row ledger.Row) (*T, error) {
	n := new(T)
	if err := json.Unmarshal(row.Body, n); err == nil {
		if again, err := canon.Marshal(n); err == nil && bytes.Equal(again, row.Body) {
			return n, nil
		}
	}
	e := malformed(c.field+".parts", "entry "+number(c.leaf.Seq)+" says something about "+string(row.ID)+" that this program does not know")
	return nil, e.WithFix("verify it with a newer version of writ")
}

// identity reads somebody the use rests on; nil, when the row is erased.
func (j *judgement) identity(id writ.ID) (*writ.Identity, int64, error) {
	i, seq, err := recorded[writ.Identity](j.m, id)
	if errors.Is(err, errErased) {
		j.erase(id, seq)
		return nil, seq, nil
	}
	if err == nil && (i.ID != id || i.Org != j.org) {
		err = failed(j.m.changes[seq].field, "the row of "+string(id)+" is another's", "its id or organization differs")
	}
	return i, seq, err
}

// erase notes that a person's row is not shown.
func (j *judgement) erase(id writ.ID, seq int64) {
	if _, ok := j.erased[id]; !ok {
		j.erased[id] = seq
		j.report.unproven("Who "+string(id)+" is, and that she could act then: the part about her is erased or left out of this file.", seq)
	}
}

// person gives the label of somebody whom the rows name, and the entry that it
// is from: a record of the decision, or else the newest there is.
func (j *judgement) person(id writ.ID) (label string, seqs []int64) {
	if id == "" {
		return "nobody", nil
	}
	m := j.m
	seq, ok := m.records[id]
	if !ok {
		m.wanted[id] = true
		if seq, ok = m.others[id]; !ok && m.seek != nil {
			if o, err := m.seek(id); err == nil {
				seq, ok = o.leaf.Seq, true
				m.changes[seq], m.others[id] = o, seq
			}
		}
	}
	if !ok {
		return string(id), nil
	}
	i, err := rowIn[writ.Identity](m.changes[seq], id)
	if errors.Is(err, errErased) {
		j.erase(id, seq)
	}
	if err != nil || i.ID != id || i.Org != j.org {
		return string(id), []int64{seq}
	}
	j.names[id] = show(i.Label())
	return j.names[id], []int64{seq}
}
