package api

import (
	"context"
	"slices"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/decide"
)

// Rebuild makes the facts of an ask from nouns alone, as the live index does
// from its own: one view, so that a replay judges by the same code. authority
// has it.
type Rebuild func(ctx context.Context, ask *writ.Ask, epoch writ.Epoch, nouns []any) (*decide.Facts, error)

// unreplayable are denials that do not come from the facts alone: something
// else failed, and what it was then nobody can bring about again.
var unreplayable = []writ.Reason{writ.AuthorityStale, writ.LedgerUnavailable, writ.QuotaExceeded, writ.DestinationBlocked, writ.PlacementViolation, writ.StateUnproven}

// why replays a decision from its ledger entry, and from the entries that it
// names for its facts.
func (s *Server) why(ctx context.Context, ref string) (*client.Why, error) {
	j, err := s.verdict(ctx, ref)
	if err != nil {
		return nil, err
	}
	p, erased, err := s.past(ctx, j.log, j.Records)
	if err != nil {
		return nil, err
	}
	w := &client.Why{Decision: j.Decision, Facts: []client.FactRecord{}}
	for _, r := range j.Records {
		w.Facts = append(w.Facts, client.FactRecord{ID: r.ID, Label: p.label(r.ID), Seq: r.Seq})
	}
	if e, ok := writ.Explain(j.Decision.Reason()); ok {
		w.Reason = &e
	}
	if j.Ask != nil {
		w.Request = j.Ask.Method + " " + j.Ask.Host + j.Ask.Target.Raw
	}
	if w.Ledger, err = j.position(s, ctx); err != nil {
		return nil, err
	}
	switch reason := j.Decision.Reason(); {
	case len(erased) > 0:
		w.Note = "facts it rests on were erased: " + strings.Join(texted(erased), ", ")
	case j.Ask == nil:
		w.Note = "what was asked was erased"
	case slices.Contains(unreplayable, reason):
		w.Note = "the denial " + string(reason) + " does not come from recorded facts alone, so it cannot be decided again"
	case len(j.Records) == 0:
		w.Note = "it was denied without a decision on facts, so it cannot be decided again"
	case s.Rebuild == nil:
		w.Note = "this server does not replay decisions"
	default:
		if err := s.replay(ctx, j, p, w); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// replay decides once more. Simulate gives the same answer as Decide and mints
// nothing.
func (s *Server) replay(ctx context.Context, j *judged, p past, w *client.Why) error {
	profile := writ.Profile{}
	for _, n := range p {
		if a, ok := n.(*writ.Application); ok && a.HasHost(j.Ask.Host) {
			profile = a.Profile
		}
	}
	ask, err := j.Replay(profile)
	if err != nil {
		w.Note = "the request as it is recorded cannot be read again"
		return nil
	}
	nouns := make([]any, 0, len(p))
	for _, r := range j.Records { // in the order of the record, so that replays agree
		if n, ok := p[r.ID]; ok {
			nouns = append(nouns, n)
		}
	}
	facts, err := s.Rebuild(ctx, ask, j.Decision.Epoch, nouns)
	if err != nil {
		return err
	}
	again := decide.Simulate(ask, facts)
	w.Replayed = &again
	w.Same = sameAnswer(&j.Decision, &again)
	if !w.Same {
		w.Note = "the answers differ: report this"
		if len(j.Hidden) > 0 {
			w.Note = "the answers differ; values of the query are not recorded, and may have decided it"
		}
	}
	return nil
}

// sameAnswer compares what was decided and what it rests on. Sentences for
// people may be worded anew.
func sameAnswer(a, b *writ.Decision) bool {
	return a.Allow == b.Allow && slices.Equal(a.Reasons, b.Reasons) && a.Identity == b.Identity && a.Session == b.Session &&
		a.Grant == b.Grant && a.Credential == b.Credential && a.Version == b.Version && a.Rule == b.Rule &&
		a.Basis == b.Basis && a.Policy == b.Policy && slices.Equal(a.Path, b.Path) && slices.Equal(a.Guardrails, b.Guardrails)
}
