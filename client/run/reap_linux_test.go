package run

import (
	"errors"
	"strconv"
	"testing"

	"writ.dev/writ/internal/proctree"
)

// Orphans that end are collected, children that somebody waits for are not.
func TestReapCollectsOrphansOnly(t *testing.T) {
	c, out := startTalking(t, `(sh -c 'echo $$' &); read -r x < "$1"`, fifo(t))
	pid, err := strconv.Atoi(readLine(t, out))
	if err != nil {
		t.Fatal(err)
	}
	var zombies []proctree.Process
	found := func() bool {
		for _, p := range zombies {
			if p.PID == pid {
				return true
			}
		}
		return false
	}
	for !found() { // until it has ended and its parent has, too
		zombies = reap(nil)
	}
	reap(zombies)
	if _, err := proctree.Stat(pid); !errors.Is(err, proctree.ErrNotFound) {
		t.Errorf("the orphan is still there: %v", err)
	}
	if got := c.Kill(t.Context()); !got.AllGone || got.Code != 143 {
		t.Errorf("the program's own end was taken away: %+v", got)
	}
}
