package proctree

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The test binary is also the processes it looks at.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCTREE_TEST") {
	case "dial":
		dial(os.Getenv("PROCTREE_NETWORK"), os.Getenv("PROCTREE_ADDR"))
	case "hide":
		// As a key agent does: the kernel then keeps its files from its own user.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			panic(err)
		}
		dial(os.Getenv("PROCTREE_NETWORK"), os.Getenv("PROCTREE_ADDR"))
	default:
		os.Exit(m.Run())
	}
}

// dial connects and holds the connection until its standard input ends.
func dial(network, addr string) {
	c, err := net.Dial(network, addr)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	c.Close()
}

// startHolder runs a process that connects to l, and returns it with the
// server's end of the connection. parents wrap it in that many shells.
func startHolder(t *testing.T, l net.Listener, network, mode string, parents int) (*exec.Cmd, net.Conn) {
	t.Helper()
	args := []string{"/proc/self/exe"}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args[0] = exe
	for range parents {
		args = append([]string{"/bin/sh", "-c", `"$@"; exit 0`, "sh"}, args...)
	}
	addr := l.Addr().String()
	if network == "tcp6" {
		_, port, _ := net.SplitHostPort(addr)
		addr = "[::ffff:127.0.0.1]:" + port
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PROCTREE_TEST="+mode, "PROCTREE_NETWORK="+network, "PROCTREE_ADDR="+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Close()
		_ = cmd.Wait()
	})
	return cmd, c
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func ends(c net.Conn) (client, server netip.AddrPort) {
	return c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort()
}

func TestPeerIsFoundAtAnyDepth(t *testing.T) {
	l := listen(t)
	for _, depth := range []int{0, 1, 3} {
		t.Run(strconv.Itoa(depth), func(t *testing.T) {
			cmd, conn := startHolder(t, l, "tcp", "dial", depth)
			client, server := ends(conn)
			got, err := Peer(client, server, os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			if got.Standing != Inside {
				t.Fatalf("standing %v, want Inside", got.Standing)
			}
			if depth == 0 && got.Process.PID != cmd.Process.Pid {
				t.Errorf("pid %d, want %d", got.Process.PID, cmd.Process.Pid)
			}
			if is, err := IsBelow(got.Process.PID, os.Getpid()); err != nil || !is {
				t.Errorf("IsBelow = %v, %v", is, err)
			}
			own, err := Owner(client, server)
			if err != nil || !own.Same(got.Process) {
				t.Errorf("Owner = %+v, %v, want %+v", own, err, got.Process)
			}
		})
	}
}

// A client that speaks IPv4 through an IPv6 socket (Java) stands in the other table.
func TestPeerThroughMappedAddress(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("no IPv6 sockets here")
	}
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	sa := &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, server := ends(c)
	own, err := Owner(client, server)
	if err != nil || own.PID != os.Getpid() {
		t.Fatalf("Owner = %+v, %v, want this process", own, err)
	}
}

func TestPeerOutside(t *testing.T) {
	l := listen(t)
	cmd, conn := startHolder(t, l, "tcp", "dial", 0)
	client, server := ends(conn)
	// The holder is a sibling of the root asked about, then the root itself:
	// strictly below means neither.
	other := exec.Command("cat")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = other.Wait() }()
	for name, root := range map[string]int{"sibling": other.Process.Pid, "itself": cmd.Process.Pid} {
		got, err := Peer(client, server, root)
		if err != nil || got.Standing != Outside {
			t.Errorf("%s: %+v, %v, want Outside", name, got, err)
		}
	}
}

func TestPeerGone(t *testing.T) {
	l := listen(t)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.Close()
	client, server := ends(s)
	got, err := Peer(client, server, os.Getpid())
	if err != nil || got.Standing != Outside {
		t.Errorf("%+v, %v, want Outside", got, err)
	}
	if _, err := Owner(client, server); !errors.Is(err, ErrNotFound) {
		t.Errorf("Owner: %v, want ErrNotFound", err)
	}
}

// A process below the root that hides its files is not refused for it. Root
// sees through hiding, so this runs as an unprivileged user only.
func TestPeerHidden(t *testing.T) {
	if os.Getuid() == 0 {
		rerunAsNobody(t)
		return
	}
	l := listen(t)
	_, conn := startHolder(t, l, "tcp", "hide", 0)
	client, server := ends(conn)
	got, err := Peer(client, server, os.Getpid())
	if err != nil || got.Standing != Unknown {
		t.Errorf("%+v, %v, want Unknown", got, err)
	}
	// Held by somebody who can be seen: the hidden process does not cover for it.
	_, conn2 := startHolder(t, l, "tcp", "dial", 0)
	client, server = ends(conn2)
	got, err = Peer(client, server, os.Getpid())
	if err != nil || got.Standing != Inside {
		t.Errorf("%+v, %v, want Inside", got, err)
	}
	own, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	mine, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	client, server = ends(mine)
	got, err = Peer(client, server, os.Getpid())
	if err != nil || got.Standing != Outside {
		t.Errorf("held by the root itself: %+v, %v, want Outside", got, err)
	}
}

// rerunAsNobody runs this one test in a copy of the binary that an
// unprivileged user can execute.
func rerunAsNobody(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "proctree-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/test", raw, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

func TestBelowAndSignal(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "cat & echo $!; cat <&3; wait")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	ps, err := Below(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var shell Process
	for _, p := range ps {
		if p.PID == cmd.Process.Pid {
			shell = p
		}
		if p.PID == os.Getpid() {
			t.Error("the root is listed below itself")
		}
	}
	if shell.PID == 0 || shell.Parent != os.Getpid() {
		t.Fatalf("the shell is not found below this process: %+v", ps)
	}
	stale := shell
	stale.Start-- // the same number, an earlier life
	if err := Signal(stale, int(unix.SIGKILL)); !errors.Is(err, ErrNotFound) {
		t.Errorf("signal to an earlier holder of the pid: %v, want ErrNotFound", err)
	}
	if err := Signal(shell, int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("shell ended with %v, want SIGTERM", err)
	}
	if err := Signal(shell, int(unix.SIGTERM)); !errors.Is(err, ErrNotFound) {
		t.Errorf("signal to the dead: %v, want ErrNotFound", err)
	}
}

// The name in /proc/PID/stat is the program's to choose.
func TestStatNameCannotForgeParent(t *testing.T) {
	raw := "7 (x) S 1 1 1 0 (y) z) R 42 7 7 34819 7 0 0 0 0 0 0 0 0 0 20 0 1 0 9001 0 0"
	got, err := parseStat(7, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := Process{PID: 7, Parent: 42, Group: 7, Start: 9001, TTY: "pts/3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "7 (x", "7 (x) S 1", "7 (x) S a b c d e f g h i j k l m n o p q r s t"} {
		if _, err := parseStat(7, []byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestTTYName(t *testing.T) {
	for dev, want := range map[int]string{0: "", 136 << 8: "pts/0", 34819: "pts/3", 137<<8 | 1: "pts/257", 4<<8 | 1: "tty1", 4<<8 | 65: "ttyS1", 5<<8 | 1: "5:1"} {
		if got := ttyName(dev); got != want {
			t.Errorf("%d: %q, want %q", dev, got, want)
		}
	}
}
