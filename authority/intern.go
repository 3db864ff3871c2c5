package authority

import (
	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// interned lets the many nouns of a load share the texts that they repeat: the
// organization, the ids they refer to by, states, methods and hosts. A noun
// read from its row has a copy of its own of each. It may change nouns, since
// nobody else has them yet.
type interned struct{ texts map[string]string }

func (x *interned) text(s string) string {
	if s == "" {
		return ""
	}
	if t, ok := x.texts[s]; ok {
		return t
	}
	if x.texts == nil {
		x.texts = map[string]string{}
	}
	x.texts[s] = s
	return s
}

func share[S ~string](x *interned, texts ...*S) {
	for _, t := range texts {
		*t = S(x.text(string(*t)))
	}
}

func shareAll[S ~string](x *interned, list []S) {
	for i := range list {
		share(x, &list[i])
	}
}

// noun shares the texts of one noun. Ids that others refer to go in as well;
// those of grants, versions, sessions and keys hardly repeat, and would only
// make the table larger.
func (x *interned) noun(n *ledger.Noun) {
	switch t := n.Value.(type) {
	case *writ.Identity:
		share(x, &t.ID, &t.Org, &t.Owner, &t.Backup, &t.Parent)
		share(x, &t.State)
		share(x, &t.Kind)
		share(x, &t.Purpose)
		n.ID = t.ID
	case *writ.Application:
		share(x, &t.ID, &t.Org, &t.Owner)
		share(x, &t.State)
		shareAll(x, t.Hosts)
		n.ID = t.ID
	case *writ.Credential:
		share(x, &t.ID, &t.Org, &t.App, &t.Owner, &t.Backup, &t.Authoriser)
		share(x, &t.State)
		share(x, &t.AIUse)
		share(x, &t.Issuer, &t.Purpose, &t.Source)
		shareAll(x, t.Triggers)
		n.ID = t.ID
	case *writ.Version:
		share(x, &t.Org, &t.Credential)
		share(x, &t.State)
		share(x, &t.Placement.In)
		share(x, &t.Placement.Name, &t.Placement.Template, &t.KeyID)
		shareAll(x, t.Hosts)
		n.ID = t.ID
	case *writ.Grant:
		share(x, &t.Org, &t.Identity, &t.Credential, &t.Parent, &t.Authoriser)
		share(x, &t.State)
		share(x, &t.Purpose)
		shareAll(x, t.Triggers)
		for i := range t.Rules {
			r := &t.Rules[i]
			share(x, &r.Host, &r.Path)
			shareAll(x, r.Methods)
		}
		t.Compile() // anew: what was compiled holds on to the path that was read
		n.ID = t.ID
	case *writ.Session:
		share(x, &t.Org, &t.Identity, &t.Started, &t.Parent, &t.Device)
		share(x, &t.State)
		share(x, &t.Isolation, &t.Task)
		n.ID = t.ID
	case *writ.Key:
		share(x, &t.Org, &t.Identity)
		share(x, &t.State)
		share(x, &t.Role)
		n.ID = t.ID
	}
}
