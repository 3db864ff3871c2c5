package ledger

import (
	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// Change is one business act on authority: every row that it wrote, whole.
type Change struct {
	Act   string // the act's name, as in "revoke-identity"
	Cause string // why, in a person's words; may be empty
	By    writ.Actor
	Rows  []Row
}

// Row is one row as the act left it.
type Row struct {
	ID   writ.ID
	Body []byte // canonical JSON of the noun, the very bytes that the row stores
	// Personal rows lie in a part of their own, which can be erased.
	Personal bool
}

// Mark is where a change stands: what its rows name as their record.
type Mark struct {
	Seq    int64
	Digest [32]byte
	Epoch  writ.Epoch
}

// maxChange bounds one change's rows, in bytes.
const maxChange = 64 << 20

// seal checks the rows and spells the parts. Ids and numbers go to the core;
// what people wrote, to the detail, and rows about people to a part of their
// own.
func (c *Change) seal(p *packer, org writ.ID, epoch, prev int64) error {
	refs := make([]writ.ID, len(c.Rows))
	seen := make(map[writ.ID]bool, len(c.Rows))
	var inactive []writ.ID
	total, personal := 0, 0
	for i, r := range c.Rows {
		facts, err := readRow(r.Body)
		switch {
		case err != nil:
			return writ.Errorf(writ.KindInternal, "a row to be recorded is not canonical JSON").WithCause(err)
		case r.ID == "" || facts.ID != r.ID:
			return writ.Errorf(writ.KindInternal, "a row to be recorded has another id than its body")
		case facts.Org != "" && facts.Org != org:
			return writ.Errorf(writ.KindInternal, "a row to be recorded belongs to another organization")
		case seen[r.ID]:
			return writ.Errorf(writ.KindInternal, "a change names a row twice, so its record would be ambiguous")
		}
		refs[i], seen[r.ID] = r.ID, true
		if !facts.active() {
			inactive = append(inactive, r.ID)
		}
		if r.Personal {
			personal++
		}
		if total += len(r.Body); total > maxChange {
			return writ.Errorf(writ.KindLimited, "the change touches too much at once").WithFix("do it in several steps")
		}
	}
	p.begin(PartCore)
	p.pack = appendChangeCore(p.pack, c, epoch, prev, inactive, refs)
	p.end()
	p.begin(PartDetail)
	b := append(p.pack, '{')
	b = optString(b, "cause", c.Cause)
	b = appendRows(member(b, "rows"), c.Rows, false)
	p.pack = append(b, '}')
	p.end()
	if personal > 0 {
		p.begin(PartPersonal)
		p.pack = append(appendRows(append(p.pack, `{"rows":`...), c.Rows, true), '}')
		p.end()
	}
	return nil
}

func appendChangeCore(b []byte, c *Change, epoch, prev int64, inactive, refs []writ.ID) []byte {
	b = append(b, `{"act":`...)
	b = canon.AppendString(b, c.Act)
	b = append(b, `,"by":{"identity":`...)
	b = appendID(b, c.By.Identity)
	b = append(b, `,"via":`...)
	b = appendID(b, c.By.Via)
	b = append(b, `},"epoch":`...)
	b = appendInt(b, epoch)
	b = append(b, `,"inactive":`...)
	b = appendStrings(b, inactive)
	b = append(b, `,"prev":`...)
	b = appendInt(b, prev)
	b = append(b, `,"refs":`...)
	b = appendStrings(b, refs)
	return append(b, '}')
}

func appendRows(b []byte, rows []Row, personal bool) []byte {
	b = append(b, '[')
	for _, r := range rows {
		if r.Personal != personal {
			continue
		}
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = append(b, `{"body":`...)
		b = append(b, r.Body...)
		b = append(b, `,"id":`...)
		b = append(appendID(b, r.ID), '}')
	}
	return append(b, ']')
}
