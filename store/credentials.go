package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// AddCredential takes a credential into the inventory. With a version it can be
// used, once it is governed and granted; v may be nil for one that is only
// known to exist. sealed is the version's ciphertext, which v.SealedHash names.
func (s *Store) AddCredential(ctx context.Context, by writ.Actor, c writ.Credential, v *writ.Version, sealed []byte) (*writ.Credential, ledger.Mark, error) {
	return do(ctx, s, c.Org, act{name: "add-credential", by: by}, func(ctx context.Context, w *work) (*writ.Credential, error) {
		n := c
		var err error
		if n.ID, err = newID(c.ID, writ.KindCredential); err != nil {
			return nil, err
		}
		n.State, n.Created, n.Current = writ.Active, w.now, ""
		if err := w.credential(ctx, &n, &writ.Credential{}); err != nil {
			return nil, err
		}
		app, err := w.liveApplication(ctx, n.App)
		if err != nil {
			return nil, err
		}
		w.add(n.ID, &n)
		if v == nil {
			return &n, nil
		}
		return &n, w.seal(ctx, &n, app, *v, sealed)
	})
}

// credential checks what is the same for a new and an edited credential.
func (w *work) credential(ctx context.Context, c, was *writ.Credential) error {
	if err := c.Validate(); err != nil {
		return err
	}
	for _, p := range []struct {
		field   string
		was, is writ.ID
	}{{"owner", was.Owner, c.Owner}, {"backup", was.Backup, c.Backup}, {"authoriser", was.Authoriser, c.Authoriser}} {
		if err := w.changedPerson(ctx, p.field, p.was, p.is); err != nil {
			return err
		}
	}
	if c.Expires.Passed(w.now) && c.Expires != was.Expires {
		return writ.Invalid("expires", "the credential would have expired already", "give a time in the future")
	}
	return w.free(ctx, tableFor[writ.Credential](), c.Name, c.ID)
}

func (w *work) liveApplication(ctx context.Context, id writ.ID) (*writ.Application, error) {
	a, err := get[writ.Application](ctx, w, id)
	if writ.KindOf(err) == writ.KindNotFound || err == nil && a.State != writ.Active {
		return nil, writ.Invalid("app", "there is no active application "+writ.Printable(string(id), 40), "declare it with: writ app add NAME --host HOST --env prod")
	}
	return a, err
}

// maxSealed bounds a version's ciphertext, in bytes.
const maxSealed = 1 << 20

// seal adds a version and makes it the credential's current one.
func (w *work) seal(ctx context.Context, c *writ.Credential, app *writ.Application, v writ.Version, sealed []byte) error {
	var err error
	if v.ID, err = newID(v.ID, writ.KindVersion); err != nil {
		return err
	}
	v.Org, v.Credential, v.State, v.Created, v.Number = w.org, c.ID, writ.Active, w.now, 1
	versions, err := all[writ.Version](ctx, w, "credential = $2", c.ID)
	if err != nil {
		return err
	}
	for _, old := range versions {
		v.Number = max(v.Number, old.Number+1)
		if !old.State.Final() {
			// An allow that was decided on the old version and is not recorded yet
			// finds it dead, and is decided anew on this one.
			old.State = writ.Revoked
			w.put(old.ID, old)
		}
	}
	if err := v.Validate(app); err != nil {
		return err
	}
	sum := sha256.Sum256(sealed)
	if len(sealed) == 0 || len(sealed) > maxSealed || v.SealedHash != hex.EncodeToString(sum[:]) {
		return writ.Errorf(writ.KindInternal, "a credential version does not name its ciphertext")
	}
	w.add(v.ID, &v)
	w.sealed[v.ID] = slices.Clone(sealed)
	c.Current = v.ID
	w.put(c.ID, c)
	return nil
}

// EditCredential changes a credential's provenance and what may be done with
// it; its application and value are changed by making anew and by rotating.
func (s *Store) EditCredential(ctx context.Context, by writ.Actor, ref writ.Ref, edit func(*writ.Credential) error) (*writ.Credential, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "edit-credential", by: by}, func(ctx context.Context, w *work) (*writ.Credential, error) {
		c, err := get[writ.Credential](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		was := *c
		if was.State.Final() {
			return nil, gone(tableFor[writ.Credential](), was.Name, was.State)
		}
		if err := edit(c); err != nil {
			return nil, err
		}
		if c.ID != was.ID || c.Org != was.Org || c.App != was.App || c.State != was.State || c.Created != was.Created || c.Current != was.Current {
			return nil, fixed("id, app, state, created and current")
		}
		if err := w.credential(ctx, c, &was); err != nil {
			return nil, err
		}
		w.put(c.ID, c)
		return c, nil
	})
}

// RotateCredential makes a new version the current one and retires the old.
func (s *Store) RotateCredential(ctx context.Context, by writ.Actor, ref writ.Ref, v writ.Version, sealed []byte) (*writ.Credential, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "rotate-credential", by: by}, func(ctx context.Context, w *work) (*writ.Credential, error) {
		c, err := get[writ.Credential](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		if c.State.Final() {
			return nil, gone(tableFor[writ.Credential](), c.Name, c.State)
		}
		app, err := w.liveApplication(ctx, c.App)
		if err != nil {
			return nil, err
		}
		return c, w.seal(ctx, c, app, v, sealed)
	})
}

// SuspendCredential keeps a credential from being used until it is resumed.
func (s *Store) SuspendCredential(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Credential, ledger.Mark, error) {
	return s.turnCredential(ctx, ref, act{name: "suspend-credential", by: by, cause: cause, takes: true}, writ.Suspended)
}

// ResumeCredential lets a suspended credential be used again, by the grants
// that still stand. What has no living owner stays denied until it has one.
func (s *Store) ResumeCredential(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Credential, ledger.Mark, error) {
	return s.turnCredential(ctx, ref, act{name: "resume-credential", by: by, cause: cause}, writ.Active)
}

func (s *Store) turnCredential(ctx context.Context, ref writ.Ref, a act, to writ.State) (*writ.Credential, ledger.Mark, error) {
	return do(ctx, s, ref.Org, a, func(ctx context.Context, w *work) (*writ.Credential, error) {
		c, err := get[writ.Credential](ctx, w, ref.ID)
		if err != nil {
			return nil, err
		}
		if c.State.Final() {
			return nil, gone(tableFor[writ.Credential](), c.Name, c.State)
		}
		if c.State != to {
			c.State = to
			w.put(c.ID, c)
		}
		return c, nil
	})
}

// RevokeCredential withdraws a credential for good, with its versions. Grants
// of it keep their state and give nothing: they are judged with it.
func (s *Store) RevokeCredential(ctx context.Context, by writ.Actor, ref writ.Ref, cause string) (*writ.Credential, ledger.Mark, error) {
	return do(ctx, s, ref.Org, act{name: "revoke-credential", by: by, cause: cause, takes: true}, func(ctx context.Context, w *work) (*writ.Credential, error) {
		c, err := find[writ.Credential](ctx, w, ref.ID)
		if err != nil || c.State.Final() {
			return c, err
		}
		c.State = writ.Revoked
		w.put(c.ID, c)
		versions, err := all[writ.Version](ctx, w, "credential = $2", c.ID)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if !v.State.Final() {
				v.State = writ.Revoked
				w.put(v.ID, v)
			}
		}
		return c, nil
	})
}
