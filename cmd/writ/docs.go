package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docsCommand prints docs/reference/cli.md. A test compares the two.
func (c *cli) docsCommand() *cobra.Command {
	cmd := c.command(spec{
		use: "docs", short: "Print the reference of all commands as Markdown", example: "writ docs > docs/reference/cli.md",
		noJSON: "its output is a page; for programs: writ help COMMAND --json",
		run: func(context.Context, []string) error {
			_, err := io.WriteString(c.stdout, c.reference())
			return err
		},
	})
	cmd.Hidden = true
	return cmd
}

func (c *cli) reference() string {
	var b strings.Builder
	b.WriteString(`# Command line

This page is made from the commands themselves: ` + "`writ docs > docs/reference/cli.md`" + `.

Results go to stdout, talk to stderr. A table is aligned and without colour in a pipe;
` + "`--json`" + ` prints one object whose schema is ` + "`writ schema COMMAND`" + `. Names, ids and unique
beginnings of ids are accepted wherever an object is named: ` + "`github`, `agent:claude-pay`," + `
` + "`ana@acme.dev`, `grt_7f2`" + `.

| exit code | means |
|---|---|
| 0 | done |
| 1 | wrong use, or something on this machine |
| 2 | the server or the network |
| 3 | denied, or not permitted |
| 4 | waits for an approval |
| 5 | a check failed |
| 126, 127 | ` + "`writ run`" + `: the program cannot be executed, or there is none |

` + "`writ run`" + ` otherwise ends with the code of the program it ran.

Which server, and as whom: the nearest of flag, environment variable (` + "`WRIT_ADDR`, `WRIT_TOKEN`," + `
` + "`WRIT_CA`" + `), ` + "`.writ.toml`" + ` in this folder or one above, and ` + "`~/.writ/dev.json`" + `, which a development
server writes. ` + "`writ status`" + ` says what is in force and where it came from.

`)
	b.WriteString("## Every command\n\n" + flagTable(c.root.PersistentFlags()))
	for _, g := range c.root.Groups() {
		for _, cmd := range c.root.Commands() {
			if cmd.GroupID == g.ID && cmd.IsAvailableCommand() {
				writeReference(&b, cmd)
			}
		}
	}
	return b.String()
}

func writeReference(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n", cmd.CommandPath(), cmd.Long)
	if !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "```\n%s\n```\n\n", cmd.UseLine())
	}
	if cmd.Example != "" && !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "For example:\n\n```sh\n%s\n```\n\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	b.WriteString(flagTable(cmd.LocalNonPersistentFlags()))
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			writeReference(b, sub)
		}
	}
}

func flagTable(f *pflag.FlagSet) string {
	var rows strings.Builder
	f.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "`--" + strings.TrimSpace(f.Name+" "+kind) + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(&rows, "| %s | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
	})
	if rows.Len() == 0 {
		return ""
	}
	return "| flag | |\n|---|---|\n" + rows.String() + "\n"
}
