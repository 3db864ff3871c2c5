package api

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/store"
)

// circle is what concerns a member: herself, the services and agents that she
// owns, and what belongs to them. A nil circle, that of admins and auditors,
// holds the whole organization.
type circle struct {
	s    *Server
	org  writ.ID
	me   writ.ID
	who  map[writ.ID]bool // her and whom she owns
	cred map[writ.ID]bool // credentials granted to who; nil until it is asked for
	apps map[writ.ID]bool // applications of those and of her own
}

// circle is the caller's. It is made anew for each request: whom she owns may
// have changed.
func (s *Server) circle(ctx context.Context) (*circle, error) {
	c := callerOf(ctx)
	if c.Session == nil && c.Role != writ.RoleMember {
		return nil, nil
	}
	x := &circle{s: s, org: c.Org, me: c.Identity.ID, who: map[writ.ID]bool{c.Identity.ID: true}}
	owned, err := every[writ.Identity](ctx, s, c.Org, store.Query{Owner: x.me, Final: true})
	if err != nil {
		return nil, err
	}
	for _, i := range owned {
		x.who[i.ID] = true
	}
	return x, nil
}

// sees reports whether a noun concerns the member.
func (x *circle) sees(ctx context.Context, noun any) (bool, error) {
	if x == nil {
		return true, nil
	}
	switch n := noun.(type) {
	case *writ.Org, *writ.Policy:
		return true, nil // what binds everybody, everybody may read
	case *writ.Identity:
		return x.who[n.ID] || n.Backup == x.me, nil
	case *writ.Key:
		return x.who[n.Identity], nil
	case *writ.Session:
		return x.who[n.Identity] || x.who[n.Started], nil
	case *writ.Grant:
		if x.who[n.Identity] || n.Authoriser == x.me {
			return true, nil
		}
		c, err := find[writ.Credential](ctx, x.s, x.org, string(n.Credential))
		return err == nil && c.Owner == x.me, ignoreMissing(err)
	case *writ.Credential:
		if n.Owner == x.me || n.Backup == x.me || n.Authoriser == x.me {
			return true, nil
		}
		err := x.load(ctx)
		return x.cred[n.ID], err
	case *writ.Application:
		if n.Owner == x.me {
			return true, nil
		}
		err := x.load(ctx)
		return x.apps[n.ID], err
	}
	return false, nil
}

// load finds the credentials that are granted to her circle, or that she owns,
// and their applications.
func (x *circle) load(ctx context.Context) error {
	if x.cred != nil {
		return nil
	}
	cred, apps := map[writ.ID]bool{}, map[writ.ID]bool{}
	for id := range x.who {
		grants, err := every[writ.Grant](ctx, x.s, x.org, store.Query{Identity: id})
		if err != nil {
			return err
		}
		for _, g := range grants {
			cred[g.Credential] = true
		}
	}
	owned, err := every[writ.Credential](ctx, x.s, x.org, store.Query{Owner: x.me})
	if err != nil {
		return err
	}
	for _, c := range owned {
		apps[c.App] = true
	}
	for id := range cred {
		c, err := find[writ.Credential](ctx, x.s, x.org, string(id))
		if err != nil {
			if ignoreMissing(err) == nil {
				continue
			}
			return err
		}
		apps[c.App] = true
	}
	x.cred, x.apps = cred, apps
	return nil
}

func ignoreMissing(err error) error {
	if writ.KindOf(err) == writ.KindNotFound {
		return nil
	}
	return err
}
