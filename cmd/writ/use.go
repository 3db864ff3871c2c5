package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) useCommand() *cobra.Command {
	return c.group("use", "Uses and denials: what was done, and what was not", c.useLs())
}

// results are what --result takes.
var results = []string{"allowed", "denied", "completed", "failed", "cut", "abandoned", "suppressed"}

func (c *cli) useLs() *cobra.Command {
	var f client.UseFilter
	var since, until string
	return c.command(spec{
		use: "ls", short: "Search uses and denials, the newest first",
		example: `writ use ls --as agent:claude-pay --since 24h
writ use ls --result denied --reason out_of_authority
writ use ls --credential github-pay --result cut --jsonl`,
		kind: lists, out: listResult[client.Use]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.Actor, "as", "", "only those of this `identity`")
			fs.StringVar(&f.Credential, "credential", "", "only those of this `credential`")
			fs.StringVar(&f.Host, "host", "", "only those of this `host`")
			fs.StringVar(&f.Session, "session", "", "only those of this `session`")
			fs.StringVar(&f.Result, "result", "", "only those decided or ended so: allowed, denied, completed, failed, cut, abandoned, suppressed")
			fs.StringVar(&f.Grant, "grant", "", "only those under this `grant`")
			fs.StringVar(&f.Reason, "reason", "", "only denials for this reason `code`")
			fs.StringVar(&since, "since", "", "not before: 24h (ago), a date, or RFC 3339")
			fs.StringVar(&until, "until", "", "before: 1h (ago), a date, or RFC 3339")
		},
		run: func(ctx context.Context, _ []string) error {
			if f.Result != "" && !slices.Contains(results, f.Result) {
				return writ.Invalid("--result", "there is no result "+writ.Printable(f.Result, 40), "use one of "+listed(results))
			}
			for _, t := range []struct {
				flag, text string
				set        func(writ.Time)
			}{
				{"--since", since, func(t writ.Time) { f.Since = t.Go() }},
				{"--until", until, func(t writ.Time) { f.Until = t.Go() }},
			} {
				if t.text == "" {
					continue
				}
				at, err := c.parseSince(t.flag, t.text)
				if err != nil {
					return err
				}
				t.set(at)
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			return list(ctx, c, listing[client.Use]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Use], error) {
					f.Paging = p
					return api.Uses(ctx, f)
				},
				columns: c.useColumns(),
				empty:   "No uses. Try one: writ run --as agent:NAME -- curl https://HOST/",
			})
		},
	})
}

func (c *cli) useColumns() []column[client.Use] {
	return []column[client.Use]{
		{"time", func(u client.Use) cell { return c.when(u.Time) }, false},
		{"result", func(u client.Use) cell { return resultCell(u) }, false},
		{"who", func(u client.Use) cell { return orDash(or(u.IdentityName, string(u.Identity))) }, false},
		{"did", func(u client.Use) cell { return text(u.Method + " " + u.Host + u.Path) }, false},
		{"with", func(u client.Use) cell { return orDash(or(u.CredentialName, string(u.Credential))) }, false},
		{"took", func(u client.Use) cell { return tookCell(u) }, false},
		{"id", func(u client.Use) cell { return text(string(u.ID)) }, false},
		{"repeats", func(u client.Use) cell { return text(strconv.FormatInt(u.Repeats, 10)) }, true},
		{"grant", func(u client.Use) cell { return orDash(string(u.Grant)) }, true},
		{"session", func(u client.Use) cell { return orDash(string(u.Session)) }, true},
		{"decision", func(u client.Use) cell { return text(string(u.Decision)) }, true},
		{"seq", func(u client.Use) cell { return text(strconv.FormatInt(u.Seq, 10)) }, true},
	}
}

// resultCell shows how a use ended, or why there was none. A use without an
// end is shown as such.
func resultCell(u client.Use) cell {
	switch {
	case !u.Allowed:
		return cell{text: "✗ " + string(u.Reason), raw: string(u.Reason), style: bad}
	case u.Outcome == writ.Completed:
		return cell{text: "✓ " + strconv.Itoa(u.Status), raw: string(u.Outcome) + " " + strconv.Itoa(u.Status), style: good}
	case u.Outcome == "":
		return cell{text: "… open", raw: "open", style: warn}
	case u.Outcome == writ.Abandoned || u.Outcome == writ.Suppressed:
		return cell{text: "– " + string(u.Outcome), raw: string(u.Outcome), style: dim}
	}
	return cell{text: "✗ " + string(u.Outcome), raw: string(u.Outcome), style: bad}
}

func tookCell(u client.Use) cell {
	if u.Outcome == "" {
		return orDash("")
	}
	return cell{text: millis(u.Millis), raw: strconv.FormatInt(u.Millis, 10)}
}
