package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// explain turns a database error into one that may be shown, or leaves it as
// the internal error it is. It is the only place that does.
func (c *core) explain(err error) error {
	var shown *writ.Error
	if err == nil || errors.As(err, &shown) || errors.Is(err, ledger.ErrUnknownCommit) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch c.engine.Class(err) {
	case ClassUnique:
		return writ.Errorf(writ.KindConflict, "something with this name or id exists already").
			WithFix("choose another name, or edit the one that exists").WithCause(err)
	case ClassFull:
		return writ.Errorf(writ.KindUnavailable, "the disk is full").
			WithWhy("what cannot be recorded is not done; revocations use a reserve").
			WithFix("free space on the volume of the data folder; nothing needs a restart").WithCause(err)
	case ClassReadOnly:
		return writ.Errorf(writ.KindUnavailable, "the database cannot be written").
			WithFix("let the server's user write to the data folder and the files in it, then restart the server").WithCause(err)
	case ClassBusy:
		return writ.Errorf(writ.KindUnavailable, "the database is busy").
			WithFix("try again; if it stays, look for another program that holds the database").WithCause(err)
	case ClassIO:
		return writ.Errorf(writ.KindUnavailable, "the disk failed").
			WithFix("look at the system's log for disk errors before you restart the server").WithCause(err)
	case ClassLost:
		return writ.Errorf(writ.KindUnavailable, "the connection to the database broke").
			WithFix("check that the database is up; the server reconnects by itself").WithCause(err)
	case ClassCorrupt:
		return writ.Errorf(writ.KindUnavailable, "the database file is damaged").
			WithFix("stop the server and restore a backup; then run: writ ledger verify").WithCause(err)
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) {
		return writ.Errorf(writ.KindUnavailable, "the database was closed meanwhile").WithFix("start the server again").WithCause(err)
	}
	return err
}

// explainCommit is explain for an error of COMMIT itself. When the disk or the
// connection failed there, nobody can tell whether the transaction stays.
func (c *core) explainCommit(err error) error {
	if err == nil {
		return nil
	}
	switch c.engine.Class(err) {
	case ClassIO, ClassLost, ClassCorrupt, ClassOther:
		return fmt.Errorf("%w: %w", ledger.ErrUnknownCommit, c.explain(err))
	}
	return c.explain(err)
}

// notFound is the error for a thing that does not exist in the organization;
// one of another organization reads the same (invariant 14).
func notFound(what, ref string) *writ.Error {
	return writ.Errorf(writ.KindNotFound, "no %s %s", what, writ.Printable(ref, 80)).
		WithFix("list them with: writ %s ls", what)
}
