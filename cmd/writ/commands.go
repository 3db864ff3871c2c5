package main

import "github.com/spf13/cobra"

// commands lists the top-level commands of each group, in the order of the help.
func (c *cli) commands(group string) []*cobra.Command {
	switch group {
	case "start":
		return []*cobra.Command{c.serverCommand(), c.demoCommand(), c.statusCommand()}
	case "use":
		return []*cobra.Command{c.runCommand(), c.sessionCommand()}
	case "decide":
		return []*cobra.Command{c.tailCommand(), c.useCommand(), c.traceCommand(), c.whyCommand(), c.killCommand(), c.resumeCommand()}
	case "govern":
		return []*cobra.Command{
			c.orgCommand(), c.identityCommand(), c.keyCommand(), c.appCommand(), c.credentialCommand(), c.grantCommand(), c.policyCommand(),
			c.ledgerCommand(), c.evidenceCommand(),
		}
	}
	return []*cobra.Command{c.schemaCommand(), c.completionCommand(), c.docsCommand(), c.versionCommand(), c.demoAgentCommand()}
}
