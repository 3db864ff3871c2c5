package dialguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"writ.dev/writ"
)

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Guard dials. Its zero value works. It is safe for concurrent use once set up.
type Guard struct {
	// Resolver answers for names; nil is the system's.
	Resolver Resolver
	// Own gives the addresses Writ listens on. They are never dialled,
	// whatever else is allowed.
	Own func() []netip.AddrPort
	// Timeout is for the attempt at one address; 0 is 10 s.
	Timeout time.Duration

	local func() []netip.Addr // this machine's addresses; nil asks the system. For tests
}

// Destination is where a request goes and what its application allows.
type Destination struct {
	Host string // a canonical name or IP literal, without the port
	Port uint16
	// TLS says that the connection will be one that authenticates the host.
	TLS bool

	// Cleartext allows a connection that is not (T26).
	Cleartext bool
	// Pinned are the host's addresses instead of the resolver's; port 0 means
	// Port. Pinning says where, not whether: a pinned private address needs
	// its network allowed all the same, so that a mistyped or injected pin
	// does not open a network that nobody has allowed by name.
	Pinned []netip.AddrPort
	// Networks are the private networks the application may reach.
	Networks []netip.Prefix
}

// Blocked means that a destination is not to be reached. It is safe to show:
// it names the host that was asked for and the kind of what it leads to, but
// no address.
type Blocked struct {
	Host  string
	Class Class // "" when it is about cleartext
}

// Error says so in a sentence.
func (b *Blocked) Error() string {
	host := writ.Printable(b.Host, 80)
	if b.Class == "" {
		return host + " would be reached without TLS, and its application does not allow that"
	}
	return fmt.Sprintf("%s leads to an address that may not be reached (%s)", host, b.Class)
}

// Reason is the code of the denial.
func (b *Blocked) Reason() writ.Reason { return writ.DestinationBlocked }

// maxAddresses is how many answers of a resolver are looked at.
const maxAddresses = 16

// DialContext connects to d over TCP. It resolves once, leaves out what may
// not be reached, and tries the rest in turn. A *Blocked means that nothing
// was left to try; an *writ.Error of kind unavailable that nothing answered.
func (g *Guard) DialContext(ctx context.Context, d Destination) (net.Conn, error) {
	if !d.TLS && !d.Cleartext {
		return nil, &Blocked{Host: d.Host}
	}
	found, err := g.addresses(ctx, d)
	if err != nil {
		return nil, err
	}
	var allowed []netip.AddrPort
	var first Class
	for _, ap := range found {
		class := g.check(ap, d.Networks)
		if class == Public {
			allowed = append(allowed, ap)
		} else if first == "" || class.never() {
			first = class
		}
	}
	if len(allowed) == 0 {
		return nil, &Blocked{Host: d.Host, Class: first}
	}
	conn, err := g.race(ctx, d, allowed)
	if err != nil {
		var b *Blocked
		if errors.As(err, &b) {
			return nil, b
		}
		return nil, writ.Errorf(writ.KindUnavailable, "%s did not answer", writ.Printable(d.Host, 80)).WithCause(err)
	}
	return conn, nil
}

// addresses are the pinned ones, the literal one, or the resolver's.
func (g *Guard) addresses(ctx context.Context, d Destination) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	add := func(a netip.Addr, port uint16) {
		if port == 0 {
			port = d.Port
		}
		ap := netip.AddrPortFrom(a.Unmap(), port)
		if !slices.Contains(out, ap) && len(out) < maxAddresses {
			out = append(out, ap)
		}
	}
	if len(d.Pinned) > 0 {
		for _, ap := range d.Pinned {
			add(ap.Addr(), ap.Port())
		}
		return out, nil
	}
	host := d.Host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if a, err := netip.ParseAddr(host); err == nil {
		add(a, 0)
		return out, nil
	}
	// The name may come from elsewhere than Canonical: what a resolver would
	// read as a number never gets to one.
	if canonical, err := Canonical(host); err != nil || canonical != host {
		return nil, &Blocked{Host: d.Host, Class: Reserved}
	}
	var resolver Resolver = net.DefaultResolver
	if g.Resolver != nil {
		resolver = g.Resolver
	}
	// The dot at the end keeps search domains out of it.
	found, err := resolver.LookupNetIP(ctx, "ip", host+".")
	if err != nil || len(found) == 0 {
		return nil, writ.Errorf(writ.KindUnavailable, "%s could not be resolved", writ.Printable(d.Host, 80)).WithCause(err)
	}
	for _, a := range found {
		add(a, 0)
	}
	return out, nil
}

// check gives Public for an address that may be reached, else its class.
func (g *Guard) check(ap netip.AddrPort, networks []netip.Prefix) Class {
	a := ap.Addr()
	if a.Zone() != "" {
		return LinkLocal
	}
	a = a.Unmap()
	if g.own(netip.AddrPortFrom(a, ap.Port())) {
		return Own
	}
	class := Classify(a)
	if class == Public || class.never() {
		return class
	}
	// A translated address may be allowed by the network it leads to.
	meant := []netip.Addr{a}
	if wellKnownNAT64.Contains(a) {
		meant = append(meant, embedded(a, 12))
	}
	for _, n := range networks {
		for _, m := range meant {
			if n.Contains(m) {
				return Public
			}
		}
	}
	return class
}

// own reports whether Writ listens on ap. A listener on the unspecified
// address is on each of this machine's.
func (g *Guard) own(ap netip.AddrPort) bool {
	if g.Own == nil {
		return false
	}
	for _, l := range g.Own() {
		if l.Port() != ap.Port() {
			continue
		}
		switch a := l.Addr().Unmap().WithZone(""); {
		case a == ap.Addr():
			return true
		case a.IsUnspecified() && (ap.Addr().IsLoopback() || ap.Addr().IsUnspecified() || slices.Contains(g.machine(), ap.Addr())):
			return true
		}
	}
	return false
}

func (g *Guard) machine() []netip.Addr {
	if g.local != nil {
		return g.local()
	}
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, f := range found {
		if n, ok := f.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// stagger is how long an attempt has before the next one starts beside it
// (RFC 8305, section 5).
const stagger = 250 * time.Millisecond

// race tries the addresses in order, the next one as soon as the one before
// has failed or kept silent for a while, and takes the first that answers.
func (g *Guard) race(ctx context.Context, d Destination, addrs []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addrs)) // room for all, so that none is left behind
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failed []error
	for started, ended := 0, 0; ; {
		select {
		case <-timer.C:
			if started < len(addrs) {
				ap := addrs[started]
				started++
				go func() {
					conn, err := g.dial(ctx, d, ap)
					results <- result{conn, err}
				}()
				timer.Reset(stagger)
			}
		case r := <-results:
			ended++
			if r.err == nil {
				cancel()
				go func() { // those that answer too late
					for range started - ended {
						if late := <-results; late.conn != nil {
							late.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			failed = append(failed, r.err)
			if ended == len(addrs) {
				return nil, errors.Join(failed...)
			}
			if ended == started {
				timer.Reset(0)
			}
		}
	}
}

// dial connects to a checked address.
func (g *Guard) dial(ctx context.Context, d Destination, ap netip.AddrPort) (net.Conn, error) {
	timeout := g.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	dialer := net.Dialer{
		Timeout: timeout,
		// What the kernel is given is checked, whatever the lines above do.
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" {
				return &Blocked{Host: d.Host, Class: Reserved}
			}
			if class := g.check(at, d.Networks); class != Public {
				return &Blocked{Host: d.Host, Class: class}
			}
			return nil
		},
	}
	return dialer.DialContext(ctx, "tcp", ap.String())
}

func joinPort(name string, port uint16) string {
	if port == 443 {
		return name
	}
	return name + ":" + strconv.Itoa(int(port))
}
