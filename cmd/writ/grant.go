package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) grantCommand() *cobra.Command {
	return c.group("grant", "Grants: who may use which credential, for what, until when",
		c.grantAdd(), c.grantDelegate(), c.grantLs(), c.grantGet(),
		c.stopCommand("suspend", false, "Stop a grant, and what was delegated from it, until it is resumed", "grt_7f2", "grant", (*client.Client).SuspendGrant, "What is in flight under it is cut."),
		c.grantResume(),
		c.stopCommand("revoke", true, "End a grant, and what was delegated from it, for good", "grt_7f2", "grant", (*client.Client).RevokeGrant, "What is in flight under it is cut."),
	)
}

// grantFlags are what add and delegate have in common.
type grantFlags struct {
	to        string
	allow     []string
	where     []string
	networks  []string
	windows   []string
	exes      []string
	uses      int64
	perMinute int
	purpose   string
	triggers  []string
	expires   untilFlag
}

func (g *grantFlags) register(f *pflag.FlagSet) {
	f.StringVar(&g.to, "to", "", "the `identity` that may use the credential")
	f.StringArrayVar(&g.allow, "allow", nil, "what it covers: 'METHODS [host]/path'; * is one segment, a final ** the rest; may be repeated")
	f.StringArrayVar(&g.where, "where", nil, "a bound that every rule gets: '/amount<=500' (JSON body) or 'state=open|closed' (query)")
	f.StringSliceVar(&g.networks, "network", nil, "only from this `network`, as in 10.1.0.0/16")
	f.StringArrayVar(&g.windows, "window", nil, "only in this time, UTC: 'mon-fri 08:00-18:00'")
	f.StringSliceVar(&g.exes, "executable", nil, "only by a program with this SHA-256 `digest`")
	f.Int64Var(&g.uses, "uses", 0, "at most so many uses in all; 0 is unlimited")
	f.IntVar(&g.perMinute, "per-minute", 0, "at most so many uses a minute; 0 is unlimited")
	f.StringVar(&g.purpose, "purpose", "", "what it is for, in a few words")
	f.StringSliceVar(&g.triggers, "trigger", nil, "what withdraws it: owner-leaves, expiry, session-end, identity-inactive, leak, manual")
	f.Var(&g.expires, "expires", "until when: 2h, 90d, a date, or RFC 3339")
}

// grant is the grant that the flags describe; rules are those it has where
// --allow names none.
func (g *grantFlags) grant(c *cli, rules []writ.Rule) (in client.NewGrant, err error) {
	if err := needFlag("to", g.to, "say who may use it, as in --to agent:claude-pay"); err != nil {
		return in, err
	}
	in.Rules = rules
	if len(rules) == 0 || len(g.allow) > 0 {
		if in.Rules, err = parseRules(g.allow); err != nil {
			return in, err
		}
	}
	if in.Rules, err = bounded(in.Rules, g.where); err != nil {
		return in, err
	}
	for _, w := range g.windows {
		window, err := parseWindow(w)
		if err != nil {
			return in, err
		}
		in.Conditions.Windows = append(in.Conditions.Windows, window)
	}
	if in.Expires, err = g.expires.time(c, "--expires"); err != nil {
		return in, err
	}
	in.Identity, in.Purpose, in.Triggers = g.to, g.purpose, triggersOf(g.triggers)
	in.Conditions.Networks, in.Conditions.Executables = g.networks, g.exes
	in.Limits = writ.Limits{Uses: g.uses, PerMinute: g.perMinute}
	return in, nil
}

func parseRules(allow []string) ([]writ.Rule, error) {
	if len(allow) == 0 {
		return nil, writ.Invalid("--allow", "--allow is missing", "say what it covers, as in --allow 'GET api.github.com/repos/acme/**'")
	}
	var rules []writ.Rule
	for _, a := range allow {
		r, err := writ.ParseRule(a)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// bounded gives every rule every bound.
func bounded(rules []writ.Rule, where []string) ([]writ.Rule, error) {
	rules = slices.Clone(rules)
	for _, w := range where {
		bound, body, err := writ.ParseCondition(w)
		if err != nil {
			return nil, err
		}
		for i := range rules {
			r := &rules[i]
			if body {
				r.Body = append(slices.Clone(r.Body), bound)
			} else {
				r.Query = append(slices.Clone(r.Query), bound)
			}
		}
	}
	return rules, nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseWindow reads "[days] HH:MM-HH:MM" in UTC, days as "mon-fri" or "sat,sun".
func parseWindow(s string) (w writ.Window, err error) {
	bad := func() (writ.Window, error) {
		return writ.Window{}, writ.Invalid("--window", "not a window of time: "+writ.Printable(s, 40), "write it as 'mon-fri 08:00-18:00' or '22:00-06:00', in UTC")
	}
	fields := strings.Fields(strings.ToLower(s))
	if len(fields) == 0 || len(fields) > 2 {
		return bad()
	}
	if len(fields) == 2 {
		for part := range strings.SplitSeq(fields[0], ",") {
			first, last, span := strings.Cut(part, "-")
			from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
			if !span {
				to = from
			}
			if from < 0 || to < 0 {
				return bad()
			}
			for d := from; ; d = (d + 1) % 7 {
				if !slices.Contains(w.Days, d) {
					w.Days = append(w.Days, d)
				}
				if d == to {
					break
				}
			}
		}
		slices.Sort(w.Days)
	}
	begin, end, ok := strings.Cut(fields[len(fields)-1], "-")
	from, err1 := minuteOfDay(begin)
	to, err2 := minuteOfDay(end)
	if !ok || err1 != nil || err2 != nil || from == 1440 || to == 0 || from == to {
		return bad()
	}
	w.From, w.To = from, to
	return w, nil
}

func minuteOfDay(s string) (int, error) {
	if s == "24:00" {
		return 1440, nil
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err
}

func windowText(w writ.Window) string {
	var days []string
	for _, d := range w.Days {
		if d >= 0 && d < 7 {
			days = append(days, weekdays[d])
		}
	}
	clock := func(m int) string { return two(m/60) + ":" + two(m%60) }
	return strings.TrimSpace(strings.Join(days, ",") + " " + clock(w.From) + "-" + clock(w.To) + " UTC")
}

func two(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

func (c *cli) grantAdd() *cobra.Command {
	var g grantFlags
	var credential string
	return c.command(spec{
		use: "add", short: "Let an identity use a credential, within rules",
		example: `writ grant add --to agent:claude-pay --credential github-pay --allow 'GET,POST api.github.com/repos/acme/pay/**' --expires 30d
writ grant add --to agent:claude-pay --credential stripe-test --allow 'POST /v1/refunds' --where '/amount<=500' --per-minute 6`,
		kind: changes, out: client.Change[client.Grant]{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&credential, "credential", "", "the `credential`")
			g.register(f)
		},
		run: func(ctx context.Context, _ []string) error {
			if err := needFlag("credential", credential, "say which, as in --credential github-pay"); err != nil {
				return err
			}
			in, err := g.grant(c, nil)
			if err != nil {
				return err
			}
			in.Credential = credential
			return c.giveGrant(ctx, in)
		},
	})
}

func (c *cli) grantDelegate() *cobra.Command {
	var g grantFlags
	return c.command(spec{
		use: "delegate GRANT", short: "Make a narrower grant from a grant",
		long:    "The new grant must lie within the old one: no wider rules, no later end. It ends with\nit. What is not given is as in\nthe old one.",
		example: "writ grant delegate grt_7f2 --to agent:claude-tests --allow 'GET api.github.com/repos/acme/pay/**' --expires 2h",
		kind:    changes, names: one("a grant"), out: client.Change[client.Grant]{},
		flags: g.register,
		run: func(ctx context.Context, args []string) error {
			parent, err := getOne(ctx, c, args[0], (*client.Client).Grant)
			if err != nil {
				return err
			}
			in, err := g.grant(c, parent.Rules)
			if err != nil {
				return err
			}
			in.Parent = string(parent.ID)
			inherit(&in, parent)
			return c.giveGrant(ctx, in)
		},
	})
}

// inherit takes from the parent what was not said: a delegated grant that left
// a bound away would be wider, and refused.
func inherit(in *client.NewGrant, parent *client.Grant) {
	if in.Expires == 0 {
		in.Expires = parent.Expires
	}
	if in.Limits.Uses == 0 {
		in.Limits.Uses = parent.Limits.Uses
	}
	if in.Limits.PerMinute == 0 {
		in.Limits.PerMinute = parent.Limits.PerMinute
	}
	own, above := &in.Conditions, &parent.Conditions
	if len(own.Networks) == 0 {
		own.Networks = above.Networks
	}
	if len(own.Windows) == 0 {
		own.Windows = above.Windows
	}
	if len(own.Executables) == 0 {
		own.Executables = above.Executables
	}
	own.Device = above.Device
}

func (c *cli) giveGrant(ctx context.Context, in client.NewGrant) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	ch, err := api.AddGrant(ctx, in, c.options()...)
	if err != nil {
		return err
	}
	gr := &ch.Item
	return added(c, "granted "+string(gr.ID)+": "+or(gr.IdentityName, string(gr.Identity))+" may use "+or(gr.CredentialName, string(gr.Credential))+" for "+rulesText(gr), ch)
}

// rulesText is a grant's rules in one line.
func rulesText(g *client.Grant) string {
	texts := g.Texts
	if len(texts) == 0 {
		for i := range g.Rules {
			texts = append(texts, g.Rules[i].String())
		}
	}
	return strings.Join(texts, "; ")
}

func (c *cli) grantLs() *cobra.Command {
	var f client.GrantFilter
	var state string
	return c.command(spec{
		use: "ls", short: "List grants", example: "writ grant ls --to agent:claude-pay",
		kind: lists, out: listResult[client.Grant]{},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.Identity, "to", "", "only those to this `identity`")
			fs.StringVar(&f.Credential, "credential", "", "only those of this `credential`")
			fs.StringVar(&f.Parent, "parent", "", "only those delegated from this `grant`")
			fs.StringVar(&state, "state", "", "only active, suspended or revoked ones")
			fs.BoolVar(&f.All, "all", false, "also what is revoked")
		},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			f.State = writ.State(state)
			return list(ctx, c, listing[client.Grant]{
				page: func(ctx context.Context, p client.Paging) (*client.Page[client.Grant], error) {
					f.Paging = p
					return api.Grants(ctx, f)
				},
				columns: []column[client.Grant]{
					{"id", func(g client.Grant) cell { return text(string(g.ID)) }, false},
					{"to", func(g client.Grant) cell { return text(or(g.IdentityName, string(g.Identity))) }, false},
					{"credential", func(g client.Grant) cell { return text(or(g.CredentialName, string(g.Credential))) }, false},
					{"state", func(g client.Grant) cell { return stateCell(g.State, g.Live) }, false},
					{"expires", func(g client.Grant) cell { return c.when(g.Expires) }, false},
					{"allows", func(g client.Grant) cell { return text(rulesText(&g)) }, false},
					{"by", func(g client.Grant) cell { return text(or(g.AuthoriserName, string(g.Authoriser))) }, true},
					{"parent", func(g client.Grant) cell { return orDash(string(g.Parent)) }, true},
					{"purpose", func(g client.Grant) cell { return orDash(g.Purpose) }, true},
					{"created", func(g client.Grant) cell { return c.when(g.Created) }, true},
				},
				empty: "No grants. Give one: writ grant add --to agent:NAME --credential NAME --allow 'GET HOST/**'",
			})
		},
	})
}

func (c *cli) grantGet() *cobra.Command {
	return c.command(spec{
		use: "get GRANT", short: "Show one grant", example: "writ grant get grt_7f2",
		names: one("an id or the beginning of one"), out: client.Grant{},
		run: func(ctx context.Context, args []string) error {
			g, err := getOne(ctx, c, args[0], (*client.Client).Grant)
			if err != nil {
				return err
			}
			return c.show(g, func(p *page) { c.grantPage(p, g) })
		},
	})
}

func (c *cli) grantPage(p *page, g *client.Grant) {
	fs := []field{
		{"grant", cell{text: string(g.ID), style: bold}},
		{"state", stateCell(g.State, g.Live)},
		{"to", text(or(g.IdentityName, string(g.Identity)))},
		{"credential", text(or(g.CredentialName, string(g.Credential)))},
	}
	for i, t := range strings.Split(rulesText(g), "; ") {
		fs = append(fs, field{[]string{"allows", ""}[min(i, 1)], text(t)})
	}
	for _, w := range g.Conditions.Windows {
		fs = append(fs, field{"only in", text(windowText(w))})
	}
	if len(g.Conditions.Networks) > 0 {
		fs = append(fs, field{"only from", text(listed(g.Conditions.Networks))})
	}
	for _, e := range g.Conditions.Executables {
		fs = append(fs, field{"only by", text(e)})
	}
	if g.Limits.Uses > 0 {
		fs = append(fs, field{"at most", text(strconv.FormatInt(g.Limits.Uses, 10) + " uses")})
	}
	if g.Limits.PerMinute > 0 {
		fs = append(fs, field{"at most", text(strconv.Itoa(g.Limits.PerMinute) + " uses a minute")})
	}
	p.fields(append(fs,
		field{"authorised by", orMissing(or(g.AuthoriserName, string(g.Authoriser)))},
		field{"delegated from", orDash(string(g.Parent))},
		field{"ends when", orDash(triggerNames(g.Triggers))},
		field{"expires", c.moment(g.Expires)},
		field{"purpose", orDash(g.Purpose)},
		field{"created", c.moment(g.Created)},
	))
}

func (c *cli) grantResume() *cobra.Command {
	return c.command(spec{
		use: "resume GRANT", short: "Let a suspended grant be used again",
		example: `writ grant resume grt_7f2 --reason "checked with ana"`,
		kind:    acts, names: one("an id or the beginning of one"), out: client.Change[client.Grant]{},
		run: func(ctx context.Context, args []string) error {
			ch, err := changeOne(ctx, c, args[0], (*client.Client).ResumeGrant)
			if err != nil {
				return err
			}
			return added(c, "resumed "+string(ch.Item.ID), ch)
		},
	})
}
