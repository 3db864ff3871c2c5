package store

import "database/sql"

// Dialect names the folder of migrations.
type Dialect string

// The dialects.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Engine is one kind of database, opened. Implementations hold the database
// against a second server until Close.
type Engine interface {
	Dialect() Dialect
	// Pools gives the connections that write, and those that only read. They
	// may be the same pool where the database has one connection.
	Pools() (write, read *sql.DB)
	// Class says what a driver's error means.
	Class(err error) Class
	// Reserve is the space kept for urgent acts, nil when there is none.
	Reserve() Reserve
	// Close ends the pools and lets go of the database.
	Close() error
}

// Class is what a driver's error means to the store.
type Class int

// The classes.
const (
	ClassOther    Class = iota // a defect, or something nobody foresaw
	ClassUnique                // a unique index refused the row
	ClassFull                  // no space left; nothing of the transaction stays
	ClassReadOnly              // the database cannot be written
	ClassBusy                  // another transaction was in the way; nothing of ours stays
	ClassIO                    // the disk failed; at COMMIT nobody knows what stays
	ClassLost                  // the connection broke; at COMMIT nobody knows what stays
	ClassCorrupt               // the database file is damaged
)

// Reserve is space on the disk that is kept back while things go well, and
// given up so that a revocation can still be written when the disk is full.
type Reserve interface {
	// Release gives the space up. It reports whether there was any to give.
	Release() bool
	// Restore takes the space again if the disk has room for it and more.
	Restore() bool
}
