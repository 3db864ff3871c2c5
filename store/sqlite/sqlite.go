// Package sqlite opens the embedded database of one server: SQLite in a folder
// of its own, with one writer, a pool of readers, a lock that refuses a second
// server, and a reserve on the disk for urgent acts.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"writ.dev/writ"
	"writ.dev/writ/store"
)

// The files in the data folder.
const (
	databaseFile = "writ.db"
	lockFile     = "writ.lock"
	reserveFile  = "reserve"
)

// Config says where the database lies.
type Config struct {
	Folder string // made with mode 0700 when it is missing
	// ReserveBytes is the space kept back for urgent acts: zero means
	// DefaultReserve, negative none.
	ReserveBytes int64
}

// DefaultReserve holds thousands of revocations with their entries.
const DefaultReserve = 8 << 20

// pragmas go into the DSN, so that every connection of a pool has them: a
// PRAGMA that is run once holds for one connection only.
//
//   - synchronous=FULL: COMMIT returns after the WAL is synced. Less would lose
//     entries whose receipts have been spent (invariant 1).
//   - wal_autocheckpoint and journal_size_limit bound the WAL.
//   - mmap_size stays 0: a fault in a mapped file would end the process.
//   - trusted_schema=off and defensive: whoever can write the file shall not
//     thereby run functions of their choice in this process.
var pragmas = []string{
	"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
	"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "temp_store(MEMORY)", "cache_size(-65536)", "cell_size_check(1)",
}

// DSN is the data source name of the file for writing, or only for reading.
func DSN(path string, readOnly bool) string {
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}, "_defensive": {"1"}}
	if readOnly {
		q["_pragma"] = append([]string{"query_only(1)"}, pragmas...)
		q.Set("_txlock", "deferred")
	}
	// The path is a URI's: what is special in one has to be escaped.
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	return u.String()
}

// Database is an open SQLite database, held against a second server.
type Database struct {
	write, read *sql.DB
	lock        *os.File
	reserve     store.Reserve
}

// Open makes the folder and the file where they are missing, takes the lock
// and opens the pools.
func Open(ctx context.Context, cfg Config) (*Database, error) {
	if err := prepareFolder(cfg.Folder); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(cfg.Folder, lockFile))
	if err != nil {
		return nil, err
	}
	d := &Database{lock: lock}
	path := filepath.Join(cfg.Folder, databaseFile)
	if err := prepareFile(path); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.write, err = sql.Open("sqlite", DSN(path, false)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	// One writer: transactions queue in the pool, in order, instead of meeting
	// as SQLITE_BUSY. It is never closed while idle, so its cache stays warm.
	d.write.SetMaxOpenConns(1)
	d.write.SetMaxIdleConns(1)
	if err := d.write.PingContext(ctx); err != nil {
		return nil, errors.Join(unopened(cfg.Folder, err), d.Close())
	}
	if d.read, err = sql.Open("sqlite", DSN(path, true)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	readers := max(4, 2*runtime.GOMAXPROCS(0))
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if cfg.ReserveBytes >= 0 {
		size := cfg.ReserveBytes
		if size == 0 {
			size = DefaultReserve
		}
		r := &reserve{path: filepath.Join(cfg.Folder, reserveFile), size: size}
		r.Restore() // a disk too full for it is no reason not to start
		d.reserve = r
	}
	return d, nil
}

// prepareFolder makes the data folder, for the server's user alone.
func prepareFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return writ.Errorf(writ.KindUnavailable, "the data folder cannot be made").
			WithFix("make %s and let the server's user write to it, or name another folder", folder).WithCause(err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return writ.Errorf(writ.KindUnavailable, "the data folder is a file").WithFix("name another folder, or move %s away", folder)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(folder, 0o700); err != nil {
			return writ.Errorf(writ.KindUnavailable, "the data folder is open to other users").
				WithWhy("its mode is %04o", info.Mode().Perm()).WithFix("run: chmod 700 %s", folder).WithCause(err)
		}
	}
	return nil
}

// prepareFile makes the database file with mode 0600 before SQLite does with
// the process' umask; SQLite gives the WAL the mode of the database.
func prepareFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return readOnly(filepath.Dir(path), err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		return f.Chmod(0o600)
	}
	return nil
}

func readOnly(folder string, err error) error {
	e := writ.Errorf(writ.KindUnavailable, "the data folder cannot be written").WithCause(err)
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only file system") {
		return e.WithFix("let the server's user write to %s and the files in it", folder)
	}
	return e.WithFix("look at the volume that holds %s", folder)
}

func unopened(folder string, err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_NOTADB || e.Code()&0xff == sqlite3.SQLITE_CORRUPT) {
		return writ.Errorf(writ.KindUnavailable, "%s is not a database, or is damaged", databaseFile).
			WithFix("restore a backup into %s, or name another data folder", folder).WithCause(err)
	}
	return writ.Errorf(writ.KindUnavailable, "the database cannot be opened").
		WithFix("let the server's user read and write %s and the files in it", folder).WithCause(err)
}

// Dialect implements store.Engine.
func (d *Database) Dialect() store.Dialect { return store.SQLite }

// Pools implements store.Engine.
func (d *Database) Pools() (write, read *sql.DB) { return d.write, d.read }

// Reserve implements store.Engine.
func (d *Database) Reserve() store.Reserve { return d.reserve }

// Close implements store.Engine. The lock goes last.
func (d *Database) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// Class implements store.Engine.
func (d *Database) Class(err error) store.Class { return Class(err) }

// Class says what an error of the SQLite driver means.
func Class(err error) store.Class {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return store.ClassOther
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return store.ClassUnique
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return store.ClassFull
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH:
		return store.ClassReadOnly
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT:
		return store.ClassBusy
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL:
		return store.ClassIO
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return store.ClassCorrupt
	}
	return store.ClassOther
}

var _ store.Engine = (*Database)(nil)

// secondServer names who holds the lock.
func secondServer(holder string) error {
	who := "another process"
	if holder != "" {
		who = fmt.Sprintf("the process %s", holder)
	}
	return writ.Errorf(writ.KindUnavailable, "another server uses this data folder").
		WithWhy("%s holds the lock", who).
		WithFix("stop it first, or name another data folder for this one")
}
