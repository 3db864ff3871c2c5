package api

import (
	"context"
	"encoding/base64"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/store"
)

func (s *Server) credentialRoutes() {
	const tag = "credentials"
	operate(s, operation{id: "add-credential", method: "POST", path: "/v1/credentials", tag: tag, access: admin, summary: "Store a credential; its value is sealed and never comes back"}, s.addCredential)

	operate(s, operation{id: "list-credentials", method: "GET", path: "/v1/credentials", tag: tag, access: reader, summary: "List credentials"},
		func(ctx context.Context, in *client.CredentialFilter) (*Out[client.Page[client.Credential]], error) {
			q := store.Query{State: in.State}
			if err := s.references(ctx,
				wanted{"app", writ.KindApplication, in.App, &q.App},
				wanted{"owner", writ.KindIdentity, in.Owner, &q.Owner}); err != nil {
				return nil, err
			}
			keep := func(c *writ.Credential) bool { return !in.Ungoverned || len(c.Ungoverned()) > 0 }
			return list(ctx, s, q, in.Listing, keep, (*names).credential)
		})

	operate(s, operation{id: "get-credential", method: "GET", path: "/v1/credentials/{ref}", tag: tag, access: reader, summary: "Get a credential, without its value"},
		func(ctx context.Context, in *Named) (*Out[client.Credential], error) {
			return show(ctx, s, in.Ref, (*names).credential)
		})

	operate(s, operation{id: "edit-credential", method: "PATCH", path: "/v1/credentials/{ref}", tag: tag, access: admin, summary: "Change a credential's provenance"}, s.editCredential)
	operate(s, operation{id: "rotate-credential", method: "POST", path: "/v1/credentials/{ref}/rotate", tag: tag, access: admin, summary: "Give a credential a new value"}, s.rotateCredential)

	operate(s, operation{id: "suspend-credential", method: "POST", path: "/v1/credentials/{ref}/suspend", tag: tag, access: admin, summary: "Stop a credential until it is resumed"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Credential](ctx, s, in, "suspend", s.Store.SuspendCredential)
		})

	operate(s, operation{id: "resume-credential", method: "POST", path: "/v1/credentials/{ref}/resume", tag: tag, access: admin, summary: "Let a suspended credential be used again"},
		func(ctx context.Context, in *act) (*Out[client.Change[client.Credential]], error) {
			return turn(ctx, s, in, s.Store.ResumeCredential, (*names).credential)
		})

	operate(s, operation{id: "revoke-credential", method: "POST", path: "/v1/credentials/{ref}/revoke", tag: tag, access: admin, summary: "End a credential for good"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			return withdraw[writ.Credential](ctx, s, in, "revoke", s.Store.RevokeCredential)
		})
}

// secretOf reads the secret of a body. What it returns is the caller's to clear.
func secretOf(text, encoding string) ([]byte, error) {
	if encoding != "base64" {
		return []byte(text), nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 {
		clear(b)
		return nil, writ.Invalid("secret", "the secret is not base64", "encode it with the standard alphabet and padding, or leave encoding away")
	}
	return b, nil
}

// boundHosts are the hosts that a version is sealed for, sorted.
func boundHosts(given, otherwise []string) ([]string, error) {
	if len(given) == 0 {
		given = otherwise
	}
	hosts, err := canonicalHosts(given)
	slices.Sort(hosts)
	return slices.Compact(hosts), err
}

func (s *Server) addCredential(ctx context.Context, in *struct {
	Creation
	Body client.NewCredential
}) (*Out[client.Change[client.Credential]], error) {
	c, b := callerOf(ctx), &in.Body
	cred := writ.Credential{
		ID: writ.NewID(writ.KindCredential), Org: c.Org, Name: b.Name, Issuer: b.Issuer, Issued: b.Issued, Purpose: b.Purpose, Triggers: b.Triggers,
		Expires: b.Expires, AIUse: b.AIUse, Source: b.Source, State: writ.Active, Created: s.now(),
	}
	if cred.AIUse == "" {
		cred.AIUse = writ.AINeedsControls
	}
	if err := s.references(ctx,
		wanted{"app", writ.KindApplication, b.App, &cred.App},
		wanted{"owner", writ.KindIdentity, b.Owner, &cred.Owner},
		wanted{"backup", writ.KindIdentity, b.Backup, &cred.Backup},
		wanted{"authoriser", writ.KindIdentity, b.Authoriser, &cred.Authoriser}); err != nil {
		return nil, err
	}
	app, err := find[writ.Application](ctx, s, c.Org, string(cred.App))
	if err != nil {
		return nil, err
	}
	v := &writ.Version{ID: writ.NewID(writ.KindVersion), Org: c.Org, Credential: cred.ID, Number: 1, Placement: b.Placement, State: writ.Active, Created: s.now()}
	if v.Hosts, err = boundHosts(b.Hosts, app.Hosts); err != nil {
		return nil, err
	}
	// All that can be wrong is found before the secret is touched.
	if err := cred.Validate(); err != nil {
		return nil, err
	}
	if err := v.Validate(app); err != nil {
		return nil, err
	}
	secret, err := secretOf(b.Secret, b.Encoding)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	if in.DryRun {
		view := s.names(ctx, c.Org).credential(&cred)
		view.Version = version(v)
		return dry(nil, view)
	}
	sealed, err := s.Sealer.Seal(ctx, v, secret)
	if err != nil {
		return nil, err
	}
	// The request is remembered by its fingerprint, not by its secret: a plain
	// hash over a weak secret could be guessed from the database.
	asked := *b
	asked.Secret, asked.Encoding = v.Fingerprint, ""
	st, err := s.once(in.Creation, "add-credential", asked)
	if err != nil {
		return nil, err
	}
	n, mark, err := st.AddCredential(ctx, c.Actor(), cred, v, sealed)
	if err != nil {
		return nil, err
	}
	return changed(s.names(ctx, c.Org).credential(n), mark), nil
}

func (s *Server) rotateCredential(ctx context.Context, in *struct {
	Named
	Creation
	Body client.NewVersion
}) (*Out[client.Change[client.Credential]], error) {
	c, b := callerOf(ctx), &in.Body
	cred, err := find[writ.Credential](ctx, s, c.Org, in.Ref)
	if err != nil {
		return nil, err
	}
	app, err := find[writ.Application](ctx, s, c.Org, string(cred.App))
	if err != nil {
		return nil, err
	}
	v := &writ.Version{ID: writ.NewID(writ.KindVersion), Org: c.Org, Credential: cred.ID, Number: 1, State: writ.Active, Created: s.now()}
	hosts := app.Hosts
	if cred.Current != "" {
		old, err := find[writ.Version](ctx, s, c.Org, string(cred.Current))
		if err != nil {
			return nil, err
		}
		v.Number, v.Placement, hosts = old.Number+1, old.Placement, old.Hosts
	}
	set(&v.Placement, b.Placement)
	if v.Hosts, err = boundHosts(b.Hosts, hosts); err != nil {
		return nil, err
	}
	if err := v.Validate(app); err != nil {
		return nil, err
	}
	secret, err := secretOf(b.Secret, b.Encoding)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	if in.DryRun {
		view := s.names(ctx, c.Org).credential(cred)
		view.Version = version(v)
		return dry(nil, view)
	}
	sealed, err := s.Sealer.Seal(ctx, v, secret)
	if err != nil {
		return nil, err
	}
	asked := *b
	asked.Secret, asked.Encoding = v.Fingerprint, ""
	st, err := s.once(in.Creation, "rotate-credential "+string(cred.ID), asked)
	if err != nil {
		return nil, err
	}
	n, mark, err := st.RotateCredential(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: cred.ID}, *v, sealed)
	if err != nil {
		return nil, err
	}
	// What still ran on the old version is cut, and the answer waits for that.
	s.settle(ctx, c.Org, mark)
	return changed(s.names(ctx, c.Org).credential(n), mark), nil
}

func (s *Server) editCredential(ctx context.Context, in *struct {
	Named
	Mutation
	Body client.EditCredential
}) (*Out[client.Change[client.Credential]], error) {
	c, b := callerOf(ctx), &in.Body
	cred, err := find[writ.Credential](ctx, s, c.Org, in.Ref)
	if err != nil {
		return nil, err
	}
	var owner, backup, authoriser writ.ID
	if err := s.references(ctx,
		wanted{"owner", writ.KindIdentity, value(b.Owner), &owner},
		wanted{"backup", writ.KindIdentity, value(b.Backup), &backup},
		wanted{"authoriser", writ.KindIdentity, value(b.Authoriser), &authoriser}); err != nil {
		return nil, err
	}
	edit := func(x *writ.Credential) error {
		setTo(&x.Owner, b.Owner != nil, owner)
		setTo(&x.Backup, b.Backup != nil, backup)
		setTo(&x.Authoriser, b.Authoriser != nil, authoriser)
		set(&x.Issuer, b.Issuer)
		set(&x.Issued, b.Issued)
		set(&x.Purpose, b.Purpose)
		set(&x.Triggers, b.Triggers)
		set(&x.Expires, b.Expires)
		set(&x.AIUse, b.AIUse)
		set(&x.Source, b.Source)
		return nil
	}
	n := s.names(ctx, c.Org)
	if in.DryRun {
		_ = edit(cred)
		return dry(cred.Validate(), n.credential(cred))
	}
	cred, mark, err := s.Store.EditCredential(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: cred.ID}, edit)
	if err != nil {
		return nil, err
	}
	s.settle(ctx, c.Org, mark)
	return changed(n.credential(cred), mark), nil
}
