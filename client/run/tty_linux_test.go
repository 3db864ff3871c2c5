package run

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a real one, with a shell that does job control in it.
type terminal struct {
	t   *testing.T
	pty *os.File
	in  *bufio.Reader
	cmd *exec.Cmd
}

func openTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	term, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	term.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, term); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "RUN_TEST_MODE=run", "PS1=", "HISTFILE=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Blocking reads end when the last process of the terminal has.
	x := &terminal{t: t, pty: pty, in: bufio.NewReader(pty), cmd: cmd}
	kill := time.AfterFunc(60*time.Second, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	t.Cleanup(func() {
		kill.Stop()
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		pty.Close()
	})
	return x
}

func (x *terminal) typed(s string) {
	x.t.Helper()
	if _, err := io.WriteString(x.pty, s); err != nil {
		x.t.Fatal(err)
	}
}

// expect reads on until a line holds want.
func (x *terminal) expect(want string) string {
	x.t.Helper()
	var seen []string
	for {
		line, err := x.in.ReadString('\n')
		if strings.Contains(line, want) {
			return strings.TrimSpace(line)
		}
		seen = append(seen, line)
		if err != nil {
			x.t.Fatalf("%q did not come: %v, but %q", want, err, seen)
		}
	}
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// At a terminal ctrl-c reaches the program once, and reading works: the
// program holds the foreground.
func TestTerminalInterrupt(t *testing.T) {
	x := openTerminal(t, self(t), "/bin/sh", "-c", `
		trap 'n=x$n; echo interrupted $n' INT
		read line; echo "read $line"
		ps -o tpgid= -p $$ | tr -d ' ' | sed "s/^$$\$/foreground/"
		read line || read line; echo "then $line"; read line; exit 6`)
	x.typed("hello\n")
	x.expect("read hello")
	x.expect("foreground")
	x.typed("\x03")
	if got := x.expect("interrupted"); got != "interrupted x" {
		t.Errorf("%q", got)
	}
	x.typed("\x1a") // no shell here that could resume it: nothing stops
	x.typed("again\n")
	x.expect("then again")
	// The end of a session hangs its terminal up, and what was not read by then
	// may be gone: the program ends only when all has been seen.
	x.typed("bye\n")
	var exit *exec.ExitError
	if err := x.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 6 {
		t.Errorf("ended with %v, want 6", err)
	}
}

// ctrl-z stops the run as a job of the shell, and fg resumes it.
func TestTerminalStopAndResume(t *testing.T) {
	bash := tool(t, "bash")
	x := openTerminal(t, bash, "--norc", "--noprofile", "--noediting", "-i")
	x.typed("stty -echo; echo shell up\n")
	x.expect("shell up")
	x.typed(self(t) + ` /bin/sh -c 'echo ready; read a; echo "first $a"; read b; echo "second $b"; exit 7'` + "\n")
	x.expect("ready")
	x.typed("one\n")
	x.expect("first one")
	x.typed("\x1a")
	x.expect("Stopped")
	x.typed("echo in the shell\n")
	x.expect("in the shell")
	x.typed("fg\n")
	x.expect("/bin/sh -c")
	x.typed("two\n")
	x.expect("second two")
	x.typed("echo code $?\n")
	if got := x.expect("code "); got != "code 7" {
		t.Errorf("%q", got)
	}
	// The shell has its terminal back.
	x.typed("read x; echo got $x\nline\n")
	x.expect("got line")
}

// In a pipeline the foreground stays with the pipeline: a pager beside the run
// can read the terminal, and ctrl-c reaches the program.
func TestTerminalPipeline(t *testing.T) {
	bash := tool(t, "bash")
	x := openTerminal(t, bash, "--norc", "--noprofile", "--noediting", "-i")
	x.typed("stty -echo; echo shell up\n")
	x.expect("shell up")
	x.typed(self(t) + ` /bin/sh -c 'trap "echo program interrupted; exit" INT; echo ready; sleep 100 & wait' | (trap "" INT; read l < /dev/tty; echo "pager read $l"; cat)` + "\n")
	x.typed("key\n")
	x.expect("pager read key")
	x.expect("ready")
	x.typed("\x03")
	x.expect("program interrupted")
}
