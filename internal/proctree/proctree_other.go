//go:build !linux

package proctree

import "net/netip"

func peer(_, _ netip.AddrPort, _ int) (Answer, error) { return Answer{}, ErrUnsupported }
func owner(_, _ netip.AddrPort) (Process, error)      { return Process{}, ErrUnsupported }
func stat(int) (Process, error)                       { return Process{}, ErrUnsupported }
func below(int) ([]Process, error)                    { return nil, ErrUnsupported }
func isBelow(int, int) (bool, error)                  { return false, ErrUnsupported }
func signal(Process, int) error                       { return ErrUnsupported }
