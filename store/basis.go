package store

import (
	"context"
	"strconv"
	"strings"

	"writ.dev/writ"
)

// maxList bounds how many ids one statement names: SQLite takes 32,766
// parameters, and a text for every number of them would not be worth preparing.
const maxList = 64

// list is "$first, $first+1, ..." for n ids, and the ids as arguments. It is
// padded to a power of two by repeating the last, so that few texts exist.
func list(ids []writ.ID, first int) (placeholders string, args []any) {
	n := 1
	for n < len(ids) {
		n *= 2
	}
	var b strings.Builder
	args = make([]any, n)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
		args[i] = ids[min(i, len(ids)-1)]
	}
	return b.String(), args
}

// chunks calls fn with at most maxList ids at a time.
func chunks(ids []writ.ID, fn func([]writ.ID) error) error {
	for len(ids) > 0 {
		n := min(len(ids), maxList)
		if err := fn(ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// expiring are the tables whose nouns may expire.
var expiring = map[writ.Kind]bool{writ.KindIdentity: true, writ.KindCredential: true, writ.KindGrant: true, writ.KindSession: true, writ.KindKey: true}

// Recheck implements ledger.Basis. The organization itself counts as something
// that every use rests on: when everything was stopped, its id is among the dead.
func (t *tx) Recheck(ctx context.Context, rests []writ.ID, now writ.Time) (dead []writ.ID, err error) {
	ctx = context.WithoutCancel(ctx)
	byKind := map[writ.Kind][]writ.ID{writ.KindOrg: {t.org}}
	for _, id := range rests {
		if id != t.org {
			byKind[id.Kind()] = append(byKind[id.Kind()], id)
		}
	}
	stopped := false
	for kind, ids := range byKind {
		tb := tableOf(kind)
		if tb == nil {
			dead = append(dead, ids...) // nothing of that kind can be alive
			continue
		}
		alive := make(map[writ.ID]bool, len(ids))
		if err := chunks(ids, func(ids []writ.ID) error { return t.alive(ctx, tb, ids, now, alive) }); err != nil {
			return nil, err
		}
		for _, id := range ids {
			if !alive[id] {
				dead = append(dead, id)
				stopped = stopped || id == t.org
			}
		}
	}
	if stopped {
		// Whatever an allow rests on, it is dead: the ledger looks for what an
		// allow names, and no allow names its organization.
		dead = append(dead, rests...)
	}
	return dead, nil
}

// alive marks those of ids whose rows are active and not expired at now.
// Instants are compared as text: RFC 3339 in UTC with three digits sorts.
func (t *tx) alive(ctx context.Context, tb *table, ids []writ.ID, now writ.Time, alive map[writ.ID]bool) error {
	expires := ""
	first := 2
	args := []any{t.org}
	if expiring[tb.kind] {
		expires, first = " AND (expires IS NULL OR expires > $2)", 3
		args = append(args, now.String())
	}
	places, idArgs := list(ids, first)
	rows, err := t.QueryContext(ctx, "SELECT id FROM "+tb.name+" WHERE org = $1 AND state = 'active'"+expires+" AND id IN ("+places+")", append(args, idArgs...)...)
	if err != nil {
		return t.failed(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id writ.ID
		if err := rows.Scan(&id); err != nil {
			return t.failed(err)
		}
		alive[id] = true
	}
	if err := rows.Err(); err != nil {
		return t.failed(err)
	}
	return nil
}

// UsesLeft implements ledger.Basis. A grant without a count has no uses left,
// and a row gives no more than is known from the ledger; see useLimits.
func (t *tx) UsesLeft(ctx context.Context, grants []writ.ID) (map[writ.ID]int64, error) {
	ctx = context.WithoutCancel(ctx)
	left := make(map[writ.ID]int64, len(grants))
	err := chunks(grants, func(ids []writ.ID) error {
		places, args := list(ids, 2)
		rows, err := t.QueryContext(ctx, "SELECT grant_id, remaining FROM grant_uses WHERE org = $1 AND grant_id IN ("+places+")", append([]any{t.org}, args...)...)
		if err != nil {
			return t.failed(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id writ.ID
			var n int64
			if err := rows.Scan(&id, &n); err != nil {
				return t.failed(err)
			}
			left[id] = t.c.limits.atMost(t.org, id, n)
			t.left[id] = left[id]
		}
		return rows.Err()
	})
	return left, err
}

// TakeUses implements ledger.Basis.
func (t *tx) TakeUses(ctx context.Context, taken map[writ.ID]int64) error {
	ctx = context.WithoutCancel(ctx)
	for id, n := range taken {
		t.left[id] -= n
		if err := t.exec(ctx, "UPDATE grant_uses SET remaining = $3 WHERE org = $1 AND grant_id = $2", t.org, id, t.left[id]); err != nil {
			return err
		}
	}
	return nil
}
