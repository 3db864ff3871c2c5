package authority

import (
	"encoding/hex"
	"slices"

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
	nouns map[writ.ID]ledger.Noun

	sessions map[[32]byte]writ.ID    // by the hash of their token
	keys     map[[32]byte]writ.ID    // by the hash of their text
	apps     map[string]writ.ID      // by canonical host
	grants   map[place][]*writ.Grant // oldest first
	// byCredential are the grants for a credential, whose places move when the
	// credential's version does.
	byCredential map[writ.ID]map[writ.ID]*writ.Grant
	policies     map[writ.ID]*writ.Policy
	unproven     map[writ.ID]bool

	guardrails *decide.Guardrails
	// guarding are the records of the guardrails, doubtful the guardrails that
	// are not proven or are gone; both are made with the guardrails.
	guarding []decide.Record
	doubtful []writ.ID
	rates    rates
}

// place is where a decision looks for grants.
type place struct {
	identity writ.ID
	host     string
}

func newView(org writ.ID) *view {
	return &view{
		org: org, nouns: map[writ.ID]ledger.Noun{}, sessions: map[[32]byte]writ.ID{}, keys: map[[32]byte]writ.ID{}, apps: map[string]writ.ID{},
		grants: map[place][]*writ.Grant{}, byCredential: map[writ.ID]map[writ.ID]*writ.Grant{}, policies: map[writ.ID]*writ.Policy{}, unproven: map[writ.ID]bool{},
	}
}

// settle links what was put in any order while loading.
func (v *view) settle(epoch writ.Epoch) {
	for _, n := range v.nouns {
		v.link(n)
	}
	v.epoch = epoch
	v.compile()
}

// put stores a noun without linking it; only loading may.
func (v *view) put(n ledger.Noun) {
	if g, ok := n.Value.(*writ.Grant); ok {
		g.Compile()
	}
	v.nouns[n.ID] = n
}

// apply puts a committed change in place and publishes its epoch.
func (v *view) apply(change ledger.Committed) {
	guarded := false
	for _, n := range change.Nouns {
		// What was just committed is what its entry says.
		n.Proven = true
		old, had := v.nouns[n.ID]
		var moved []*writ.Grant
		if c, ok := n.Value.(*writ.Credential); ok {
			moved = v.unplace(c.ID)
		}
		if had {
			v.unlink(old)
		}
		v.put(n)
		v.link(n)
		for _, g := range moved {
			v.placeGrant(g)
		}
		guarded = guarded || n.ID.Is(writ.KindPolicy)
	}
	// Versions arrive in the same change as the credential that points at them,
	// in either order: place its grants by what both say in the end.
	for _, n := range change.Nouns {
		if c, ok := n.Value.(*writ.Credential); ok {
			for _, g := range v.unplace(c.ID) {
				v.placeGrant(g)
			}
		}
	}
	if guarded {
		v.compile()
	}
	v.epoch = change.Epoch
}

// link enters a noun where it is looked for.
func (v *view) link(n ledger.Noun) {
	if !n.Proven {
		v.unproven[n.ID] = true
	}
	switch t := n.Value.(type) {
	case *writ.Session:
		if h, ok := hash(t.Hash); ok {
			v.sessions[h] = t.ID
		}
	case *writ.Key:
		if h, ok := hash(t.Hash); ok {
			v.keys[h] = t.ID
		}
	case *writ.Application:
		if t.State.Final() {
			return
		}
		for _, h := range t.Hosts {
			// A host that two claim is the older one's; a newer, unproven claim on it
			// must not take it over.
			if have, ok := v.app(v.apps[h]); !ok || older(t.Created, t.ID, have.Created, have.ID) {
				v.apps[h] = t.ID
			}
		}
	case *writ.Grant:
		set := v.byCredential[t.Credential]
		if set == nil {
			set = map[writ.ID]*writ.Grant{}
			v.byCredential[t.Credential] = set
		}
		set[t.ID] = t
		v.placeGrant(t)
	case *writ.Policy:
		if t.State == writ.Active {
			v.policies[t.ID] = t
		}
	}
}

// unlink takes a noun out of where it is looked for.
func (v *view) unlink(n ledger.Noun) {
	delete(v.unproven, n.ID)
	switch t := n.Value.(type) {
	case *writ.Session:
		if h, ok := hash(t.Hash); ok && v.sessions[h] == t.ID {
			delete(v.sessions, h)
		}
	case *writ.Key:
		if h, ok := hash(t.Hash); ok && v.keys[h] == t.ID {
			delete(v.keys, h)
		}
	case *writ.Application:
		for _, h := range t.Hosts {
			if v.apps[h] == t.ID {
				delete(v.apps, h)
			}
		}
	case *writ.Grant:
		v.displaceGrant(t)
		if set := v.byCredential[t.Credential]; set != nil {
			delete(set, t.ID)
			if len(set) == 0 {
				delete(v.byCredential, t.Credential)
			}
		}
	case *writ.Policy:
		delete(v.policies, t.ID)
	}
}

// hosts are where the credential of a grant may be sent: its current version's
// hosts, or its application's while there is none, so that a denial can say so.
func (v *view) hosts(credential writ.ID) []string {
	c, ok := value[*writ.Credential](v, credential)
	if !ok {
		return nil
	}
	if version, ok := value[*writ.Version](v, c.Current); ok {
		return version.Hosts
	}
	if a, ok := v.app(c.App); ok {
		return a.Hosts
	}
	return nil
}

// placeGrant enters a grant at the hosts its credential opens. Revoked grants
// stay, so that a denial can say "over" rather than "never was".
func (v *view) placeGrant(g *writ.Grant) {
	for _, h := range v.hosts(g.Credential) {
		p := place{g.Identity, h}
		list := v.grants[p]
		i, found := slices.BinarySearchFunc(list, g, func(a, b *writ.Grant) int {
			switch {
			case a.ID == b.ID:
				return 0
			case older(a.Created, a.ID, b.Created, b.ID):
				return -1
			}
			return 1
		})
		if found {
			list = slices.Clone(list)
			list[i] = g
		} else {
			// Insert into a copy: readers may hold the old slice.
			list = slices.Insert(slices.Clone(list), i, g)
		}
		v.grants[p] = list
	}
}

func (v *view) displaceGrant(g *writ.Grant) {
	for _, h := range v.hosts(g.Credential) {
		p := place{g.Identity, h}
		if i := slices.IndexFunc(v.grants[p], func(o *writ.Grant) bool { return o.ID == g.ID }); i >= 0 {
			v.grants[p] = slices.Delete(slices.Clone(v.grants[p]), i, i+1)
			if len(v.grants[p]) == 0 {
				delete(v.grants, p)
			}
		}
	}
}

// unplace takes all grants for a credential out of their places and gives them.
func (v *view) unplace(credential writ.ID) []*writ.Grant {
	var all []*writ.Grant
	for _, g := range v.byCredential[credential] {
		v.displaceGrant(g)
		all = append(all, g)
	}
	return all
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
			v.guarding = append(v.guarding, decide.Record{ID: p.ID, Seq: v.nouns[p.ID].Seq})
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
	t, ok := n.Value.(T)
	return t, ok
}

func (v *view) app(id writ.ID) (*writ.Application, bool) { return value[*writ.Application](v, id) }

func hash(text string) (h [32]byte, ok bool) {
	if len(text) != 64 {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(text))
	return h, err == nil
}
