package run

import (
	"runtime"
	"strings"
)

// Isolation is what keeps the program apart, in force and not.
type Isolation struct {
	Landlock int      // the kernel's Landlock version; 0 without
	Denied   bool     // Writ's own folders are denied to the program
	Kept     []string // folders in which the program can make or remove no names, as the price of that
}

// Isolate says what is in force for a program that is started with deny.
func Isolate(deny []string) Isolation {
	i := Isolation{Landlock: landlockVersion()}
	if len(deny) > 0 && i.Landlock >= minLandlock {
		i.Denied, i.Kept = true, keptFolders(deny)
	}
	return i
}

// String is the line of the banner. It promises nothing: the level is "none",
// since a program that ignores its environment goes past the proxy.
func (i Isolation) String() string {
	s := "none (cooperative: the program could bypass the proxy); Writ's own folders: "
	switch {
	case i.Denied:
		s += "denied by Landlock"
		if len(i.Kept) > 0 {
			s += ", which also keeps new names out of " + strings.Join(i.Kept, " and ")
		}
	case runtime.GOOS != "linux" || i.Landlock == 0:
		s += "not denied (kernel lacks Landlock)"
	case i.Landlock < minLandlock:
		s += "not denied (kernel's Landlock is too old)"
	default:
		s += "not denied"
	}
	return s
}
