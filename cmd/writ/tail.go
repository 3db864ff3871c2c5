package main

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) tailCommand() *cobra.Command {
	var last int64
	var follow bool
	return c.command(spec{
		use: "tail", short: "Show what happens, one line an event",
		long:    "Without -f it shows the newest events and ends. With -f it goes on until ctrl-c, and\ntakes a lost connection up again where it was. --json is for what has an end: use\n--jsonl to follow.",
		example: "writ tail -f\nwrit tail --last 50 --jsonl",
		kind:    streams, out: listResult[client.Event]{},
		flags: func(f *pflag.FlagSet) {
			f.BoolVarP(&follow, "follow", "f", false, "go on until ctrl-c")
			f.Int64Var(&last, "last", 20, "begin with so many entries of the past, at most 1000")
		},
		run: func(ctx context.Context, _ []string) error {
			switch {
			case last < 0 || last > 1000:
				return writ.Invalid("--last", "--last is from 0 to 1000", "use --last 100; for more: writ use ls")
			case follow && c.flags.json:
				return writ.Invalid("--json", "what has no end is not one object", "use --jsonl: one object a line")
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			if follow {
				return c.follow(ctx, api, client.TailFilter{Last: last})
			}
			return c.recent(ctx, api, last)
		},
	})
}

// A stream has no end, so a tail without -f ends where the log stood when it
// began: quiet bounds how long it waits for entries that are there already,
// and rest for further events of the last one (outcomes are many to an entry).
const (
	quiet = 3 * time.Second
	rest  = 150 * time.Millisecond
)

// recent shows the events of the newest entries.
func (c *cli) recent(ctx context.Context, api *client.Client, last int64) error {
	l, err := api.Ledger(ctx)
	if err != nil {
		return err
	}
	result := listResult[client.Event]{Items: []client.Event{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(quiet, cancel)
	defer patience.Stop()
	if last > 0 && l.Size > 0 {
		for e, err := range api.Tail(ctx, client.TailFilter{Last: last}) {
			if err != nil {
				return err
			}
			if e.Seq >= l.Size {
				break
			}
			result.Items = append(result.Items, e)
			if e.Seq == l.Size-1 {
				patience.Reset(rest)
				continue
			}
			patience.Reset(quiet)
		}
	}
	if c.flags.json {
		return c.writeJSON(result, true)
	}
	for _, e := range result.Items {
		if err := c.writeEvent(e); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) follow(ctx context.Context, api *client.Client, f client.TailFilter) error {
	for e, err := range api.Tail(ctx, f) {
		if err != nil {
			return err
		}
		if err := c.writeEvent(e); err != nil {
			return err
		}
	}
	return nil // ctrl-c is how a tail ends
}

func (c *cli) writeEvent(e client.Event) error {
	if c.flags.jsonl {
		return c.writeJSON(e, false)
	}
	p := c.newPage(c.stdout)
	c.eventLine(p, e)
	_, err := io.WriteString(c.stdout, p.b.String())
	return err
}

// eventLine is one event as people read it: when, how it went, who, and the
// server's sentence.
func (c *cli) eventLine(p *page, e client.Event) {
	sign := cell{text: "·", style: dim}
	switch {
	case e.Type == "allow", e.Type == "outcome" && e.Outcome == writ.Completed:
		sign = cell{text: "✓", style: good}
	case e.Type == "denial", e.Type == "outcome":
		sign = cell{text: "✗", style: bad}
	case e.Type == "cut":
		sign = cell{text: "■", style: warn}
	}
	p.line("%s %s %s  %s", cell{text: e.Time.Go().Local().Format("15:04:05"), style: dim}, sign, strings.TrimLeft(e.Text, "✓✗ "), cell{text: eventID(e), style: dim})
}

// eventID is what to give to writ trace or why.
func eventID(e client.Event) string {
	switch e.Type {
	case "allow", "outcome":
		if e.Decision != "" {
			return string(writ.UseOf(e.Decision))
		}
	case "denial":
		return string(e.Decision)
	}
	return "ledger " + strconv.FormatInt(e.Seq, 10)
}
