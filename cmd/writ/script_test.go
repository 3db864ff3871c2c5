package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write derived files")

// The test binary is the command line: a script's writ is this very program,
// run as a process of its own with real pipes, files and exit codes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"writ": main, "cat-env": catEnv})
}

// catEnv prints the variables named, one a line, as a program of writ run sees
// them.
func catEnv() {
	for _, name := range os.Args[1:] {
		os.Stdout.WriteString(name + "=" + os.Getenv(name) + "\n")
	}
}

func TestScriptsWithoutAServer(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script/local", RequireExplicitExec: true, RequireUniqueNames: true, Setup: func(e *testscript.Env) error {
		e.Setenv("HOME", e.WorkDir)
		e.Setenv("TZ", "UTC")
		return nil
	}})
}
