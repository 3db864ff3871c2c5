package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) sessionCommand() *cobra.Command {
	return c.group("session", "Sessions: one run each, of an agent, service or person",
		c.sessionLs(), c.sessionGet(), c.sessionStart(),
		c.stopCommand("end", false, "End a session, and those that derive from it", "ses_7f2", "session", (*client.Client).EndSession,
			"What it has in flight is cut, and its program ends. Ended sessions never come back."),
	)
}

func (c *cli) sessionLs() *cobra.Command {
	var f client.SessionFilter
	var state string
	var running bool
	return c.command(spec{
		use: "ls", short: "List sessions", example: "writ session ls --running\nwrit session ls --as agent:claude-pay",
		kind: lists, out: listResult[client.Session]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.Identity, "as", "", "only those of this `identity`")
			fs.StringVar(&f.Started, "started", "", "only those that this `identity` started")
			fs.StringVar(&state, "state", "", "only active, ended or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is ended")
			fs.BoolVar(&running, "running", false, "only those that run: short for --state active")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.State = writ.State(state)
			if running {
				f.State = writ.Active
			}
			return list(ctx, c, listing[client.Session]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Session], error) {
					f.Paging = p
					return api.Sessions(ctx, f)
				},
				columns: []column[client.Session]{
					{"id", func(s client.Session) cell { return text(string(s.ID)) }, false},
					{"who", func(s client.Session) cell { return text(or(s.IdentityName, string(s.Identity))) }, false},
					{"for", func(s client.Session) cell { return text(or(s.StartedName, string(s.Started))) }, false},
					{"state", func(s client.Session) cell { return stateCell(s.State, s.Live) }, false},
					{"started", func(s client.Session) cell { return c.when(s.Created) }, false},
					{"expires", func(s client.Session) cell { return c.when(s.Expires) }, false},
					{"task", func(s client.Session) cell { return orDash(s.Task) }, false},
					{"isolation", func(s client.Session) cell { return text(s.Isolation) }, true},
					{"parent", func(s client.Session) cell { return orDash(string(s.Parent)) }, true},
				},
				empty: "No sessions. Start one: writ run --as agent:NAME -- CMD",
			})
		},
	})
}

func (c *cli) sessionGet() *cobra.Command {
	return c.command(spec{
		use: "get SESSION", short: "Show one session, without its token", example: "writ session get ses_7f2",
		names: one("an id or the beginning of one"), out: client.Session{},
		run: func(ctx context.Context, args []string) error {
			s, err := getOne(ctx, c, args[0], (*client.Client).Session)
			if err != nil {
				return err
			}
			held := text("no program holds it")
			if s.Attached {
				held = text("writ run holds it: it ends with that")
			}
			return c.show(s, func(p *page) {
				p.fields([]field{
					{"session", cell{text: string(s.ID), style: bold}},
					{"state", stateCell(s.State, s.Live)},
					{"who", text(or(s.IdentityName, string(s.Identity)))},
					{"for", text(or(s.StartedName, string(s.Started)))},
					{"task", orDash(s.Task)},
					{"isolation", text(s.Isolation)},
					{"program", held},
					{"derived from", orDash(string(s.Parent))},
					{"started", c.moment(s.Created)},
					{"expires", c.moment(s.Expires)},
				})
			})
		},
	})
}

func (c *cli) sessionStart() *cobra.Command {
	var in client.NewSession
	var tokenFile string
	return c.command(spec{
		use: "start", short: "Start a session for a program that writ run does not start",
		long: "Its token is shown once; with --out it goes into a new file of mode 0600 instead.\nWhoever has the token is the session until it ends. writ run needs none of this, and\nleaves no token where a program could find it.",
		example: `writ session start --as service:app-ci --for 1h --task "nightly deploy" --out session.token
writ session end ses_7f2`,
		kind: changes, out: client.SessionOnce{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Identity, "as", "", "the `identity` that acts in it; the project's agent if not given")
			f.StringVar(&in.For, "for", "", "how `long`, as in 90m, 2h or 7d; 8h if not given")
			f.StringVar(&in.Task, "task", "", "what it is for, in a few words")
			f.StringVar(&in.Parent, "parent", "", "the `session` it derives from")
			f.StringVar(&tokenFile, "out", "", "write the token to this new `file` instead of showing it")
		},
		run: func(ctx context.Context, _ []string) error {
			s, err := c.settings()
			if err != nil {
				return err
			}
			if err := s.project.fill(&in); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			keep, err := c.keepFile(tokenFile)
			if err != nil {
				return err
			}
			defer keep.discard()
			o, err := api.StartSession(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			if o.Token, err = keep.write(o.Token); err != nil {
				return err
			}
			return c.show(o, func(p *page) {
				if o.DryRun {
					p.line("dry run: nothing was started; it would be a session of %s with %s", or(o.Session.IdentityName, string(o.Session.Identity)), plural(len(o.MayUse), "grant"))
					return
				}
				c.say("session %s  %s, ends %s", o.Session.ID, or(o.Session.IdentityName, string(o.Session.Identity)), c.when(o.Session.Expires))
				c.sayOnce(o.Token, tokenFile)
				if o.Token != "" {
					p.line("%s", o.Token)
				}
			})
		},
	})
}

// fill takes from the project file what the command line left open.
func (p *project) fill(in *client.NewSession) error {
	in.Identity = or(in.Identity, p.agent)
	if in.Identity != "" && p.agent == in.Identity && checkRef("agent", in.Identity) == nil {
		if _, _, err := parseLabel(in.Identity); err != nil && !writ.ID(in.Identity).Is(writ.KindIdentity) {
			in.Identity = "agent:" + in.Identity // the project file says agent = "claude-pay"
		}
	}
	in.Task, in.For = or(in.Task, p.task), or(in.For, p.length)
	if in.Identity == "" {
		return writ.Invalid("--as", "it is not said who acts", `say it with --as agent:NAME, or with agent = "NAME" in `+projectFile)
	}
	if in.For != "" {
		if _, err := parseSpan("--for", in.For); err != nil {
			return err
		}
	}
	return checkRef("--as", in.Identity)
}
