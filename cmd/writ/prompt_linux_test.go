package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"writ.dev/writ/internal/problem"
)

// openTerminal gives both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (terminal, program *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal, program
}

// awaitNoEcho waits until the program has turned the echo off, which it does
// just after it has asked.
func awaitNoEcho(t *testing.T, terminal *os.File) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for range 5000 {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
		<-look.C
	}
	t.Fatal("the echo stays on")
}

// A secret that is typed is not echoed. (A script cannot show that: it types
// before the prompt is there.)
func TestPromptDoesNotEcho(t *testing.T) {
	terminal, program := openTerminal(t)
	cmd := exec.Command("writ", "credential", "add", "x", "--app", "a", "--in", "bearer")
	cmd.Env = []string{"WRIT_ADDR=http://127.0.0.1:1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	var seen strings.Builder
	typed := false
	for buf := make([]byte, 1024); ; {
		n, err := terminal.Read(buf)
		seen.Write(buf[:n])
		if !typed && strings.Contains(seen.String(), "(not shown): ") {
			typed = true
			awaitNoEcho(t, terminal)
			if _, err := terminal.WriteString("canary-typed\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break // the program has closed its end
		}
	}
	_ = cmd.Wait() // there is no server: it must fail
	out := seen.String()
	if !typed || strings.Contains(out, "canary-typed") || cmd.ProcessState.ExitCode() != problem.ExitServer || !strings.Contains(out, "Without prompts: ... | writ credential add") {
		t.Errorf("exit %d, typed %v:\n%s", cmd.ProcessState.ExitCode(), typed, out)
	}
}
