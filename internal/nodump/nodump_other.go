//go:build !linux

package nodump

import "runtime"

// Protect cannot do anything here and says so.
func Protect() State {
	return State{Limitation: "on " + runtime.GOOS + " nothing keeps the server's memory out of core files or from debuggers of the same user"}
}
