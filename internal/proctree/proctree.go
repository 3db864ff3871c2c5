// Package proctree answers two questions about processes of this machine:
// which processes live below a given one, and which of them is at the other
// end of a loopback connection.
//
// It rests on /proc and is exact on Linux only; elsewhere every question is
// answered with ErrUnsupported, and the caller decides what an unknown means
// (for Writ: no).
package proctree

import (
	"errors"
	"net/netip"
)

// ErrUnsupported is the answer where the operating system does not tell.
var ErrUnsupported = errors.New("proctree: this system does not say which process owns a connection")

// ErrNotFound means that there is no such process or connection (any more).
var ErrNotFound = errors.New("proctree: not found")

// Process names one process. A pid alone is reused by the kernel; pid and
// start time together are not, as long as the machine runs.
type Process struct {
	PID    int
	Parent int
	Group  int    // process group
	Start  uint64 // clock ticks between the machine's start and the process's
	TTY    string // "pts/3", "tty1", empty without a terminal
	Zombie bool   // ended, but not yet reaped: it acts no more
}

// Same reports whether p and q are one process.
func (p Process) Same(q Process) bool { return p.PID == q.PID && p.Start == q.Start }

// Standing says what is known about the owner of a connection.
type Standing int

// The three answers of Peer.
const (
	Outside Standing = iota // no process below the root holds the connection
	Inside                  // a process below the root holds it
	Unknown                 // cannot be told; the socket belongs to our user, and a process below the root hides its files
)

// Answer is what Peer found.
type Answer struct {
	Standing Standing
	Process  Process // the holder, when Inside
}

// Peer says whether the client end of a loopback TCP connection is held by a
// process strictly below root. client and server are the connection's two
// addresses as the server sees them (RemoteAddr and LocalAddr).
//
// The answer is about now: a process below root may pass its socket to
// anybody, and then answers for what it gave away. Two looks are taken at a
// moving target, so an Outside can be wrong while processes fork and exit:
// ask again before acting on it.
func Peer(client, server netip.AddrPort, root int) (Answer, error) { return peer(client, server, root) }

// Owner finds a process that holds the client end of a loopback connection,
// among all processes whose files this user may list.
func Owner(client, server netip.AddrPort) (Process, error) { return owner(client, server) }

// Stat reads one process.
func Stat(pid int) (Process, error) { return stat(pid) }

// Below lists every process strictly below root, zombies included. A process
// whose parent has died hangs below init, or below the nearest ancestor that
// has made itself a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a root that
// wants to keep sight of daemons is one.
func Below(root int) ([]Process, error) { return below(root) }

// IsBelow reports whether pid lives strictly below root.
func IsBelow(pid, root int) (bool, error) { return isBelow(pid, root) }

// Signal sends a signal to exactly this process: if the pid has passed to
// another process meanwhile, nothing is sent and the answer is ErrNotFound.
func Signal(p Process, sig int) error { return signal(p, sig) }
