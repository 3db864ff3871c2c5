package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// spec declares one command. Every command has a line of help, an example,
// and an answer to --json; the kinds of command add the flags that all of the
// same kind have.
type spec struct {
	use     string
	short   string
	long    string // what --help says beyond short; may be empty
	example string
	kind    kind
	names   names // what its arguments are
	out     any   // a zero value of what --json prints; nil where noJSON says why not
	noJSON  string
	flags   func(*pflag.FlagSet)
	run     func(ctx context.Context, args []string) error
}

// kind is what sort of command it is.
type kind uint8

const (
	reads   kind = iota
	lists        // also has --jsonl, --csv, --columns, --limit, --cursor
	streams      // also has --jsonl
	changes      // also has --dry-run, --yes
	acts         // changes that end, stop or resume something: also --reason
)

// names bounds the arguments of a command and says what they are.
type names struct {
	min, max int    // max < 0: any number
	what     string // "a grant", for the message that one is missing
}

func one(what string) names { return names{1, 1, what} }

// command makes a spec into a command.
func (c *cli) command(s spec) *cobra.Command {
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: strings.TrimSpace(s.short + ".\n\n" + s.long), Example: indent(s.example),
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := c.checkOutput(cmd, &s); err != nil {
			return err
		}
		return s.names.check(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args) }
	f := cmd.Flags()
	f.SortFlags = true
	switch s.kind {
	case lists:
		f.BoolVar(&c.flags.jsonl, "jsonl", false, "one JSON object a line instead of a table")
		f.BoolVar(&c.flags.csv, "csv", false, "comma-separated values instead of a table (RFC 4180)")
		f.StringSliceVar(&c.flags.columns, "columns", nil, "which `columns`, in which order; see them with --columns help")
		f.IntVar(&c.flags.limit, "limit", 100, "how many at most; 0 is all")
		f.StringVar(&c.flags.cursor, "cursor", "", "begin where a list before ended: its next")
	case streams:
		f.BoolVar(&c.flags.jsonl, "jsonl", false, "one JSON object a line instead of text")
	case changes, acts:
		f.BoolVar(&c.flags.dryRun, "dry-run", false, "say what would change, and change nothing")
		f.BoolVar(&c.flags.yes, "yes", false, "do not ask")
		if s.kind == acts {
			f.StringVar(&c.flags.reason, "reason", "", "`why`; kept in the ledger")
		}
	}
	if s.flags != nil {
		s.flags(f)
	}
	c.specs[cmd] = &s
	return cmd
}

// group makes a command that only holds others.
func (c *cli) group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " COMMAND", Short: short, Long: short + ".", DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	for _, child := range children {
		if s := c.specs[child]; s.names.max == 1 && strings.Contains(s.names.what, "id") {
			child.ValidArgsFunction = c.completeNames(use)
		}
	}
	cmd.Example = indent(firstLine(children[0].Example))
	return cmd
}

// unknownCommand is the error for a word that is no command, nil without one.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	fix := "see what they do: " + cmd.CommandPath() + " --help"
	var have []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			have = append(have, sub.Name())
		}
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		fix = "did you mean: " + cmd.CommandPath() + " " + near[0]
	}
	return writ.Invalid("command", "there is no command "+cmd.CommandPath()+" "+writ.Printable(args[0], 40), fix).WithWhy("the commands are %s", listed(have))
}

// check refuses too few and too many arguments. It repeats none of those that
// are too many: one may be a secret.
func (n names) check(cmd *cobra.Command, args []string) error {
	help := cmd.CommandPath() + " --help"
	switch {
	case len(args) < n.min:
		return writ.Invalid("arguments", cmd.CommandPath()+" needs "+n.what, "as in: "+firstLine(cmd.Example)).WithWhy("its form is: %s", cmd.UseLine())
	case n.max >= 0 && len(args) > n.max:
		if cmd.Flags().Lookup("secret-stdin") != nil {
			return secretOnCommandLine(cmd)
		}
		return writ.Invalid("arguments", cmd.CommandPath()+" has more arguments than it takes", "see what it takes: "+help).WithWhy("its form is: %s", cmd.UseLine())
	}
	return nil
}

// checkOutput refuses two forms of output at once, and --json where there is none.
func (c *cli) checkOutput(cmd *cobra.Command, s *spec) error {
	var asked []string
	for name, on := range map[string]bool{"--json": c.flags.json, "--jsonl": c.flags.jsonl, "--csv": c.flags.csv} {
		if on {
			asked = append(asked, name)
		}
	}
	if len(asked) > 1 {
		return writ.Invalid("output", "more than one form of output is asked for", "use one of --json, --jsonl and --csv")
	}
	if c.flags.json && s.noJSON != "" {
		return writ.Invalid("--json", cmd.CommandPath()+" has no --json", "leave --json away").WithWhy("%s", s.noJSON)
	}
	if s.kind == lists && (c.flags.json || c.flags.jsonl) && len(c.flags.columns) > 0 {
		return writ.Invalid("--columns", "--columns is for tables and --csv", "leave --columns away: JSON has every field")
	}
	return nil
}

// because is the reason that was given.
func (c *cli) because() client.Because { return client.Because{Reason: c.flags.reason} }

// options are the options of a change.
func (c *cli) options() []client.Option {
	if c.flags.dryRun {
		return []client.Option{client.DryRun()}
	}
	return nil
}

func indent(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = "  " + strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}
