package main

import (
	"context"

	"github.com/spf13/cobra"

	"writ.dev/writ/client"
)

func (c *cli) resumeCommand() *cobra.Command {
	cmd := c.command(spec{
		use: "resume TARGET", short: "Let what was stopped act again",
		long: "TARGET is an identity, grant or credential by name or id, or \"all\". It needs a reason.\nSessions and keys from before stay dead: start new ones.",
		example: `writ resume agent:claude-pay --reason "the writes were expected"
writ resume all --reason "incident 12 is over"`,
		kind: acts, names: one("a target"), out: client.Resumed{},
		run: func(ctx context.Context, args []string) error {
			if err := checkRef("target", args[0]); err != nil {
				return err
			}
			if err := needFlag("reason", c.flags.reason, `say why it may act again, as in --reason "the writes were expected"`); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			r, err := api.Resume(ctx, client.NewResume{Target: args[0], Because: c.because()}, c.options()...)
			if err != nil {
				return err
			}
			return c.show(r, func(p *page) {
				if r.DryRun {
					p.line("dry run: nothing was changed; %s would be resumed", or(r.Target.Label, args[0]))
					return
				}
				p.line("Resumed %s · ledger %d. Sessions and keys from before stay dead.", or(r.Target.Label, args[0]), r.Record.Seq)
			})
		},
	})
	cmd.ValidArgsFunction = c.completeNames("identity", "credential", "grant")
	return cmd
}
