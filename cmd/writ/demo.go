package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

func (c *cli) demoCommand() *cobra.Command {
	var once bool
	return c.command(spec{
		use: "demo", short: "See the whole idea in a minute, offline",
		long: `Starts a development server and two services of its own on loopback ports, and
runs a scripted agent through it as a real child process. Every step is real:
the requests, the ledger, the revocation, the tampering. Nothing leaves this
machine, and what it wrote is removed at the end.`,
		example: "writ demo\nwrit demo --once",
		noJSON:  "it tells a story",
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&once, "once", false, "end when the story is told, instead of staying up")
		},
		run: func(ctx context.Context, _ []string) error { return runDemo(ctx, c.stdout, once) },
	})
}

// demo is the stage: a folder, a server as a child process, and the two
// services that it opens.
type demo struct {
	out  io.Writer
	dir  string
	self string // this binary

	server *exec.Cmd
	state  devFile
	admin  *client.Client
	token  string // the admin's
	ana    string // Ana's key: she starts the agent
	acme   *acme
	first  writ.ID // the agent's first use
}

func runDemo(ctx context.Context, out io.Writer, once bool) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "writ-demo-")
	if err != nil {
		return err
	}
	d := &demo{out: out, dir: dir, self: self}
	defer func() {
		d.stopServer()
		if d.acme != nil {
			d.acme.close()
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if d.acme, err = startAcme(); err != nil {
		return err
	}
	start := time.Now()
	for _, scene := range []func(context.Context) error{
		d.startServer, d.setUp, d.allowed, d.outsideGrant, d.undeclaredHost, d.trace, d.cutStream, d.evidence, d.forgedRow,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.say("", "Told in %.1f s. Every step was real; nothing left this machine.", time.Since(start).Seconds())
	if once {
		return nil
	}
	return d.stay(ctx)
}

// say prints a line of the story; a title begins a scene.
func (d *demo) say(title, format string, args ...any) {
	if title != "" {
		_, _ = fmt.Fprintf(d.out, "\n── %s\n", title)
	}
	_, _ = fmt.Fprintf(d.out, "   "+strings.ReplaceAll(format, "\n", "\n   ")+"\n", args...)
}

// show prints what a command or program printed.
func (d *demo) show(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		_, _ = fmt.Fprint(d.out, "   │ "+line)
	}
	_, _ = fmt.Fprintln(d.out)
}

func (d *demo) data() string { return filepath.Join(d.dir, "dev") }

func (d *demo) startServer(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(d.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	statePath := d.data() + ".json"
	_ = os.Remove(statePath)
	d.server = exec.CommandContext(ctx, d.self, "server", "--dev", "--data", d.data(), "--person", "bo@acme.test", "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0")
	d.server.Stdout, d.server.Stderr = log, log
	d.server.Cancel = func() error { return d.server.Process.Signal(syscall.SIGTERM) }
	d.server.WaitDelay = 5 * time.Second
	if err := d.server.Start(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if d.state, err = awaitDevState(ready, statePath); err != nil {
		text, _ := os.ReadFile(log.Name())
		return writ.Errorf(writ.KindUnavailable, "the demo's server did not start").WithWhy("%s", writ.Printable(strings.TrimSpace(string(text)), 400)).WithCause(err)
	}
	if d.token, err = readDemoToken(d.state.TokenFile); err != nil {
		return err
	}
	if d.admin, err = client.New(client.Config{Address: d.state.Addr, Token: d.token}); err != nil {
		return err
	}
	return d.admin.Ready(ready)
}

func (d *demo) stopServer() {
	if d.server == nil || d.server.Process == nil {
		return
	}
	_ = d.server.Process.Signal(syscall.SIGTERM)
	_ = d.server.Wait()
	d.server = nil
}

// setUp registers who acts, what they may open, and within what limits.
func (d *demo) setUp(ctx context.Context) error {
	d.say("The cast", "A development server runs at %s, its proxy at %s.", d.state.Addr, d.state.Proxy)
	c, expires := d.admin, writ.At(time.Now().Add(24*time.Hour))
	if _, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Person, Name: "ana@acme.test"}); err != nil {
		return err
	}
	key, err := c.AddKey(ctx, client.NewKey{Identity: "ana@acme.test", Role: writ.RoleMember, Name: "laptop", Expires: expires})
	if err != nil {
		return err
	}
	d.ana = key.Text
	if _, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Agent, Name: "claude-pay", Owner: "ana@acme.test", Backup: "bo@acme.test", Purpose: "answers questions about refunds", Expires: expires}); err != nil {
		return err
	}
	if _, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Service, Name: "nightly-report", Owner: "bo@acme.test", Purpose: "sums up the day"}); err != nil {
		return err
	}
	if _, err := c.AddApplication(ctx, client.NewApplication{
		Name: "acme", Env: writ.Dev, Hosts: []string{"api.acme.test", "events.acme.test"},
		Pinned:   map[string][]string{"api.acme.test": {d.acme.api}, "events.acme.test": {d.acme.events}},
		Networks: []string{"127.0.0.0/8"}, Roots: d.acme.roots,
	}); err != nil {
		return err
	}
	if _, err := c.AddCredential(ctx, client.NewCredential{
		Name: "acme-key", App: "acme", Secret: d.acme.secret, Placement: writ.Placement{In: writ.InBearer},
		Owner: "ana@acme.test", Backup: "bo@acme.test", Issuer: "acme.test developer settings", Issued: writ.At(time.Now()), Authoriser: "bo@acme.test",
		Purpose: "reading refunds", Triggers: []writ.Trigger{writ.OnOwnerLeaves}, AIUse: writ.AIAllowed,
	}); err != nil {
		return err
	}
	g, err := c.AddGrant(ctx, client.NewGrant{
		Identity: "agent:claude-pay", Credential: "acme-key", Allow: []string{"GET api.acme.test/v1/refunds/**", "GET events.acme.test/**"},
		Purpose: "look refunds up", Expires: expires, Triggers: []writ.Trigger{writ.OnOwnerLeaves},
	})
	if err != nil {
		return err
	}
	d.say("", "people   ana@acme.test, bo@acme.test\nagent    claude-pay, owned by ana, backup bo\nservice  nightly-report, owned by bo")
	d.say("", "secret   acme-key opens api.acme.test and events.acme.test; it is sealed in Writ's vault\ngrant    %s: claude-pay may GET refunds and listen to events, nothing else", g.Item.ID)
	return nil
}

// agent runs the scripted agent as a child of `writ run`, started by Ana.
func (d *demo) agent(ctx context.Context, acts ...string) (string, error) {
	cmd := d.agentCommand(ctx, d.ana, acts...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return string(out), nil
}

func (d *demo) agentCommand(ctx context.Context, token string, acts ...string) *exec.Cmd {
	args := append([]string{"run", "--as", "agent:claude-pay", "--task", "answer a question about refund 7", "--quiet", "--", d.self, "demo-agent"}, acts...)
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.Env = d.environment(token)
	return cmd
}

// environment is this process's, less what would lead elsewhere.
func (d *demo) environment(token string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WRIT_") {
			env = append(env, v)
		}
	}
	return append(env, "WRIT_ADDR="+d.state.Addr, "WRIT_TOKEN="+token)
}

// writ runs this binary's own command line against the demo's server.
func (d *demo) writ(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.Env = d.environment(d.token)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

func (d *demo) allowed(ctx context.Context) error {
	d.say("An allowed use", "The agent asks for refund 7. It has no key: Writ attaches it on the way out.\nThe service even echoes the key back, and Writ masks it.")
	out, err := d.agent(ctx, "get", "https://api.acme.test/v1/refunds/7", "env")
	if err != nil {
		return err
	}
	d.show(out)
	if !strings.Contains(out, `"authenticated":true`) || strings.Contains(out, d.acme.secret) {
		return d.broken("an allowed use was not authenticated, or its secret came back", out)
	}
	uses, err := d.admin.Uses(ctx, client.UseFilter{Actor: "agent:claude-pay"})
	if err != nil || len(uses.Items) == 0 {
		return errors.Join(err, d.broken("the use was not found", out))
	}
	d.first = uses.Items[0].ID
	return nil
}

func (d *demo) outsideGrant(ctx context.Context) error {
	d.say("Outside the grant", "The agent gets ambitious and tries to pay a refund out. Nothing reaches the service.")
	out, err := d.agent(ctx, "post", "https://api.acme.test/v1/refunds")
	if err != nil {
		return err
	}
	d.show(out)
	if !strings.Contains(out, string(writ.OutOfAuthority)) || d.acme.posts.Load() != 0 {
		return d.broken("a use outside the grant was not denied", out)
	}
	return nil
}

func (d *demo) undeclaredHost(ctx context.Context) error {
	d.say("A host nobody declared", "The agent tries to reach somewhere else.")
	out, err := d.agent(ctx, "get", "https://paste.example/")
	if err != nil {
		return err
	}
	d.show(out)
	if !strings.Contains(out, string(writ.NoGrant)) {
		return d.broken("an undeclared host was not denied", out)
	}
	return nil
}

func (d *demo) trace(ctx context.Context) error {
	d.say("Who, on whose authority, with what, until when", "$ writ trace %s", d.first)
	out, code, err := d.writ(ctx, "trace", string(d.first))
	if err != nil || code != 0 {
		return errors.Join(err, d.broken("the trace failed", out))
	}
	d.show(out)
	return nil
}

// cutStream revokes Ana, who owns the agent and started its session, while the
// agent listens to a stream.
func (d *demo) cutStream(ctx context.Context) error {
	d.say("Revocation reaches what is already open", "The agent listens to events.acme.test. Then Ana, who started it, leaves the company.")
	cmd := d.agentCommand(ctx, d.ana, "stream", "https://events.acme.test/v1/events")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdout)
	for n := 0; n < 3; n++ {
		if !lines.Scan() {
			return errors.Join(cmd.Wait(), d.broken("the stream did not begin", talk.String()))
		}
		d.show(lines.Text())
	}
	before := d.acme.streams.Load()
	r, err := d.admin.RevokeIdentity(ctx, "ana@acme.test", client.Because{Reason: "left the company"})
	if err != nil {
		return err
	}
	for lines.Scan() { // what the agent still prints before it is gone
	}
	_ = cmd.Wait()
	d.say("", "$ writ identity revoke ana@acme.test --reason 'left the company'")
	d.show(fmt.Sprintf("Stopped in %.3f s: sessions %d · streams %d/%d · connections %d/%d · child %d/%d", float64(r.Micros)/1e6,
		r.Sessions, r.Uses.Down, r.Uses.Found, r.Connections.Down, r.Connections.Found, r.Children.Down, r.Children.Found))
	d.say("", "claude-pay passed to bo, its backup owner. The session is gone for good.")
	if r.Uses.Found != 1 || r.Uses.Down != 1 || before != 1 {
		return d.broken("the stream was not cut", talk.String())
	}
	return d.acme.awaitStreamsDown(ctx)
}

// evidence exports one use, verifies it as a stranger would, and then changes
// one byte of it.
func (d *demo) evidence(ctx context.Context) error {
	bundle, key := filepath.Join(d.dir, "use.evidence"), filepath.Join(d.dir, "ledger.pub")
	d.say("Proof for somebody who trusts nobody", "$ writ evidence export --use %s -o use.evidence", d.first)
	out, code, err := d.writ(ctx, "evidence", "export", "--use", string(d.first), "-o", bundle)
	if err != nil || code != 0 {
		return errors.Join(err, d.broken("the export failed", out))
	}
	ledger, err := d.admin.Ledger(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(key, []byte(strings.Join(ledger.Keys, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	d.say("", "$ writ evidence verify use.evidence --key ledger.pub      (offline; the key came by another way)")
	if out, code, err = d.writ(ctx, "evidence", "verify", bundle, "--key", key); err != nil || code != 0 {
		return errors.Join(err, d.broken("the evidence does not verify", out))
	}
	d.show(out)
	b, err := os.ReadFile(bundle)
	if err != nil {
		return err
	}
	at := bytes.Index(b, []byte("refunds"))
	if at < 0 {
		at = len(b) / 2
	}
	b[at] ^= 1
	if err := os.WriteFile(bundle, b, 0o600); err != nil {
		return err
	}
	d.say("", "One bit is changed, and it is verified again:")
	if out, code, err = d.writ(ctx, "evidence", "verify", bundle, "--key", key); err != nil || code == 0 {
		return errors.Join(err, d.broken("tampered evidence verified", out))
	}
	d.show(out)
	return nil
}

// forgedRow writes a grant straight into the database of the stopped server.
func (d *demo) forgedRow(ctx context.Context) error {
	d.say("A row without a record", "The server is stopped, and a generous grant is written straight into its database.")
	agent, err := d.admin.Identity(ctx, "agent:claude-pay")
	if err != nil {
		return err
	}
	credential, err := d.admin.Credential(ctx, "acme-key")
	if err != nil {
		return err
	}
	d.stopServer()
	if err := forgeGrant(d.data(), &agent.Identity, &credential.Credential); err != nil {
		return err
	}
	if err := d.startServer(ctx); err != nil {
		return err
	}
	d.say("", "The server is started again. Bo runs the agent, which tries the new grant.")
	cmd := d.agentCommand(ctx, d.token, "post", "https://api.acme.test/v1/refunds")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	d.show(string(out))
	if !strings.Contains(string(out), string(writ.StateUnproven)) || d.acme.posts.Load() != 0 {
		return d.broken("a forged grant was believed", string(out))
	}
	return nil
}

// broken is the error of a scene that did not go as it must.
func (d *demo) broken(what, output string) error {
	return writ.Errorf(writ.KindCheckFailed, "the demo went wrong: %s", what).WithWhy("%s", writ.Printable(strings.ReplaceAll(output, "\n", " "), 600)).
		WithFix("report it, with the server's log")
}

// stay keeps the server up and says how to go on by hand.
func (d *demo) stay(ctx context.Context) error {
	d.say("Try it by hand", "In another terminal:\n\n  export WRIT_ADDR=%s WRIT_TOKEN=$(cat %s)\n  alias writ=%s\n\n"+
		"  writ status\n  writ identity ls\n  writ tail -f\n  writ run --as agent:claude-pay -- curl -s https://api.acme.test/v1/refunds/7\n\nCtrl-C ends the demo and removes what it wrote.",
		d.state.Addr, d.state.TokenFile, d.self)
	<-ctx.Done()
	return nil
}

func readDemoToken(path string) (string, error) {
	t, err := readToken(path)
	return string(t), err
}

// awaitDevState waits until a development server has said where it listens.
func awaitDevState(ctx context.Context, path string) (devFile, error) {
	var s devFile
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(path)
		if err == nil {
			if err = json.Unmarshal(b, &s); err == nil {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
			return s, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
