package storetest

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"

	"writ.dev/writ/store"
)

// Op is one thing that a database is about to be asked to do.
type Op struct {
	Kind string // "begin", "exec", "query", "commit" or "rollback"
	SQL  string // of exec and query
}

// Fault is what goes wrong with an Op. The zero Fault is nothing.
type Fault struct {
	Class store.Class // what the engine says the error means
	// Done says that the database did as it was asked and the answer was lost:
	// the caller sees an error of something that persists.
	Done bool
}

// Error makes a Fault an error of the driver's.
func (f *Fault) Error() string { return "storetest: an injected fault" }

// Hook is asked before each operation; nil lets it pass. It is called from many
// goroutines at once, and must not use the store.
type Hook func(Op) *Fault

// hooked is where the hook of an engine is kept, so that a test can change it
// while the store runs.
type hooked struct {
	mu   sync.Mutex
	hook Hook
}

func (h *hooked) set(hook Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

// around runs do unless the hook says that it fails before.
func (h *hooked) around(op Op, do func() error) error {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	var f *Fault
	if hook != nil {
		f = hook(op)
	}
	if f == nil {
		return do()
	}
	if f.Done {
		if err := do(); err != nil {
			return err
		}
	}
	return f
}

// connector wraps another driver's connections.
type connector struct {
	driver.Connector
	hooks *hooked
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{inner.(fullConn), c.hooks}, nil
}

// fullConn is what database/sql looks for beside driver.Conn.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type conn struct {
	fullConn
	hooks *hooked
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	var inner driver.Tx
	began := false
	err := c.hooks.around(Op{Kind: "begin"}, func() (err error) {
		inner, err = c.fullConn.BeginTx(ctx, opts)
		began = err == nil
		return err
	})
	if err != nil {
		if began {
			err = errors.Join(err, inner.Rollback())
		}
		return nil, err
	}
	return &tx{inner, c.hooks}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	err = c.hooks.around(Op{"exec", query}, func() (err error) {
		r, err = c.fullConn.ExecContext(ctx, query, args)
		return err
	})
	return r, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	err = c.hooks.around(Op{"query", query}, func() (err error) {
		r, err = c.fullConn.QueryContext(ctx, query, args)
		return err
	})
	return lostRows(r, err)
}

// lostRows closes rows whose answer was lost: an open cursor would hold the one
// connection for ever.
func lostRows(r driver.Rows, err error) (driver.Rows, error) {
	if err != nil && r != nil {
		_ = r.Close()
		return nil, err
	}
	return r, err
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	inner, err := c.fullConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &stmt{inner.(fullStmt), query, c.hooks}, nil
}

type fullStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type stmt struct {
	fullStmt
	query string
	hooks *hooked
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (r driver.Result, err error) {
	err = s.hooks.around(Op{"exec", s.query}, func() (err error) {
		r, err = s.fullStmt.ExecContext(ctx, args)
		return err
	})
	return r, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (r driver.Rows, err error) {
	err = s.hooks.around(Op{"query", s.query}, func() (err error) {
		r, err = s.fullStmt.QueryContext(ctx, args)
		return err
	})
	return lostRows(r, err)
}

type tx struct {
	driver.Tx
	hooks *hooked
}

// Commit that fails before is followed by a rollback, as by a database that
// refused it.
func (t *tx) Commit() error {
	called := false
	err := t.hooks.around(Op{Kind: "commit"}, func() error {
		called = true
		return t.Tx.Commit()
	})
	if err != nil && !called {
		return errors.Join(err, t.Tx.Rollback())
	}
	return err
}

func (t *tx) Rollback() error {
	return t.hooks.around(Op{Kind: "rollback"}, t.Tx.Rollback)
}
