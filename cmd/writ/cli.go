package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
	"writ.dev/writ/internal/problem"
)

// cli is one run of the program: what it reads and writes, and the flags that
// every command has. Nothing in it outlives the run.
type cli struct {
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time

	args  []string // as they were typed, without the program's name
	flags flags
	root  *cobra.Command
	specs map[*cobra.Command]*spec // what each command declared; filled while the tree is built
	api   *client.Client           // made by the first call of client()
}

// flags are the flags that commands share. Which command has which is in
// command.go.
type flags struct {
	server    string
	tokenFile string
	ca        string
	json      bool
	jsonl     bool
	csv       bool
	columns   []string
	limit     int
	cursor    string
	dryRun    bool
	yes       bool
	reason    string
}

func newCLI() *cli {
	return &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now}
}

// main runs one command line and returns the exit code.
func (c *cli) main(args []string) int {
	c.args = args
	root := c.tree()
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	// The first signal ends what is under way in order; the second ends the
	// process, as it would have without us.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := root.ExecuteContext(ctx)
	if c.api != nil {
		c.api.Close()
	}
	return c.end(err)
}

// exit ends the program with the code of another one.
type exit int

func (exit) Error() string { return "the program of writ run has ended" }

// end is the one place where an error becomes lines on stderr and an exit code.
func (c *cli) end(err error) int {
	var code exit
	if errors.As(err, &code) {
		return int(code)
	}
	// Whoever reads our output has stopped reading (writ use ls | head).
	if errors.Is(err, syscall.EPIPE) {
		return problem.ExitUse
	}
	if err == nil {
		return problem.ExitOK
	}
	shown := presentable(err)
	lines := problem.Lines(shown)
	if c.colours(c.stderr) {
		lines = strings.Replace(lines, "✗", bad.render("✗"), 1)
	}
	_, _ = io.WriteString(c.stderr, lines) // there is nowhere left to say that it failed
	var start *run.StartError
	if errors.As(err, &start) {
		return start.Code
	}
	return problem.Exit(shown)
}

// presentable is err as it may be shown: of the kind that people see, on one
// line each, and without characters that could move a terminal's cursor. The
// texts may be a server's, or may repeat names that anybody chose.
func presentable(err error) error {
	var denied *problem.Denied
	if errors.As(err, &denied) {
		d := *denied.Decision
		d.Detail, d.Missing = safe(d.Detail), slices.Clone(d.Missing)
		for i := range d.Missing {
			d.Missing[i] = safe(d.Missing[i])
		}
		d.ID = writ.ID(safe(string(d.ID)))
		d.Reasons = slices.Clone(d.Reasons)
		for i := range d.Reasons {
			d.Reasons[i] = writ.Reason(safe(string(d.Reasons[i])))
		}
		return &problem.Denied{Decision: &d}
	}
	var e *writ.Error
	if !errors.As(err, &e) {
		return err // shows nothing but "internal error"
	}
	out := &writ.Error{Kind: e.Kind, Message: safe(e.Message), Why: safe(e.Why), Fix: safe(e.Fix), Field: safe(e.Field)}
	// Always four lines: what, why, fix, more.
	if out.Why == "" {
		out.Why = whys[e.Kind]
		if out.Field != "" && !strings.HasPrefix(out.Field, "-") {
			out.Why += " (" + out.Field + ")"
		}
	}
	if out.Fix == "" {
		out.Fix = fixes[e.Kind]
	}
	return out
}

// whys and fixes are what the second and third line say where the error itself
// does not: the least that is true of its kind.
var (
	whys = map[writ.ErrorKind]string{
		writ.KindInvalid:         "what was given cannot be used",
		writ.KindUnauthenticated: "the server does not know the token, or got none",
		writ.KindForbidden:       "the token's role does not include this",
		writ.KindDenied:          "what it rests on was withdrawn",
		writ.KindNotFound:        "nothing in this organization has that name or id",
		writ.KindConflict:        "its state does not permit that",
		writ.KindLimited:         "too many calls in too short a time",
		writ.KindUnavailable:     "it could not be reached, or could not do it now",
		writ.KindCheckFailed:     "what was checked does not hold",
		writ.KindInternal:        "a defect of Writ",
	}
	fixes = map[writ.ErrorKind]string{
		writ.KindInvalid:         "see the form with --help",
		writ.KindUnauthenticated: "see where the token comes from: writ status",
		writ.KindForbidden:       "see who you are: writ status; then ask an administrator",
		writ.KindDenied:          "see what happened: writ tail",
		writ.KindNotFound:        "list what there is with ls",
		writ.KindConflict:        "look at it with get, then try again",
		writ.KindLimited:         "wait a minute and try again",
		writ.KindUnavailable:     "check that the server runs: writ status",
		writ.KindCheckFailed:     "keep what was checked as it is, and find out who changed it",
		writ.KindInternal:        "look in the server's log, and report it",
	}
)

// usage turns what the flag parser says into an error that repeats no value:
// the value may be a secret that does not belong on a command line.
func usage(cmd *cobra.Command, err error) error {
	help := strings.TrimSpace(cmd.CommandPath()) + " --help"
	var missing *pflag.NotExistError
	var needs *pflag.ValueRequiredError
	var wrong *pflag.InvalidValueError
	switch {
	case errors.As(err, &missing):
		name := missing.GetSpecifiedName()
		if missing.GetSpecifiedShortnames() != "" {
			return writ.Invalid("-"+name[:1], "there is no flag -"+writ.Printable(name[:1], 4), "see what they do: "+help).WithWhy("the flags are %s", flagNames(cmd))
		}
		if isSecretFlag(name) {
			return secretOnCommandLine(cmd)
		}
		return writ.Invalid("--"+writ.Printable(name, 40), "there is no flag --"+writ.Printable(name, 40), "see what they do: "+help).WithWhy("the flags are %s", flagNames(cmd))
	case errors.As(err, &needs):
		name := needs.GetFlag().Name
		return writ.Invalid("--"+name, "the flag --"+name+" needs a value", "see its form: "+help)
	case errors.As(err, &wrong):
		name := wrong.GetFlag().Name
		e := writ.Invalid("--"+name, "the flag --"+name+" cannot be "+writ.Printable(wrong.GetValue(), 60), "see its form: "+help)
		var why *writ.Error
		if errors.As(err, &why) {
			e.Why, e.Fix = why.Message, why.Fix
		}
		return e
	}
	return writ.Invalid("", "the command line cannot be read", "see the flags: "+help).WithCause(err)
}

// flagNames lists the flags of a command, its own first.
func flagNames(cmd *cobra.Command) string {
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(add)
	cmd.Root().PersistentFlags().VisitAll(add)
	return listed(names)
}
