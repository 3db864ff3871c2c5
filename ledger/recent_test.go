package ledger

import (
	"errors"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// A fact that changed between the decision and its entry, and is still alive,
// sends the allow back to be decided anew: agents may no longer use the
// credential, say.
func TestInvariant06WhatChangedIsDecidedAnew(t *testing.T) {
	b, w := opened(t)
	_, allow := w.allow(b.Epoch())
	w.grant.Purpose = "something narrower"
	b.change(false, Change{Act: "edit-grant", Rows: []Row{row(t, w.grant.ID, w.grant, false)}}, nil)
	_, err := b.Append(t.Context(), allow)
	var gone *BasisGone
	if !errors.As(err, &gone) || gone.Changed != w.grant.ID {
		t.Fatalf("Append = %v", err)
	}
	b.close()
	if r := b.verify(); r.Allows != 0 {
		t.Errorf("%d allows", r.Allows)
	}
}

// What happened longer ago than is remembered counts as changed.
func TestRecentForgetsToTheSafeSide(t *testing.T) {
	var r recent
	for i := range int64(3 * maxRecent) {
		r.add(i+1, writ.NewID(writ.KindGrant))
	}
	last := r.touched[len(r.touched)-1]
	if len(r.touched) > maxRecent || r.since(last.epoch, nil) != nil {
		t.Errorf("%d are remembered", len(r.touched))
	}
	if r.since(r.floor-1, nil) == nil {
		t.Error("a change that was forgotten counts as none")
	}
	if r.since(last.epoch-1, []decide.Record{{ID: last.id}}) == nil || r.since(last.epoch-1, []decide.Record{{ID: "grt_other"}}) != nil {
		t.Error("only a touched fact is a reason")
	}
}
