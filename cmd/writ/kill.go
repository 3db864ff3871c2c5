package main

import (
	"context"

	"github.com/spf13/cobra"

	"writ.dev/writ/client"
)

func (c *cli) killCommand() *cobra.Command {
	cmd := c.command(spec{
		use: "kill TARGET", short: "Stop something now: a session, agent, grant, credential, identity, or all",
		long: `TARGET is a name, an id, a unique beginning of an id, or "all". A session ends; an
identity, grant or credential is suspended until writ resume; a key is revoked. Open
connections and streams are cut, and programs started by writ run end. What is not
confirmed down counts as such: 0/1.`,
		example: `writ kill ses_7f2
writ kill agent:claude-pay --reason "odd writes"
writ kill all --yes --reason "incident 12"`,
		kind: acts, names: one("a target"), out: client.Revocation{},
		run: func(ctx context.Context, args []string) error {
			if err := checkRef("target", args[0]); err != nil {
				return err
			}
			if args[0] == "all" {
				if err := c.confirm(ctx, "stop all: every session ends and nothing in the organization is used until writ resume all."); err != nil {
					return err
				}
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			r, err := api.Kill(ctx, client.NewKill{Target: args[0], Because: c.because()}, c.options()...)
			if err != nil {
				return err
			}
			return c.show(r, func(p *page) { withdrawn(p, r) })
		},
	})
	cmd.ValidArgsFunction = c.completeNames("identity", "session", "credential", "grant")
	return cmd
}
