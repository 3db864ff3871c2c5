package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"writ.dev/writ"
)

// Event is something that was committed to the ledger.
type Event struct {
	ID   string    `json:"id" doc:"its place in the stream: resume after it with Last-Event-ID"`
	Type string    `json:"type" enum:"allow,outcome,denial,change,cut,other"`
	Seq  int64     `json:"seq"`
	Time writ.Time `json:"time"`
	Text string    `json:"text" doc:"the event in one line"`

	Decision   writ.ID          `json:"decision,omitempty"`
	Identity   writ.ID          `json:"identity,omitempty"`
	Actor      string           `json:"actor,omitempty" doc:"name of the identity"`
	Session    writ.ID          `json:"session,omitempty"`
	Credential writ.ID          `json:"credential,omitempty"`
	Grant      writ.ID          `json:"grant,omitempty"`
	Method     string           `json:"method,omitempty"`
	Host       string           `json:"host,omitempty"`
	Path       string           `json:"path,omitempty"`
	Reason     writ.Reason      `json:"reason,omitempty" doc:"of a denial"`
	Count      int64            `json:"count,omitempty" doc:"of a denial that was repeated"`
	Outcome    writ.OutcomeKind `json:"outcome,omitempty"`
	Status     int              `json:"status,omitempty"`
	Millis     int64            `json:"millis,omitempty"`
	Act        string           `json:"act,omitempty" doc:"of a change"`
}

// TailFilter says what a tail shows.
type TailFilter struct {
	Last int64 `query:"last" minimum:"0" maximum:"1000" doc:"begin with so many entries of the past"`
	// After begins behind the event with this id; it beats Last.
	After string `query:"after" maxLength:"40"`
}

// tailPause is between a lost stream and the next try; it doubles up to tailPauseMax.
const (
	tailPause    = 250 * time.Millisecond
	tailPauseMax = 10 * time.Second
)

// Tail yields events as they are committed, until ctx ends or the caller
// stops. A lost connection is made anew, and the stream goes on behind the last
// event that was seen; only an answer that will not change (no right, no such
// server) ends it with an error.
func (c *Client) Tail(ctx context.Context, f TailFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		wait := tailPause
		for {
			before := f.After
			stopped, err := c.tailOnce(ctx, &f, yield)
			if stopped || ctx.Err() != nil {
				return
			}
			if kind := writ.KindOf(err); err != nil && kind != writ.KindUnavailable && kind != writ.KindLimited {
				yield(Event{}, err)
				return
			}
			if f.After != before {
				wait = tailPause
			}
			if !pause(ctx, wait) {
				return
			}
			wait = min(2*wait, tailPauseMax)
		}
	}
}

// tailOnce reads one connection to its end. It keeps the place in f.
func (c *Client) tailOnce(ctx context.Context, f *TailFilter, yield func(Event, error) bool) (stopped bool, err error) {
	resp, err := c.send(ctx, get(query(*f), nil, "v1", "tail"), "text/event-stream")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	for data, err := range eventData(resp.Body) {
		if err != nil {
			return false, c.unavailable(err)
		}
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return false, writ.Errorf(writ.KindInternal, "the server sent an event that this program does not understand").WithCause(err)
		}
		if !yield(e, nil) {
			return true, nil
		}
		f.After, f.Last = e.ID, 0
	}
	return false, nil
}

// maxEvent bounds the data of one event.
const maxEvent = 1 << 20

var errLongEvent = errors.New("client: an event is longer than 1 MiB")

// eventData splits a stream of server-sent events (WHATWG HTML, section 9.2.6)
// into the data of each. The stream ends where the connection does.
func eventData(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 4096), maxEvent)
		var data []byte
		for lines.Scan() {
			line := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
			if len(line) == 0 {
				if len(data) > 0 && !yield(data, nil) {
					return
				}
				data = nil
				continue
			}
			value, ok := bytes.CutPrefix(line, []byte("data:"))
			if !ok {
				continue // a comment, or a field that repeats what the data says
			}
			if len(data)+len(value) > maxEvent {
				yield(nil, errLongEvent)
				return
			}
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
}
