package api

import (
	"context"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/store"
)

// words are what people call each kind of thing.
var words = map[writ.Kind]string{
	writ.KindOrg: "org", writ.KindIdentity: "identity", writ.KindApplication: "app", writ.KindCredential: "credential",
	writ.KindVersion: "credential version", writ.KindGrant: "grant", writ.KindSession: "session", writ.KindPolicy: "policy", writ.KindKey: "key",
}

// notFound is the error for what is not there, for what belongs to another
// organization, and for what does not concern the caller: all three read alike
// (invariant 14).
func notFound(kind writ.Kind, ref string) *writ.Error {
	return writ.Errorf(writ.KindNotFound, "no %s %s", words[kind], writ.Printable(ref, 80)).WithFix("list them with: writ %s ls", words[kind])
}

// byRef finds a thing of a kind in the organization.
func (s *Server) byRef(ctx context.Context, org writ.ID, kind writ.Kind, ref string) (any, error) {
	switch kind {
	case writ.KindOrg:
		return s.ownOrg(ctx, org, ref)
	case writ.KindIdentity:
		return s.Store.Identity(ctx, org, ref)
	case writ.KindApplication:
		return s.Store.Application(ctx, org, ref)
	case writ.KindCredential:
		return s.Store.Credential(ctx, org, ref)
	case writ.KindVersion:
		return s.Store.Version(ctx, org, ref)
	case writ.KindGrant:
		return s.Store.Grant(ctx, org, ref)
	case writ.KindSession:
		return s.Store.Session(ctx, org, ref)
	case writ.KindPolicy:
		return s.Store.Policy(ctx, org, ref)
	case writ.KindKey:
		return s.Store.Key(ctx, org, ref)
	}
	return nil, notFound(kind, ref)
}

// ownOrg is the organization itself, by its id, a beginning of it, or its name.
// Another organization's is not found: names are not tried against theirs.
func (s *Server) ownOrg(ctx context.Context, org writ.ID, ref string) (*writ.Org, error) {
	o, err := s.Store.Org(ctx, string(org))
	if err != nil {
		return nil, err
	}
	if ref == o.Name || ref != "" && len(ref) >= len("org_")+4 && strings.HasPrefix(string(o.ID), ref) {
		return o, nil
	}
	return nil, notFound(writ.KindOrg, ref)
}

// kindOf is the kind of the noun T.
func kindOf[T any]() writ.Kind {
	switch any((*T)(nil)).(type) {
	case *writ.Org:
		return writ.KindOrg
	case *writ.Identity:
		return writ.KindIdentity
	case *writ.Application:
		return writ.KindApplication
	case *writ.Credential:
		return writ.KindCredential
	case *writ.Version:
		return writ.KindVersion
	case *writ.Grant:
		return writ.KindGrant
	case *writ.Session:
		return writ.KindSession
	case *writ.Policy:
		return writ.KindPolicy
	case *writ.Key:
		return writ.KindKey
	}
	return ""
}

// find finds a noun by reference.
func find[T any](ctx context.Context, s *Server, org writ.ID, ref string) (*T, error) {
	n, err := s.byRef(ctx, org, kindOf[T](), ref)
	if err != nil {
		return nil, err
	}
	return n.(*T), nil
}

// noun finds anything by its id.
func (s *Server) noun(ctx context.Context, org, id writ.ID) (any, error) {
	return s.byRef(ctx, org, id.Kind(), string(id))
}

// page reads one page of a kind of noun.
func page[T any](ctx context.Context, s *Server, org writ.ID, q store.Query) (items []*T, next string, err error) {
	var all any
	switch kindOf[T]() {
	case writ.KindIdentity:
		all, next, err = s.Store.Identities(ctx, org, q)
	case writ.KindApplication:
		all, next, err = s.Store.Applications(ctx, org, q)
	case writ.KindCredential:
		all, next, err = s.Store.Credentials(ctx, org, q)
	case writ.KindVersion:
		all, next, err = s.Store.Versions(ctx, org, q)
	case writ.KindGrant:
		all, next, err = s.Store.Grants(ctx, org, q)
	case writ.KindSession:
		all, next, err = s.Store.Sessions(ctx, org, q)
	case writ.KindPolicy:
		all, next, err = s.Store.Policies(ctx, org, q)
	case writ.KindKey:
		all, next, err = s.Store.Keys(ctx, org, q)
	}
	if err != nil {
		return nil, "", err
	}
	return all.([]*T), next, nil
}

// every reads all pages of a kind of noun.
func every[T any](ctx context.Context, s *Server, org writ.ID, q store.Query) ([]*T, error) {
	var all []*T
	q.Limit = store.MaxPage
	for {
		items, next, err := page[T](ctx, s, org, q)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		q.After = next
	}
}

// maxSkimmed bounds how many pages are read in order to fill one, when most of
// what they hold is left out.
const maxSkimmed = 40

// list answers with a page of what the query and keep (nil keeps all) leave,
// and of that what concerns the caller.
func list[T, V any](ctx context.Context, s *Server, q store.Query, l client.Listing, keep func(*T) bool, view func(*names, *T) V) (*Out[client.Page[V]], error) {
	c := callerOf(ctx)
	circle, err := s.circle(ctx)
	if err != nil {
		return nil, err
	}
	q.After, q.Limit, q.Final = l.Cursor, l.Limit, l.All || q.State.Final()
	n := s.names(ctx, c.Org)
	answer := client.Page[V]{Items: []V{}}
	for range maxSkimmed {
		items, next, err := page[T](ctx, s, c.Org, q)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if keep != nil && !keep(item) {
				continue
			}
			seen, err := circle.sees(ctx, item)
			if err != nil {
				return nil, err
			}
			if seen {
				answer.Items = append(answer.Items, view(n, item))
			}
		}
		answer.Next, q.After = next, next
		if next == "" || len(answer.Items) > 0 {
			break
		}
	}
	return out(answer), nil
}

// show answers with one thing, if it concerns the caller.
func show[T, V any](ctx context.Context, s *Server, ref string, view func(*names, *T) V) (*Out[V], error) {
	n, err := visible[T](ctx, s, ref)
	if err != nil {
		return nil, err
	}
	return out(view(s.names(ctx, callerOf(ctx).Org), n)), nil
}

// visible finds a thing that concerns the caller.
func visible[T any](ctx context.Context, s *Server, ref string) (*T, error) {
	n, err := find[T](ctx, s, callerOf(ctx).Org, ref)
	if err != nil {
		return nil, err
	}
	if err := s.concerning(ctx, n, ref); err != nil {
		return nil, err
	}
	return n, nil
}

// concerning reports that a noun is none of the caller's business as if it did
// not exist.
func (s *Server) concerning(ctx context.Context, noun any, ref string) error {
	circle, err := s.circle(ctx)
	if err != nil {
		return err
	}
	ok, err := circle.sees(ctx, noun)
	if err != nil {
		return err
	}
	if !ok {
		return notFound(kindOfNoun(noun), ref)
	}
	return nil
}

// wanted is a reference in a body and where its id goes.
type wanted struct {
	field string
	kind  writ.Kind
	ref   string
	id    *writ.ID
}

// references resolves the references of a body; empty ones stay empty.
func (s *Server) references(ctx context.Context, all ...wanted) error {
	for _, w := range all {
		if w.ref == "" {
			continue
		}
		n, err := s.byRef(ctx, callerOf(ctx).Org, w.kind, w.ref)
		if writ.KindOf(err) == writ.KindNotFound {
			return writ.Invalid(w.field, "there is no "+words[w.kind]+" "+writ.Printable(w.ref, 80), "list them with: writ "+words[w.kind]+" ls")
		}
		if err != nil {
			return err
		}
		*w.id = idOf(n)
	}
	return nil
}

// idOf is the id of any noun.
func idOf(noun any) writ.ID {
	switch n := noun.(type) {
	case *writ.Org:
		return n.ID
	case *writ.Identity:
		return n.ID
	case *writ.Application:
		return n.ID
	case *writ.Credential:
		return n.ID
	case *writ.Version:
		return n.ID
	case *writ.Grant:
		return n.ID
	case *writ.Session:
		return n.ID
	case *writ.Policy:
		return n.ID
	case *writ.Key:
		return n.ID
	}
	return ""
}

func kindOfNoun(noun any) writ.Kind { return idOf(noun).Kind() }
