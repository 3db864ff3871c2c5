package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) identityCommand() *cobra.Command {
	return c.group("identity", "People, services and agents: one list, the same acts",
		c.identityAdd(), c.identityLs(), c.identityGet(), c.identityEdit(),
		c.identityStop("suspend", false, "Stop an identity until it is resumed", (*client.Client).SuspendIdentity),
		c.identityResume(),
		c.identityStop("revoke", true, "End an identity for good, with all that derives from it", (*client.Client).RevokeIdentity),
	)
}

// parseLabel takes "agent:claude-pay", "service:app-ci" or an e-mail address
// apart. The server checks the name; here only its kind is read.
func parseLabel(label string) (writ.IdentityKind, string, error) {
	kind, name, ok := strings.Cut(label, ":")
	switch {
	case !ok && strings.Contains(label, "@"):
		return writ.Person, label, nil
	case ok && (kind == string(writ.Agent) || kind == string(writ.Service) || kind == string(writ.Person)):
		return writ.IdentityKind(kind), name, nil
	}
	return "", "", writ.Invalid("name", "it cannot be told what kind of identity "+writ.Printable(label, 60)+" is", "write agent:NAME, service:NAME, or a person's e-mail address")
}

func (c *cli) identityAdd() *cobra.Command {
	var in client.NewIdentity
	var expires untilFlag
	return c.command(spec{
		use: "add LABEL", short: "Register a person, service or agent",
		long: "LABEL is agent:NAME, service:NAME, or a person's e-mail address. A service or agent\nneeds an owner and a purpose, an agent also an expiry.",
		example: `writ identity add ana@acme.dev
writ identity add agent:claude-pay --owner ana@acme.dev --purpose "work on the pay service" --expires 90d`,
		kind: changes, names: one("a label"), out: client.Change[client.Identity]{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Owner, "owner", "", "the `person` who is accountable")
			f.StringVar(&in.Backup, "backup", "", "the `person` who succeeds the owner")
			f.StringVar(&in.Purpose, "purpose", "", "what it is for, in a few words")
			f.StringVar(&in.Parent, "parent", "", "the `agent` that a sub-agent belongs to")
			f.Var(&expires, "expires", "until when: 90d, a date, or RFC 3339")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if in.Kind, in.Name, err = parseLabel(args[0]); err != nil {
				return err
			}
			if in.Expires, err = expires.time(c, "--expires"); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			ch, err := api.AddIdentity(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			return added(c, "added "+ch.Item.Label+"  "+string(ch.Item.ID), ch)
		},
	})
}

func (c *cli) identityLs() *cobra.Command {
	var kind, state string
	var f client.IdentityFilter
	return c.command(spec{
		use: "ls", short: "List identities",
		example: `writ identity ls
writ identity ls --kind agent --owner ana@acme.dev`,
		kind: lists, out: listResult[client.Identity]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&kind, "kind", "", "only persons, services or agents: person, service, agent")
			fs.StringVar(&f.Owner, "owner", "", "only those that this `person` owns or backs up")
			fs.StringVar(&state, "state", "", "only active, suspended or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.Kind, f.State = writ.IdentityKind(kind), writ.State(state)
			return list(ctx, c, listing[client.Identity]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Identity], error) {
					f.Paging = p
					return api.Identities(ctx, f)
				},
				columns: []column[client.Identity]{
					{"name", func(i client.Identity) cell { return text(i.Label) }, false},
					{"kind", func(i client.Identity) cell { return text(string(i.Kind)) }, false},
					{"owner", func(i client.Identity) cell { return orDash(or(i.OwnerName, string(i.Owner))) }, false},
					{"state", func(i client.Identity) cell { return stateCell(i.State, i.Live) }, false},
					{"expires", func(i client.Identity) cell { return c.when(i.Expires) }, false},
					{"purpose", func(i client.Identity) cell { return orDash(i.Purpose) }, false},
					{"id", func(i client.Identity) cell { return text(string(i.ID)) }, true},
					{"backup", func(i client.Identity) cell { return orDash(or(i.BackupName, string(i.Backup))) }, true},
					{"created", func(i client.Identity) cell { return c.when(i.Created) }, true},
				},
				empty: "No identities. Register yourself first: writ identity add you@example.com",
			})
		},
	})
}

func (c *cli) identityGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one identity", example: "writ identity get agent:claude-pay",
		names: one("a name or id"), out: client.Identity{},
		run: func(ctx context.Context, args []string) error {
			i, err := getOne(ctx, c, args[0], (*client.Client).Identity)
			if err != nil {
				return err
			}
			return c.show(i, func(p *page) {
				p.fields([]field{
					{"name", cell{text: i.Label, style: bold}},
					{"id", text(string(i.ID))},
					{"state", stateCell(i.State, i.Live)},
					{"owner", ownerCell(i)},
					{"backup", orDash(or(i.BackupName, string(i.Backup)))},
					{"purpose", orDash(i.Purpose)},
					{"created", c.moment(i.Created)},
					{"expires", c.moment(i.Expires)},
					{"cut-off", c.moment(i.Cutoff)},
				})
			})
		},
	})
}

// ownerCell shows a missing owner as what it is: nobody is accountable.
func ownerCell(i *client.Identity) cell {
	if i.Owner == "" && i.Kind != writ.Person {
		return cell{text: "missing: nobody is accountable", style: bad}
	}
	return orDash(or(i.OwnerName, string(i.Owner)))
}

func (c *cli) identityEdit() *cobra.Command {
	var owner, backup, purpose textEdit
	var expires untilFlag
	var set *pflag.FlagSet
	return c.command(spec{
		use: "edit NAME", short: "Change an identity's owner, backup, purpose or expiry",
		long:    "Only what is given changes; \"none\" clears a field.",
		example: "writ identity edit agent:claude-pay --backup bo@acme.dev --expires 30d",
		kind:    changes, names: one("a name or id"), out: client.Change[client.Identity]{},
		flags: func(f *pflag.FlagSet) {
			set = f
			f.Var(&owner, "owner", "the person who is accountable")
			f.Var(&backup, "backup", "the person who succeeds the owner")
			f.Var(&purpose, "purpose", "what it is for")
			f.Var(&expires, "expires", "until when: 90d, a date, RFC 3339")
		},
		run: func(ctx context.Context, args []string) error {
			if err := c.anySet(set, "owner", "backup", "purpose", "expires"); err != nil {
				return err
			}
			until, err := expires.edit(c, "--expires")
			if err != nil {
				return err
			}
			before, err := getOne(ctx, c, args[0], (*client.Client).Identity)
			if err != nil {
				return err
			}
			in := client.EditIdentity{Owner: owner.edit(), Backup: backup.edit(), Purpose: purpose.edit(), Expires: until}
			ch, err := c.api.EditIdentity(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return edited(c, before.Label, *before, ch)
		},
	})
}

func (c *cli) identityStop(verb string, final bool, short string, act stopper) *cobra.Command {
	return c.stopCommand(verb, final, short, "agent:claude-pay", "identity", act,
		"Its sessions end, its keys and grants with it, and what it has in flight is cut.\nWhat a person owned passes to a living backup, else is suspended.")
}

func (c *cli) identityResume() *cobra.Command {
	return c.command(spec{
		use: "resume NAME", short: "Let a suspended identity act again",
		long:    "Sessions and keys from before stay dead.",
		example: `writ identity resume agent:claude-pay --reason "the writes were expected"`,
		kind:    acts, names: one("a name or id"), out: client.Change[client.Identity]{},
		run: func(ctx context.Context, args []string) error {
			ch, err := changeOne(ctx, c, args[0], (*client.Client).ResumeIdentity)
			if err != nil {
				return err
			}
			return added(c, "resumed "+ch.Item.Label, ch)
		},
	})
}
