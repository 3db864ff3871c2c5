package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/proctree"
)

// The program's own exit code is the run's, with the trampoline and without.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	notExec := filepath.Join(dir, "data")
	badShebang := filepath.Join(dir, "script")
	noFormat := filepath.Join(dir, "binary")
	for path, data := range map[string]string{notExec: "x", badShebang: "#!/nonexistent/interpreter\n", noFormat: "\x00\x01\x02"} {
		mode := os.FileMode(0o755)
		if path == notExec {
			mode = 0o644
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, deny := range [][]string{nil, {filepath.Join(dir, "denied")}} {
		for _, tc := range []struct {
			args []string
			want int
		}{
			{[]string{"true"}, 0},
			{[]string{"/bin/sh", "-c", "exit 3"}, 3},
			{[]string{"sh", "-c", "kill -TERM $$"}, 143},
			{[]string{"sh", "-c", "kill -KILL $$"}, 137},
			{[]string{"no-such-program-anywhere"}, 127},
			{[]string{"/no/such/program"}, 127},
			{[]string{notExec}, 126},
			{[]string{dir}, 126},
			{[]string{badShebang}, 127},
			{[]string{noFormat}, 126},
			{[]string{""}, 127},
			{nil, 127},
		} {
			t.Run(fmt.Sprint(deny != nil, tc.args), func(t *testing.T) {
				code, err := exitOf(t, ChildConfig{Args: tc.args, Env: os.Environ(), Deny: deny})
				if code != tc.want {
					t.Errorf("code %d, want %d", code, tc.want)
				}
				var start *StartError
				if errors.As(err, &start) && (writ.KindOf(err) != writ.KindInvalid || start.Err.Fix == "") {
					t.Errorf("error without a fix: %v", err)
				}
			})
		}
	}
}

func exitOf(t *testing.T, cfg ChildConfig) (int, error) {
	t.Helper()
	c, err := StartChild(cfg)
	var start *StartError
	if errors.As(err, &start) {
		return start.Code, err
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.Wait(), nil
}

// The program is looked up in the PATH that it will have, not in ours.
func TestProgramIsFoundInItsOwnPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho own $0 $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, _, code := runProgram(t, ChildConfig{Args: []string{"tool", "x"}, Env: []string{"PATH=/nonexistent:" + dir}})
	if code != 0 || !strings.HasPrefix(out, "own "+dir) {
		t.Errorf("code %d, out %q", code, out)
	}
	out, _, code = runProgram(t, ChildConfig{Args: []string{"./tool", "y"}, Env: []string{"PATH=/bin"}, Dir: dir, Deny: []string{filepath.Join(dir, "no")}})
	if code != 0 || !strings.HasSuffix(out, " y\n") {
		t.Errorf("relative: code %d, out %q", code, out)
	}
}

func TestChildWithoutEnvironmentInheritsNothing(t *testing.T) {
	t.Setenv("WRIT_TOKEN", testToken)
	out := tempFile(t)
	c, err := StartChild(ChildConfig{Args: []string{"/usr/bin/env"}, Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	if code := c.Wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	if got := contents(t, out); strings.Contains(got, testToken) {
		t.Error("the program got our environment")
	}
}

// startTalking starts a shell script and returns its lines.
func startTalking(t *testing.T, script string, args ...string) (*Child, *bufio.Reader) {
	t.Helper()
	return startTalkingConfined(t, nil, script, args...)
}

func startTalkingConfined(t *testing.T, deny []string, script string, args ...string) (*Child, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := StartChild(ChildConfig{Args: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: os.Environ(), Stdout: w, Stderr: os.Stderr, Deny: deny})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill(context.Background())
		r.Close()
	})
	return c, bufio.NewReader(r)
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// Signals sent to `writ run` reach the program, which decides what they mean.
func TestSignalsAreForwarded(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
	} {
		t.Run(name, func(t *testing.T) {
			// "wait" is interrupted by a trapped signal; a foreground sleep is not.
			c, out := startTalking(t, `trap 'echo got '$1'; kill $! 2>/dev/null; exit 9' $1; sleep 60 & echo ready; wait; echo not interrupted`, name)
			if c.mode == sharedGroup {
				t.Skip("at a terminal: it sends the signals itself")
			}
			if got := readLine(t, out); got != "ready" {
				t.Fatal(got)
			}
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Fatal(err)
			}
			if got := readLine(t, out); got != "got "+name {
				t.Errorf("%q", got)
			}
			if code := c.Wait(); code != 9 {
				t.Errorf("code %d, want 9", code)
			}
		})
	}
}

// R28: the kill switch ends the whole tree: what ignores SIGTERM, what left the
// process group, and what lost its parent.
func TestKillEndsTheWholeTree(t *testing.T) {
	tool(t, "setsid")
	c, out := startTalking(t, `
		trap '' TERM
		setsid sh -c 'trap "" TERM HUP; echo $$; while :; do sleep 1; done' &
		(setsid sh -c 'trap "" TERM HUP; echo $$; while :; do sleep 1; done' & ) &
		(sleep 1000 & echo $!)
		echo $$
		while :; do sleep 1; done`)
	var ps []proctree.Process
	for range 4 {
		pid, err := strconv.Atoi(readLine(t, out))
		if err != nil {
			t.Fatal(err)
		}
		p, err := proctree.Stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	got := c.Kill(t.Context())
	if !got.AllGone || got.Left != 0 || got.Code != 137 {
		t.Errorf("%+v, want all gone, code 137", got)
	}
	for _, p := range ps {
		if now, err := proctree.Stat(p.PID); err == nil && now.Same(p) && !now.Zombie {
			t.Errorf("process %d lives", p.PID)
		}
	}
	if again := c.Kill(t.Context()); again != got {
		t.Errorf("a second kill: %+v", again)
	}
}

// A program that ends at SIGTERM has time to, and its code is kept.
func TestKillIsGentleFirst(t *testing.T) {
	c, out := startTalking(t, `trap 'echo bye; exit 5' TERM; sleep 60 & echo ready; wait`)
	readLine(t, out)
	start := time.Now()
	if got := c.Kill(t.Context()); !got.AllGone || got.Code != 5 {
		t.Errorf("%+v, want all gone, code 5", got)
	}
	if d := time.Since(start); d > killGrace {
		t.Errorf("took %v: it was not noticed that nothing was left", d)
	}
	if got := readLine(t, out); got != "bye" {
		t.Error(got)
	}
}

// A stopped program is set going, so that it can end in its own way.
func TestKillWakesStoppedProcesses(t *testing.T) {
	c, out := startTalking(t, `trap 'echo bye; exit 5' TERM; echo ready; kill -STOP $$; while :; do :; done`)
	readLine(t, out)
	for { // until it has stopped
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		if strings.Contains(string(raw), ") T ") {
			break
		}
	}
	if got := c.Kill(t.Context()); !got.AllGone || got.Code != 5 {
		t.Errorf("%+v, want all gone, code 5", got)
	}
}

// Kill touches nothing of this process but the run.
func TestKillSparesOthers(t *testing.T) {
	other := exec.Command("cat")
	hold, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	// Start times have the clock's tick: the run must begin in a later one.
	before, err := proctree.Stat(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for {
		out, err := exec.Command("sh", "-c", "cut -d' ' -f22 /proc/$$/stat").Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(out)) != strconv.FormatUint(before.Start, 10) {
			break
		}
	}
	c, out := startTalking(t, `echo ready; sleep 60`)
	readLine(t, out)
	if got := c.Kill(t.Context()); !got.AllGone {
		t.Errorf("%+v", got)
	}
	hold.Close()
	if err := other.Wait(); err != nil {
		t.Errorf("an older child of this process was ended: %v", err)
	}
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// If `writ run` is killed, so is the program.
func TestProgramDiesWithTheRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
	cmd.Env = append(os.Environ(), "RUN_TEST_MODE=die")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var pid int
	if _, err := fmt.Sscanf(readLine(t, r), "started %d", &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its own end by signal is an error
	for deadline := time.Now().Add(10 * time.Second); ; {
		p, err := proctree.Stat(pid)
		if err != nil || p.Zombie {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the program outlived the run")
		}
	}
}
