package store

import (
	"context"

	"writ.dev/writ"
)

// Used reports whether an engine's database holds logs already. It is asked
// before Open, by whoever would make keys for a new one.
func Used(ctx context.Context, engine Engine) (used bool, err error) {
	_, read := engine.Pools()
	table := `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'log_head')`
	if engine.Dialect() == Postgres {
		table = `SELECT to_regclass('log_head') IS NOT NULL`
	}
	if err := read.QueryRowContext(ctx, table).Scan(&used); err != nil || !used {
		return false, err
	}
	err = read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM log_head)`).Scan(&used)
	return used, err
}

// HasLog reports whether the database has the organization and the head of its
// log, without opening it.
func (s *Store) HasLog(ctx context.Context, org writ.ID) (has bool, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM orgs o JOIN log_head h ON h.org = o.org WHERE o.org = $1 AND o.id = $1)`, org).Scan(&has)
	return has, s.explain(err)
}
