package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) keyCommand() *cobra.Command {
	return c.group("key", "Keys for Writ's own API: each has an identity, a role and an end",
		c.keyAdd(), c.keyLs(), c.keyGet(),
		c.stopCommand("revoke", true, "End a key for good", "ci-deploy", "key", (*client.Client).RevokeKey, "Whoever uses it is refused from then on."),
	)
}

func (c *cli) keyAdd() *cobra.Command {
	var in client.NewKey
	var role, keyFile string
	var expires untilFlag
	return c.command(spec{
		use: "add NAME", short: "Make a key",
		long:    "Its text is shown once; with --key-file it goes into a new file of mode 0600 instead.\nRoles: admin (everything but approving), auditor (read and evidence), member (her own).",
		example: "writ key add ci-deploy --identity service:app-ci --role member --expires 30d --key-file ci.key",
		kind:    changes, names: one("a name"), out: client.KeyOnce{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Identity, "identity", "", "the `identity` that the key stands for")
			f.StringVar(&role, "role", "member", "admin, auditor or member")
			f.StringVar(&keyFile, "key-file", "", "write the key to this new `file` instead of showing it")
			f.Var(&expires, "expires", "until when, at most 366 days: 30d, a date, or RFC 3339")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if err := needFlag("identity", in.Identity, "say whom the key stands for, as in --identity service:app-ci"); err != nil {
				return err
			}
			if err := needFlag("expires", expires.text, "every key ends: say when, as in --expires 30d"); err != nil {
				return err
			}
			if in.Expires, err = expires.time(c, "--expires"); err != nil {
				return err
			}
			in.Name, in.Role = args[0], writ.Role(role)
			api, err := c.client()
			if err != nil {
				return err
			}
			keep, err := c.keepFile(keyFile)
			if err != nil {
				return err
			}
			defer keep.discard()
			k, err := api.AddKey(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			if k.Text, err = keep.write(k.Text); err != nil {
				return err
			}
			return c.show(k, func(p *page) {
				if k.DryRun {
					p.line("dry run: nothing was changed; this would make the key %s for %s", k.Key.Name, or(k.Key.IdentityName, string(k.Key.Identity)))
					return
				}
				c.say("key %s  %s for %s, %s, ends %s", k.Key.Name, k.Key.ID, or(k.Key.IdentityName, string(k.Key.Identity)), k.Key.Role, c.when(k.Key.Expires))
				c.sayOnce(k.Text, keyFile)
				if k.Text != "" {
					p.line("%s", k.Text)
				}
			})
		},
	})
}

func (c *cli) keyLs() *cobra.Command {
	var f client.KeyFilter
	var state string
	return c.command(spec{
		use: "ls", short: "List keys", example: "writ key ls --identity service:app-ci",
		kind: lists, out: listResult[client.Key]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.Identity, "identity", "", "only keys of this `identity`")
			fs.StringVar(&state, "state", "", "only active or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.State = writ.State(state)
			return list(ctx, c, listing[client.Key]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Key], error) {
					f.Paging = p
					return api.Keys(ctx, f)
				},
				columns: []column[client.Key]{
					{"name", func(k client.Key) cell { return text(k.Name) }, false},
					{"identity", func(k client.Key) cell { return text(or(k.IdentityName, string(k.Identity))) }, false},
					{"role", func(k client.Key) cell { return text(string(k.Role)) }, false},
					{"state", func(k client.Key) cell { return stateCell(k.State, k.Live) }, false},
					{"expires", func(k client.Key) cell { return c.when(k.Expires) }, false},
					{"id", func(k client.Key) cell { return text(string(k.ID)) }, false},
					{"created", func(k client.Key) cell { return c.when(k.Created) }, true},
				},
				empty: "No keys. Make one: writ key add NAME --identity IDENTITY --role member --expires 30d",
			})
		},
	})
}

func (c *cli) keyGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one key, without its text", example: "writ key get ci-deploy",
		names: one("a name or id"), out: client.Key{},
		run: func(ctx context.Context, args []string) error {
			k, err := getOne(ctx, c, args[0], (*client.Client).Key)
			if err != nil {
				return err
			}
			note := "the text was shown once and is kept nowhere"
			if k.Local {
				note = "the development token: it administers, and never approves"
			}
			return c.show(k, func(p *page) {
				p.fields([]field{
					{"name", cell{text: k.Name, style: bold}},
					{"id", text(string(k.ID))},
					{"identity", text(or(k.IdentityName, string(k.Identity)))},
					{"role", text(string(k.Role))},
					{"state", stateCell(k.State, k.Live)},
					{"created", c.moment(k.Created)},
					{"expires", c.moment(k.Expires)},
					{"note", text(note)},
				})
			})
		},
	})
}
