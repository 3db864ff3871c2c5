// Package postgres opens a PostgreSQL database for one server: the pools, the
// advisory lock that refuses a second server, and what the driver's errors
// mean. High availability is PostgreSQL's own; a synchronous standby keeps the
// promise that what was recorded stays recorded.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"writ.dev/writ"
	"writ.dev/writ/store"
)

// lockKey is the advisory lock that a server holds in its database: "writ" in
// ASCII, so that an operator who finds it in pg_locks can tell what it is.
const lockKey = 0x77726974

// lockTimeout bounds the wait for the lock of a server that just ended: its
// connection may take a moment to be noticed as gone.
const lockTimeout = 2 * time.Second

// Database is an open PostgreSQL database, held against a second server.
type Database struct {
	write, read *sql.DB
	lock        *pgx.Conn
}

// Open connects by a URL or keyword string, takes the lock and opens the pools.
// The server's host, user and database name may appear in errors, its password
// never does.
func Open(ctx context.Context, url string) (*Database, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		// The parser's text quotes the string, password included.
		return nil, writ.Invalid("database", "the PostgreSQL address cannot be read", "write it as postgres://USER@HOST:5432/DATABASE, with the password in PGPASSWORD or a pgpass file")
	}
	setting(cfg, "application_name", "writ")
	// A commit is durable before it returns, whatever the cluster's default is
	// (invariant 1). Weaker settings would spend receipts that a crash forgets;
	// remote_apply and the like set by the operator are stronger, and stay.
	setting(cfg, "synchronous_commit", "on")
	setting(cfg, "idle_in_transaction_session_timeout", "60s")
	d := &Database{}
	if d.lock, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return nil, writ.Errorf(writ.KindUnavailable, "the database cannot be reached").
			WithFix("check that PostgreSQL runs at %s, that the database %s exists and that the user %s may connect", cfg.Host, cfg.Database, cfg.User).WithCause(err)
	}
	if err := d.takeLock(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.write = stdlib.OpenDB(*cfg)
	readOnly := cfg.Copy()
	setting(readOnly, "default_transaction_read_only", "on")
	d.read = stdlib.OpenDB(*readOnly)
	// Several organizations commit at once, and PostgreSQL lets them share a
	// flush; within one organization the head's row lock keeps the order.
	writers, readers := max(4, runtime.GOMAXPROCS(0)), max(8, 4*runtime.GOMAXPROCS(0))
	d.write.SetMaxOpenConns(writers)
	d.write.SetMaxIdleConns(writers)
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	return d, nil
}

func setting(cfg *pgx.ConnConfig, name, value string) {
	if _, set := cfg.RuntimeParams[name]; !set {
		cfg.RuntimeParams[name] = value
	}
}

// takeLock takes the advisory lock on a connection of its own, for as long as
// that lives. Should it break, a second server may start; what keeps the first
// from writing then is the token that every batch compares (store, holder).
func (d *Database) takeLock(ctx context.Context) error {
	if _, err := d.lock.Exec(ctx, `SET lock_timeout = '`+lockTimeout.String()+`'`); err != nil {
		return err
	}
	_, err := d.lock.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockKey)
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "55P03" {
		return err
	}
	refused := writ.Errorf(writ.KindUnavailable, "another server uses this database").
		WithFix("stop it first, or name another database for this one").WithCause(err)
	var pid int
	var from string
	if d.lock.QueryRow(ctx, `SELECT a.pid, coalesce(host(a.client_addr), 'a local socket') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.objid = $1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, lockKey).Scan(&pid, &from) == nil {
		refused = refused.WithWhy("the database's process %d, connected from %s, holds the lock", pid, from)
	}
	return refused
}

// Dialect implements store.Engine.
func (d *Database) Dialect() store.Dialect { return store.Postgres }

// Pools implements store.Engine.
func (d *Database) Pools() (write, read *sql.DB) { return d.write, d.read }

// Reserve implements store.Engine: the database's disk is the cluster's matter.
func (d *Database) Reserve() store.Reserve { return nil }

// Close implements store.Engine. The lock goes last.
func (d *Database) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if d.lock != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
		defer cancel()
		errs = append(errs, d.lock.Close(ctx))
	}
	return errors.Join(errs...)
}

// Class implements store.Engine.
func (d *Database) Class(err error) store.Class { return Class(err) }

// Class says what an error of the PostgreSQL driver means. Codes are those of
// the PostgreSQL documentation, appendix A.
func Class(err error) store.Class {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return classOfCode(e.Code)
	}
	var n net.Error
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &n) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return store.ClassLost
	}
	return store.ClassOther
}

func classOfCode(code string) store.Class {
	switch code {
	case "23505":
		return store.ClassUnique
	case "53100":
		return store.ClassFull
	case "25006", "42501":
		return store.ClassReadOnly
	case "40001", "40P01", "55P03", "57014":
		return store.ClassBusy
	case "58030":
		return store.ClassIO
	}
	switch code[:2] {
	case "08", "57": // connection exceptions; the server is shutting down
		return store.ClassLost
	case "53": // out of connections, out of memory
		return store.ClassBusy
	case "XX": // internal error, data corrupted
		return store.ClassCorrupt
	}
	return store.ClassOther
}

var _ store.Engine = (*Database)(nil)
