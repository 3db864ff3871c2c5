//go:build !linux

package nodump

import (
	"errors"
	"runtime"
)

// Protect cannot do anything here and says so.
func Protect() error {
	return errors.New("nodump: on " + runtime.GOOS + " nothing keeps this process's memory out of core files or from debuggers of the same user")
}
