package store

import (
	"context"

	"writ.dev/writ"
)

// livePerson checks that an id names a living person of the organization.
func (w *work) livePerson(ctx context.Context, field string, id writ.ID) error {
	const fix = "name a person who is active, as in ana@acme.dev; list them with: writ identity ls --kind person"
	i, err := get[writ.Identity](ctx, w, id)
	switch {
	case writ.KindOf(err) == writ.KindNotFound:
		return writ.Invalid(field, "there is no person "+writ.Printable(string(id), 40), fix)
	case err != nil:
		return err
	case i.Kind != writ.Person:
		return writ.Invalid(field, i.Label()+" is not a person", fix)
	case !i.Live(w.now):
		return writ.Invalid(field, i.Label()+" is not active", fix)
	}
	return nil
}

// changedPerson is livePerson for a field that an edit may have left alone:
// somebody who has left meanwhile does not stand in the way of other edits.
func (w *work) changedPerson(ctx context.Context, field string, was, is writ.ID) error {
	if is == was || is == "" {
		return nil
	}
	return w.livePerson(ctx, field, is)
}

// liveIdentity gives an identity that may act, with everything it belongs to:
// the agents above it, and the person who answers for it.
func (w *work) liveIdentity(ctx context.Context, field string, id writ.ID) (*writ.Identity, error) {
	i, err := get[writ.Identity](ctx, w, id)
	if writ.KindOf(err) == writ.KindNotFound {
		return nil, writ.Invalid(field, "there is no identity "+writ.Printable(string(id), 40), "list them with: writ identity ls")
	}
	if err != nil {
		return nil, err
	}
	for a := i; ; {
		if !a.Live(w.now) {
			return nil, writ.Invalid(field, a.Label()+" is not active", "look at it with: writ identity get "+a.Name)
		}
		if a.Parent == "" {
			break
		}
		if a, err = get[writ.Identity](ctx, w, a.Parent); err != nil {
			return nil, err
		}
	}
	if i.Kind == writ.Person || w.livePerson(ctx, field, i.Owner) == nil || i.Backup != "" && w.livePerson(ctx, field, i.Backup) == nil {
		return i, nil
	}
	return nil, writ.Invalid(field, "no living person is accountable for "+i.Label(), "give it an owner with: writ identity edit "+i.Name+" --owner PERSON")
}

// gone is the error of an act on something final.
func gone(t *table, name string, state writ.State) error {
	return writ.Errorf(writ.KindConflict, "the %s %s is %s", t.word, writ.Printable(name, 80), state).
		WithWhy("that is final; nothing brings it back").
		WithFix("make a new one")
}

// fixed is the error of an edit that touches what no edit may change.
func fixed(fields string) error {
	return writ.Errorf(writ.KindInvalid, "an edit cannot change %s", fields).WithFix("make a new one instead")
}

// after is an authorization cut-off past now, which never decreases. What was
// made in this very millisecond was made before it; what is made from here on
// is dated no earlier than the cut-off (see StartSession and AddKey).
func after(cutoff, now writ.Time) writ.Time { return max(cutoff, now+1) }

// isHash accepts SHA-256 in lower-case hexadecimal.
func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
