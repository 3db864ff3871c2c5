package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionResult is what writ version prints.
type versionResult struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty" doc:"of the sources it was built from"`
	Modified bool   `json:"modified,omitempty" doc:"the sources had changes that no commit holds"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *cli) versionCommand() *cobra.Command {
	return c.command(spec{
		use: "version", short: "Print the version of this program", example: "writ version --json",
		out: versionResult{},
		run: func(context.Context, []string) error {
			v := versionResult{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Commit = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			return c.show(v, func(p *page) {
				p.line("writ %s  %s  %s  %s", v.Version, v.Commit[:min(len(v.Commit), 12)], v.Go, v.Platform)
			})
		},
	})
}
