package api

import (
	"context"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

// set sets a field that an edit gives.
func set[T any](field *T, given *T) {
	if given != nil {
		*field = *given
	}
}

// setTo sets a field that an edit gives in another form.
func setTo[T any](field *T, given bool, v T) {
	if given {
		*field = v
	}
}

// value is what a pointer points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// changed answers for a change that was made.
func changed[V any](item V, mark ledger.Mark) *Out[client.Change[V]] {
	return out(client.Change[V]{Item: item, Record: recorded(mark)})
}

// dry answers for a change that was only tried.
func dry[V any](err error, item V) (*Out[client.Change[V]], error) {
	if err != nil {
		return nil, err
	}
	return out(client.Change[V]{Item: item, DryRun: true}), nil
}

// turn carries out an act that puts something back into force.
func turn[T, V any](ctx context.Context, s *Server, in *act, do func(context.Context, writ.Actor, writ.Ref, string) (*T, ledger.Mark, error), view func(*names, *T) V) (*Out[client.Change[V]], error) {
	c := callerOf(ctx)
	n, err := visible[T](ctx, s, in.Ref)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return dry(writ.CheckText("reason", in.Body.Reason), view(s.names(ctx, c.Org), n))
	}
	n, mark, err := do(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: idOf(n)}, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return changed(view(s.names(ctx, c.Org), n), mark), nil
}

// withdraw carries out an act that takes something away, and answers once what
// rested on it is down.
func withdraw[T any](ctx context.Context, s *Server, in *act, verb string, do func(context.Context, writ.Actor, writ.Ref, string) (*T, ledger.Mark, error)) (*Out[client.Revocation], error) {
	c := callerOf(ctx)
	n, err := visible[T](ctx, s, in.Ref)
	if err != nil {
		return nil, err
	}
	r := &client.Revocation{Target: target(n), Act: verb}
	if in.DryRun {
		r.DryRun = true
		count(r, idOf(n))
		return out(*r), writ.CheckText("reason", in.Body.Reason)
	}
	return s.withdrawn(ctx, r, func() (ledger.Mark, error) {
		_, mark, err := do(ctx, c.Actor(), writ.Ref{Org: c.Org, ID: idOf(n)}, in.Body.Reason)
		return mark, err
	})
}

func target(noun any) client.Target {
	id := idOf(noun)
	return client.Target{Kind: id.Kind(), ID: id, Label: labelOf(noun)}
}

// count counts something that an act ended.
func count(r *client.Revocation, id writ.ID) {
	switch id.Kind() {
	case writ.KindIdentity:
		r.Identities++
	case writ.KindSession:
		r.Sessions++
	case writ.KindGrant:
		r.Grants++
	case writ.KindCredential:
		r.Credentials++
	case writ.KindKey:
		r.Keys++
	}
}

// settle waits until what a change ended has come down.
func (s *Server) settle(ctx context.Context, org writ.ID, mark ledger.Mark) {
	// The change is made: whoever asked may leave.
	s.Flights.Settle(context.WithoutCancel(ctx), org, mark.Epoch)
}
