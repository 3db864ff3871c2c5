package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// table is where one kind of noun is kept.
type table struct {
	name  string
	kind  writ.Kind
	word  string // what people call one
	named bool   // it has a name that is unique while it is not final
	fresh func() any
}

// tables lists every noun; the order is that in which Load yields them, so that
// what is referred to comes before what refers to it.
var tables = []*table{
	{"orgs", writ.KindOrg, "org", true, func() any { return new(writ.Org) }},
	{"identities", writ.KindIdentity, "identity", true, func() any { return new(writ.Identity) }},
	{"applications", writ.KindApplication, "app", true, func() any { return new(writ.Application) }},
	{"policies", writ.KindPolicy, "policy", true, func() any { return new(writ.Policy) }},
	{"credentials", writ.KindCredential, "credential", true, func() any { return new(writ.Credential) }},
	{"versions", writ.KindVersion, "credential version", false, func() any { return new(writ.Version) }},
	{"grants", writ.KindGrant, "grant", false, func() any { return new(writ.Grant) }},
	{"sessions", writ.KindSession, "session", false, func() any { return new(writ.Session) }},
	{"keys", writ.KindKey, "key", true, func() any { return new(writ.Key) }},
}

func tableOf(kind writ.Kind) *table {
	for _, t := range tables {
		if t.kind == kind {
			return t
		}
	}
	return nil
}

// tableFor is the table of a type of noun.
func tableFor[T any]() *table {
	for _, t := range tables {
		if _, ok := t.fresh().(*T); ok {
			return t
		}
	}
	panic(fmt.Sprintf("store: no table for %T", *new(T)))
}

// row is a noun as it is stored.
type row struct {
	id     writ.ID
	body   []byte
	seq    int64
	digest [32]byte
}

const rowColumns = "id, body, entry_seq, entry_digest"

func scanRow(scan func(...any) error) (row, error) {
	var r row
	var body string
	var digest []byte
	if err := scan(&r.id, &body, &r.seq, &digest); err != nil {
		return row{}, err
	}
	r.body = []byte(body)
	copy(r.digest[:], digest) // one of another length is not equal to any
	if len(digest) != len(r.digest) {
		r.seq = -1
	}
	return r, nil
}

// oneRow reads the noun's row; sql.ErrNoRows when the organization has none.
func oneRow(ctx context.Context, q querier, t *table, org, id writ.ID) (row, error) {
	return scanRow(q.QueryRowContext(ctx, "SELECT "+rowColumns+" FROM "+t.name+" WHERE org = $1 AND id = $2", org, id).Scan)
}

// rowsWhere reads the rows of the organization that satisfy a condition, whose
// parameters begin with $2.
func rowsWhere(ctx context.Context, q querier, t *table, org writ.ID, condition string, args ...any) ([]row, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+rowColumns+" FROM "+t.name+" WHERE org = $1 AND "+condition, append([]any{org}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []row
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// encode is the noun's canonical JSON. A NUL is refused although JSON can hold
// one: PostgreSQL's jsonb, over which columns are generated, cannot.
func encode(noun any) ([]byte, error) {
	body, err := canon.Marshal(noun)
	if err != nil {
		return nil, err
	}
	if hasNUL(body) {
		return nil, writ.Errorf(writ.KindInvalid, "a text has a NUL character").WithFix("take it out")
	}
	return body, nil
}

// hasNUL looks for \u0000 in canonical JSON, not for the text `\u0000` itself,
// which is spelled with a second backslash.
func hasNUL(body []byte) bool {
	for i := 0; i+5 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		if string(body[i:i+6]) == `\u0000` {
			return true
		}
		i++
	}
	return false
}

// decode reads a noun from its body.
func (t *table) decode(body []byte) (any, error) {
	v := t.fresh()
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("a row of %s is not its noun: %w", t.name, err)
	}
	if g, ok := v.(*writ.Grant); ok {
		g.Compile()
	}
	return v, nil
}

// missing reports whether the error says that there is no such row.
func missing(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// common are the fields that the store looks at in any noun.
type common struct {
	id    writ.ID
	name  string
	state writ.State
}

func of(noun any) common {
	switch n := noun.(type) {
	case *writ.Org:
		return common{n.ID, n.Name, n.State}
	case *writ.Identity:
		return common{n.ID, n.Name, n.State}
	case *writ.Application:
		return common{n.ID, n.Name, n.State}
	case *writ.Credential:
		return common{n.ID, n.Name, n.State}
	case *writ.Version:
		return common{n.ID, "", n.State}
	case *writ.Grant:
		return common{n.ID, "", n.State}
	case *writ.Session:
		return common{n.ID, "", n.State}
	case *writ.Key:
		return common{n.ID, n.Name, n.State}
	case *writ.Policy:
		return common{n.ID, n.Name, n.State}
	}
	panic(fmt.Sprintf("store: %T is not a noun", noun))
}

func idOf(noun any) writ.ID       { return of(noun).id }
func nameOf(noun any) string      { return of(noun).name }
func stateOf(noun any) writ.State { return of(noun).state }

// personal reports whether the noun's row is about a person, so that its bytes
// go into a part of the entry that can be erased by itself.
func personal(noun any) bool {
	i, ok := noun.(*writ.Identity)
	return ok && i.Kind == writ.Person
}
