// Package ledger is the append-only log of an organization: every change of
// authority, every allowed use and its outcome, every denial. Append of an
// Allow is durable when it returns, and what it returns, a Receipt, is the only
// thing that opens a secret (invariant 1).
//
// An entry is a leaf of an RFC 6962 Merkle tree, canonical JSON that commits to
// salted parts beside it, so that one entry can be shown, or a part of it
// erased, without touching the tree. The tree is published as C2SP tlog-tiles
// with signed-note checkpoints. docs/formats/ledger.md has the formats;
// commit.go has the order in which things become durable; Verify derives a log
// anew with code that shares nothing with the writer but the format.
//
// The package states the storage it needs (Storage, Tx, Basis) and leaves rows
// to whoever provides it.
package ledger
