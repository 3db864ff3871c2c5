package store

import (
	"context"
	"errors"
	"sync"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// useLimits are the uses that limited grants have left, as this process knows
// them: counted from the ledger when the log was opened, and carried on with
// every commit. The table grant_uses is what PostgreSQL and SQLite can take
// from inside a batch; it is not believed beyond this (invariant 12), or
// whoever can write the database would hand out uses with one UPDATE. The
// smaller of the two counts: after a commit whose result is unknown the row
// may know of uses that this does not.
type useLimits struct {
	mu   sync.Mutex
	left map[limitKey]int64
}

type limitKey struct{ org, grant writ.ID }

// atMost bounds what a row says by what is known.
func (u *useLimits) atMost(org, grant writ.ID, row int64) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if known, ok := u.left[limitKey{org, grant}]; ok {
		return min(row, known)
	}
	return row
}

// set notes what was committed or counted.
func (u *useLimits) set(org writ.ID, left map[writ.ID]int64) {
	if len(left) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left == nil {
		u.left = map[limitKey]int64{}
	}
	for grant, n := range left {
		u.left[limitKey{org, grant}] = n
	}
}

// countUses counts, from the ledger, what the organization's limited grants
// have left, and puts right the rows that say otherwise. It reads the log from
// the oldest such grant on; revoked ones are past using.
//
// The limits come from rows that are not proven here. That is safe: a grant
// whose row does not match its record is refused by the index before anybody
// asks how many uses it has left.
func (c *core) countUses(ctx context.Context, l *ledger.Log, org writ.ID) error {
	limits, since, err := c.limitedGrants(ctx, org)
	if err != nil || len(limits) == 0 {
		return err
	}
	left := make(map[writ.ID]int64, len(limits))
	for id, n := range limits {
		left[id] = n
	}
	err = ledger.AllowsSince(ctx, storage{c}, l.Head(), since, func(rests []writ.ID) error {
		for _, id := range rests {
			if n, ok := left[id]; ok {
				left[id] = max(n-1, 0)
			}
		}
		return nil
	})
	if writ.KindOf(err) == writ.KindCheckFailed {
		// Unknown is deny, and only for what the unknown bears on: everything
		// else in this organization has its own proof.
		c.cfg.Log.Error("uses of limited grants cannot be counted, so these grants have none left", "org", org, "err", err)
		for id := range left {
			left[id] = 0
		}
		c.limits.set(org, left)
		return nil
	}
	if err != nil {
		return err
	}
	c.limits.set(org, left)
	return c.mendUses(ctx, org, left)
}

// limitedGrants are the grants with a number of uses, and when the oldest of
// them was made.
func (c *core) limitedGrants(ctx context.Context, org writ.ID) (limits map[writ.ID]int64, since writ.Time, err error) {
	rows, err := c.read.QueryContext(ctx, "SELECT "+rowColumns+" FROM grants WHERE org = $1 AND state <> 'revoked' AND id IN (SELECT grant_id FROM grant_uses WHERE org = $1)", org)
	if err != nil {
		return nil, 0, c.explain(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	limits = map[writ.ID]int64{}
	tb := tableFor[writ.Grant]()
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return nil, 0, c.explain(err)
		}
		v, err := tb.decode(r.body)
		g, ok := v.(*writ.Grant)
		if err != nil || !ok || g.Limits.Uses <= 0 {
			continue // no such noun, so nobody can use it
		}
		if limits[g.ID] = g.Limits.Uses; since == 0 || g.Created < since {
			since = g.Created
		}
	}
	return limits, since, c.explain(rows.Err())
}

// mendUses makes the rows say what the ledger says.
func (c *core) mendUses(ctx context.Context, org writ.ID, left map[writ.ID]int64) error {
	for id, n := range left {
		r, err := c.write.ExecContext(ctx, `UPDATE grant_uses SET remaining = $3 WHERE org = $1 AND grant_id = $2 AND remaining <> $3`, org, id, n)
		if err != nil {
			return c.explain(err)
		}
		if changed, err := r.RowsAffected(); err == nil && changed > 0 {
			c.cfg.Log.Warn("the number of uses left was not what the ledger says; the ledger's is taken", "org", org, "grant", id, "left", n)
		}
	}
	return nil
}
