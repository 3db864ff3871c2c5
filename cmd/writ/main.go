// Command writ is the one program of Writ: server, proxy and command line.
//
// This package only wires: each subcommand is one file that asks a server
// through package client and prints what it answered. What all of them share
// is in few places: cli.go (the run of one command, and how an error ends it),
// command.go (what every command has), output.go and page.go (how results
// look), settings.go (which server, and as whom).
package main

import (
	"os"

	"writ.dev/writ/client/run"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	run.Trampoline(os.Args)
	os.Exit(newCLI().main(os.Args[1:]))
}
