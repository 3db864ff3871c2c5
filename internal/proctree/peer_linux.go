package proctree

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

func peer(client, server netip.AddrPort, root int) (Answer, error) {
	sock, err := findSocket(client, server)
	if errors.Is(err, ErrNotFound) {
		// Closed on the client's side: nobody is left to be answered.
		return Answer{Standing: Outside}, nil
	}
	if err != nil {
		return Answer{}, err
	}
	ps, err := all()
	if err != nil {
		return Answer{}, err
	}
	inside := under(ps, root)
	p, hidden, ok := holder(sock.inode, inside)
	if ok {
		return Answer{Standing: Inside, Process: p}, nil
	}
	if !hidden || sock.uid != os.Getuid() {
		return Answer{Standing: Outside}, nil
	}
	// A process below root hides its files from us (it is set-user-id, or has
	// made itself undumpable as key agents do). It may be the holder. It is not
	// if anybody else is seen to hold the socket.
	below := make(map[int]bool, len(inside))
	for _, p := range inside {
		below[p.PID] = true
	}
	others := ps[:0:0]
	for _, p := range ps {
		if !below[p.PID] {
			others = append(others, p)
		}
	}
	if _, _, ok := holder(sock.inode, others); ok {
		return Answer{Standing: Outside}, nil
	}
	return Answer{Standing: Unknown}, nil
}

func owner(client, server netip.AddrPort) (Process, error) {
	sock, err := findSocket(client, server)
	if err != nil {
		return Process{}, err
	}
	ps, err := all()
	if err != nil {
		return Process{}, err
	}
	if p, _, ok := holder(sock.inode, ps); ok {
		return p, nil
	}
	return Process{}, ErrNotFound
}

// holder finds a process that has the socket open. hidden reports that the
// files of a live process could not be listed.
func holder(inode uint64, among []Process) (p Process, hidden, ok bool) {
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, p := range among {
		if p.Zombie {
			continue
		}
		dir := "/proc/" + strconv.Itoa(p.PID) + "/fd"
		f, err := os.Open(dir)
		if err != nil {
			hidden = hidden || errors.Is(err, os.ErrPermission)
			continue
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			hidden = hidden || errors.Is(err, os.ErrPermission)
			continue
		}
		for _, n := range names {
			target, err := os.Readlink(dir + "/" + n)
			if err == nil && target == want {
				return p, hidden, true
			}
		}
	}
	return Process{}, hidden, false
}

type socket struct {
	inode uint64
	uid   int
}

// findSocket looks up the client's end in the kernel's tables (proc_pid_net(5)).
// A client that uses an IPv6 socket for 127.0.0.1, as Java does, stands in tcp6
// with a mapped address: both tables are read, addresses compared unmapped.
func findSocket(client, server netip.AddrPort) (socket, error) {
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		s, err := findIn(table, client, server)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return s, err
		}
	}
	return socket{}, ErrNotFound
}

func findIn(table string, client, server netip.AddrPort) (socket, error) {
	f, err := os.Open(table)
	if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		return socket{}, ErrNotFound
	}
	if err != nil {
		return socket{}, fmt.Errorf("proctree: %w", err)
	}
	defer f.Close()
	// Ports are compared as text first: of thousands of lines few are parsed.
	localPort := fmt.Sprintf(":%04X", client.Port())
	sc := bufio.NewScanner(f)
	sc.Scan() // the heading
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 10 || !strings.HasSuffix(fields[1], localPort) {
			continue
		}
		local, err := parseAddr(fields[1])
		if err != nil || local != client {
			continue
		}
		remote, err := parseAddr(fields[2])
		if err != nil || remote != server {
			continue
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil || inode == 0 { // 0: closed by its process, the kernel winds it up
			continue
		}
		uid, err := strconv.Atoi(fields[7])
		if err != nil {
			continue
		}
		return socket{inode: inode, uid: uid}, nil
	}
	if err := sc.Err(); err != nil {
		return socket{}, fmt.Errorf("proctree: %w", err)
	}
	return socket{}, ErrNotFound
}

// parseAddr reads "0100007F:1F90": the address as 32-bit words in the
// machine's byte order, the port as a number.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if !ok || err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("proctree: address %q", s)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("proctree: port %q", s)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
