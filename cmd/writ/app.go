package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) appCommand() *cobra.Command {
	return c.group("app", "Applications: the hosts that a credential opens",
		c.appAdd(), c.appLs(), c.appGet(), c.appEdit(),
		c.stopCommand("revoke", true, "End an application for good", "github", "app", (*client.Client).RevokeApplication, "Nothing reaches it with a credential any more."),
	)
}

// appFlags are what add and edit have in common.
type appFlags struct {
	env      string
	hosts    []string
	networks []string
	profile  []string
	pins     []string
	clear    bool
	roots    string
}

func (a *appFlags) register(f *pflag.FlagSet, verb string) {
	f.StringVar(&a.env, "env", "", "where its data is real: dev, staging or prod")
	f.StringSliceVar(&a.hosts, "host", nil, verb+" a `host`, or host:port; may be repeated")
	f.StringSliceVar(&a.networks, "network", nil, verb+" a private `network` that its hosts may lie in, as in 10.1.0.0/16")
	f.StringSliceVar(&a.profile, "profile", nil, "how it reads what has two readings: encoded_slash=opaque, semicolon=opaque, empty_segment=opaque")
	f.StringArrayVar(&a.pins, "pin", nil, "the addresses of a host instead of the resolver's, as in `HOST=10.0.0.7,10.0.0.8`")
	f.BoolVar(&a.clear, "cleartext", false, "allow plain HTTP to hosts with a port other than 443")
	f.StringVar(&a.roots, "roots", "", "a `file` with the certificates of its private authority")
}

// canonicalHosts turns what people type into the form that the server takes.
func canonicalHosts(hosts []string) ([]string, error) {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		canonical, err := writ.ParseHost(strings.TrimSpace(h))
		if err != nil {
			return nil, err
		}
		out[i] = canonical
	}
	return out, nil
}

// readProfile applies "name=opaque" settings; "name=" takes one away.
func (a *appFlags) readProfile(p *writ.Profile) error {
	targets := map[string]*string{"encoded_slash": &p.EncodedSlash, "semicolon": &p.Semicolon, "empty_segment": &p.EmptySegment}
	for _, s := range a.profile {
		name, value, ok := strings.Cut(s, "=")
		target, known := targets[name]
		if !ok || !known {
			return writ.Invalid("--profile", "not a reading: "+writ.Printable(s, 40), "use encoded_slash=opaque, semicolon=opaque or empty_segment=opaque")
		}
		*target = value
	}
	return nil
}

// readPins applies "host=address,address" settings; "host=" takes one away.
func (a *appFlags) readPins(pins map[string][]string) error {
	for _, s := range a.pins {
		name, addresses, ok := strings.Cut(s, "=")
		host, err := writ.ParseHost(name)
		if !ok || err != nil {
			return writ.Invalid("--pin", "not a pinned host: "+writ.Printable(s, 60), "write it as api.acme.dev=10.0.0.7,10.0.0.8")
		}
		if addresses == "" {
			delete(pins, host)
			continue
		}
		pins[host] = strings.Split(addresses, ",")
	}
	return nil
}

func (a *appFlags) readRoots() (string, error) {
	if a.roots == "" {
		return "", nil
	}
	b, err := readFile(a.roots, writ.MaxRoots)
	if err != nil {
		return "", fileError("--roots", a.roots, err)
	}
	return string(b), nil
}

func (c *cli) appAdd() *cobra.Command {
	var a appFlags
	var in client.NewApplication
	return c.command(spec{
		use: "add NAME", short: "Declare an application",
		long: "A host that no application declares is denied. Production is the default environment:\nwhat is not known to be harmless is treated as real.",
		example: `writ app add github --host api.github.com --host github.com --env prod
writ app add gitlab --host gitlab.acme.dev --env prod --profile encoded_slash=opaque --network 10.1.0.0/16`,
		kind: changes, names: one("a name"), out: client.Change[client.Application]{},
		flags: func(f *pflag.FlagSet) {
			a.register(f, "declare")
			f.StringVar(&in.Owner, "owner", "", "the `person` who is accountable")
		},
		run: func(ctx context.Context, args []string) (err error) {
			if in.Hosts, err = canonicalHosts(a.hosts); err != nil {
				return err
			}
			if in.Roots, err = a.readRoots(); err != nil {
				return err
			}
			if err := a.readProfile(&in.Profile); err != nil {
				return err
			}
			in.Pinned = map[string][]string{}
			if err := a.readPins(in.Pinned); err != nil {
				return err
			}
			in.Name, in.Env, in.Networks, in.Cleartext = args[0], writ.Environment(or(a.env, string(writ.Prod))), a.networks, a.clear
			api, err := c.client()
			if err != nil {
				return err
			}
			ch, err := api.AddApplication(ctx, in, c.options()...)
			if err != nil {
				return err
			}
			return added(c, "added application "+ch.Item.Name+"  "+string(ch.Item.ID), ch)
		},
	})
}

func (c *cli) appLs() *cobra.Command {
	var f client.ApplicationFilter
	var env, state string
	return c.command(spec{
		use: "ls", short: "List applications", example: "writ app ls --env prod",
		kind: lists, out: listResult[client.Application]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&env, "env", "", "only dev, staging or prod")
			fs.StringVar(&f.Host, "host", "", "only those that declare this `host`")
			fs.StringVar(&state, "state", "", "only active, suspended or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.Env, f.State = writ.Environment(env), writ.State(state)
			return list(ctx, c, listing[client.Application]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Application], error) {
					f.Paging = p
					return api.Applications(ctx, f)
				},
				columns: []column[client.Application]{
					{"name", func(a client.Application) cell { return text(a.Name) }, false},
					{"env", func(a client.Application) cell { return text(string(a.Env)) }, false},
					{"state", func(a client.Application) cell { return stateCell(a.State, true) }, false},
					{"owner", func(a client.Application) cell { return orDash(or(a.OwnerName, string(a.Owner))) }, false},
					{"hosts", func(a client.Application) cell { return text(listed(a.Hosts)) }, false},
					{"id", func(a client.Application) cell { return text(string(a.ID)) }, true},
					{"created", func(a client.Application) cell { return c.when(a.Created) }, true},
				},
				empty: "No applications. Declare one: writ app add github --host api.github.com --env prod",
			})
		},
	})
}

func (c *cli) appGet() *cobra.Command {
	return c.command(spec{
		use: "get NAME", short: "Show one application", example: "writ app get github",
		names: one("a name or id"), out: client.Application{},
		run: func(ctx context.Context, args []string) error {
			a, err := getOne(ctx, c, args[0], (*client.Client).Application)
			if err != nil {
				return err
			}
			return c.show(a, func(p *page) {
				fs := []field{
					{"name", cell{text: a.Name, style: bold}},
					{"id", text(string(a.ID))},
					{"state", stateCell(a.State, true)},
					{"environment", text(string(a.Env))},
					{"hosts", text(listed(a.Hosts))},
					{"owner", orDash(or(a.OwnerName, string(a.Owner)))},
					{"networks", orDash(listed(a.Networks))},
					{"profile", orDash(profileText(a.Profile))},
				}
				for _, h := range slices.Sorted(maps.Keys(a.Pinned)) {
					fs = append(fs, field{"pinned", text(h + " to " + listed(a.Pinned[h]))})
				}
				if a.Cleartext {
					fs = append(fs, field{"cleartext", cell{text: "allowed: the credential can be read on the way", style: warn}})
				}
				if a.Roots != "" {
					fs = append(fs, field{"roots", text("its own, instead of the system's")})
				}
				p.fields(append(fs, field{"created", c.moment(a.Created)}))
			})
		},
	})
}

func profileText(p writ.Profile) string {
	var parts []string
	for _, r := range []struct{ name, value string }{{"encoded_slash", p.EncodedSlash}, {"semicolon", p.Semicolon}, {"empty_segment", p.EmptySegment}} {
		if r.value != "" {
			parts = append(parts, r.name+"="+r.value)
		}
	}
	return listed(parts)
}

func (c *cli) appEdit() *cobra.Command {
	var a appFlags
	var owner textEdit
	var without, leave []string
	var set *pflag.FlagSet
	return c.command(spec{
		use: "edit NAME", short: "Change an application",
		long: "--host and --network add to what is there, --remove-host and --remove-network take away.\nA credential that was sealed for a host keeps to the hosts it was sealed for.",
		example: `writ app edit github --host uploads.github.com
writ app edit gitlab --profile encoded_slash=opaque`,
		kind: changes, names: one("a name or id"), out: client.Change[client.Application]{},
		flags: func(f *pflag.FlagSet) {
			set = f
			a.register(f, "add")
			f.Var(&owner, "owner", "the person who is accountable")
			f.StringSliceVar(&without, "remove-host", nil, "take a `host` away")
			f.StringSliceVar(&leave, "remove-network", nil, "take a `network` away")
		},
		run: func(ctx context.Context, args []string) error {
			if err := c.anySet(set, "env", "host", "remove-host", "network", "remove-network", "profile", "pin", "cleartext", "roots", "owner"); err != nil {
				return err
			}
			before, err := getOne(ctx, c, args[0], (*client.Client).Application)
			if err != nil {
				return err
			}
			in, err := a.edit(set, before, without, leave)
			if err != nil {
				return err
			}
			in.Owner = owner.edit()
			ch, err := c.api.EditApplication(ctx, args[0], in, c.options()...)
			if err != nil {
				return err
			}
			return edited(c, before.Name, *before, ch)
		},
	})
}

// edit is the change that the flags ask for, against what is there.
func (a *appFlags) edit(set *pflag.FlagSet, before *client.Application, without, leave []string) (in client.EditApplication, err error) {
	if set.Changed("env") {
		env := writ.Environment(a.env)
		in.Env = &env
	}
	if set.Changed("host") || set.Changed("remove-host") {
		add, err := canonicalHosts(a.hosts)
		if err != nil {
			return in, err
		}
		remove, err := canonicalHosts(without)
		if err != nil {
			return in, err
		}
		hosts := merged(before.Hosts, add, remove)
		in.Hosts = &hosts
	}
	if set.Changed("network") || set.Changed("remove-network") {
		networks := merged(before.Networks, a.networks, leave)
		in.Networks = &networks
	}
	if set.Changed("profile") {
		p := before.Profile
		if err := a.readProfile(&p); err != nil {
			return in, err
		}
		in.Profile = &p
	}
	if set.Changed("pin") {
		pins := map[string][]string{}
		maps.Copy(pins, before.Pinned)
		if err := a.readPins(pins); err != nil {
			return in, err
		}
		in.Pinned = &pins
	}
	if set.Changed("cleartext") {
		in.Cleartext = &a.clear
	}
	if set.Changed("roots") {
		roots, err := a.readRoots()
		if err != nil {
			return in, err
		}
		in.Roots = &roots
	}
	return in, nil
}

// merged is a list with some added and some taken away, each once.
func merged[T comparable](have, add, remove []T) []T {
	out := []T{}
	for _, x := range slices.Concat(have, add) {
		if !slices.Contains(remove, x) && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
