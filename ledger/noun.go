package ledger

import "writ.dev/writ"

// Noun is one row with the entry that last changed it.
type Noun struct {
	ID     writ.ID
	Value  any // *writ.Org, *writ.Identity, *writ.Grant, ...
	Seq    int64
	Digest [32]byte // RFC 6962 leaf hash of that entry
	// Proven reports that the row was compared with its entry and the entry with
	// the tree (invariant 12). Who reads an unproven noun as authority denies.
	Proven bool
}

// Committed is one durable change of authority, as it is handed in commit order
// to whoever keeps a view of it.
type Committed struct {
	Org   writ.ID
	Epoch writ.Epoch // after the change
	Time  writ.Time
	Nouns []Noun
}
