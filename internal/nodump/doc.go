// Package nodump keeps the process's memory, which holds opened secrets for
// moments, out of core files and away from other processes of the same user.
package nodump

// State says what Protect reached.
type State struct {
	NoCore     bool   // the process writes no core file
	NoAttach   bool   // other processes of the same user can neither read its memory nor trace it
	Limitation string // in words, what could not be reached here; "" is nothing
}
