package main

import (
	"context"

	"github.com/spf13/cobra"

	"writ.dev/writ"
)

func (c *cli) completionCommand() *cobra.Command {
	return c.command(spec{
		use: "completion SHELL", short: "Print the completion script for bash, zsh, fish or powershell",
		long:    "The script asks this program for what can follow, names on the server included.",
		example: "source <(writ completion bash)\nwrit completion fish > ~/.config/fish/completions/writ.fish",
		names:   one("a shell"), noJSON: "its output is a script",
		run: func(_ context.Context, args []string) error {
			switch args[0] {
			case "bash":
				return c.root.GenBashCompletionV2(c.stdout, true)
			case "zsh":
				return c.root.GenZshCompletion(c.stdout)
			case "fish":
				return c.root.GenFishCompletion(c.stdout, true)
			case "powershell", "pwsh":
				return c.root.GenPowerShellCompletionWithDesc(c.stdout)
			}
			return writ.Invalid("shell", "there is no completion for "+writ.Printable(args[0], 20), "use bash, zsh, fish or powershell")
		},
	})
}
