package run

import (
	"os/exec"
	"sync"
)

// spawned are the processes that this package has started and will wait for
// itself. Orphans of the program become children of this process (see
// adoptOrphans) and must be told from them: who waits for a foreign child
// takes its exit code from its parent.
var spawned = struct {
	sync.Mutex
	pids map[int]bool
}{pids: make(map[int]bool)}

// spawn starts cmd. The returned function waits for it, once.
func spawn(cmd *exec.Cmd) (wait func() error, err error) {
	spawned.Lock()
	defer spawned.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	spawned.pids[pid] = true
	return func() error {
		err := cmd.Wait()
		spawned.Lock()
		defer spawned.Unlock()
		delete(spawned.pids, pid)
		return err
	}, nil
}
