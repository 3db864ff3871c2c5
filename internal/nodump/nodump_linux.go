package nodump

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Protect makes the process not dumpable: it writes no core, and
// /proc/PID/mem and ptrace are closed to processes of the same user that lack
// CAP_SYS_PTRACE. Children that are executed start dumpable again. It cannot
// hold off root. An error says what could not be reached.
func Protect() error {
	var errs []error
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("nodump: the process stays dumpable: %w", err))
	}
	// The limit holds where a core pattern pipes cores to a program and the
	// dumpable flag alone is set back by something else.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("nodump: the limit of core files stays: %w", err))
	}
	return errors.Join(errs...)
}
