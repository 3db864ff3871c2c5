package api

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// past is the nouns that a decision was made on, as they were then: each read
// from the change entry that the decision names for it.
type past map[writ.ID]any

// past reads the recorded facts of a decision. A fact whose entry no longer
// shows it, because personal data was erased, is left out and named.
func (s *Server) past(ctx context.Context, log *ledger.Log, records []decide.Record) (p past, erased []writ.ID, err error) {
	p = past{}
	changes := map[int64]*ledger.Changed{}
	for _, r := range records {
		ch := changes[r.Seq]
		if ch == nil {
			e, err := log.Entry(ctx, r.Seq)
			if err != nil {
				return nil, nil, err
			}
			if ch, err = ledger.DecodeChange(e); err != nil {
				return nil, nil, err
			}
			changes[r.Seq] = ch
		}
		noun, err := ofChange(ch, r.ID)
		if err != nil {
			return nil, nil, err
		}
		if noun == nil {
			erased = append(erased, r.ID)
			continue
		}
		p[r.ID] = noun
	}
	return p, erased, nil
}

// ofChange reads one row of a change, nil when the entry does not show it.
func ofChange(ch *ledger.Changed, id writ.ID) (any, error) {
	for _, row := range ch.Rows {
		if row.ID != id {
			continue
		}
		n := fresh(id.Kind())
		if n == nil {
			return nil, nil
		}
		if err := json.Unmarshal(row.Body, n); err != nil {
			return nil, err
		}
		if g, ok := n.(*writ.Grant); ok {
			g.Compile()
		}
		return n, nil
	}
	return nil, nil
}

func fresh(kind writ.Kind) any {
	switch kind {
	case writ.KindOrg:
		return new(writ.Org)
	case writ.KindIdentity:
		return new(writ.Identity)
	case writ.KindApplication:
		return new(writ.Application)
	case writ.KindCredential:
		return new(writ.Credential)
	case writ.KindVersion:
		return new(writ.Version)
	case writ.KindGrant:
		return new(writ.Grant)
	case writ.KindSession:
		return new(writ.Session)
	case writ.KindPolicy:
		return new(writ.Policy)
	case writ.KindKey:
		return new(writ.Key)
	}
	return nil
}

// then gives a noun of the past, nil when it is not among the facts.
func then[T any](p past, id writ.ID) *T {
	n, _ := p[id].(*T)
	return n
}

// label is the name that a thing had then.
func (p past) label(id writ.ID) string { return labelOf(p[id]) }

// judged is a decision with the entry that holds it.
type judged struct {
	*ledger.Verdict
	entry ledger.Entry
	use   store.Use
	log   *ledger.Log
}

// verdict finds a decision of the caller's organization by the id of the
// decision or use, or a unique beginning of one, if it concerns her.
func (s *Server) verdict(ctx context.Context, ref string) (*judged, error) {
	org := callerOf(ctx).Org
	log, err := s.Store.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	use, err := s.Store.Use(ctx, org, writ.ID(ref))
	if writ.KindOf(err) == writ.KindNotFound {
		return nil, noDecision(ref)
	}
	if err != nil {
		return nil, err
	}
	e, err := s.Store.Entry(ctx, org, use.Seq)
	if err != nil {
		return nil, err
	}
	v, err := decodeVerdict(e)
	if err != nil {
		return nil, err
	}
	j := &judged{Verdict: v, entry: e, use: use, log: log}
	circle, err := s.circle(ctx)
	if err != nil {
		return nil, err
	}
	if circle != nil && !circle.who[v.Decision.Identity] {
		return nil, noDecision(ref)
	}
	return j, nil
}

// outcome is what became of the use, nil while that is not recorded.
func (j *judged) outcome(ctx context.Context, s *Server) (*writ.Outcome, error) {
	if j.use.OutcomeSeq == 0 {
		return nil, nil
	}
	e, err := s.Store.Entry(ctx, j.Org, j.use.OutcomeSeq)
	if err != nil {
		return nil, err
	}
	all, err := ledger.DecodeOutcomes(e)
	if err != nil {
		return nil, err
	}
	for i := range all.List {
		if all.List[i].Use == writ.UseOf(j.Decision.ID) {
			return &all.List[i], nil
		}
	}
	return nil, nil
}

func noDecision(ref string) error {
	return writ.Errorf(writ.KindNotFound, "no decision %s", writ.Printable(ref, 40)).WithFix("list uses with: writ use ls")
}

func decodeVerdict(e ledger.Entry) (*ledger.Verdict, error) {
	leaf, err := ledger.ParseLeaf(e.Leaf)
	if err != nil {
		return nil, err
	}
	if leaf.Type == ledger.TypeAllow {
		return ledger.DecodeAllow(e)
	}
	d, err := ledger.DecodeDenials(e)
	if err != nil {
		return nil, err
	}
	if d.Verdict == nil {
		return nil, noDecision(string(d.Repeats.Decision))
	}
	return d.Verdict, nil
}

// position is where the ledger holds the decision.
func (j *judged) position(s *Server, ctx context.Context) (client.Position, error) {
	leaf := j.entry.Digest()
	p := client.Position{Org: j.Org, Seq: j.Seq, Leaf: hex.EncodeToString(leaf[:]), Time: j.Time, Type: j.Type, Size: j.log.Head().Size}
	cp, err := s.checkpoint(ctx, j.log)
	if err != nil {
		return p, err
	}
	p.Checkpoint = cp.Size
	return p, nil
}
