package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"writ.dev/writ"
)

// Bounds of one page.
const (
	DefaultPage = 50
	MaxPage     = 500
)

// Query says which nouns of a kind to list. The zero Query is the first page of
// those that are not final, the oldest first. A filter that a kind of noun does
// not have is an error, so that none is silently left out.
type Query struct {
	After  string // the cursor that the page before gave; "" is the beginning
	Limit  int    // 0 is DefaultPage
	Final  bool   // also what is revoked or ended
	Newest bool   // the newest first

	State      writ.State
	Name       string
	Kind       writ.IdentityKind
	Owner      writ.ID
	Parent     writ.ID
	App        writ.ID
	Identity   writ.ID
	Credential writ.ID
	Started    writ.ID
}

// filters are the columns that a Query can ask for; each table has some.
func (q *Query) filters() []struct{ column, value string } {
	return []struct{ column, value string }{
		{"state", string(q.State)}, {"name", q.Name}, {"kind", string(q.Kind)}, {"owner", string(q.Owner)}, {"parent", string(q.Parent)},
		{"app", string(q.App)}, {"identity", string(q.Identity)}, {"credential", string(q.Credential)}, {"started", string(q.Started)},
	}
}

// columns are what each table can be filtered by.
var columns = map[writ.Kind]string{
	writ.KindOrg:         " state name ",
	writ.KindIdentity:    " state name kind owner parent ",
	writ.KindApplication: " state name owner ",
	writ.KindPolicy:      " state name ",
	writ.KindCredential:  " state name owner app ",
	writ.KindVersion:     " state credential ",
	writ.KindGrant:       " state parent identity credential ",
	writ.KindSession:     " state parent identity started ",
	writ.KindKey:         " state name identity ",
}

// page lists one page of a kind of noun, and gives the cursor of the next, ""
// after the last.
func page[T any](ctx context.Context, c *core, org writ.ID, q Query) (nouns []*T, next string, err error) {
	t := tableFor[T]()
	if q.Limit == 0 {
		q.Limit = DefaultPage
	}
	if q.Limit < 1 || q.Limit > MaxPage {
		return nil, "", writ.Invalid("limit", "a page has 1 to 500 items", "choose a smaller limit, and follow the cursor")
	}
	var where strings.Builder
	args := []any{org}
	param := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	where.WriteString("org = $1")
	if !q.Final {
		where.WriteString(" AND state NOT IN ('revoked', 'ended')")
	}
	for _, f := range q.filters() {
		if f.value == "" {
			continue
		}
		if !strings.Contains(columns[t.kind], " "+f.column+" ") {
			return nil, "", writ.Invalid(f.column, "a list of this kind has no filter "+f.column, "leave it away")
		}
		where.WriteString(" AND " + f.column + " = " + param(f.value))
	}
	// Where a filter has an index, that is what narrows: ordering by an expression
	// keeps SQLite from walking all the organization's rows in their order.
	created := "created"
	if q.Owner+q.Parent+q.App+q.Identity+q.Credential+q.Started != "" {
		created = "created || ''"
	}
	compare, order := ">", ""
	if q.Newest {
		compare, order = "<", " DESC"
	}
	if q.After != "" {
		when, id, err := parseCursor(t, q.After)
		if err != nil {
			return nil, "", err
		}
		where.WriteString(" AND (" + created + ", id) " + compare + " (" + param(when) + ", " + param(id) + ")")
	}
	rows, err := c.read.QueryContext(ctx, "SELECT created, id, body FROM "+t.name+" WHERE "+where.String()+
		" ORDER BY "+created+order+", id"+order+" LIMIT "+param(q.Limit+1), args...)
	if err != nil {
		return nil, "", c.explain(err)
	}
	defer rows.Close()
	var last string
	for rows.Next() {
		var created, id, body string
		if err := rows.Scan(&created, &id, &body); err != nil {
			return nil, "", c.explain(err)
		}
		if len(nouns) == q.Limit {
			return nouns, last, nil
		}
		n, err := t.decode([]byte(body))
		if err != nil {
			return nil, "", err
		}
		nouns = append(nouns, n.(*T))
		last = cursorOf(t, created, id)
	}
	return nouns, "", c.explain(rows.Err())
}

// cursorOf names the place after a row. It is no secret, only opaque.
func cursorOf(t *table, created, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(t.name + "\n" + created + "\n" + id))
}

func parseCursor(t *table, cursor string) (created, id string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	name, rest, ok := strings.Cut(string(b), "\n")
	created, id, ok2 := strings.Cut(rest, "\n")
	if err != nil || !ok || !ok2 || name != t.name || !writ.ID(id).Is(t.kind) {
		return "", "", writ.Invalid("after", "not a cursor of this list", "take it from the page before, unchanged")
	}
	return created, id, nil
}

// one finds a noun by its id, a unique beginning of its id, or its name.
func one[T any](ctx context.Context, c *core, org writ.ID, ref string) (*T, error) {
	t := tableFor[T]()
	id, err := c.resolve(ctx, t, org, ref)
	if err != nil {
		return nil, err
	}
	r, err := oneRow(ctx, c.read, t, org, id)
	if missing(err) {
		return nil, notFound(t.word, ref)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	n, err := t.decode(r.body)
	if err != nil {
		return nil, err
	}
	return n.(*T), nil
}

// minPrefix is how much of an id's body must be given at least.
const minPrefix = 4

// resolve finds the id that a reference means.
func (c *core) resolve(ctx context.Context, t *table, org writ.ID, ref string) (writ.ID, error) {
	if writ.ID(ref).Is(t.kind) {
		return writ.ID(ref), nil
	}
	prefix := string(t.kind) + "_"
	if body, ok := strings.CutPrefix(ref, prefix); ok {
		if len(body) < minPrefix {
			return "", writ.Invalid("", "the beginning of an id is too short: "+writ.Printable(ref, 40), "give at least four characters after "+prefix)
		}
		// '~' sorts after every character of an id.
		return c.unique(ctx, t, org, ref, "id >= $2 AND id < $3", ref, ref+"~")
	}
	if !t.named {
		return "", notFound(t.word, ref)
	}
	name := ref
	if t.kind == writ.KindIdentity {
		if kind, rest, ok := strings.Cut(ref, ":"); ok {
			return c.unique(ctx, t, org, ref, "name = $2 AND kind = $3", rest, kind)
		}
	}
	return c.unique(ctx, t, org, ref, "name = $2", name)
}

// unique gives the one id that satisfies a condition. Of several, those that are
// not final count alone: a name may be used again after its bearer was revoked.
func (c *core) unique(ctx context.Context, t *table, org writ.ID, ref, condition string, args ...any) (writ.ID, error) {
	found, err := c.some(ctx, t, org, "state NOT IN ('revoked', 'ended') AND state <> 'revoked' AND "+condition, args)
	if err == nil && len(found) == 0 {
		// The two conditions are those of partial indexes; SQLite takes them so.
		found, err = c.some(ctx, t, org, "state = 'revoked' AND "+condition, args)
	}
	if err == nil && len(found) == 0 && t.kind == writ.KindSession {
		found, err = c.some(ctx, t, org, "state = 'ended' AND "+condition, args)
	}
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", notFound(t.word, ref)
	case len(found) == 1:
		return found[0], nil
	}
	names := make([]string, 0, 5)
	for _, id := range found[:min(len(found), 5)] {
		names = append(names, string(id))
	}
	return "", writ.Errorf(writ.KindInvalid, "%s could mean several of these", writ.Printable(ref, 80)).
		WithWhy("%s", strings.Join(names, ", ")).WithFix("give more of the id")
}

// some gives up to 20 ids that satisfy a condition, the newest first.
func (c *core) some(ctx context.Context, t *table, org writ.ID, condition string, args []any) ([]writ.ID, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT id FROM "+t.name+" WHERE org = $1 AND "+condition+" ORDER BY created || '' DESC, id LIMIT 20", append([]any{org}, args...)...)
	if err != nil {
		return nil, c.explain(err)
	}
	defer rows.Close()
	var found []writ.ID
	for rows.Next() {
		var id writ.ID
		if err := rows.Scan(&id); err != nil {
			return nil, c.explain(err)
		}
		found = append(found, id)
	}
	return found, c.explain(rows.Err())
}

// Org finds an organization by id, a beginning of its id, or name.
func (s *Store) Org(ctx context.Context, ref string) (*writ.Org, error) {
	if id := writ.ID(ref); id.Is(writ.KindOrg) {
		return one[writ.Org](ctx, s.core, id, ref)
	}
	return s.orgNamed(ctx, ref)
}

func (c *core) orgNamed(ctx context.Context, ref string) (*writ.Org, error) {
	orgs, err := c.orgs(ctx)
	if err != nil {
		return nil, err
	}
	var found *writ.Org
	for _, o := range orgs {
		if o.Name == ref && !o.State.Final() {
			return o, nil
		}
		if strings.HasPrefix(string(o.ID), ref) && len(ref) >= len("org_")+minPrefix {
			if found != nil {
				return nil, writ.Errorf(writ.KindInvalid, "%s could mean several organizations", writ.Printable(ref, 80)).WithFix("give more of the id")
			}
			found = o
		}
	}
	if found == nil {
		return nil, notFound("org", ref)
	}
	return found, nil
}

// Orgs lists every organization, the oldest first. It is the one read that is
// not of one organization.
func (s *Store) Orgs(ctx context.Context) ([]*writ.Org, error) { return s.orgs(ctx) }

func (c *core) orgs(ctx context.Context) ([]*writ.Org, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT body FROM orgs ORDER BY created, id")
	if err != nil {
		return nil, c.explain(err)
	}
	defer rows.Close()
	var all []*writ.Org
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return nil, c.explain(err)
		}
		o, err := tableFor[writ.Org]().decode([]byte(body))
		if err != nil {
			return nil, err
		}
		all = append(all, o.(*writ.Org))
	}
	return all, c.explain(rows.Err())
}

// Locate gives the organization that a session's or key's hash belongs to, the
// one question that has to be asked before the organization is known. The hash
// is of 256 random bits: whoever can ask for it holds the token.
func (s *Store) Locate(ctx context.Context, kind writ.Kind, hash [32]byte) (writ.ID, error) {
	t := tableOf(kind)
	if t == nil || kind != writ.KindSession && kind != writ.KindKey {
		return "", notFound("token", "of this kind")
	}
	var org writ.ID
	err := s.read.QueryRowContext(ctx, "SELECT org FROM "+t.name+" WHERE hash = $1", hex.EncodeToString(hash[:])).Scan(&org)
	if missing(err) {
		return "", writ.Errorf(writ.KindNotFound, "no such %s", t.word)
	}
	return org, s.explain(err)
}

// Sealed gives the ciphertext of a credential version. Which organization,
// hosts and placement it is for is bound into it; that it is the one that was
// recorded shows by its hash.
func (s *Store) Sealed(ctx context.Context, org, version writ.ID) ([]byte, error) {
	var sealed []byte
	var body string
	err := s.read.QueryRowContext(ctx, `SELECT sealed, body FROM versions WHERE org = $1 AND id = $2`, org, version).Scan(&sealed, &body)
	if missing(err) {
		return nil, notFound("credential version", string(version))
	}
	if err != nil {
		return nil, s.explain(err)
	}
	v, err := tableFor[writ.Version]().decode([]byte(body))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(sealed); v.(*writ.Version).SealedHash != hex.EncodeToString(sum[:]) {
		return nil, unproven(tableFor[writ.Version](), version)
	}
	return sealed, nil
}
