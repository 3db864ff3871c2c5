package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
	"writ.dev/writ/internal/problem"
)

func (c *cli) runCommand() *cobra.Command {
	var in client.NewSession
	var quiet bool
	cmd := c.command(spec{
		use: "run [flags] -- CMD [ARG...]", short: "Run a program whose requests go through Writ",
		long: `The program runs in a session of its own, which ends with it. It holds no token and
no credential: its requests go to a loopback relay, and the broker adds what a grant
covers. writ run ends with the program's exit code, 127 when there is no such
program, 126 when it cannot be executed. --as, --for and --task can stand in
.writ.toml. With --dry-run it says what the session could use, and starts nothing.`,
		example: `writ run --as agent:claude-pay --for 2h --task "add refunds page" -- claude
writ run -- curl https://api.github.com/user
writ run --as agent:claude-pay --dry-run --json -- claude`,
		kind: acts, names: names{0, -1, ""}, out: client.SessionOnce{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Identity, "as", "", "the `identity` that acts; the project's agent if not given")
			f.StringVar(&in.For, "for", "", "how `long` at most, as in 90m, 2h or 7d; 8h if not given")
			f.StringVar(&in.Task, "task", "", "what it is for, in a few words")
			f.StringVar(&in.Parent, "parent", "", "the `session` it derives from")
			f.BoolVar(&quiet, "quiet", false, "no banner")
		},
		run: func(ctx context.Context, args []string) error {
			if len(args) == 0 {
				return writ.Invalid("cmd", "there is no program to run", "name it behind --, as in: writ run --as agent:NAME -- curl https://HOST/")
			}
			if c.flags.json && !c.flags.dryRun {
				return writ.Invalid("--json", "the output of writ run is its program's own", "use --dry-run --json to see what it could use, or: writ session ls --json")
			}
			return c.runProgram(ctx, in, args, quiet)
		},
	})
	// What follows the program's name is the program's, with or without --.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// runProgram is writ run: a session, what leads the program through it, the
// program, and the end of all three. What was begun is ended in reverse order
// whatever happens.
func (c *cli) runProgram(ctx context.Context, in client.NewSession, args []string, quiet bool) error {
	// From here on this process holds a token that another one of the same user
	// could read out of its memory.
	if err := run.Harden(); err != nil {
		c.say("note: this process could not be closed to debuggers, which could read its token")
	}
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
	deny := c.ownFolders(s)
	isolation := run.Isolate(deny)
	in.Isolation, in.Attached = isolationText(isolation), true
	if c.flags.dryRun {
		return c.dryRun(ctx, api, in)
	}
	status, err := api.Status(ctx)
	if err != nil {
		return err
	}
	authority, err := api.CA(ctx)
	if err != nil {
		return err
	}
	started, err := api.StartSession(ctx, in)
	if err != nil {
		return err
	}
	link, err := s.link(status.Proxy, started.Token)
	if err != nil {
		return err
	}
	defer link.end(ctx, started.Session.ID, c.because())

	control, err := run.OpenControl(ctx, link.api, string(started.Session.ID))
	if err != nil {
		return err
	}
	defer control.Close()
	// A signal is for the program, which may go on after it: what it needs stays.
	relay, err := run.StartRelay(context.WithoutCancel(ctx), run.RelayConfig{Server: link.proxy, Deny: deny})
	if err != nil {
		return err
	}
	defer relay.Close()
	env, err := run.Environment(run.EnvironmentConfig{
		Inherited: os.Environ(), Proxy: relay.URL(), CA: authority, Hosts: hostsOf(started.MayUse), Deny: deny,
	})
	if err != nil {
		return err
	}
	defer func() {
		if env.Close() != nil {
			c.say("note: the run's private folder %s could not be removed", env.Dir())
		}
	}()
	if !quiet {
		c.banner(started, isolation, env)
	}
	if ctx.Err() != nil {
		return writ.Errorf(writ.KindInvalid, "the run was given up before its program started").WithWhy("a signal came").WithFix("start it again")
	}
	stdout, _ := c.stdout.(*os.File)
	stderr, _ := c.stderr.(*os.File)
	child, err := run.StartChild(run.ChildConfig{Args: args, Env: env.Vars, Stdin: c.stdin, Stdout: stdout, Stderr: stderr, Deny: deny})
	if err != nil {
		return err
	}
	// Signals are the program's from here on; only the server, or its loss, ends it.
	outcome := run.Supervise(context.WithoutCancel(ctx), child, control)
	return c.ended(outcome, started.Session.ID)
}

// ended turns the end of a run into the program's exit code, and says why
// where the program did not end by itself.
func (c *cli) ended(o run.Outcome, session writ.ID) error {
	if o.Err == nil {
		return exit(o.Code)
	}
	shown := o.Err
	if shown.Fix == "" {
		shown = shown.WithFix("see what ended it: writ session get %s; then start it again", session)
	}
	code := c.end(shown)
	if o.Code > 0 {
		code = o.Code
	}
	if code == problem.ExitOK {
		code = problem.ExitServer
	}
	return exit(code)
}

// dryRun says what a session could use.
func (c *cli) dryRun(ctx context.Context, api *client.Client, in client.NewSession) error {
	o, err := api.StartSession(ctx, in, client.DryRun())
	if err != nil {
		return err
	}
	return c.show(o, func(p *page) {
		p.line("dry run: nothing was started; %s could use", or(o.Session.IdentityName, in.Identity))
		if len(o.MayUse) == 0 {
			p.line("  nothing yet: no grant covers such a session")
		}
		for _, u := range o.MayUse {
			p.line("  %s", usableText(u))
		}
	})
}

// ownFolders are Writ's own places on this machine, which the program is kept
// from where the kernel can do that (DESIGN: what the promises rest on).
func (c *cli) ownFolders(s *settings) []string {
	var paths []string
	add := func(path string) {
		if _, err := os.Stat(path); path != "" && err == nil {
			paths = append(paths, path)
		}
	}
	if home := c.getenv("HOME"); home != "" {
		add(home + "/.writ")
	}
	if s.tokenAt == "--token-file" {
		add(c.flags.tokenFile)
	} else if strings.HasPrefix(s.tokenAt, "/") {
		add(s.tokenAt)
	}
	return paths
}

// isolationText is the isolation as the session records it.
func isolationText(i run.Isolation) string {
	if i.Denied {
		return "none (cooperative); Writ's own folders denied by Landlock"
	}
	return "none (cooperative)"
}

func (c *cli) banner(s *client.SessionOnce, i run.Isolation, env *run.Env) {
	facts := run.BannerFacts{
		Actor: or(s.Session.IdentityName, string(s.Session.Identity)), Starter: or(s.Session.StartedName, string(s.Session.Started)),
		Task: s.Session.Task, Ends: s.Session.Expires.Go().Local(), Isolation: i, Secrets: env.Secrets, Warnings: env.Warnings, Session: string(s.Session.ID),
	}
	for _, u := range s.MayUse {
		facts.MayUse = append(facts.MayUse, usableText(u))
	}
	for line := range strings.Lines(run.Banner(facts)) {
		c.say("%s", strings.TrimRight(line, "\n"))
	}
}

// usableText is one thing a session may use: "github (GET api.github.com/repos/**)".
func usableText(u client.Usable) string {
	rules := strings.Join(u.Rules, "; ")
	if len(rules) > 120 {
		rules = rules[:strings.LastIndexAny(rules[:120], "; ")+1] + "…"
	}
	return or(u.Credential, u.Application) + " (" + rules + ")"
}

func hostsOf(us []client.Usable) []string {
	var hosts []string
	for _, u := range us {
		hosts = append(hosts, u.Hosts...)
	}
	return hosts
}
