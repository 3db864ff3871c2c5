package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ/client"
)

func (c *cli) orgCommand() *cobra.Command {
	return c.group("org", "Organizations: tenants that never meet", c.orgLs(), c.orgGet(), c.orgAdd(), c.orgEdit())
}

func (c *cli) orgAdd() *cobra.Command {
	var in client.NewOrg
	var keyFile string
	return c.command(spec{
		use: "add NAME", short: "Make an organization with its first person",
		long:    "The first person gets an administrator's key that lives one day. It is shown once;\nwith --key-file it goes into a new file of mode 0600 instead.",
		example: "writ org add acme --admin ana@acme.dev --key-file ana.key",
		kind:    changes, names: one("a name"), out: client.OrgOnce{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Admin, "admin", "", "the e-mail `address` of the first person")
			f.StringVar(&keyFile, "key-file", "", "write the key to this new `file` instead of showing it")
		},
		run: func(ctx context.Context, args []string) error {
			in.Name = args[0]
			api, err := c.client()
			if err != nil {
				return err
			}
			keep, err := c.keepFile(keyFile)
			if err != nil {
				return err
			}
			defer keep.discard()
			o, err := api.AddOrg(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			if o.Text, err = keep.write(o.Text); err != nil {
				return err
			}
			return c.show(o, func(p *page) {
				if o.DryRun {
					p.line("dry run: nothing was changed; this would make the organization %s with %s as its first person", o.Org.Name, o.Admin.Label)
					return
				}
				c.say("organization %s  %s, first person %s", o.Org.Name, o.Org.ID, o.Admin.Label)
				c.sayOnce(o.Text, keyFile)
				if o.Text != "" {
					p.line("%s", o.Text)
				}
			})
		},
	})
}

func (c *cli) orgLs() *cobra.Command {
	return c.command(spec{
		use: "ls", short: "List the organizations you may see", example: "writ org ls",
		kind: lists, out: listResult[client.Org]{},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			return list(ctx, c, listing[client.Org]{
				page: api.Orgs,
				columns: []column[client.Org]{
					{"name", func(o client.Org) cell { return text(o.Name) }, false},
					{"state", orgState, false},
					{"created", func(o client.Org) cell { return c.when(o.Created) }, false},
					{"id", func(o client.Org) cell { return text(string(o.ID)) }, false},
				},
				empty: "No organizations.",
			})
		},
	})
}

// orgState shows a stop before anything else: nothing works while it lasts.
func orgState(o client.Org) cell {
	if o.Stopped {
		return cell{text: "stopped", style: bad}
	}
	return stateCell(o.State, true)
}

func (c *cli) orgGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one organization", example: "writ org get default",
		names: one("a name or id"), out: client.Org{},
		run: func(ctx context.Context, args []string) error {
			o, err := getOne(ctx, c, args[0], (*client.Client).Org)
			if err != nil {
				return err
			}
			return c.show(o, func(p *page) {
				p.fields([]field{
					{"name", cell{text: o.Name, style: bold}},
					{"id", text(string(o.ID))},
					{"state", orgState(*o)},
					{"created", c.moment(o.Created)},
					{"grace for missing provenance", text(plural(o.GraceDays, "day"))},
					{"delegation at most", text(plural(o.Depth(), "hop"))},
				})
			})
		},
	})
}

func (c *cli) orgEdit() *cobra.Command {
	var grace, depth int
	var set *pflag.FlagSet
	return c.command(spec{
		use: "edit NAME", short: "Change an organization's settings", example: "writ org edit default --grace-days 14",
		kind: changes, names: one("a name or id"), out: client.Change[client.Org]{},
		flags: func(f *pflag.FlagSet) {
			set = f
			f.IntVar(&grace, "grace-days", 0, "how many `days` a credential without full provenance may be used outside production; 0 is not at all")
			f.IntVar(&depth, "max-depth", 0, "how many `hops` a delegation may have; 0 is the default")
		},
		run: func(ctx context.Context, args []string) error {
			if err := c.anySet(set, "grace-days", "max-depth"); err != nil {
				return err
			}
			before, err := getOne(ctx, c, args[0], (*client.Client).Org)
			if err != nil {
				return err
			}
			in := client.EditOrg{}
			if set.Changed("grace-days") {
				in.GraceDays = &grace
			}
			if set.Changed("max-depth") {
				in.MaxDepth = &depth
			}
			ch, err := c.api.EditOrg(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return edited(c, before.Name, *before, ch)
		},
	})
}
