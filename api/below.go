package api

import (
	"net/netip"

	"writ.dev/writ/internal/proctree"
)

// belowRun reports whether the client of a connection is a process below a
// live `writ run` on this machine. Such a process was given no key; one that
// has one took it from a file of the user who started it. Where the system does
// not tell, and for clients of other machines, the answer is no.
func (s *Server) belowRun(client, server netip.AddrPort) bool {
	runs := s.children.runs()
	if len(runs) == 0 || !client.Addr().Unmap().IsLoopback() {
		return false
	}
	// One look finds the holder in nearly every case.
	if p, err := proctree.Owner(client, server); err == nil {
		for _, root := range runs {
			if now, err := proctree.Stat(root.PID); err != nil || !now.Same(root) {
				continue // the run is gone and its pid may be somebody else's
			}
			if below, err := proctree.IsBelow(p.PID, root.PID); err == nil && below {
				return true
			}
		}
		return false
	}
	// The holder hides its files, as a program may in order not to be told. If
	// it may be one below a run, it is taken for that.
	for _, root := range runs {
		a, err := proctree.Peer(client, server, root.PID)
		if err == nil && a.Standing != proctree.Outside {
			return true
		}
	}
	return false
}
