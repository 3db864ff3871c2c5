package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"writ.dev/writ"
)

// interactive reports whether there is somebody to ask.
func (c *cli) interactive() bool { return isTerminal(c.stdin) && isTerminal(c.stderr) }

// confirm asks whether to go on with what cannot be undone. question says what
// will happen.
func (c *cli) confirm(ctx context.Context, question string) error {
	if c.flags.yes || c.flags.dryRun {
		return nil
	}
	without := c.asTyped("--yes")
	if !c.interactive() {
		return writ.Invalid("--yes", "this needs a yes, and there is nobody to ask", without).WithWhy("%s", question)
	}
	c.say("%s", question)
	c.say("Without prompts: %s", without)
	_, _ = io.WriteString(c.stderr, "Go on? [y/N] ")
	answer, err := c.readLine(ctx)
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return writ.Invalid("", "nothing was changed", "answer y to go on").WithWhy("the answer was not yes")
	}
	return nil
}

// readLine reads one line from the terminal, or gives up when ctx ends.
func (c *cli) readLine(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := bufio.NewReader(c.stdin).ReadString('\n')
		got <- result{line, err}
	}()
	select {
	case r := <-got:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return "", r.err
		}
		return r.line, nil
	case <-ctx.Done():
		return "", writ.Invalid("", "given up", "").WithWhy("a signal came before the answer")
	}
}

// asTyped is this command line with some more flags, for people to repeat. No
// secret can be in it: those that were typed have been refused before.
func (c *cli) asTyped(more ...string) string {
	words := []string{"writ"}
	for _, a := range append(append([]string{}, c.args...), more...) {
		words = append(words, shellQuote(safe(a)))
	}
	return strings.Join(words, " ")
}

// secretSource is how a secret enters: a pipe, a file, or a prompt that does
// not echo. There is no way on the command line, where history, ps and logs
// would keep it.
type secretSource struct {
	stdin bool
	file  string
}

func (s *secretSource) register(f *pflag.FlagSet) {
	f.BoolVar(&s.stdin, "secret-stdin", false, "read the secret from standard input")
	f.StringVar(&s.file, "secret-file", "", "read the secret from a `file`")
}

// maxSecret is what the server takes.
const maxSecret = 64 << 10

// read gives the secret as the API takes it: text, or base64 where it is no
// text. One line end behind it is not part of it: echo and editors add one.
func (s *secretSource) read(ctx context.Context, c *cli, what string) (secret secretText, encoding string, err error) {
	var b []byte
	switch {
	case s.stdin && s.file != "":
		return "", "", writ.Invalid("--secret-stdin", "the secret is said to come from two places", "use one of --secret-stdin and --secret-file")
	case s.stdin:
		b, err = io.ReadAll(io.LimitReader(c.stdin, maxSecret+2))
		if err != nil {
			return "", "", writ.Invalid("--secret-stdin", "standard input cannot be read", "pipe the secret in").WithCause(err)
		}
	case s.file != "":
		if b, err = readFile(s.file, maxSecret+2); err != nil {
			return "", "", fileError("--secret-file", s.file, err)
		}
		if info, err := os.Stat(s.file); err == nil && info.Mode().Perm()&0o044 != 0 {
			c.say("note: %s can be read by others; remove it once the secret is stored", s.file)
		}
	case c.interactive():
		if b, err = c.promptSecret(ctx, what); err != nil {
			return "", "", err
		}
	default:
		return "", "", writ.Invalid("--secret-stdin", "the secret is missing", "pipe it in: ... | "+c.asTyped("--secret-stdin")).
			WithWhy("it is read from standard input, a file or a prompt, and there is no terminal to prompt on")
	}
	defer clear(b)
	t := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case t == "":
		return "", "", writ.Invalid("secret", "the secret is empty", "check what is piped in, or the file")
	case len(t) > maxSecret:
		return "", "", writ.Invalid("secret", "the secret is longer than 64 KiB", "check what is piped in, or the file")
	case !utf8.ValidString(t):
		return secretText(base64.StdEncoding.EncodeToString([]byte(t))), "base64", nil
	}
	return secretText(t), "", nil
}

// promptSecret reads a line without echo. When a signal comes first, the
// terminal gets its echo back: the read itself would keep it off.
func (c *cli) promptSecret(ctx context.Context, what string) ([]byte, error) {
	fd := int(c.stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, writ.Invalid("secret", "the terminal cannot be used for a prompt", "use --secret-stdin").WithCause(err)
	}
	c.say("Without prompts: ... | %s", c.asTyped("--secret-stdin"))
	_, _ = io.WriteString(c.stderr, "Secret for "+safe(what)+" (not shown): ")
	defer func() { _, _ = io.WriteString(c.stderr, "\n") }()
	type result struct {
		secret []byte
		err    error
	}
	got := make(chan result, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		got <- result{b, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, writ.Invalid("secret", "the prompt was given up", "type the secret and press Enter").WithCause(r.err)
		}
		return r.secret, nil
	case <-ctx.Done():
		err := term.Restore(fd, before)
		return nil, writ.Invalid("secret", "the prompt was given up", "type the secret and press Enter").WithCause(err)
	}
}

// isSecretFlag knows the flags by which people try to pass a secret.
func isSecretFlag(name string) bool {
	switch name {
	case "secret", "value", "password", "token", "api-key", "apikey", "secret-value":
		return true
	}
	return false
}

// secretOnCommandLine refuses a secret that was typed, without repeating it.
func secretOnCommandLine(cmd *cobra.Command) error {
	fix := "put the token into a file of mode 0600 and use --token-file, or set WRIT_TOKEN"
	if cmd.Flags().Lookup("secret-stdin") != nil {
		fix = "pipe it in with --secret-stdin, or use --secret-file; and replace the one just typed, your shell may have kept it"
	}
	return writ.Invalid("secret", "a secret is never given on the command line", fix).
		WithWhy("other programs, the shell's history and logs can read it there")
}
