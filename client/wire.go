package client

import (
	"context"
	"encoding"
	"fmt"
	"iter"
	"net/url"
	"reflect"
	"strings"

	"writ.dev/writ"
)

// Paging is the part of a list's filter that says which page.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"where the page begins: next of the page before"`
	Limit  int    `query:"limit" minimum:"0" maximum:"500" doc:"how many items at most; 50 if not given"`
}

// Listing is Paging for things that have an end.
type Listing struct {
	All bool `query:"all" doc:"also what is revoked or ended"`
	Paging
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"cursor of the next page; absent on the last one"`
}

// All walks a list to its end, page after page. The function asks for the page
// at a cursor:
//
//	for g, err := range client.All(ctx, func(ctx context.Context, cursor string) (*client.Page[client.Grant], error) {
//		f.Cursor = cursor
//		return c.Grants(ctx, f)
//	}) { ... }
func All[T any](ctx context.Context, page func(ctx context.Context, cursor string) (*Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		cursor := ""
		for {
			p, err := page(ctx, cursor)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if p.Next == "" {
				return
			}
			cursor = p.Next
		}
	}
}

// Recorded is where the ledger holds a change.
type Recorded struct {
	Seq   int64      `json:"seq" doc:"sequence number of the change's ledger entry"`
	Epoch writ.Epoch `json:"epoch" doc:"state of the organization's authority after the change"`
}

// Change is what a call that changes something answers.
type Change[T any] struct {
	Item   T        `json:"item"`
	Record Recorded `json:"record,omitzero"`
	DryRun bool     `json:"dry_run,omitempty" doc:"nothing was changed; item is what would be"`
}

// Because is the body of an act on one thing.
type Because struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"why; kept in the ledger"`
}

// Option changes how a call that changes something is carried out.
type Option func(url.Values)

// DryRun has the call validated and its effect told, and nothing changed.
func DryRun() Option { return func(v url.Values) { v.Set("dry_run", "true") } }

func options(os []Option) url.Values {
	v := url.Values{}
	for _, o := range os {
		o(v)
	}
	return v
}

// with adds the options to a call.
func (k call) with(os []Option) call {
	k.query = options(os)
	return k
}

// once marks a call that creates something: it carries an idempotency key.
func (k call) once() call {
	k.create = true
	return k
}

func patch(body, out any, path ...string) call {
	return call{method: "PATCH", path: path, body: body, out: out}
}

// query spells a filter's fields with a query tag; zero values are left away.
func query(filter any) url.Values {
	v := url.Values{}
	addQuery(v, reflect.ValueOf(filter))
	return v
}

func addQuery(v url.Values, filter reflect.Value) {
	t := filter.Type()
	for i := range t.NumField() {
		f := filter.Field(i)
		if t.Field(i).Anonymous {
			addQuery(v, f)
			continue
		}
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("query"), ",")
		if name == "" || f.IsZero() {
			continue
		}
		text := fmt.Sprint(f.Interface())
		if m, ok := f.Interface().(encoding.TextMarshaler); ok {
			b, err := m.MarshalText()
			if err != nil {
				continue
			}
			text = string(b)
		}
		v.Set(name, text)
	}
}
