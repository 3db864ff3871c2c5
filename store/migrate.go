package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"writ.dev/writ"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema to what this binary knows. A schema that is newer
// is refused: an older server would write rows that the newer one would have
// to distrust.
func migrate(ctx context.Context, dialect Dialect, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations/"+string(dialect))
	if err != nil {
		return err
	}
	kind := goose.DialectSQLite3
	if dialect == Postgres {
		kind = goose.DialectPostgres
	}
	p, err := goose.NewProvider(kind, db, files, goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version"))
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return writ.Errorf(writ.KindUnavailable, "the database has a newer schema than this server").
			WithWhy("schema version %d, and this server knows up to %d", current, target).
			WithFix("start the newer version of writ that wrote it, or restore a backup made before the upgrade")
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating from schema version %d to %d: %w", current, target, err)
	}
	return nil
}
