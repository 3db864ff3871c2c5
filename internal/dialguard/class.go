package dialguard

import (
	"net/netip"
)

// Class is a kind of address, in words that can be shown.
type Class string

// The classes. Public is the only one that needs no permission.
const (
	Public        Class = "public"
	Unspecified   Class = "unspecified"
	Loopback      Class = "loopback"
	Private       Class = "private"
	Shared        Class = "carrier-grade NAT"
	LinkLocal     Class = "link-local"
	Metadata      Class = "cloud metadata"
	Protocol      Class = "protocol assignment"
	Documentation Class = "documentation"
	Benchmark     Class = "benchmarking"
	Multicast     Class = "multicast"
	Broadcast     Class = "broadcast"
	Reserved      Class = "reserved"
	Tunnel        Class = "IPv6 transition"
	Own           Class = "one of Writ's own"
)

// never reports the classes that no permission covers.
func (c Class) never() bool {
	switch c {
	case Unspecified, LinkLocal, Metadata, Multicast, Broadcast, Own:
		return true
	}
	return false
}

type row struct {
	net   netip.Prefix
	class Class
}

func rows(class Class, nets ...string) []row {
	rs := make([]row, len(nets))
	for i, n := range nets {
		rs[i] = row{netip.MustParsePrefix(n), class}
	}
	return rs
}

func concat(lists ...[]row) []row {
	var all []row
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// table is read from above; the first match counts. Sources: the IANA special
// purpose registries (RFC 6890 and successors) and the clouds' manuals.
var table = concat(
	// Link-local ones among these are named for the clearer message.
	rows(Metadata,
		"169.254.169.254/32",     // AWS, Google Cloud, Azure, DigitalOcean, OpenStack and others
		"169.254.170.2/32",       // AWS ECS task credentials
		"169.254.170.23/32",      // AWS EKS pod identity
		"169.254.42.42/32",       // Scaleway
		"169.254.0.23/32",        // Tencent Cloud
		"168.63.129.16/32",       // Azure wire server, a public address
		"192.0.0.192/32",         // Oracle Cloud Classic
		"100.100.100.200/32",     // Alibaba Cloud
		"fd00:ec2::/32",          // AWS: ::254 metadata, ::23 pod identity, ::253 resolver
		"fd20:ce::254/128",       // Google Cloud
		"fd00:c1::a9fe:a9fe/128", // Oracle Cloud
		"fd00:42::42/128",        // Scaleway
		"fe80::a9fe:a9fe/128",    // OpenStack
	),
	rows(Unspecified, "0.0.0.0/8", "::/128"), // 0.0.0.0 reaches loopback on Linux
	rows(Loopback, "127.0.0.0/8", "::1/128"),
	rows(Private, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
	rows(Shared, "100.64.0.0/10"),
	rows(LinkLocal, "169.254.0.0/16", "fe80::/10"),
	rows(Documentation, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
	rows(Benchmark, "198.18.0.0/15", "2001:2::/48"),
	rows(Tunnel, "192.88.99.0/24", "2001::/32", "2002::/16", "64:ff9b:1::/48", "::/96"),
	rows(Protocol, "192.0.0.0/24", "2001::/23"),
	rows(Broadcast, "255.255.255.255/32"),
	rows(Multicast, "224.0.0.0/4", "ff00::/8"),
	rows(Reserved, "240.0.0.0/4"),
)

var (
	wellKnownNAT64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052, section 2.1
	localNAT64     = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour      = netip.MustParsePrefix("2002::/16")
	teredo         = netip.MustParsePrefix("2001::/32")
	compatible     = netip.MustParsePrefix("::/96")
	globalUnicast  = netip.MustParsePrefix("2000::/3")
)

// Classify tells the class of an address. An IPv4-mapped address is the IPv4
// one; an address that a translator or tunnel turns into an IPv4 one is at
// least as bad as that.
func Classify(a netip.Addr) Class {
	if !a.IsValid() {
		return Reserved
	}
	if a.Zone() != "" {
		return LinkLocal // a zone makes sense for nothing else
	}
	a = a.Unmap()
	if wellKnownNAT64.Contains(a) {
		// Networks with DNS64 give these for every public IPv4 host.
		return Classify(embedded(a, 12))
	}
	for _, v4 := range inside(a) {
		// 0.0.0.0/8 is what a wrong guess at the place of the address gives.
		if c := Classify(v4); c.never() && c != Unspecified {
			return c
		}
	}
	for _, r := range table {
		if r.net.Contains(a) {
			return r.class
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return Reserved
	}
	return Public
}

// inside gives the IPv4 addresses that a transition address may stand for.
func inside(a netip.Addr) []netip.Addr {
	switch {
	case sixToFour.Contains(a): // RFC 3056, section 2
		return []netip.Addr{embedded(a, 2)}
	case teredo.Contains(a): // RFC 4380, section 4: the server, and the client inverted
		b := a.As16()
		return []netip.Addr{embedded(a, 4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case localNAT64.Contains(a): // RFC 8215; RFC 6052, section 2.2: the prefix may have several lengths
		b := a.As16()
		return []netip.Addr{
			netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),
			embedded(a, 9),
			embedded(a, 12),
		}
	case compatible.Contains(a) && a != netip.IPv6Unspecified() && a != netip.IPv6Loopback():
		return []netip.Addr{embedded(a, 12)}
	}
	return nil
}

func embedded(a netip.Addr, at int) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[at : at+4]))
}
