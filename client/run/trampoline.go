package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// trampolineArg marks a process of this program that is on its way to become
// another: it restricts itself and then executes what follows. Landlock works
// only from the inside, and Go offers no place between fork and exec.
const trampolineArg = "__writ-confined"

const denyFlag = "--deny="

// Exit codes of a program that could not be started, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// Trampoline must be called first thing in main, with os.Args. In an ordinary
// process it does nothing. In one that this package has started to confine a
// program it does not return.
func Trampoline(args []string) {
	if len(args) < 2 || args[1] != trampolineArg {
		return
	}
	err := jump(args[2:])
	// Only an error comes back from there.
	fmt.Fprintf(os.Stderr, "✗ writ run: %v\n", err)
	if errors.Is(err, fs.ErrNotExist) {
		os.Exit(exitNotFound)
	}
	os.Exit(exitNotExecutable)
}

// jump takes "--deny=PATH"... "--" FILE ARGV0 ARG...
func jump(args []string) error {
	var deny []string
	for len(args) > 0 && strings.HasPrefix(args[0], denyFlag) {
		deny = append(deny, strings.TrimPrefix(args[0], denyFlag))
		args = args[1:]
	}
	if len(args) < 3 || args[0] != "--" {
		return errors.New("not meant to be called by hand")
	}
	// Rules hold for a thread and what it executes; execve(2) makes the calling
	// thread the whole process.
	runtime.LockOSThread()
	// If the promise cannot be kept the program does not start: the banner has
	// already said that the folders are denied.
	if err := restrict(deny); err != nil {
		return fmt.Errorf("the rules of Landlock: %w", err)
	}
	file := args[1]
	if err := syscall.Exec(file, args[2:], os.Environ()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// confined is a command that starts file with argv, through the trampoline if
// something is to be denied and the kernel can.
func confined(deny []string, file string, argv []string) *exec.Cmd {
	if len(deny) == 0 || landlockVersion() < minLandlock {
		return &exec.Cmd{Path: file, Args: argv}
	}
	args := []string{"writ", trampolineArg}
	for _, d := range deny {
		args = append(args, denyFlag+d)
	}
	args = append(args, "--", file)
	// This very program, even if its file has been replaced by an upgrade.
	return &exec.Cmd{Path: "/proc/self/exe", Args: append(args, argv...)}
}
