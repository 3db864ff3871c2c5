package storetest

import (
	"database/sql"
	"errors"
	"sync"
	"testing"

	msqlite "modernc.org/sqlite"

	"writ.dev/writ/store"
	"writ.dev/writ/store/sqlite"
)

// Memory is SQLite in memory behind a driver that can be made to fail. It has
// one connection, for reading and writing: whatever holds it while it asks for
// another hangs, and shows a defect that a pool would hide.
type Memory struct {
	db    *sql.DB
	hooks hooked
	space reserve
}

// NewMemory opens an empty database that lives until the test ends. Closing a
// store on it keeps what it holds, so that a test can open another store.
func NewMemory(t testing.TB) *Memory {
	t.Helper()
	c, err := msqlite.NewConnector("file::memory:?_pragma=foreign_keys(1)&_pragma=trusted_schema(0)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	m := &Memory{}
	m.db = sql.OpenDB(connector{c, &m.hooks})
	m.db.SetMaxOpenConns(1)
	m.db.SetMaxIdleConns(1)
	t.Cleanup(func() { _ = m.db.Close() })
	return m
}

// Hook sets what goes wrong from now on; nil is nothing.
func (m *Memory) Hook(h Hook) { m.hooks.set(h) }

// DB is the database itself, for tests that change it behind the store's back.
func (m *Memory) DB() *sql.DB { return m.db }

// Dialect implements store.Engine.
func (m *Memory) Dialect() store.Dialect { return store.SQLite }

// Pools implements store.Engine.
func (m *Memory) Pools() (write, read *sql.DB) { return m.db, m.db }

// Class implements store.Engine.
func (m *Memory) Class(err error) store.Class {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return sqlite.Class(err)
}

// Reserve implements store.Engine.
func (m *Memory) Reserve() store.Reserve { return &m.space }

// Close implements store.Engine and keeps the database.
func (m *Memory) Close() error { return nil }

// FillDisk makes every write fail as on a full disk, until the reserve is
// released; with none left it goes on failing until the returned function
// makes space.
func (m *Memory) FillDisk() (makeSpace func()) {
	m.space.fill(true)
	m.Hook(func(op Op) *Fault {
		if op.Kind == "exec" && m.space.isFull() && !isControl(op.SQL) {
			return &Fault{Class: store.ClassFull}
		}
		return nil
	})
	return func() {
		m.space.fill(false)
		m.Hook(nil)
	}
}

func isControl(query string) bool {
	return len(query) < 40 && (query[0] == 'S' || query[0] == 'R') // SAVEPOINT, RELEASE, ROLLBACK
}

// reserve is a store.Reserve of pretended disk space.
type reserve struct {
	mu       sync.Mutex
	disk     bool // nothing is free but the reserve
	released bool
}

func (r *reserve) fill(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disk = full
}

func (r *reserve) isFull() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disk && !r.released
}

func (r *reserve) Release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := !r.released
	r.released = true
	return had
}

func (r *reserve) Restore() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.disk {
		r.released = false
	}
	return !r.released
}
