package run

import (
	"os"
	"os/signal"
	"syscall"
)

// caught are the signals taken from the operating system for the program.
type caught struct {
	ch chan os.Signal
}

func (s caught) stop() { signal.Stop(s.ch) }

// catch begins to take the signals that concern the program. One that is
// ignored (nohup, a shell's background job) stays so, for us and by
// inheritance for the program: taking it would undo that.
func (c *Child) catch() caught {
	list := []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}
	if c.mode != sharedGroup {
		// In a shared group the terminal stops us and the program alike.
		list = append(list, syscall.SIGTSTP, syscall.SIGCONT)
	}
	s := caught{ch: make(chan os.Signal, 16)}
	for _, sig := range list {
		if !signal.Ignored(sig) {
			signal.Notify(s.ch, sig)
		}
	}
	return s
}

// forward passes signals to the program until it has ended.
func (c *Child) forward(s caught) {
	defer s.stop()
	for {
		select {
		case <-c.done:
			return
		case sig := <-s.ch:
			n := sig.(syscall.Signal) // os/signal on unix sends no other type
			if c.mode == sharedGroup && fromTerminal(n) {
				continue // the terminal has sent it to the program as well
			}
			c.signalGroup(n)
		}
	}
}

// fromTerminal names the signals that a terminal sends to a whole group.
func fromTerminal(sig syscall.Signal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGWINCH
}

func (c *Child) closeTTY() {
	if c.tty != nil {
		c.tty.Close()
	}
}
