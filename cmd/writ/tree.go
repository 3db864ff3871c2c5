package main

import (
	"strings"

	"github.com/spf13/cobra"

	"writ.dev/writ"
)

// tree builds the command tree.
func (c *cli) tree() *cobra.Command {
	c.specs = map[*cobra.Command]*spec{}
	root := &cobra.Command{
		Use:   "writ COMMAND",
		Short: "One control plane for people, services and agents",
		Long: `writ says who acts, on whose authority, with which credential, within what
limits and what ends it; it enforces that at each use, withdraws it in a
second and proves it afterwards.

An agent never holds a credential: writ run starts it, and the broker adds the
credential to the requests that a grant covers.`,
		Example: indent(`writ demo
writ server --dev
writ run --as agent:claude-pay --for 2h -- curl https://api.github.com/user
writ help no_grant`),
		Version:               version,
		SilenceUsage:          true,
		SilenceErrors:         true,
		DisableFlagsInUseLine: true,
		Args:                  func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE:                  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(usage)
	// Without the line for a command that holds others and can run by itself: it
	// only prints its help.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .HasAvailableSubCommands}}\n  {{.CommandPath}} [command]{{end}}", "", 1))
	root.CompletionOptions.DisableDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	f := root.PersistentFlags()
	f.StringVar(&c.flags.server, "server", "", "the server's `address`; else WRIT_ADDR, .writ.toml, ~/.writ/dev.json")
	f.StringVar(&c.flags.tokenFile, "token-file", "", "a `file` of mode 0600 with the token; else WRIT_TOKEN, the development token")
	f.StringVar(&c.flags.ca, "ca", "", "a `file` with the certificates that the server's must lead to; else WRIT_CA, the system's")
	f.BoolVar(&c.flags.json, "json", false, "print one JSON object")

	for _, g := range []struct{ id, title string }{{"start", "Start"}, {"use", "Use"}, {"decide", "Decide and look"}, {"govern", "Govern"}, {"more", "More"}} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title + ":"})
		for _, cmd := range c.commands(g.id) {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	help := c.helpCommand()
	help.GroupID = "more"
	root.SetHelpCommand(help)
	root.SetHelpCommandGroupID("more")
	root.InitDefaultHelpCmd()
	c.root = root
	return root
}

// checkRef refuses a name or id that cannot be one before it is sent. The
// server finds what it means: an id, a unique beginning of one, or a name.
func checkRef(field, ref string) error {
	if ref == "" || len(ref) > 254 || writ.CheckText(field, ref) != nil {
		return writ.Invalid(field, "not a name or id: "+writ.Printable(ref, 40), "give a name such as github, agent:claude-pay or ana@acme.dev, an id, or a unique beginning of an id")
	}
	return nil
}
