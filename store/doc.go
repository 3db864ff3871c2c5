// Package store keeps the nouns of package writ in SQL tables, and changes them
// by business acts: each act is one method, and writes its rows and one change
// entry of the ledger in one transaction, so that there is no row without its
// record and no record without its row (invariant 12).
//
// A noun's row holds the noun's canonical JSON, byte for byte what the change
// entry commits to, with the entry's number and digest. Every other column is
// generated from that JSON by the database. There is one SQL text for every
// engine; an engine (store/sqlite, store/postgres) opens the database and says
// what its driver's errors mean, nothing else. Only the migrations differ.
//
// The order of one act, and what a crash after each line leaves:
//
//  1. the ledger opens the batch's transaction and locks the head     nothing
//  2. the act reads, checks and writes its rows under a savepoint      nothing
//  3. the ledger writes the batch's entries and the new head           nothing
//  4. COMMIT                                                           all of it
//  5. subscribers apply what changed, in commit order                  a new process loads it
//  6. the act returns                                                  the caller may not know
//
// When the result of 4 is unknown, subscribers are told that they are stale.
package store
