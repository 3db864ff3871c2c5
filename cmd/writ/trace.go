package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) traceCommand() *cobra.Command {
	return c.command(spec{
		use: "trace ID", short: "Tell one use or denial in eight sentences",
		long:    "ID is a use, a decision, or a unique beginning of either. A fact that is missing is\nshown as missing.",
		example: "writ trace use_01jd\nwrit use ls --limit 1 --csv --columns id",
		names:   one("a use or decision"), out: client.Trace{},
		run: func(ctx context.Context, args []string) error {
			t, err := getOne(ctx, c, args[0], (*client.Client).Trace)
			if err != nil {
				return err
			}
			return c.show(t, func(p *page) { c.tracePage(p, t) })
		},
	})
}

// sentenceNames are the eight, in their order.
var sentenceNames = []struct{ about, title string }{
	{"owner", "OWNER"}, {"issued", "ISSUED"}, {"scope", "SCOPE"}, {"authorised", "AUTHORISED"},
	{"delegation", "DELEGATION"}, {"runtime", "RUNTIME"}, {"used", "USED"}, {"ends", "ENDS WHEN"},
}

func (c *cli) tracePage(p *page, t *client.Trace) {
	sign := cell{text: "✓", style: good}
	if !t.Allowed {
		sign = cell{text: "✗", style: bad}
	}
	p.line("%s · %s · %s %s", cell{text: string(t.ID), style: bold}, t.Ledger.Time.Go().Local().Format("2006-01-02 15:04:05 -07:00"), sign, t.Title)
	for i, n := range sentenceNames {
		said := client.Sentence{About: n.about, Missing: []string{"the whole sentence"}}
		for _, s := range t.Sentences {
			if s.About == n.about {
				said = s
			}
		}
		head := strconv.Itoa(i+1) + " " + n.title + strings.Repeat(" ", 11-len(n.title))
		switch {
		case said.Text == "":
			p.line("%s %s", head, cell{text: "missing: " + listed(said.Missing), style: bad})
		case len(said.Missing) > 0:
			p.line("%s %s  %s", head, said.Text, cell{text: "[missing: " + listed(said.Missing) + "]", style: bad})
		default:
			p.line("%s %s", head, said.Text)
		}
	}
	p.line("LEDGER        %s", ledgerText(t.Ledger, t.Outcome))
}

// ledgerText says where the record is, and what is not there yet.
func ledgerText(l client.Position, o *writ.Outcome) string {
	s := "entry " + strconv.FormatInt(l.Seq, 10) + " (" + l.Type + ") of " + strconv.FormatInt(l.Size, 10) + ", leaf " + short16(l.Leaf)
	switch {
	case l.Checkpoint > l.Seq:
		s += ", under the checkpoint at " + strconv.FormatInt(l.Checkpoint, 10)
	default:
		s += ", not yet under a checkpoint"
	}
	if l.Type == "allow" {
		switch {
		case l.Outcome > 0:
			s += ", outcome in entry " + strconv.FormatInt(l.Outcome, 10)
		case o == nil:
			s += ", no outcome recorded: under way, or the server was stopped"
		}
	}
	return s
}

func short16(hex string) string {
	if len(hex) > 16 {
		return hex[:16] + "…"
	}
	return hex
}
