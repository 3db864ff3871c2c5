package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"writ.dev/writ"
	"writ.dev/writ/client"
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

// completeTime bounds how long a shell waits for names after Tab.
const completeTime = time.Second

// completeNames completes what is on the server now. Where that cannot be asked
// there is nothing to complete, and no message in the middle of a command line.
func (c *cli) completeNames(nouns ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completeTime)
		defer cancel()
		api, err := c.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, noun := range nouns {
			for _, name := range liveNames(ctx, api, noun) {
				// Whatever a shell would read as more than a word is left out.
				if strings.HasPrefix(name, prefix) && shellQuote(name) == name {
					names = append(names, name)
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// liveNames are the names of one kind of thing, at most a page of them.
func liveNames(ctx context.Context, api *client.Client, noun string) []string {
	paging := client.Paging{Limit: maxPage}
	listing := client.Listing{Paging: paging}
	switch noun {
	case "identity":
		p, err := api.Identities(ctx, client.IdentityFilter{Listing: listing})
		return namesOf(p, err, func(i client.Identity) string { return i.Label })
	case "app":
		p, err := api.Applications(ctx, client.ApplicationFilter{Listing: listing})
		return namesOf(p, err, func(a client.Application) string { return a.Name })
	case "credential":
		p, err := api.Credentials(ctx, client.CredentialFilter{Listing: listing})
		return namesOf(p, err, func(r client.Credential) string { return r.Name })
	case "key":
		p, err := api.Keys(ctx, client.KeyFilter{Listing: listing})
		return namesOf(p, err, func(k client.Key) string { return k.Name })
	case "policy":
		p, err := api.Policies(ctx, client.PolicyFilter{Listing: listing})
		return namesOf(p, err, func(p client.Policy) string { return p.Name })
	case "grant":
		p, err := api.Grants(ctx, client.GrantFilter{Listing: listing})
		return namesOf(p, err, func(g client.Grant) string { return string(g.ID) })
	case "session":
		p, err := api.Sessions(ctx, client.SessionFilter{Listing: listing, State: writ.Active})
		return namesOf(p, err, func(s client.Session) string { return string(s.ID) })
	case "org":
		p, err := api.Orgs(ctx, paging)
		return namesOf(p, err, func(o client.Org) string { return o.Name })
	}
	return nil
}

func namesOf[T any](p *client.Page[T], err error, name func(T) string) []string {
	if err != nil {
		return nil
	}
	names := make([]string, len(p.Items))
	for i, item := range p.Items {
		names[i] = name(item)
	}
	return names
}
