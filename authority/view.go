package authority

import (
	"slices"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
)

// view is one organization's authority. Nouns in it are shared with readers
// and never changed: a change puts a new one in the old one's place, and costs
// what it touches.
type view struct {
	org   writ.ID
	epoch writ.Epoch
	nouns map[writ.ID]noun

	tokens *tokens            // where sessions and keys are found by hash
	apps   map[string]writ.ID // by canonical host
	// grants are in the order of their creation. What a grant's credential opens
	// may change with every version; its application never does, so that no
	// change moves a grant from one place to another.
	grants   map[place][]*writ.Grant
	policies map[writ.ID]*writ.Policy
	unproven map[writ.ID]bool
	over     []ended // sessions that ended, the first to be forgotten first
	settled  bool    // loaded: from here on slices are shared with readers

	guardrails *decide.Guardrails
	// guarding are the records of the guardrails, doubtful the guardrails that
	// are not proven or are gone; both are made with the guardrails.
	guarding []decide.Record
	doubtful []writ.ID
	rates    rates
}

// noun is one row as the view holds it. Its digest is left out: a million rows
// would hold the same few, and the entry's seq names it as well.
type noun struct {
	value  any // nil where the row is gone
	seq    int64
	proven bool
}

// place is where a decision looks for grants.
type place struct{ identity, app writ.ID }

// ended is a session that is over, and when it may be forgotten.
type ended struct {
	id     writ.ID
	forget writ.Time
}

// overFor is how long a session that ended is remembered, so that what still
// runs in it is told that it ended, not that nobody knows it.
const overFor = time.Hour

func newView(org writ.ID, t *tokens) *view {
	return &view{
		org: org, tokens: t, nouns: map[writ.ID]noun{}, apps: map[string]writ.ID{},
		grants: map[place][]*writ.Grant{}, policies: map[writ.ID]*writ.Policy{}, unproven: map[writ.ID]bool{},
	}
}

// settle links what was put in any order while loading.
func (v *view) settle(epoch writ.Epoch) {
	for id, n := range v.nouns {
		v.link(id, n)
	}
	for _, list := range v.grants {
		slices.SortFunc(list, byAge)
	}
	v.settled, v.epoch = true, epoch
	v.compile()
}

// put stores a noun without linking it; only loading may.
func (v *view) put(n ledger.Noun) {
	v.nouns[n.ID] = noun{n.Value, n.Seq, n.Proven}
}

// useless reports whether a noun is over and nothing ever asks for it. One that
// is not proven stays: its row may say "revoked" because somebody wrote that.
func useless(n ledger.Noun) bool {
	if !n.Proven {
		return false
	}
	switch t := n.Value.(type) {
	case *writ.Version:
		return t.State.Final()
	case *writ.Key:
		return t.State.Final()
	case *writ.Policy:
		return t.State.Final()
	}
	return false
}

// apply puts a committed change in place and publishes its epoch.
func (v *view) apply(change ledger.Committed) {
	guarded := false
	for _, n := range change.Nouns {
		// What was just committed is what its entry says.
		n.Proven = true
		v.unlink(n.ID)
		if useless(n) {
			delete(v.nouns, n.ID)
		} else {
			v.put(n)
			v.link(n.ID, v.nouns[n.ID])
		}
		if s, ok := n.Value.(*writ.Session); ok && s.State.Final() {
			v.over = append(v.over, ended{s.ID, change.Time.Add(overFor)})
		}
		guarded = guarded || n.ID.Is(writ.KindPolicy)
	}
	if guarded {
		v.compile()
	}
	v.forget(change.Time)
	v.epoch = change.Epoch
}

// forget drops sessions that ended long enough ago.
func (v *view) forget(now writ.Time) {
	n := 0
	for n < len(v.over) && v.over[n].forget <= now {
		v.unlink(v.over[n].id)
		delete(v.nouns, v.over[n].id)
		n++
	}
	v.over = v.over[n:]
}

// link enters a noun where it is looked for.
func (v *view) link(id writ.ID, n noun) {
	if !n.proven {
		v.unproven[id] = true
	}
	switch t := n.value.(type) {
	case *writ.Session:
		v.tokens.put(t.Hash, writ.Ref{Org: v.org, ID: id}, n.proven)
	case *writ.Key:
		v.tokens.put(t.Hash, writ.Ref{Org: v.org, ID: id}, n.proven)
	case *writ.Application:
		if t.State.Final() && n.proven {
			return
		}
		for _, h := range t.Hosts {
			if v.claims(v.apps[h], n) {
				v.apps[h] = id
			}
		}
	case *writ.Grant:
		p, ok := v.place(t)
		if !ok {
			return
		}
		list := v.grants[p]
		if !v.settled {
			v.grants[p] = append(list, t) // settle sorts them
			return
		}
		// Insert into a copy: readers may hold the old slice.
		i, _ := slices.BinarySearchFunc(list, t, byAge)
		v.grants[p] = slices.Insert(slices.Clone(list), i, t)
	case *writ.Policy:
		if t.State == writ.Active {
			v.policies[id] = t
		}
	}
}

// claims reports whether a noun may take over what another has: a proven one
// takes it from one that is not, and the store keeps two proven ones from
// claiming the same.
func (v *view) claims(holder writ.ID, n noun) bool {
	have, ok := v.nouns[holder]
	return holder == "" || !ok || n.proven || !have.proven
}

// unlink takes the noun with this id out of where it is looked for.
func (v *view) unlink(id writ.ID) {
	delete(v.unproven, id)
	switch t := v.nouns[id].value.(type) {
	case *writ.Session:
		v.tokens.drop(t.Hash, writ.Ref{Org: v.org, ID: id})
	case *writ.Key:
		v.tokens.drop(t.Hash, writ.Ref{Org: v.org, ID: id})
	case *writ.Application:
		for _, h := range t.Hosts {
			if v.apps[h] == id {
				delete(v.apps, h)
			}
		}
	case *writ.Grant:
		p, ok := v.place(t)
		if !ok {
			return
		}
		if i := slices.IndexFunc(v.grants[p], func(o *writ.Grant) bool { return o.ID == id }); i >= 0 {
			v.grants[p] = slices.Delete(slices.Clone(v.grants[p]), i, i+1)
			if len(v.grants[p]) == 0 {
				delete(v.grants, p)
			}
		}
	case *writ.Policy:
		delete(v.policies, id)
	}
}

// place is where a grant is looked for. One whose credential is gone has none:
// nobody can tell what it opens, and it opens nothing. Revoked grants have
// theirs, so that a denial can say "over" rather than "never was".
func (v *view) place(g *writ.Grant) (place, bool) {
	c, ok := value[*writ.Credential](v, g.Credential)
	if !ok {
		return place{}, false
	}
	return place{g.Identity, c.App}, true
}

func byAge(a, b *writ.Grant) int {
	switch {
	case a.ID == b.ID:
		return 0
	case older(a.Created, a.ID, b.Created, b.ID):
		return -1
	}
	return 1
}

// compile makes the guardrails anew. What does not compile leaves none, and
// none denies: an absent guardrail would allow (invariant 4).
func (v *view) compile() {
	active := make([]*writ.Policy, 0, len(v.policies))
	for _, p := range v.policies {
		active = append(active, p)
	}
	slices.SortFunc(active, func(a, b *writ.Policy) int {
		if older(a.Created, a.ID, b.Created, b.ID) {
			return -1
		}
		return 1
	})
	g, err := v.guardrails.With(active)
	if err != nil {
		g = nil
	}
	v.guardrails = g
	v.guarding, v.doubtful = nil, nil
	if len(active) <= maxGuarding {
		for _, p := range active {
			v.guarding = append(v.guarding, decide.Record{ID: p.ID, Seq: v.nouns[p.ID].seq})
		}
	}
	for id := range v.unproven {
		if id.Is(writ.KindPolicy) {
			v.doubtful = append(v.doubtful, id)
		}
	}
	slices.Sort(v.doubtful)
}

// maxGuarding is up to how many guardrails a decision names one by one. With
// more, its entry names their version alone: the set can still be told from
// the changes before it, but no entry grows with the number of policies.
const maxGuarding = 64

func older(a writ.Time, aID writ.ID, b writ.Time, bID writ.ID) bool {
	return a < b || a == b && aID < bID
}

// value gives a noun of one type, whether it is proven or not.
func value[T any](v *view, id writ.ID) (T, bool) {
	n, ok := v.nouns[id]
	if !ok {
		var zero T
		return zero, false
	}
	t, ok := n.value.(T)
	return t, ok
}

func (v *view) app(id writ.ID) (*writ.Application, bool) { return value[*writ.Application](v, id) }
