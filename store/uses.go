package store

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Use is one decision as the search knows it: a use, or a denial.
type Use struct {
	Seq      int64     // of its entry
	Time     writ.Time // of its entry
	Decision writ.ID
	Allow    bool
	Reason   writ.Reason // of a denial

	Session    writ.ID
	Identity   writ.ID
	Credential writ.ID
	Grant      writ.ID
	Method     string
	Host       string
	Path       string // without the query

	// Repeats is how often a denial came again, Outcome what became of a use, ""
	// until that is known, and OutcomeSeq the entry that says so, 0 for none.
	Repeats    int64
	Outcome    writ.OutcomeKind
	OutcomeSeq int64
	Status     int
	Millis     int64
}

// UseQuery says which uses to list; the newest come first.
type UseQuery struct {
	After string
	Limit int // 0 is DefaultPage

	Identity   writ.ID
	Session    writ.ID
	Credential writ.ID
	Grant      writ.ID
	Host       string
	Reason     writ.Reason
	Outcome    writ.OutcomeKind
	Allowed    bool // only uses
	Denied     bool // only denials
	Since      writ.Time
	Until      writ.Time // exclusive
}

const useColumns = "at, decision, allow, time, session, actor, credential, grant_n, host, reason, method, path, repeats, outcome, outcome_at, status, millis"

// bucketBits is how many entries share a prefix in the indexes of uses.
const bucketBits = 16

// Uses lists uses and denials, among everything that was durable when it was
// called.
func (s *Store) Uses(ctx context.Context, org writ.ID, q UseQuery) (uses []Use, next string, err error) {
	if q.Limit == 0 {
		q.Limit = DefaultPage
	}
	if q.Limit < 1 || q.Limit > MaxPage {
		return nil, "", writ.Invalid("limit", "a page has 1 to 500 items", "choose a smaller limit, and follow the cursor")
	}
	if err := s.uses.catchUp(ctx, org); err != nil {
		return nil, "", s.explain(err)
	}
	head, err := reader{s.core, s.read}.Head(ctx, org)
	if err != nil {
		return nil, "", err
	}
	lo, hi := span(head.Number, 0, head.Size)
	if q.After != "" {
		seq, err := parseUseCursor(q.After)
		if err != nil {
			return nil, "", err
		}
		_, hi = span(head.Number, 0, min(seq, head.Size))
	}
	if q.Since != 0 {
		if lo, err = s.uses.firstAt(ctx, lo, hi, q.Since); err != nil {
			return nil, "", err
		}
	}
	if q.Until != 0 {
		if hi, err = s.uses.firstAt(ctx, lo, hi, q.Until); err != nil {
			return nil, "", err
		}
	}
	f, ok, err := s.uses.filter(ctx, head.Number, q)
	if err != nil || !ok {
		return nil, "", err
	}
	uses, err = s.uses.scan(ctx, head.Number, lo, hi, f, q.Limit+1)
	if err == nil && len(uses) > q.Limit {
		uses = uses[:q.Limit]
		next = base64.RawURLEncoding.EncodeToString([]byte("uses\n" + strconv.FormatInt(uses[q.Limit-1].Seq, 10)))
	}
	return uses, next, s.explain(err)
}

func parseUseCursor(cursor string) (int64, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	text, ok := strings.CutPrefix(string(b), "uses\n")
	seq, perr := strconv.ParseInt(text, 10, 64)
	if err != nil || !ok || perr != nil || seq < 0 {
		return 0, writ.Invalid("after", "not a cursor of this list", "take it from the page before, unchanged")
	}
	return seq, nil
}

// useFilter is a condition over uses, and the column of the bucketed index that
// serves it best, "" for none.
type useFilter struct {
	where   string // with "$1" and "$2" for the bounds of at; its own parameters from $4
	indexed string
	args    []any
}

// filter turns a query into a condition. ok is false when a name in it is one
// that no use has, so that nothing can be found.
func (u *useIndex) filter(ctx context.Context, number int64, q UseQuery) (f useFilter, ok bool, err error) {
	for _, c := range []struct {
		column, text string
		indexed      bool
	}{
		{"session", string(q.Session), true}, {"actor", string(q.Identity), true}, {"credential", string(q.Credential), true}, {"host", q.Host, true},
		{"grant_n", string(q.Grant), false}, {"reason", string(q.Reason), false}, {"outcome", string(q.Outcome), false},
	} {
		if c.text == "" {
			continue
		}
		n, err := u.number(ctx, number, c.text)
		if err != nil || n == 0 {
			return f, false, err
		}
		f.args = append(f.args, n)
		f.where += " AND " + c.column + " = $" + strconv.Itoa(3+len(f.args))
		if c.indexed && f.indexed == "" {
			f.indexed = c.column
		}
	}
	if q.Allowed != q.Denied {
		f.where += " AND allow = 0"
		if q.Allowed {
			f.where = strings.TrimSuffix(f.where, "0") + "1"
		}
	}
	return f, true, nil
}

// scan reads at most limit uses with lo <= at < hi, the newest first: by the
// primary key, or bucket by bucket through an index.
func (u *useIndex) scan(ctx context.Context, number, lo, hi int64, f useFilter, limit int) ([]Use, error) {
	if lo >= hi {
		return nil, nil
	}
	query := "SELECT " + useColumns + " FROM uses WHERE at >= $1 AND at < $2" + f.where
	tail := " ORDER BY at DESC LIMIT $3"
	if f.indexed == "" {
		return u.page(ctx, number, query+tail, append([]any{lo, hi, limit}, f.args...))
	}
	var all []Use
	query += " AND (at >> 16) = $" + strconv.Itoa(4+len(f.args)) + tail
	for bucket := (hi - 1) >> bucketBits; bucket >= lo>>bucketBits && len(all) < limit; bucket-- {
		args := append(append([]any{lo, hi, limit - len(all)}, f.args...), bucket)
		page, err := u.page(ctx, number, query, args)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
	}
	return all, nil
}

func (u *useIndex) page(ctx context.Context, number int64, query string, args []any) ([]Use, error) {
	rows, err := u.c.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	type raw struct {
		Use
		names [8]int64
	}
	var all []raw
	for rows.Next() {
		var r raw
		if err := rows.Scan(&r.Seq, &r.Decision, &r.Allow, &r.Time, &r.names[0], &r.names[1], &r.names[2], &r.names[3], &r.names[4], &r.names[5], &r.names[6],
			&r.Path, &r.Repeats, &r.names[7], &r.OutcomeSeq, &r.Status, &r.Millis); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close() // names are read through the same pool
	uses := make([]Use, len(all))
	for i, r := range all {
		r.Seq -= number << seqBits
		var text [8]string
		for j, n := range r.names {
			if text[j], err = u.text(ctx, number, n); err != nil {
				return nil, err
			}
		}
		r.Session, r.Identity, r.Credential, r.Grant = writ.ID(text[0]), writ.ID(text[1]), writ.ID(text[2]), writ.ID(text[3])
		r.Host, r.Reason, r.Method, r.Outcome = text[4], writ.Reason(text[5]), text[6], writ.OutcomeKind(text[7])
		uses[i] = r.Use
	}
	return uses, nil
}

// firstAt finds the first key whose entry is not before t. Times never decrease
// along the log, so halving finds it, without an index over time.
func (u *useIndex) firstAt(ctx context.Context, lo, hi int64, t writ.Time) (int64, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		var at int64
		var when writ.Time
		err := u.c.read.QueryRowContext(ctx, "SELECT at, time FROM uses WHERE at >= $1 AND at < $2 ORDER BY at LIMIT 1", mid, hi).Scan(&at, &when)
		switch {
		case missing(err):
			hi = mid
		case err != nil:
			return 0, u.c.explain(err)
		case when < t:
			lo = at + 1
		default:
			hi = mid
		}
	}
	return lo, nil
}

// EntryOf gives the seq of the entry that an id leads to: of a decision or use,
// the entry that recorded it; of a noun, the one that last changed it.
func (s *Store) EntryOf(ctx context.Context, org, id writ.ID) (int64, error) {
	if id.Is(writ.KindUse) {
		id = writ.DecisionOf(id)
	}
	if id.Is(writ.KindDecision) {
		u, err := s.Use(ctx, org, id)
		return u.Seq, err
	}
	t := tableOf(id.Kind())
	if t == nil {
		return 0, notFound("entry for", string(id))
	}
	r, err := oneRow(ctx, s.read, t, org, id)
	if missing(err) {
		return 0, notFound(t.word, string(id))
	}
	return r.seq, s.explain(err)
}

// Use finds one use or denial by the id of its decision or use, or a unique
// beginning of it.
func (s *Store) Use(ctx context.Context, org, id writ.ID) (Use, error) {
	if err := s.uses.catchUp(ctx, org); err != nil {
		return Use{}, s.explain(err)
	}
	if strings.HasPrefix(string(id), string(writ.KindUse)+"_") {
		id = writ.DecisionOf(id)
	}
	if body, ok := strings.CutPrefix(string(id), string(writ.KindDecision)+"_"); !ok || len(body) < minPrefix {
		return Use{}, notFound("use", string(id))
	}
	number, err := reader{s.core, s.read}.number(ctx, org)
	if err != nil {
		return Use{}, err
	}
	lo, hi := span(number, 0, 1<<seqBits-1)
	// "+at" keeps the primary key out of it: the range of decisions is the narrow one.
	found, err := s.uses.page(ctx, number, "SELECT "+useColumns+" FROM uses WHERE +at >= $1 AND +at < $2 AND decision >= $4 AND decision < $5 ORDER BY decision LIMIT $3",
		[]any{lo, hi, 2, id, string(id) + "~"})
	switch {
	case err != nil:
		return Use{}, s.explain(err)
	case len(found) == 0:
		return Use{}, notFound("use", string(id))
	case len(found) > 1:
		return Use{}, writ.Errorf(writ.KindInvalid, "%s could mean several uses", writ.Printable(string(id), 40)).
			WithWhy("%s, %s", found[0].Decision, found[1].Decision).WithFix("give more of the id")
	}
	return found[0], nil
}

// Entry gives one entry of an organization's log.
func (s *Store) Entry(ctx context.Context, org writ.ID, seq int64) (ledger.Entry, error) {
	var e ledger.Entry
	err := storage{s.core}.Entries(ctx, org, seq, seq+1, func(found ledger.Entry) error {
		e = found
		return nil
	})
	if err == nil && e.Leaf == nil {
		err = writ.Errorf(writ.KindNotFound, "no entry %d", seq).WithFix("see the newest with: writ tail")
	}
	return e, err
}

// Reader reads the organizations' logs as they are stored: for verifying and
// exporting them.
func (s *Store) Reader() ledger.Reader { return storage{s.core} }
