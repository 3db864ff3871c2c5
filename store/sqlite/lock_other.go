//go:build !unix

package sqlite

import (
	"os"

	"writ.dev/writ"
)

// takeLock refuses: without a lock that the system lets go of at the end of
// the process, two servers could write one ledger.
func takeLock(string) (*os.File, error) {
	return nil, writ.Errorf(writ.KindUnavailable, "the embedded database needs a Unix system").
		WithFix("use PostgreSQL, with database: postgres://... in the configuration")
}
