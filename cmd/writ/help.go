package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
)

// helpResult is what writ help --json prints: a reason's page, or a command.
type helpResult struct {
	Reason  *writ.Explanation  `json:"reason,omitempty"`
	Command *commandHelp       `json:"command,omitempty"`
	Reasons []writ.Explanation `json:"reasons,omitempty"`
}

// commandHelp is one command, for programs.
type commandHelp struct {
	Command  string     `json:"command"`
	Use      string     `json:"use"`
	Short    string     `json:"short"`
	Example  string     `json:"example,omitempty"`
	Flags    []flagHelp `json:"flags,omitempty"`
	Commands []string   `json:"commands,omitempty"`
}

type flagHelp struct {
	Name    string `json:"name"`
	Type    string `json:"type,omitempty"`
	Default string `json:"default,omitempty"`
	Usage   string `json:"usage"`
}

func (c *cli) helpCommand() *cobra.Command {
	return c.command(spec{
		use: "help [CODE | COMMAND]", short: "Explain a reason code, or a command",
		long:    "A reason code is the word in brackets behind a denial: what it means, who can change it,\nand the command that does. \"writ help reasons\" lists them all.",
		example: "writ help out_of_authority\nwrit help grant add\nwrit help reasons",
		names:   names{0, 3, ""}, out: helpResult{},
		run: func(_ context.Context, args []string) error {
			if len(args) == 1 && args[0] == "reasons" {
				return c.showReasons()
			}
			if len(args) == 1 {
				if e, ok := writ.Explain(writ.Reason(args[0])); ok {
					return c.showReason(&e)
				}
			}
			return c.showCommand(args)
		},
	})
}

func (c *cli) showReason(e *writ.Explanation) error {
	return c.show(helpResult{Reason: e}, func(p *page) {
		p.line("%s: %s", cell{text: string(e.Reason), style: bold}, e.Title)
		p.blank()
		p.line("  %s", e.Cause)
		p.blank()
		p.line("  who can change it   %s", e.Who)
		p.line("  how                 %s", e.Command)
	})
}

func (c *cli) showReasons() error {
	all := writ.Explanations()
	return c.show(helpResult{Reasons: all}, func(p *page) {
		rows := make([][]cell, len(all))
		for i, e := range all {
			rows[i] = []cell{text(string(e.Reason)), text(e.Title)}
		}
		p.table([]string{"code", "means"}, rows)
	})
}

func (c *cli) showCommand(args []string) error {
	cmd, rest, err := c.root.Find(args)
	if err != nil || len(rest) > 0 {
		what := writ.Printable(strings.Join(args, " "), 40)
		fix := "see the commands with writ help, the codes with writ help reasons"
		var codes []string
		for _, e := range writ.Explanations() {
			codes = append(codes, string(e.Reason))
		}
		if i := slices.IndexFunc(codes, func(code string) bool { return len(args) == 1 && strings.HasPrefix(code, args[0]) }); i >= 0 {
			fix = "did you mean: writ help " + codes[i]
		}
		return writ.Invalid("code", what+" is neither a reason code nor a command", fix)
	}
	if !c.flags.json {
		return cmd.Help()
	}
	return c.writeJSON(helpResult{Command: describe(cmd)}, true)
}

// describe is a command as programs read it.
func describe(cmd *cobra.Command) *commandHelp {
	h := &commandHelp{Command: cmd.CommandPath(), Use: cmd.UseLine(), Short: cmd.Short, Example: cmd.Example}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		h.Flags = append(h.Flags, flagHelp{Name: f.Name, Type: name, Default: f.DefValue, Usage: usage})
	})
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			h.Commands = append(h.Commands, sub.Name())
		}
	}
	return h
}
