package ledger

import (
	"context"

	"writ.dev/writ"
)

// Entry is one leaf of a log with its parts. Leaf is canonical JSON, the bytes
// the Merkle tree is over; Pack holds the salted parts that it commits to.
type Entry struct {
	Seq  int64
	Leaf []byte
	Pack []byte
}

// Head is where an organization's log stands: the row that every batch locks.
type Head struct {
	Org         writ.ID
	Number      int64 // the organization's number, the upper part of every entry's key
	Incarnation int64 // grows with every restore
	Size        int64 // entries so far; the next has this seq
	Epoch       int64 // committed changes of authority so far
	LastChange  int64 // seq of the newest change entry, -1 when there is none
	Time        writ.Time
	// Frontier is the compact range of the tree over Size leaves: 32 bytes for
	// each perfect subtree, the largest first.
	Frontier []byte
}

// Node is a full C2SP tile: 256 hashes of 32 bytes at (Level, Index), level 0
// being leaf hashes.
type Node struct {
	Level  int
	Index  int64
	Hashes []byte
}

// Storage is what a Log commits into. Implementations are safe for concurrent
// use; Begin serialises on the organization's head.
type Storage interface {
	// Begin opens the transaction of one batch with the head locked until the
	// end of the transaction.
	Begin(ctx context.Context, org writ.ID) (Tx, Head, error)
	Reader
}

// Reader reads a log as it was committed.
type Reader interface {
	Head(ctx context.Context, org writ.ID) (Head, error)
	// Entries calls yield for the entries with from <= seq < to in order, until
	// it returns an error, which Entries then returns.
	Entries(ctx context.Context, org writ.ID, from, to int64, yield func(Entry) error) error
	// Changes is like Entries for the change entries only.
	Changes(ctx context.Context, org writ.ID, from, to int64, yield func(Entry) error) error
	// Nodes gives the stored full tile, or writ.KindNotFound.
	Node(ctx context.Context, org writ.ID, level int, index int64) (Node, error)
}

// Tx is the transaction of one batch. It is used by one goroutine.
type Tx interface {
	Basis
	// Write stores what the batch appended and the new head. changes are the
	// seqs among entries that are change entries.
	Write(ctx context.Context, entries []Entry, changes []int64, nodes []Node, head Head) error
	// Commit makes everything durable. An error that wraps ErrUnknownCommit says
	// that nobody can tell whether it did.
	Commit(ctx context.Context) error
	Rollback(ctx context.Context) error
}

// Basis checks, against rows and not an index, that what an allow rests on
// still stands inside this transaction (invariant 6).
type Basis interface {
	// Recheck gives the ids among rests that are not live at now: missing,
	// not active, or expired.
	Recheck(ctx context.Context, rests []writ.ID, now writ.Time) (dead []writ.ID, err error)
	// UsesLeft gives how many uses each limited grant has left.
	UsesLeft(ctx context.Context, grants []writ.ID) (map[writ.ID]int64, error)
	// TakeUses subtracts uses, one update a grant.
	TakeUses(ctx context.Context, taken map[writ.ID]int64) error
}
