//go:build !linux

package run

import (
	"os"
	"os/exec"
	"syscall"

	"writ.dev/writ/internal/proctree"
)

// Harden does nothing here: this system has no such switch.
func Harden() error { return nil }

func adoptOrphans() {}

func (c *Child) sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: c.mode != sharedGroup}
}

func (c *Child) live(cmd *exec.Cmd, started chan<- error) {
	wait, err := spawn(cmd)
	if err != nil {
		started <- err
		return
	}
	c.pid = cmd.Process.Pid
	started <- nil
	c.code = exitCode(wait())
	close(c.done)
}

// chooseMode leaves the program in our group where there is a terminal: job
// control then works without our doing.
func chooseMode(_, _ *os.File) (groupMode, *os.File) {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return ownGroup, nil
	}
	tty.Close()
	return sharedGroup, nil
}

func (c *Child) reapOrphans() {}

// tree is empty: this system does not tell, so what left the group is not
// found by Kill.
func (c *Child) tree() []proctree.Process { return nil }
