package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

const (
	// tailBeat is how often a quiet stream says that it stands.
	tailBeat = 15 * time.Second
	// tailWrite bounds one write: a reader that does not read is let go.
	tailWrite = 10 * time.Second
)

// tail streams what is committed as server-sent events. An event's id is the
// sequence number of its entry and, where an entry makes several events, the
// number within it: "41207" or "41207.3".
func (s *Server) tail(ctx context.Context, in *struct {
	client.TailFilter
	LastEvent string `header:"Last-Event-ID" maxLength:"40"`
}) (*stream, error) {
	c := callerOf(ctx)
	log, err := s.Store.Log(ctx, c.Org)
	if err != nil {
		return nil, err
	}
	after := in.After
	if in.LastEvent != "" {
		after = in.LastEvent
	}
	seq, part := log.Head().Size-in.Last, 0
	if after != "" {
		if seq, part, err = parsePlace(after); err != nil {
			return nil, err
		}
		if seq > log.Head().Size {
			return nil, writ.Invalid("after", "the log is not that long", "begin without after")
		}
	}
	circle, err := s.circle(ctx)
	if err != nil {
		return nil, err
	}
	return raw(func(w http.ResponseWriter, r *http.Request) {
		// Registered first, asked again after: a revocation that comes in between
		// is seen by one of the two.
		lease := s.Flights.Connect(r.Context(), c.Org, c.Via(), c.Identity.ID)
		defer lease.Close()
		if err := s.Gate.Again(r.Context(), c); err != nil {
			s.fail(r.Context(), w, err)
			return
		}
		ctx, cancel := context.WithDeadline(lease.Context(), c.Expires().Go())
		defer cancel()
		defer context.AfterFunc(s.children.ctx, cancel)()
		w.Header().Set("Content-Type", "text/event-stream")
		t := &tailing{w: w, rc: http.NewResponseController(w), log: log, n: s.names(ctx, c.Org), circle: circle, seq: max(seq, 0), part: part}
		if err := t.run(ctx); err != nil && ctx.Err() == nil {
			s.failed(ctx, err)
			panic(http.ErrAbortHandler)
		}
	}), nil
}

func parsePlace(id string) (seq int64, part int, err error) {
	a, b, inner := strings.Cut(id, ".")
	seq, err = strconv.ParseInt(a, 10, 64)
	if err == nil && inner {
		part, err = strconv.Atoi(b)
		part++
	} else {
		seq++
	}
	if err != nil || seq < 0 || part < 0 {
		return 0, 0, writ.Invalid("after", "not the id of an event: "+writ.Printable(id, 40), "give the id of the last event that was seen")
	}
	return seq, part, nil
}

// tailing is one stream.
type tailing struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	log    *ledger.Log
	n      *names
	circle *circle
	seq    int64 // the entry that comes next
	part   int   // events of it that were sent before
}

func (t *tailing) run(ctx context.Context) error {
	if err := t.send([]byte(": writ\n\n")); err != nil {
		return nil // the reader is gone
	}
	for {
		beat, cancel := context.WithTimeout(ctx, tailBeat)
		size, err := t.log.Await(beat, t.seq)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if t.send([]byte(": still here\n\n")) != nil {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		for ; t.seq < size; t.seq, t.part = t.seq+1, 0 {
			e, err := t.log.Entry(ctx, t.seq)
			if err != nil {
				return err
			}
			events, err := t.events(ctx, e)
			if err != nil {
				return err
			}
			for i, ev := range events {
				if i < t.part || ctx.Err() != nil {
					continue
				}
				ev.ID = strconv.FormatInt(t.seq, 10)
				if len(events) > 1 && i < len(events)-1 {
					ev.ID += "." + strconv.Itoa(i)
				}
				if t.sendEvent(ev) != nil {
					return nil
				}
			}
		}
	}
}

func (t *tailing) sendEvent(ev client.Event) error {
	var b bytes.Buffer
	b.WriteString("id: " + ev.ID + "\nevent: " + ev.Type + "\ndata: ")
	if err := strictJSON.Marshal(&b, ev); err != nil { // ends with one line end
		return err
	}
	b.WriteByte('\n')
	return t.send(b.Bytes())
}

func (t *tailing) send(b []byte) error {
	_ = t.rc.SetWriteDeadline(time.Now().Add(tailWrite))
	if _, err := t.w.Write(b); err != nil {
		return err
	}
	return t.rc.Flush()
}

// events are what an entry tells, as far as it concerns the reader.
func (t *tailing) events(ctx context.Context, e ledger.Entry) ([]client.Event, error) {
	leaf, err := ledger.ParseLeaf(e.Leaf)
	if err != nil {
		return nil, err
	}
	base := client.Event{Seq: e.Seq, Time: leaf.Time}
	switch leaf.Type {
	case ledger.TypeAllow:
		v, err := ledger.DecodeAllow(e)
		if err != nil {
			return nil, withheld(err)
		}
		return t.verdict(base, "allow", v), nil
	case ledger.TypeDenials:
		d, err := ledger.DecodeDenials(e)
		if err != nil {
			return nil, withheld(err)
		}
		if d.Verdict != nil {
			return t.verdict(base, "denial", d.Verdict), nil
		}
		return t.repeats(base, d.Repeats), nil
	case ledger.TypeOutcomes:
		o, err := ledger.DecodeOutcomes(e)
		if err != nil {
			return nil, withheld(err)
		}
		return t.outcomes(ctx, base, o)
	}
	if t.circle != nil {
		return nil, nil // changes of the organization are for those who see all of it
	}
	switch leaf.Type {
	case ledger.TypeChange:
		c, err := ledger.DecodeChange(e)
		if err != nil {
			return nil, withheld(err)
		}
		return t.change(base, c), nil
	case ledger.TypeCut:
		c, err := ledger.DecodeCut(e)
		if err != nil {
			return nil, withheld(err)
		}
		base.Type = "cut"
		base.Text = fmt.Sprintf("cut %d uses, %d connections, %d/%d programs", c.Uses, c.Connections, c.Acknowledged, c.Processes)
		base.Millis = int64(c.Ended - c.Received)
		return []client.Event{base}, nil
	}
	base.Type, base.Text = "other", leaf.Type
	return []client.Event{base}, nil
}

// withheld passes over what was erased.
func withheld(err error) error {
	if errors.Is(err, ledger.ErrWithheld) {
		return nil
	}
	return err
}

func (t *tailing) verdict(ev client.Event, typ string, v *ledger.Verdict) []client.Event {
	d := &v.Decision
	if t.circle != nil && !t.circle.who[d.Identity] {
		return nil
	}
	ev.Type, ev.Decision, ev.Identity, ev.Actor = typ, d.ID, d.Identity, t.n.of(d.Identity)
	ev.Session, ev.Credential, ev.Grant, ev.Reason = d.Session, d.Credential, d.Grant, d.Reason()
	if v.Ask != nil {
		ev.Method, ev.Host, ev.Path = v.Ask.Method, v.Ask.Host, v.Ask.Target.Raw
	}
	sign := map[bool]string{true: "✓", false: "✗"}[d.Allow]
	ev.Text = strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s%s %s", sign, ev.Actor, ev.Method, ev.Host, ev.Path, ev.Reason)), " ")
	return []client.Event{ev}
}

func (t *tailing) repeats(ev client.Event, r *ledger.Repeats) []client.Event {
	if t.circle != nil {
		return nil // the first was shown, if it was hers
	}
	ev.Type, ev.Decision, ev.Session, ev.Reason, ev.Count = "denial", r.Decision, r.Session, r.Reason, r.Count
	ev.Text = fmt.Sprintf("✗ %d more like %s %s", r.Count, r.Decision, r.Reason)
	return []client.Event{ev}
}

func (t *tailing) outcomes(ctx context.Context, base client.Event, o *ledger.Outcomes) ([]client.Event, error) {
	var events []client.Event
	for i := range o.List {
		x := &o.List[i]
		ev := base
		ev.Type, ev.Decision, ev.Outcome, ev.Status, ev.Millis = "outcome", writ.DecisionOf(x.Use), x.Kind, x.Status, x.Millis
		if t.circle != nil {
			v, err := t.n.s.verdict(ctx, string(ev.Decision))
			if err != nil {
				if ignoreMissing(err) == nil {
					continue
				}
				return nil, err
			}
			if !t.circle.who[v.Decision.Identity] {
				continue
			}
		}
		ev.Text = fmt.Sprintf("  %s %s %d ms", ev.Decision, x.Kind, x.Millis)
		if x.Status != 0 {
			ev.Text = fmt.Sprintf("  %s %s %d in %d ms", ev.Decision, x.Kind, x.Status, x.Millis)
		}
		events = append(events, ev)
	}
	return events, nil
}

func (t *tailing) change(ev client.Event, c *ledger.Changed) []client.Event {
	ev.Type, ev.Act, ev.Identity, ev.Actor = "change", c.Act, c.By.Identity, t.n.of(c.By.Identity)
	ev.Text = c.Act
	if len(c.Refs) > 0 {
		ev.Text += " " + string(c.Refs[0])
	}
	if len(c.Refs) > 1 {
		ev.Text += fmt.Sprintf(" and %d more", len(c.Refs)-1)
	}
	if ev.Actor != "" {
		ev.Text += " by " + ev.Actor
	}
	if c.Cause != "" {
		ev.Text += ": " + c.Cause
	}
	return []client.Event{ev}
}
