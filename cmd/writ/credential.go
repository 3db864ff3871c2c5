package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) credentialCommand() *cobra.Command {
	return c.group("credential", "Credentials and where they come from; never their values",
		c.credentialAdd(), c.credentialLs(), c.credentialGet(), c.credentialEdit(), c.credentialRotate(),
		c.stopCommand("suspend", false, "Stop a credential until it is resumed", "github-pay", "credential", (*client.Client).SuspendCredential, "What is in flight with it is cut."),
		c.credentialResume(),
		c.stopCommand("revoke", true, "End a credential for good", "github-pay", "credential", (*client.Client).RevokeCredential,
			"Grants of it open nothing any more. It is not withdrawn where it was issued: do that\nthere as well."),
	)
}

// placementFlags say where a request carries the secret.
type placementFlags struct {
	in, name, template string
}

func (p *placementFlags) register(f *pflag.FlagSet) {
	f.StringVar(&p.in, "in", "", "where a request carries it: bearer, basic, header, query or cookie")
	f.StringVar(&p.name, "name", "", "the header, parameter or cookie; with basic the user")
	f.StringVar(&p.template, "template", "", "the header's value with {secret} once, as in 'token {secret}'")
}

func (p *placementFlags) placement() writ.Placement {
	return writ.Placement{In: writ.Location(p.in), Name: p.name, Template: p.template}
}

func (c *cli) credentialAdd() *cobra.Command {
	var in client.NewCredential
	var place placementFlags
	var from secretSource
	var triggers []string
	var issued, use string
	var expires untilFlag
	return c.command(spec{
		use: "add NAME", short: "Store a credential; its value enters by pipe, file or prompt",
		long: "Without owner, issuer, authoriser and a revocation trigger it can be listed but not\nused. One line end behind the value is not part of it.",
		example: `pass github/pay | writ credential add github-pay --app github --in bearer --owner ana@acme.dev --issuer "github.com, acme settings" --authoriser ana@acme.dev --trigger owner-leaves --secret-stdin
writ credential add stripe-test --app stripe --in basic --secret-file key.txt`,
		kind: changes, names: one("a name"), out: client.Change[client.Credential]{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.App, "app", "", "the `application` that it opens")
			place.register(f)
			from.register(f)
			f.StringSliceVar(&in.Hosts, "host", nil, "the `hosts` it may be sent to; all of the application's if not given")
			f.StringVar(&in.Owner, "owner", "", "the `person` who is accountable")
			f.StringVar(&in.Backup, "backup", "", "the `person` who succeeds the owner")
			f.StringVar(&in.Issuer, "issuer", "", "who issued it, in words")
			f.StringVar(&issued, "issued", "", "when it was issued: 3d (ago), a date, or RFC 3339")
			f.StringVar(&in.Authoriser, "authoriser", "", "the `person` who authorised it")
			f.StringVar(&in.Purpose, "purpose", "", "what it is for, in a few words")
			f.StringSliceVar(&triggers, "trigger", nil, "what withdraws it: owner-leaves, expiry, session-end, identity-inactive, leak, manual")
			f.Var(&expires, "expires", "until when it is valid")
			f.StringVar(&use, "ai-use", "", "whether agents may use it: allowed, needs-controls or forbidden")
			f.StringVar(&in.Source, "source", "", "where it was found, as in .env:14")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if err := needFlag("app", in.App, "name the application that it opens, as in --app github; declare one with writ app add"); err != nil {
				return err
			}
			if err := needFlag("in", place.in, "say where a request carries it, as in --in bearer"); err != nil {
				return err
			}
			if in.Hosts, err = canonicalHosts(in.Hosts); err != nil {
				return err
			}
			if in.Expires, err = expires.time(c, "--expires"); err != nil {
				return err
			}
			if issued != "" {
				if in.Issued, err = c.parseSince("--issued", issued); err != nil {
					return err
				}
			}
			in.Name, in.Placement, in.AIUse, in.Triggers = args[0], place.placement(), writ.AIUse(use), triggersOf(triggers)
			if err := in.Placement.Validate(); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			secret, encoding, err := from.read(ctx, c, args[0])
			if err != nil {
				return err
			}
			in.Secret, in.Encoding = string(secret), encoding
			ch, err := api.AddCredential(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			if err := added(c, "added credential "+ch.Item.Name+"  "+string(ch.Item.ID), ch); err != nil {
				return err
			}
			c.sayUngoverned(&ch.Item)
			return nil
		},
	})
}

// sayUngoverned tells at once that a credential cannot be used yet, and why.
func (c *cli) sayUngoverned(cr *client.Credential) {
	if len(cr.Missing) > 0 {
		c.say("note: it is outside governance and cannot be used in production: missing %s. See: writ help outside_governance", listed(cr.Missing))
	}
}

func triggersOf(names []string) []writ.Trigger {
	var out []writ.Trigger
	for _, n := range names {
		out = append(out, writ.Trigger(n))
	}
	return out
}

func triggerNames(ts []writ.Trigger) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = string(t)
	}
	return listed(names)
}

func (c *cli) credentialLs() *cobra.Command {
	var f client.CredentialFilter
	var state string
	return c.command(spec{
		use: "ls", short: "List credentials", example: "writ credential ls --ungoverned",
		kind: lists, out: listResult[client.Credential]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.App, "app", "", "only those of this `application`")
			fs.StringVar(&f.Owner, "owner", "", "only those that this `person` owns")
			fs.StringVar(&state, "state", "", "only active, suspended or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
			fs.BoolVar(&f.Ungoverned, "ungoverned", false, "only those that lack provenance")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.State = writ.State(state)
			return list(ctx, c, listing[client.Credential]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Credential], error) {
					f.Paging = p
					return api.Credentials(ctx, f)
				},
				columns: []column[client.Credential]{
					{"name", func(r client.Credential) cell { return text(r.Name) }, false},
					{"app", func(r client.Credential) cell { return text(or(r.AppName, string(r.App))) }, false},
					{"owner", func(r client.Credential) cell { return orMissing(or(r.OwnerName, string(r.Owner))) }, false},
					{"state", func(r client.Credential) cell { return stateCell(r.State, r.Live) }, false},
					{"version", func(r client.Credential) cell { return versionCell(r.Version) }, false},
					{"expires", func(r client.Credential) cell { return c.when(r.Expires) }, false},
					{"agents", func(r client.Credential) cell { return text(string(r.AIUse)) }, false},
					{"missing", func(r client.Credential) cell { return missingCell(r.Missing) }, false},
					{"id", func(r client.Credential) cell { return text(string(r.ID)) }, true},
					{"issuer", func(r client.Credential) cell { return orMissing(r.Issuer) }, true},
					{"purpose", func(r client.Credential) cell { return orDash(r.Purpose) }, true},
					{"created", func(r client.Credential) cell { return c.when(r.Created) }, true},
				},
				empty: "No credentials. Store one: ... | writ credential add NAME --app APP --in bearer --secret-stdin",
			})
		},
	})
}

// orMissing shows a provenance fact that is not there as missing.
func orMissing(s string) cell {
	if s == "" {
		return cell{text: "missing", style: bad}
	}
	return text(s)
}

func missingCell(missing []string) cell {
	if len(missing) == 0 {
		return orDash("")
	}
	return cell{text: listed(missing), style: bad}
}

func versionCell(v *client.Version) cell {
	if v == nil {
		return orDash("")
	}
	return text("v" + strconv.Itoa(v.Number))
}

func (c *cli) credentialGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one credential, without its value", example: "writ credential get github-pay",
		names: one("a name or id"), out: client.Credential{},
		run: func(ctx context.Context, args []string) error {
			r, err := getOne(ctx, c, args[0], (*client.Client).Credential)
			if err != nil {
				return err
			}
			return c.show(r, func(p *page) {
				fs := []field{
					{"name", cell{text: r.Name, style: bold}},
					{"id", text(string(r.ID))},
					{"application", text(or(r.AppName, string(r.App)))},
					{"state", stateCell(r.State, r.Live)},
					{"owner", orMissing(or(r.OwnerName, string(r.Owner)))},
					{"backup", orDash(or(r.BackupName, string(r.Backup)))},
					{"issuer", orMissing(r.Issuer)},
					{"issued", c.moment(r.Issued)},
					{"authoriser", orMissing(or(r.AuthoriserName, string(r.Authoriser)))},
					{"ends when", orMissing(triggerNames(r.Triggers))},
					{"expires", c.moment(r.Expires)},
					{"agents", text(string(r.AIUse))},
					{"purpose", orDash(r.Purpose)},
					{"source", orDash(r.Source)},
				}
				if v := r.Version; v != nil {
					fs = append(fs,
						field{"version", text("v" + strconv.Itoa(v.Number) + "  " + string(v.ID))},
						field{"placement", text(placementText(v.Placement))},
						field{"hosts", text(listed(v.Hosts))},
						field{"fingerprint", text(v.Fingerprint)},
						field{"sealed", c.moment(v.Created)},
					)
				}
				if len(r.Missing) > 0 {
					fs = append(fs, field{"governance", cell{text: "outside: missing " + listed(r.Missing), style: bad}})
				}
				p.fields(fs)
			})
		},
	})
}

func placementText(p writ.Placement) string {
	s := string(p.In)
	if p.Name != "" {
		s += " " + p.Name
	}
	if p.Template != "" {
		s += ": " + p.Template
	}
	return s
}

func (c *cli) credentialEdit() *cobra.Command {
	var owner, backup, issuer, authoriser, purpose, source textEdit
	var issued, use string
	var add, remove []string
	var expires untilFlag
	var set *pflag.FlagSet
	return c.command(spec{
		use: "edit NAME", short: "Change a credential's provenance",
		long: "Only what is given changes; \"none\" clears a field. --trigger adds, --remove-trigger\ntakes away. The value, hosts and placement change with writ credential rotate.",
		example: `writ credential edit github-pay --owner ana@acme.dev --issuer "github.com, acme settings" --trigger owner-leaves
writ credential edit github-pay --ai-use allowed`,
		kind: changes, names: one("a name or id"), out: client.Change[client.Credential]{},
		flags: func(f *pflag.FlagSet) {
			set = f
			f.Var(&owner, "owner", "the person who is accountable")
			f.Var(&backup, "backup", "the person who succeeds the owner")
			f.Var(&issuer, "issuer", "who issued it, in words")
			f.StringVar(&issued, "issued", "", "when it was issued")
			f.Var(&authoriser, "authoriser", "the person who authorised it")
			f.Var(&purpose, "purpose", "what it is for")
			f.Var(&source, "source", "where it was found")
			f.StringSliceVar(&add, "trigger", nil, "add what withdraws it")
			f.StringSliceVar(&remove, "remove-trigger", nil, "take a trigger away")
			f.Var(&expires, "expires", "until when it is valid")
			f.StringVar(&use, "ai-use", "", "whether agents may use it: allowed, needs-controls or forbidden")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if err := c.anySet(set, "owner", "backup", "issuer", "issued", "authoriser", "purpose", "source", "trigger", "remove-trigger", "expires", "ai-use"); err != nil {
				return err
			}
			in := client.EditCredential{
				Owner: owner.edit(), Backup: backup.edit(), Issuer: issuer.edit(), Authoriser: authoriser.edit(),
				Purpose: purpose.edit(), Source: source.edit(),
			}
			if in.Expires, err = expires.edit(c, "--expires"); err != nil {
				return err
			}
			if issued != "" {
				at, err := c.parseSince("--issued", issued)
				if err != nil {
					return err
				}
				in.Issued = &at
			}
			if use != "" {
				ai := writ.AIUse(use)
				in.AIUse = &ai
			}
			before, err := getOne(ctx, c, args[0], (*client.Client).Credential)
			if err != nil {
				return err
			}
			if len(add)+len(remove) > 0 {
				triggers := merged(before.Triggers, triggersOf(add), triggersOf(remove))
				in.Triggers = &triggers
			}
			ch, err := c.api.EditCredential(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return edited(c, before.Name, *before, ch)
		},
	})
}

func (c *cli) credentialRotate() *cobra.Command {
	var place placementFlags
	var from secretSource
	var in client.NewVersion
	return c.command(spec{
		use: "rotate NAME", short: "Give a credential a new value; the old version is retired",
		long:    "Placement and hosts stay as they are unless given. Withdraw the old value where it was\nissued as well.",
		example: "new-token | writ credential rotate github-pay --secret-stdin",
		kind:    changes, names: one("a name or id"), out: client.Change[client.Credential]{},
		flags: func(f *pflag.FlagSet) {
			place.register(f)
			from.register(f)
			f.StringSliceVar(&in.Hosts, "host", nil, "the `hosts` it may be sent to; the current version's if not given")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if err := checkRef("name", args[0]); err != nil {
				return err
			}
			if in.Hosts, err = canonicalHosts(in.Hosts); err != nil {
				return err
			}
			if place.in != "" {
				p := place.placement()
				if err := p.Validate(); err != nil {
					return err
				}
				in.Placement = &p
			} else if place.name != "" || place.template != "" {
				return writ.Invalid("--in", "--in is missing", "say the whole placement: --in with --name and --template")
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			secret, encoding, err := from.read(ctx, c, args[0])
			if err != nil {
				return err
			}
			in.Secret, in.Encoding = string(secret), encoding
			ch, err := api.RotateCredential(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return added(c, "rotated "+ch.Item.Name+" to "+versionCell(ch.Item.Version).text, ch)
		},
	})
}

func (c *cli) credentialResume() *cobra.Command {
	return c.command(spec{
		use: "resume NAME", short: "Let a suspended credential be used again",
		example: `writ credential resume github-pay --reason "not leaked after all"`,
		kind:    acts, names: one("a name or id"), out: client.Change[client.Credential]{},
		run: func(ctx context.Context, args []string) error {
			ch, err := changeOne(ctx, c, args[0], (*client.Client).ResumeCredential)
			if err != nil {
				return err
			}
			return added(c, "resumed "+ch.Item.Name, ch)
		},
	})
}
