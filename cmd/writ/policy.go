package main

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) policyCommand() *cobra.Command {
	return c.group("policy", "Guardrails in Cedar: they can only take away",
		c.policyAdd(), c.policyLs(), c.policyGet(), c.policyEdit(), c.policyCheck(), c.policyRevoke(),
	)
}

// readPolicy reads a policy's text from a file, "-" being standard input.
func (c *cli) readPolicy(file string) (string, error) {
	if file == "-" {
		b, err := io.ReadAll(io.LimitReader(c.stdin, writ.MaxPolicyText+1))
		if err != nil {
			return "", writ.Invalid("--file", "standard input cannot be read", "pipe the policy in").WithCause(err)
		}
		return string(b), nil
	}
	b, err := readFile(file, writ.MaxPolicyText)
	if err != nil {
		return "", fileError("--file", file, err)
	}
	return string(b), nil
}

func (c *cli) policyAdd() *cobra.Command {
	var in client.NewPolicy
	var file string
	return c.command(spec{
		use: "add NAME", short: "Add a guardrail",
		long: "The file holds one Cedar policy of effect forbid. With --observe it only reports what\nit would forbid.",
		example: `writ policy add no-deletes --file no-deletes.cedar
writ policy add no-deletes --file - --observe < no-deletes.cedar`,
		kind: changes, names: one("a name"), out: client.Change[client.Policy]{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&file, "file", "", "the `file` with the policy; - is standard input")
			f.BoolVar(&in.Observe, "observe", false, "only report what it would forbid")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if err := needFlag("file", file, "name the file with the policy, as in --file no-deletes.cedar"); err != nil {
				return err
			}
			if in.Text, err = c.readPolicy(file); err != nil {
				return err
			}
			in.Name = args[0]
			api, err := c.client()
			if err != nil {
				return err
			}
			ch, err := api.AddPolicy(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			return added(c, "added policy "+ch.Item.Name+"  "+string(ch.Item.ID), ch)
		},
	})
}

func (c *cli) policyLs() *cobra.Command {
	var f client.PolicyFilter
	var state string
	return c.command(spec{
		use: "ls", short: "List guardrails", example: "writ policy ls",
		kind: lists, out: listResult[client.Policy]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&state, "state", "", "only active or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.State = writ.State(state)
			return list(ctx, c, listing[client.Policy]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Policy], error) {
					f.Paging = p
					return api.Policies(ctx, f)
				},
				columns: []column[client.Policy]{
					{"name", func(p client.Policy) cell { return text(p.Name) }, false},
					{"version", func(p client.Policy) cell { return text(strconv.Itoa(p.Version)) }, false},
					{"state", func(p client.Policy) cell { return stateCell(p.State, true) }, false},
					{"effect", policyEffect, false},
					{"created", func(p client.Policy) cell { return c.when(p.Created) }, false},
					{"id", func(p client.Policy) cell { return text(string(p.ID)) }, false},
				},
				empty: "No guardrails. Add one: writ policy add NAME --file FILE",
			})
		},
	})
}

func policyEffect(p client.Policy) cell {
	if p.Observe {
		return cell{text: "reports only", style: dim}
	}
	return text("forbids")
}

func (c *cli) policyGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one guardrail with its text", example: "writ policy get no-deletes",
		names: one("a name or id"), out: client.Policy{},
		run: func(ctx context.Context, args []string) error {
			pol, err := getOne(ctx, c, args[0], (*client.Client).Policy)
			if err != nil {
				return err
			}
			return c.show(pol, func(p *page) {
				p.fields([]field{
					{"name", cell{text: pol.Name, style: bold}},
					{"id", text(string(pol.ID))},
					{"version", text(strconv.Itoa(pol.Version))},
					{"state", stateCell(pol.State, true)},
					{"effect", policyEffect(*pol)},
					{"created", c.moment(pol.Created)},
				})
				p.blank()
				for line := range strings.Lines(pol.Text) {
					p.line("%s", strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "))
				}
			})
		},
	})
}

func (c *cli) policyEdit() *cobra.Command {
	var file string
	var observe bool
	var set *pflag.FlagSet
	return c.command(spec{
		use: "edit NAME", short: "Change a guardrail; it becomes its next version",
		example: "writ policy edit no-deletes --file no-deletes.cedar\nwrit policy edit no-deletes --observe=false",
		kind:    changes, names: one("a name or id"), out: client.Change[client.Policy]{},
		flags: func(f *pflag.FlagSet) {
			set = f
			f.StringVar(&file, "file", "", "the `file` with the policy; - is standard input")
			f.BoolVar(&observe, "observe", false, "only report what it would forbid")
		},
		run: func(ctx context.Context, args []string) error {
			if err := c.anySet(set, "file", "observe"); err != nil {
				return err
			}
			in := client.EditPolicy{}
			if set.Changed("file") {
				t, err := c.readPolicy(file)
				if err != nil {
					return err
				}
				in.Text = &t
			}
			if set.Changed("observe") {
				in.Observe = &observe
			}
			before, err := getOne(ctx, c, args[0], (*client.Client).Policy)
			if err != nil {
				return err
			}
			ch, err := c.api.EditPolicy(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return edited(c, before.Name, *before, ch)
		},
	})
}

func (c *cli) policyCheck() *cobra.Command {
	return c.command(spec{
		use: "check FILE", short: "Tell whether a text is a guardrail, and change nothing",
		long: "FILE - is standard input. Exit code 5 when it is none.", example: "writ policy check no-deletes.cedar",
		names: one("a file"), out: client.PolicyCheck{},
		run: func(ctx context.Context, args []string) error {
			t, err := c.readPolicy(args[0])
			if err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			r, err := api.CheckPolicy(ctx, t)
			if err != nil {
				return err
			}
			if err := c.show(r, func(p *page) {
				if r.OK {
					p.line("%s is a guardrail", args[0])
				}
			}); err != nil || r.OK {
				return err
			}
			return writ.Errorf(writ.KindCheckFailed, "%s is not a guardrail", safe(args[0])).WithWhy("%s", r.Problem).WithFix("%s", r.Fix)
		},
	})
}

func (c *cli) policyRevoke() *cobra.Command {
	return c.command(spec{
		use: "revoke NAME", short: "Take a guardrail away for good",
		long:    "What it forbade is then decided by grants alone.",
		example: `writ policy revoke no-deletes --reason "replaced by a narrower one"`,
		kind:    acts, names: one("a name or id"), out: client.Change[client.Policy]{},
		run: func(ctx context.Context, args []string) error {
			if err := c.confirm(ctx, "revoke the guardrail "+safe(args[0])+": what it forbade is then decided by grants alone. Nothing leads back."); err != nil {
				return err
			}
			ch, err := changeOne(ctx, c, args[0], (*client.Client).RevokePolicy)
			if err != nil {
				return err
			}
			return added(c, "revoked policy "+ch.Item.Name, ch)
		},
	})
}
