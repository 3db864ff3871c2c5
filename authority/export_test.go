package authority

import (
	"encoding/hex"
	"encoding/json"
	"slices"

	"writ.dev/writ"
)

// Dump is all that a view holds, in a form that can be compared.
type Dump struct {
	Epoch    writ.Epoch
	Nouns    map[writ.ID]string // seq, proof and JSON
	Places   map[string][]writ.ID
	Apps     map[string]writ.ID
	Tokens   map[string]writ.ID
	Policies []writ.ID
	Unproven []writ.ID
	Doubtful []writ.ID
	Guarding int
	Version  string
}

// DumpOf gives what the index holds of an organization, nil when it is not
// loaded.
func DumpOf(x *Index, org writ.ID) *Dump {
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.view
	if v == nil {
		return nil
	}
	d := &Dump{Epoch: v.epoch, Nouns: map[writ.ID]string{}, Places: map[string][]writ.ID{}, Apps: v.apps, Tokens: map[string]writ.ID{},
		Doubtful: v.doubtful, Guarding: len(v.guarding), Version: v.guardrails.Version()}
	for id, n := range v.nouns {
		body, err := json.Marshal([]any{n.seq, n.proven, n.value})
		if err != nil {
			panic(err)
		}
		d.Nouns[id] = string(body)
	}
	for p, list := range v.grants {
		for _, g := range list {
			key := string(p.identity) + " " + string(p.app)
			d.Places[key] = append(d.Places[key], g.ID)
		}
	}
	for id := range v.policies {
		d.Policies = append(d.Policies, id)
	}
	for id := range v.unproven {
		d.Unproven = append(d.Unproven, id)
	}
	slices.Sort(d.Policies)
	slices.Sort(d.Unproven)
	x.tokens.mu.RLock()
	defer x.tokens.mu.RUnlock()
	for h, ref := range x.tokens.refs {
		if ref.Org == org {
			d.Tokens[hex.EncodeToString(h[:])] = ref.ID
		}
	}
	return d
}
