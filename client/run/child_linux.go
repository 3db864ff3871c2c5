package run

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"writ.dev/writ/internal/proctree"
)

// Harden keeps the processes of the same user from reading this one's memory
// and environment, where the session's token is, and keeps it from leaving a
// core. Root reads on.
func Harden() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

func adoptOrphans() {
	// Fails on no kernel that Go runs on; without it, orphans would be lost to
	// Kill and refused by the relay.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

func (c *Child) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		// If this process is killed, nobody is left to serve or end the program.
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   c.mode != sharedGroup,
	}
	if c.mode == ownForeground {
		attr.Foreground, attr.Ctty = true, int(c.tty.Fd())
	}
	return attr
}

// live starts the program and stays with it.
func (c *Child) live(cmd *exec.Cmd, started chan<- error) {
	// The death signal comes when the thread that forked ends, not the process
	// (prctl(2)): the thread must last as long as the program does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait, err := spawn(cmd)
	if err != nil {
		started <- err
		return
	}
	c.pid = cmd.Process.Pid
	if p, err := proctree.Stat(c.pid); err == nil {
		c.start = p.Start
	}
	started <- nil
	for c.awaitChange() {
		if c.mode == ownForeground {
			c.stopWith()
		}
	}
	c.code = exitCode(wait())
	c.takeTerminal()
	close(c.done)
	c.closeTTY()
}

// awaitChange waits until the program stops by the terminal's doing (true) or
// ends (false). Its end is only looked at, and left for Wait to collect.
func (c *Child) awaitChange() bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || info.Code != cldStopped {
			return false
		}
		// Take the stop, and only a stop: it may have gone on or ended since.
		info = unix.Siginfo{}
		if unix.Waitid(unix.P_PID, c.pid, &info, unix.WSTOPPED|unix.WNOHANG, nil) != nil {
			continue
		}
		switch siStatus(&info) {
		case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			return true
		}
		// SIGSTOP from somebody, who will send SIGCONT: the relay stays up.
	}
}

const cldStopped = 5 // CLD_STOPPED, sigaction(2)

// siStatus reads si_status, the third word of the union in siginfo_t, which
// begins at a multiple of a pointer's size.
func siStatus(info *unix.Siginfo) syscall.Signal {
	word := unsafe.Sizeof(uintptr(0))
	union := (3*unsafe.Sizeof(int32(0)) + word - 1) / word * word
	return syscall.Signal(*(*int32)(unsafe.Add(unsafe.Pointer(info), union+8)))
}

// stopWith stops us together with the program, so that the shell sees a
// stopped job, and goes on with it when the shell does. While we are stopped
// so is the relay, and the server's pings go unanswered.
func (c *Child) stopWith() {
	if jobControlled() {
		c.takeTerminal()
		// Any thread may take the stop, this one a little later: only SIGCONT says
		// that it is over.
		resumed := make(chan os.Signal, 1)
		signal.Notify(resumed, syscall.SIGCONT)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // a signal to oneself does not fail
		<-resumed
		signal.Stop(resumed)
		// In the foreground again (fg) the terminal is handed on; in the background
		// (bg) the program will stop again if it needs it.
		if group, err := unix.IoctlGetInt(int(c.tty.Fd()), unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
			c.setForeground(c.pid)
		}
	}
	c.signalGroup(unix.SIGCONT)
}

// jobControlled reports whether a shell of this session would resume us. If
// we are the session's first process (a container, ssh -t), nobody would, and
// ctrl-z does nothing: the kernel treats such a group likewise (orphaned
// process group, setpgid(2)).
func jobControlled() bool {
	parent := os.Getppid()
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	parentSession, err := unix.Getsid(parent)
	if err != nil || parentSession != session {
		return false
	}
	group, err := unix.Getpgid(parent)
	return err == nil && group != unix.Getpgrp()
}

// takeTerminal makes us the foreground again, if the program's group still is.
func (c *Child) takeTerminal() {
	if c.mode != ownForeground {
		return
	}
	if group, err := unix.IoctlGetInt(int(c.tty.Fd()), unix.TIOCGPGRP); err == nil && group == c.pid {
		c.setForeground(unix.Getpgrp())
	}
}

func (c *Child) setForeground(group int) {
	// Whoever sets the foreground from the background is stopped by SIGTTOU,
	// unless it ignores it. Ignoring is inherited by what is started meanwhile:
	// nothing is, under this lock.
	spawned.Lock()
	defer spawned.Unlock()
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(c.tty.Fd()), unix.TIOCSPGRP, group) // the terminal may be gone
}

// chooseMode looks at where this process stands.
func chooseMode(stdin, stdout *os.File) (groupMode, *os.File) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return ownGroup, nil
	}
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err == nil && group == unix.Getpgrp() && isTerminal(stdin) && isTerminal(stdout) {
		return ownForeground, tty
	}
	tty.Close()
	return sharedGroup, nil
}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// reapOrphans collects what returned to us and has ended. Only what lay there
// at two looks is taken: whoever in this process started a child by himself
// waits for it.
func (c *Child) reapOrphans() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	var before []proctree.Process
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			before = reap(before)
		}
	}
}

// reap collects the zombies that were there before, and returns those there now.
func reap(before []proctree.Process) []proctree.Process {
	ps, err := proctree.Below(os.Getpid())
	if err != nil {
		return nil
	}
	spawned.Lock()
	defer spawned.Unlock()
	var now []proctree.Process
	for _, p := range ps {
		if !p.Zombie || p.Parent != os.Getpid() || spawned.pids[p.PID] {
			continue
		}
		if slices.ContainsFunc(before, p.Same) {
			_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil) // it is a zombie: this does not fail or wait
			continue
		}
		now = append(now, p)
	}
	return now
}

// tree lists the live processes of this run: the program, all below it, and
// its orphans, which hang below us. A direct child of ours is an orphan of the
// program if we did not start it and it is not older.
func (c *Child) tree() []proctree.Process {
	ps, err := proctree.Below(os.Getpid())
	if err != nil {
		return nil
	}
	spawned.Lock()
	defer spawned.Unlock()
	in := make(map[int]bool, len(ps))
	var live []proctree.Process
	for _, p := range ps { // parents come before their children
		mine := in[p.Parent]
		if p.Parent == os.Getpid() {
			mine = p.PID == c.pid || !spawned.pids[p.PID] && p.Start >= c.start
		}
		if !mine {
			continue
		}
		in[p.PID] = true
		if !p.Zombie {
			live = append(live, p)
		}
	}
	return live
}
