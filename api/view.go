package api

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

// names tells the labels of things within one answer. It looks each up once.
type names struct {
	s    *Server
	ctx  context.Context
	org  writ.ID
	seen map[writ.ID]string
}

func (s *Server) names(ctx context.Context, org writ.ID) *names {
	return &names{s: s, ctx: ctx, org: org, seen: map[writ.ID]string{}}
}

// of is the label of an id, "" when it is empty or nothing has it.
func (n *names) of(id writ.ID) string {
	if id == "" {
		return ""
	}
	label, ok := n.seen[id]
	if !ok {
		label = n.s.label(n.ctx, n.org, id)
		n.seen[id] = label
	}
	return label
}

func (n *names) identity(i *writ.Identity) client.Identity {
	return client.Identity{Identity: *i, Label: i.Label(), OwnerName: n.of(i.Owner), BackupName: n.of(i.Backup), Live: i.Live(n.s.now())}
}

func (n *names) key(k *writ.Key) client.Key {
	// The cut-off decides too, and only the identity knows it.
	var cutoff writ.Time
	live := true
	if i, err := find[writ.Identity](n.ctx, n.s, n.org, string(k.Identity)); err == nil {
		cutoff, live = i.Cutoff, i.Live(n.s.now())
	}
	return client.Key{
		ID: k.ID, Org: k.Org, Identity: k.Identity, IdentityName: n.of(k.Identity), Role: k.Role, Name: k.Name,
		State: k.State, Created: k.Created, Expires: k.Expires, Local: k.Local, Live: live && k.Live(n.s.now(), cutoff),
	}
}

func (n *names) organization(o *writ.Org) client.Org {
	return client.Org{Org: *o, Stopped: o.State == writ.Suspended}
}

func (n *names) application(a *writ.Application) client.Application {
	return client.Application{Application: *a, OwnerName: n.of(a.Owner)}
}

func (n *names) credential(c *writ.Credential) client.Credential {
	v := client.Credential{
		Credential: *c, AppName: n.of(c.App), OwnerName: n.of(c.Owner), BackupName: n.of(c.Backup),
		AuthoriserName: n.of(c.Authoriser), Missing: c.Ungoverned(), Live: c.Live(n.s.now()),
	}
	if c.Current == "" {
		return v
	}
	if cv, err := find[writ.Version](n.ctx, n.s, n.org, string(c.Current)); err == nil {
		v.Version = version(cv)
	}
	return v
}

func version(v *writ.Version) *client.Version {
	return &client.Version{
		ID: v.ID, Credential: v.Credential, Number: v.Number, Hosts: v.Hosts, Placement: v.Placement,
		State: v.State, Created: v.Created, Fingerprint: v.Fingerprint,
	}
}

func (n *names) grant(g *writ.Grant) client.Grant {
	v := client.Grant{Grant: *g, IdentityName: n.of(g.Identity), CredentialName: n.of(g.Credential), AuthoriserName: n.of(g.Authoriser), Live: g.Live(n.s.now())}
	v.Texts = texts(g.Rules)
	return v
}

func texts(rules []writ.Rule) []string {
	out := make([]string, len(rules))
	for i := range rules {
		out[i] = rules[i].String()
	}
	return out
}

func (n *names) policy(p *writ.Policy) client.Policy { return client.Policy{Policy: *p} }

func (n *names) session(x *writ.Session) client.Session {
	return client.Session{
		ID: x.ID, Org: x.Org, Identity: x.Identity, IdentityName: n.of(x.Identity), Started: x.Started, StartedName: n.of(x.Started),
		Parent: x.Parent, Task: x.Task, State: x.State, Created: x.Created, Expires: x.Expires, Isolation: x.Isolation,
		Attached: x.Attached, Live: x.Live(n.s.now()),
	}
}

func recorded(m ledger.Mark) client.Recorded { return client.Recorded{Seq: m.Seq, Epoch: m.Epoch} }

// label is the name of a thing, as people write it.
func (s *Server) label(ctx context.Context, org, id writ.ID) string {
	noun, err := s.noun(ctx, org, id)
	if err != nil {
		return ""
	}
	return labelOf(noun)
}

func labelOf(noun any) string {
	switch v := noun.(type) {
	case *writ.Identity:
		return v.Label()
	case *writ.Application:
		return v.Name
	case *writ.Credential:
		return v.Name
	case *writ.Policy:
		return v.Name
	case *writ.Key:
		return v.Name
	case *writ.Org:
		return v.Name
	case *writ.Grant:
		return string(v.ID)
	case *writ.Session:
		return string(v.ID)
	case *writ.Version:
		return string(v.ID)
	}
	return ""
}
