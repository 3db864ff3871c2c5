package dialguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
)

// answers is a resolver that gives its next answer on each call.
type answers struct {
	next  [][]string
	asked []string
}

func (a *answers) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	a.asked = append(a.asked, network+" "+host)
	if len(a.next) == 0 {
		return nil, errors.New("the resolver at 10.0.0.53 says no")
	}
	var out []netip.Addr
	for _, s := range a.next[0] {
		out = append(out, netip.MustParseAddr(s))
	}
	a.next = a.next[1:]
	return out, nil
}

// listen accepts on an address and says which local address was reached.
func listen(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("no " + addr + ": " + err.Error())
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.LocalAddr())
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func loop(prefixes ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// T15: the name is resolved once; what is dialled is what was checked, though
// the resolver would answer otherwise the next time.
func TestTrapT15ResolvesOnce(t *testing.T) {
	at := listen(t, "127.0.0.1:0")
	r := &answers{next: [][]string{{"127.0.0.1"}, {"169.254.169.254"}}}
	g := &Guard{Resolver: r}
	c, err := g.DialContext(t.Context(), Destination{Host: "api.acme.test", Port: at.Port(), TLS: true, Networks: loop("127.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := strings.Join(r.asked, ","); got != "ip api.acme.test." {
		t.Errorf("asked %s", got)
	}
}

// T15: addresses that may not be reached are left out, one that does not
// answer gives way to the next.
func TestTrapT15NextAllowedAddress(t *testing.T) {
	at := listen(t, "127.0.0.3:0")
	for _, found := range [][]string{
		{"127.0.0.3"},
		{"127.0.0.2", "127.0.0.3"}, // refused, then open
		{"169.254.169.254", "10.0.0.1", "::ffff:127.0.0.3", "fe80::1"}, // blocked, blocked, open, blocked
	} {
		g := &Guard{Resolver: &answers{next: [][]string{found}}}
		c, err := g.DialContext(t.Context(), Destination{Host: "api.acme.test", Port: at.Port(), TLS: true, Networks: loop("127.0.0.0/8")})
		if err != nil {
			t.Errorf("%v: %v", found, err)
			continue
		}
		if got := c.RemoteAddr().String(); got != at.String() {
			t.Errorf("%v: reached %s", found, got)
		}
		c.Close()
	}
}

func TestBlockedDestinations(t *testing.T) {
	at := listen(t, "127.0.0.1:0")
	allowed := loop("127.0.0.0/8")
	for _, tc := range []struct {
		name  string
		d     Destination
		found []string
		class Class
	}{
		{"loopback by name", Destination{Host: "a.test", TLS: true}, []string{"127.0.0.1"}, Loopback},
		{"mapped loopback by name", Destination{Host: "a.test", TLS: true}, []string{"::ffff:127.0.0.1"}, Loopback},
		{"loopback by literal", Destination{Host: "127.0.0.1", TLS: true}, nil, Loopback},
		{"loopback by IPv6 literal", Destination{Host: "[::1]", TLS: true}, nil, Loopback},
		{"metadata, all allowed", Destination{Host: "169.254.169.254", TLS: true, Networks: loop("0.0.0.0/0")}, nil, Metadata},
		{"metadata first named", Destination{Host: "a.test", TLS: true}, []string{"10.0.0.1", "169.254.169.254"}, Metadata},
		{"zone", Destination{Host: "[fe80::1%lo]", TLS: true, Networks: loop("::/0")}, nil, LinkLocal},
		{"number", Destination{Host: "2130706433", TLS: true, Networks: allowed}, []string{"127.0.0.1"}, Reserved},
		{"octal", Destination{Host: "0177.0.0.1", TLS: true, Networks: allowed}, []string{"127.0.0.1"}, Reserved},
		{"not canonical", Destination{Host: "A.test", TLS: true, Networks: allowed}, []string{"127.0.0.1"}, Reserved},
		{"pinned, network not allowed", Destination{Host: "a.test", TLS: true, Pinned: []netip.AddrPort{at}}, nil, Loopback},
		{"cleartext", Destination{Host: "a.test", Networks: allowed}, []string{"127.0.0.1"}, ""},
	} {
		r := &answers{next: [][]string{tc.found}}
		tc.d.Port = at.Port()
		c, err := (&Guard{Resolver: r}).DialContext(t.Context(), tc.d)
		var b *Blocked
		if !errors.As(err, &b) || b.Class != tc.class || b.Reason() != writ.DestinationBlocked {
			t.Errorf("%s: got %v, %v, want %q", tc.name, c, err, tc.class)
			continue
		}
		if strings.Contains(b.Error(), "10.0.0.1") || tc.d.Host == "a.test" && strings.Contains(b.Error(), "127.") {
			t.Errorf("%s: the error names an address: %s", tc.name, b)
		}
		if len(r.asked) > 0 && tc.found == nil {
			t.Errorf("%s: asked the resolver %q", tc.name, r.asked)
		}
	}
}

func TestPinnedReplacesResolution(t *testing.T) {
	at := listen(t, "127.0.0.1:0")
	r := &answers{}
	for _, pin := range []netip.AddrPort{at, netip.AddrPortFrom(at.Addr(), 0)} {
		d := Destination{Host: "api.acme.test", Port: at.Port(), Cleartext: true, Pinned: []netip.AddrPort{pin}, Networks: loop("127.0.0.1/32")}
		c, err := (&Guard{Resolver: r}).DialContext(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if len(r.asked) > 0 {
		t.Errorf("asked %q", r.asked)
	}
}

// T15: Writ never dials itself, whatever is allowed.
func TestTrapT15OwnListeners(t *testing.T) {
	at := listen(t, "127.0.0.1:0")
	mine := netip.MustParseAddr("203.0.113.9")
	for _, tc := range []struct {
		own, dial string
		refused   bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"::ffff:127.0.0.1", "127.0.0.1", true},
		{"0.0.0.0", "127.0.0.1", true},
		{"::", "127.0.0.1", true},
		{"::", "127.3.2.1", true},
		{"::", mine.String(), true},
		{"127.0.0.2", "127.0.0.1", false},
	} {
		g := &Guard{
			Resolver: &answers{next: [][]string{{tc.dial}}},
			Own: func() []netip.AddrPort {
				return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(tc.own), at.Port())}
			},
			local: func() []netip.Addr { return []netip.Addr{mine} },
		}
		c, err := g.DialContext(t.Context(), Destination{Host: "a.test", Port: at.Port(), TLS: true, Networks: loop("0.0.0.0/0", "::/0")})
		var b *Blocked
		if refused := errors.As(err, &b) && b.Class == Own; refused != tc.refused {
			t.Errorf("own %s, dialled %s: %v", tc.own, tc.dial, err)
		}
		if c != nil {
			c.Close()
		}
	}
	// The real interfaces are asked where nothing is injected.
	if !new(Guard).hasLoopback() {
		t.Error("this machine's addresses lack loopback")
	}
}

func (g *Guard) hasLoopback() bool {
	for _, a := range g.machine() {
		if a.IsLoopback() {
			return true
		}
	}
	return false
}

func TestUnreachable(t *testing.T) {
	// Another system's words are for the log only.
	_, err := (&Guard{Resolver: &answers{}}).DialContext(t.Context(), Destination{Host: "a.test", Port: 443, TLS: true})
	if writ.KindOf(err) != writ.KindUnavailable || err.Error() != "a.test could not be resolved" {
		t.Errorf("got %v", err)
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	closed := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	d := Destination{Host: "127.0.0.1", Port: closed.Port(), TLS: true, Networks: loop("127.0.0.0/8")}
	_, err = new(Guard).DialContext(t.Context(), d)
	if writ.KindOf(err) != writ.KindUnavailable || err.Error() != "127.0.0.1 did not answer" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if _, err := new(Guard).DialContext(ctx, d); err == nil || time.Since(began) > time.Second {
		t.Errorf("cancelled: %v after %v", err, time.Since(began))
	}
}

// Control repeats the check on what the kernel is given.
func TestTrapT15ControlChecksAgain(t *testing.T) {
	at := listen(t, "127.0.0.1:0")
	_, err := new(Guard).dial(t.Context(), Destination{Host: "a.test", TLS: true}, at)
	var b *Blocked
	if !errors.As(err, &b) || b.Class != Loopback {
		t.Errorf("got %v", err)
	}
}
