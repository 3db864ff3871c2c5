package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stat reads /proc/PID/stat (proc_pid_stat(5)).
func stat(pid int) (Process, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return Process{}, ErrNotFound
	case err != nil:
		return Process{}, fmt.Errorf("proctree: %w", err)
	}
	return parseStat(pid, raw)
}

func parseStat(pid int, raw []byte) (Process, error) {
	// Field 2 is the program's name in parentheses. The program chooses it and
	// may put spaces and parentheses into it: only what follows the last ")"
	// can be trusted to be the kernel's.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return Process{}, fmt.Errorf("proctree: /proc/%d/stat has no name", pid)
	}
	f := bytes.Fields(raw[end+1:]) // f[0] is field 3
	if len(f) < 20 {
		return Process{}, fmt.Errorf("proctree: /proc/%d/stat is short", pid)
	}
	p := Process{PID: pid, Zombie: f[0][0] == 'Z' || f[0][0] == 'X'}
	var err error
	if p.Parent, err = strconv.Atoi(string(f[1])); err != nil {
		return Process{}, fmt.Errorf("proctree: parent of %d: %w", pid, err)
	}
	if p.Group, err = strconv.Atoi(string(f[2])); err != nil {
		return Process{}, fmt.Errorf("proctree: group of %d: %w", pid, err)
	}
	tty, err := strconv.Atoi(string(f[4]))
	if err != nil {
		return Process{}, fmt.Errorf("proctree: terminal of %d: %w", pid, err)
	}
	p.TTY = ttyName(tty)
	if p.Start, err = strconv.ParseUint(string(f[19]), 10, 64); err != nil {
		return Process{}, fmt.Errorf("proctree: start of %d: %w", pid, err)
	}
	return p, nil
}

// ttyName names a terminal by its device number (Documentation/admin-guide/
// devices.txt): majors 136 to 143 are pseudo-terminals, major 4 the consoles
// and serial lines.
func ttyName(dev int) string {
	if dev == 0 {
		return ""
	}
	major := dev >> 8 & 0xfff
	minor := dev&0xff | dev>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return "pts/" + strconv.Itoa((major-136)<<8|minor)
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(minor)
	case major == 4:
		return "ttyS" + strconv.Itoa(minor-64)
	}
	return strconv.Itoa(major) + ":" + strconv.Itoa(minor)
}

// all reads every process there is. Those that vanish while we read are gone.
func all() ([]Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("proctree: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("proctree: %w", err)
	}
	ps := make([]Process, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, err := stat(pid)
		if err != nil {
			continue
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func below(root int) ([]Process, error) {
	ps, err := all()
	if err != nil {
		return nil, err
	}
	return under(ps, root), nil
}

// under picks what hangs below root, nearest first.
func under(ps []Process, root int) []Process {
	children := make(map[int][]Process, len(ps))
	for _, p := range ps {
		children[p.Parent] = append(children[p.Parent], p)
	}
	var out []Process
	seen := map[int]bool{root: true} // a pid reused while we read could close a circle
	for next := children[root]; len(next) > 0; {
		p := next[0]
		next = next[1:]
		if seen[p.PID] {
			continue
		}
		seen[p.PID] = true
		out = append(out, p)
		next = append(next, children[p.PID]...)
	}
	return out
}

func isBelow(pid, root int) (bool, error) {
	// 1<<16 is deeper than any real tree: a circle of reused pids ends.
	for range 1 << 16 {
		p, err := stat(pid)
		if err != nil {
			return false, err
		}
		if p.Parent == root {
			return true, nil
		}
		if p.Parent <= 1 {
			return false, nil
		}
		pid = p.Parent
	}
	return false, nil
}

func signal(p Process, sig int) error {
	// A pidfd holds the process, not the number. It is opened first and the
	// start time compared after: if they agree, the descriptor is the right
	// one and stays so whatever the pid becomes.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ENOSYS) {
		return signalByNumber(p, sig)
	}
	if err != nil {
		return notFound(err)
	}
	defer unix.Close(fd)
	now, err := stat(p.PID)
	if err != nil {
		return err
	}
	if !now.Same(p) {
		return ErrNotFound
	}
	return notFound(unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0))
}

// signalByNumber serves kernels before 5.3, with the small window that a pid
// has: between the look and the kill it could be reused.
func signalByNumber(p Process, sig int) error {
	now, err := stat(p.PID)
	if err != nil {
		return err
	}
	if !now.Same(p) {
		return ErrNotFound
	}
	return notFound(unix.Kill(p.PID, unix.Signal(sig)))
}

func notFound(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return ErrNotFound
	}
	return err
}
