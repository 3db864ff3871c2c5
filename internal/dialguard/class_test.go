package dialguard

import (
	"net/netip"
	"testing"
)

// T15: every range, its first and last address, and what lies beside it.
func TestTrapT15Classes(t *testing.T) {
	for _, tc := range []struct {
		class Class
		addrs []string
	}{
		{Unspecified, []string{"0.0.0.0", "0.1.2.3", "0.255.255.255", "::", "::ffff:0.0.0.0"}},
		{Loopback, []string{"127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}},
		{Private, []string{"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
			"::ffff:10.1.2.3", "64:ff9b::a00:1", "fc00::1", "fd00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::1"}},
		{Shared, []string{"100.64.0.0", "100.100.100.199", "100.127.255.255"}},
		{LinkLocal, []string{"169.254.0.0", "169.254.1.1", "169.254.255.255", "fe80::1", "febf::1", "fe80::1%eth0", "2606:4700::1%1", "::ffff:169.254.1.1", "64:ff9b::a9fe:101"}},
		{Metadata, []string{"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "169.254.0.23", "168.63.129.16",
			"192.0.0.192", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fe80::a9fe:a9fe",
			"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110",
			"2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1::a9:fea9:fe00:0",
			"2001:0:a9fe:a9fe::1", "2001:0:102:304:0:0:5601:5601", "::a9fe:a9fe"}},
		{Protocol, []string{"192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.255", "2001:1::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:1ff::1"}},
		{Documentation, []string{"192.0.2.0", "192.0.2.255", "198.51.100.7", "203.0.113.7", "2001:db8::1", "3fff::1", "3fff:fff::1"}},
		{Benchmark, []string{"198.18.0.0", "198.19.255.255", "2001:2::1"}},
		{Tunnel, []string{"192.88.99.1", "2002:808:808::1", "2001::1", "2001:0:808:808::f7f7:f7f7", "64:ff9b:1::808:808", "::8.8.8.8", "2002:a00:1::1"}},
		{Multicast, []string{"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "::ffff:224.0.0.1", "64:ff9b::e000:1"}},
		{Broadcast, []string{"255.255.255.255", "::ffff:255.255.255.255", "64:ff9b::ffff:ffff"}},
		{Reserved, []string{"240.0.0.1", "255.255.255.254", "100::1", "400::1", "1fff::1", "4000::1", "5f00::1", "8000::1", "fe00::1", "64:ff9a::1", "64:ff9b:2::1"}},
		{Public, []string{"1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
			"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0",
			"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::808:808",
			"2001:200::1", "2606:4700::1111", "2a00:1450::1", "3ffe::1", "3fff:1000::1", "2003::1"}},
	} {
		for _, s := range tc.addrs {
			if got := Classify(netip.MustParseAddr(s)); got != tc.class {
				t.Errorf("%s is %q, want %q", s, got, tc.class)
			}
		}
	}
	if got := Classify(netip.Addr{}); got == Public {
		t.Error("no address is public")
	}
}

// No permission covers these, not even for everything.
func TestTrapT15NeverAllowed(t *testing.T) {
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	var g Guard
	for _, s := range []string{
		"169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
	} {
		if got := g.check(netip.AddrPortFrom(netip.MustParseAddr(s), 443), everything); got == Public {
			t.Errorf("%s may be reached", s)
		}
	}
	for _, s := range []string{"127.0.0.1", "10.0.0.1", "::1", "fd12::1", "100.64.0.1", "64:ff9b::a00:1", "192.0.2.1", "2002:808:808::1"} {
		if got := g.check(netip.AddrPortFrom(netip.MustParseAddr(s), 443), everything); got != Public {
			t.Errorf("%s is refused as %q though its network is allowed", s, got)
		}
	}
	ten := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for s, want := range map[string]Class{"10.1.1.1": Public, "64:ff9b::a01:101": Public, "192.168.1.1": Private, "64:ff9b::c0a8:101": Private, "fd00::1": Private} {
		if got := g.check(netip.AddrPortFrom(netip.MustParseAddr(s), 443), ten); got != want {
			t.Errorf("with 10/8 allowed, %s is %q, want %q", s, got, want)
		}
	}
}
