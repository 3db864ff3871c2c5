package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) whyCommand() *cobra.Command {
	return c.command(spec{
		use: "why DECISION", short: "Say why a decision is what it is, and decide it once more from the ledger",
		long:    "DECISION is a decision, a use, or a unique beginning of either. Exit code 5 when the\nreplay gives another answer than the record.",
		example: "writ why dec_01jd",
		names:   one("a decision"), out: client.Why{},
		run: func(ctx context.Context, args []string) error {
			w, err := getOne(ctx, c, args[0], (*client.Client).Why)
			if err != nil {
				return err
			}
			if err := c.show(w, func(p *page) { c.whyPage(p, w) }); err != nil {
				return err
			}
			if w.Replayed != nil && !w.Same {
				return writ.Errorf(writ.KindCheckFailed, "the replay of %s does not agree with the record", safe(string(w.Decision.ID))).
					WithWhy("%s", or(w.Note, "from the same facts another answer comes out")).
					WithFix("writ ledger verify; then find out whether the server that decided was of another version")
			}
			return nil
		},
	})
}

func (c *cli) whyPage(p *page, w *client.Why) {
	d := &w.Decision
	answer := cell{text: "✓ allowed", style: good}
	if !d.Allow {
		answer = cell{text: "✗ denied", style: bad}
	}
	fs := []field{
		{"decision", cell{text: string(d.ID), style: bold}},
		{"when", c.moment(d.Time)},
		{"request", text(w.Request)},
		{"answer", answer},
		{"because", text(d.Detail)},
	}
	for _, r := range d.Reasons {
		fs = append(fs, field{"reason", text(reasonText(r))})
	}
	if len(d.Missing) > 0 {
		fs = append(fs, field{"missing", cell{text: listed(d.Missing), style: bad}})
	}
	for _, f := range []struct {
		name string
		id   writ.ID
	}{{"grant", d.Grant}, {"credential", d.Credential}, {"session", d.Session}} {
		if f.id != "" {
			fs = append(fs, field{f.name, text(labelOf(w, f.id))})
		}
	}
	if d.Basis != "" {
		fs = append(fs, field{"authority", text(string(d.Basis) + pathText(w, d.Path))})
	}
	fs = append(fs, field{"replay", replayCell(w)})
	if w.Reason != nil && !d.Allow {
		fs = append(fs, field{"who", text(w.Reason.Who)}, field{"fix", text(w.Reason.Command)})
	}
	p.fields(append(fs, field{"ledger", text(ledgerText(w.Ledger, nil))}))
	if len(w.Facts) == 0 {
		return
	}
	p.blank()
	rows := make([][]cell, len(w.Facts))
	for i, f := range w.Facts {
		rows[i] = []cell{text(string(f.ID)), text(strconv.FormatInt(f.Seq, 10)), nameOf(f)}
	}
	p.table([]string{"fact", "entry", "name"}, rows)
}

// replayCell says what deciding once more gave. Not being able to is no
// agreement.
func replayCell(w *client.Why) cell {
	switch {
	case w.Replayed == nil:
		return cell{text: "not possible: " + or(w.Note, "the ledger does not hold what it needs"), style: warn}
	case w.Same:
		return cell{text: "✓ decided once more from the ledger: the same answer", style: good}
	}
	return cell{text: "✗ decided once more from the ledger: ANOTHER answer. " + w.Note, style: bad}
}

// nameOf is what people call a fact, where it has a name beside its id.
func nameOf(f client.FactRecord) cell {
	if f.Label == string(f.ID) {
		return orDash("")
	}
	return orDash(f.Label)
}

func reasonText(r writ.Reason) string {
	if e, ok := writ.Explain(r); ok {
		return string(r) + ": " + e.Title
	}
	return string(r)
}

func labelOf(w *client.Why, id writ.ID) string {
	for _, f := range w.Facts {
		if f.ID == id && f.Label != "" && f.Label != string(id) {
			return f.Label + "  " + string(id)
		}
	}
	return string(id)
}

// pathText is the chain from the principal to the actor.
func pathText(w *client.Why, path []writ.ID) string {
	s := ""
	for i, id := range path {
		name := string(id)
		for _, f := range w.Facts {
			if f.ID == id && f.Label != "" {
				name = f.Label
			}
		}
		if i > 0 {
			s += " → "
		}
		s += name
	}
	if s == "" {
		return ""
	}
	return ": " + s
}
