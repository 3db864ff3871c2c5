package nodump

import "golang.org/x/sys/unix"

// Protect makes the process not dumpable: it writes no core, and
// /proc/PID/mem and ptrace are closed to processes of the same user that lack
// CAP_SYS_PTRACE. Children that are executed start dumpable again. It cannot
// hold off root.
func Protect() State {
	s := State{}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err == nil {
		s.NoAttach = true
	} else {
		s.Limitation = "the process could not be made undumpable: " + err.Error()
	}
	// The limit holds where a core pattern would pipe even an undumpable
	// process's core to a program.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err == nil {
		s.NoCore = true
	} else if s.Limitation == "" {
		s.Limitation = "the core limit could not be set: " + err.Error()
	}
	return s
}
