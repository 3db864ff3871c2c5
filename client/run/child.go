package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"writ.dev/writ"
	"writ.dev/writ/internal/proctree"
)

const (
	// killGrace is what a program gets between SIGTERM and SIGKILL to put the
	// terminal in order and write its history. Its session has ended before:
	// it can use nothing in that time.
	killGrace = 2 * time.Second
	// killLimit bounds the whole of Kill. A process that survives SIGKILL for
	// that long hangs in the kernel or belongs to another user.
	killLimit = 8 * time.Second
)

// ChildConfig says what to start.
type ChildConfig struct {
	Args   []string // the program and its arguments
	Env    []string // its whole environment
	Dir    string   // its folder; this process's if empty
	Stdin  *os.File // passed as they are, so that a terminal stays one
	Stdout *os.File
	Stderr *os.File
	// Deny are Writ's own folders and files. The program is kept from them by
	// Landlock where Isolate says so; main must call Trampoline.
	Deny []string
}

// Child is the program of a run.
type Child struct {
	pid   int
	mode  groupMode
	tty   *os.File // the controlling terminal when mode is ownForeground
	start uint64   // when it began, in the clock of package proctree
	done  chan struct{}
	code  int // written before done is closed
}

// groupMode says how the program shares the terminal with us.
type groupMode int

const (
	// ownGroup: no terminal. The program has a process group of its own, and
	// every signal we get is passed to it.
	ownGroup groupMode = iota
	// ownForeground: we hold the terminal's foreground and hand it to the
	// program's own group: ctrl-c and ctrl-z reach the program and not us.
	ownForeground
	// sharedGroup: there is a terminal, but we stand in a pipeline or in the
	// background. Taking the foreground would stop our neighbours in the
	// pipeline, so the program stays in our group, where the terminal's signals
	// reach it by themselves.
	sharedGroup
)

// StartError is a program that could not be started, with the exit code that
// shells give it: 127 when there is none, 126 when it cannot be executed.
type StartError struct {
	Code int
	Err  *writ.Error
}

func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap gives the error to show.
func (e *StartError) Unwrap() error { return e.Err }

// StartChild starts the program. It makes this process the one to which
// orphans below it return (Linux): a daemon that leaves its parent and its
// group stays in sight of Kill and of the relay.
func StartChild(cfg ChildConfig) (*Child, error) {
	if len(cfg.Args) == 0 || cfg.Args[0] == "" {
		return nil, &StartError{exitNotFound, writ.Invalid("cmd", "there is no program to run", "writ run -- CMD [ARG...]")}
	}
	file, err := findProgram(cfg.Args[0], environ(cfg.Env).get("PATH"), cfg.Dir)
	if err != nil {
		return nil, startError(cfg.Args[0], err)
	}
	cmd := confined(cfg.Deny, file, cfg.Args)
	cmd.Env, cmd.Dir = cfg.Env, cfg.Dir
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean ours, token and all
	}
	// A nil *os.File in an interface is not nil: os/exec would not see it.
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	adoptOrphans()
	c := &Child{done: make(chan struct{})}
	c.mode, c.tty = chooseMode(cfg.Stdin, cfg.Stdout)
	cmd.SysProcAttr = c.sysProcAttr()
	signals := c.catch() // before the start: a signal in between must not be lost
	started := make(chan error)
	go c.live(cmd, started)
	if err := <-started; err != nil {
		signals.stop()
		c.closeTTY()
		return nil, startError(cfg.Args[0], err)
	}
	go c.forward(signals)
	go c.reapOrphans()
	return c, nil
}

// PID is the program's process.
func (c *Child) PID() int { return c.pid }

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait waits for the program's end and returns its exit code, 128+n if signal
// n ended it. Descendants that it left behind run on, with no relay to serve
// them once that is closed.
func (c *Child) Wait() int {
	<-c.done
	return c.code
}

// Ended is the outcome of Kill.
type Ended struct {
	Code    int  // the program's exit code; -1 if it has not ended
	AllGone bool // nothing of the run is left
	Left    int  // processes seen alive at the end
}

// Kill ends the program and everything below it: SIGTERM, a short grace,
// SIGKILL to all that is left and all that appears, until nothing does or ctx
// ends.
func (c *Child) Kill(ctx context.Context) Ended {
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	grace := time.Now().Add(killGrace)
	sig := unix.SIGTERM
	c.signalTree(sig)
	c.signalTree(unix.SIGCONT) // a stopped process takes SIGTERM only when it goes on
	for wait := 5 * time.Millisecond; c.alive() > 0 && pause(ctx, wait); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(grace) {
			c.signalTree(unix.SIGKILL)
		}
	}
	return c.state()
}

// state is what there is to say about the run now.
func (c *Child) state() Ended {
	left := c.alive()
	e := Ended{Code: -1, AllGone: left == 0, Left: left}
	select {
	case <-c.done:
		e.Code = c.code
	default:
	}
	return e
}

// codeNow is the exit code of a program that has ended, and that of SIGKILL
// for one that did not even obey that.
func (c *Child) codeNow() int {
	select {
	case <-c.done:
		return c.code
	default:
		return 128 + int(unix.SIGKILL)
	}
}

// alive counts what is left of the run. The program itself counts until it has
// been waited for, so that its exit code is there when nothing is left.
func (c *Child) alive() int {
	n := 0
	select {
	case <-c.done:
	default:
		n = 1
	}
	for _, p := range c.tree() {
		if p.PID != c.pid {
			n++
		}
	}
	return n
}

func (c *Child) signalTree(sig syscall.Signal) {
	select {
	case <-c.done: // the group's number may be somebody else's by now
	default:
		c.signalGroup(sig)
	}
	for _, p := range c.tree() {
		_ = proctree.Signal(p, int(sig)) // gone, or not ours to end: alive() counts it
	}
}

// signalGroup sends to the program's own group, or to the program alone where
// the group is ours, too.
func (c *Child) signalGroup(sig syscall.Signal) {
	target := c.pid
	if c.mode != sharedGroup {
		target = -c.pid
	}
	_ = unix.Kill(target, sig) // it may be gone
}

// exitCode is the code as a shell reports it.
func exitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		return 1 // it could not be waited for
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// findProgram looks a program up as a shell does, in the PATH that the program
// itself will have.
func findProgram(name, path, dir string) (string, error) {
	if filepath.Base(name) != name {
		if !filepath.IsAbs(name) && dir != "" {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	result := error(fs.ErrNotExist)
	for _, d := range filepath.SplitList(path) {
		if d == "" {
			d = "."
		}
		if !filepath.IsAbs(d) && dir != "" {
			d = filepath.Join(dir, d)
		}
		file, err := filepath.Abs(filepath.Join(d, name))
		if err != nil {
			return "", err
		}
		err = executable(file)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			result = err // there is one, but; go on looking for a better one
		}
	}
	return "", result
}

func executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return fs.ErrNotExist
		}
		return err
	}
	if info.IsDir() {
		return fs.ErrPermission
	}
	return unix.Access(file, unix.X_OK)
}

func startError(name string, err error) *StartError {
	if errors.Is(err, fs.ErrNotExist) {
		return &StartError{exitNotFound, writ.Invalid("cmd", "program not found: "+clip(name), "check the name and PATH").WithCause(err)}
	}
	return &StartError{exitNotExecutable, writ.Invalid("cmd", "program cannot be executed: "+clip(name), "check its permissions and its first line").WithCause(err)}
}
