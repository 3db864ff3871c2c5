package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"writ.dev/writ"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newMinter(t testing.TB, c *clock, hosts ...string) (*Root, *Minter) {
	t.Helper()
	root, err := NewRoot(c.now(), "Writ test root")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMinter(root, c.now)
	if err := m.SetHosts(hosts); err != nil {
		t.Fatal(err)
	}
	return root, m
}

// verify is what a client does.
func verify(root *Root, c *tls.Certificate, host string, at time.Time) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.cert)
	for _, der := range c.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(cert)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: strings.Trim(host, "[]"), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

func TestLeafVerifies(t *testing.T) {
	c := &clock{t: start}
	hosts := []string{"api.acme.test", "other.test:8443", "10.1.2.3", "[2001:db8::7]", "my_bucket.s3.test", "xn--bcher-kva.example", "localhost"}
	root, m := newMinter(t, c, hosts...)
	for _, h := range hosts {
		leaf, err := m.Leaf(h)
		if err != nil {
			t.Fatalf("%s: %v", h, err)
		}
		name := bare(h)
		for _, at := range []time.Time{start.Add(-skew), start, start.Add(leafLife - skew)} {
			if err := verify(root, leaf, name, at); err != nil {
				t.Errorf("%s at %s: %v", h, at, err)
			}
		}
		for _, at := range []time.Time{start.Add(-skew - time.Second), start.Add(leafLife)} {
			if verify(root, leaf, name, at) == nil {
				t.Errorf("%s is valid at %s", h, at)
			}
		}
		if verify(root, leaf, "x.test", start) == nil {
			t.Errorf("%s is valid for another host", h)
		}
		again, err := m.Leaf(h)
		if err != nil || again != leaf {
			t.Errorf("%s is not cached: %v", h, err)
		}
		// T51
		if l := leaf.Leaf; l.NotAfter.Sub(l.NotBefore) > 24*time.Hour || l.IsCA || l.SerialNumber.Sign() <= 0 || len(l.SerialNumber.Bytes()) > 16 {
			t.Errorf("%s: %v to %v, serial %v", h, l.NotBefore, l.NotAfter, l.SerialNumber)
		}
	}
}

func TestUndeclaredHostsAreRefused(t *testing.T) {
	_, m := newMinter(t, &clock{t: start}, "api.acme.test", "10.1.2.3")
	for _, h := range []string{"", "acme.test", "x.api.acme.test", "API.acme.test", "api.acme.test.", "10.1.2.4", "::1", "[::1]", "*.acme.test", "writ.invalid", "api.acme.test\x00.evil.test"} {
		c, err := m.Leaf(h)
		if c != nil || !errors.Is(err, ErrUndeclared) || writ.KindOf(err) != writ.KindDenied {
			t.Errorf("%q: %v, %v", h, c, err)
		}
	}
	if err := m.SetHosts([]string{"API.acme.test"}); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("a host that is not canonical: %v", err)
	}
	if _, err := m.Leaf("api.acme.test"); err != nil {
		t.Errorf("a refused change has an effect: %v", err)
	}
	_, empty := newMinter(t, &clock{t: start})
	if _, err := empty.Leaf("api.acme.test"); !errors.Is(err, ErrUndeclared) {
		t.Errorf("without hosts: %v", err)
	}
}

// rogue is what a thief of the intermediate's key would mint.
func rogue(t *testing.T, m *Minter, below string, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	if _, err := m.Leaf(below); err != nil {
		t.Fatal(err)
	}
	s := m.shards[place(bare(below), len(m.shards))]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotBefore: start, NotAfter: start.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	change(template)
	cert, err := sign(template, s.cert, key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, s.cert.Raw}, PrivateKey: key}
}

// T51: with the intermediate's key alone nobody impersonates another host.
func TestTrapT51Constraints(t *testing.T) {
	for _, tc := range []struct {
		name   string
		hosts  []string
		host   string
		change func(*x509.Certificate)
	}{
		{"another name", []string{"api.acme.test"}, "bank.test", func(c *x509.Certificate) { c.DNSNames = []string{"bank.test"} }},
		{"the parent", []string{"api.acme.test"}, "acme.test", func(c *x509.Certificate) { c.DNSNames = []string{"acme.test"} }},
		{"a wildcard", []string{"api.acme.test"}, "x.acme.test", func(c *x509.Certificate) { c.DNSNames = []string{"*.acme.test"} }},
		{"a suffix without a dot", []string{"acme.test"}, "evilacme.test", func(c *x509.Certificate) { c.DNSNames = []string{"evilacme.test"} }},
		{"an address where there are names", []string{"api.acme.test"}, "10.1.2.3", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 3).To4()} }},
		{"an IPv6 address where there are names", []string{"api.acme.test"}, "::1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv6loopback} }},
		{"another address", []string{"10.1.2.3"}, "10.1.2.4", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 4).To4()} }},
		{"IPv6 where there is IPv4", []string{"10.1.2.3"}, "::1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv6loopback} }},
		{"a name where there are addresses", []string{"10.1.2.3"}, "bank.test", func(c *x509.Certificate) { c.DNSNames = []string{"bank.test"} }},
		{"another use", []string{"api.acme.test"}, "api.acme.test", func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"api.acme.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}},
	} {
		root, m := newMinter(t, &clock{t: start}, tc.hosts...)
		if err := verify(root, rogue(t, m, tc.hosts[0], tc.change), tc.host, start); err == nil {
			t.Errorf("%s is accepted", tc.name)
		}
	}
	// No authority below the intermediate.
	root, m := newMinter(t, &clock{t: start}, "api.acme.test")
	sub := rogue(t, m, "api.acme.test", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	ca, err := x509.ParseCertificate(sub.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotBefore: start, NotAfter: start.Add(time.Hour), DNSNames: []string{"api.acme.test"}}
	leaf, err := sign(template, ca, &sub.PrivateKey.(*ecdsa.PrivateKey).PublicKey, sub.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	if verify(root, &tls.Certificate{Certificate: append([][]byte{leaf.Raw}, sub.Certificate...)}, "api.acme.test", start) == nil {
		t.Error("an authority below the intermediate is accepted")
	}
}

func TestReissuedWhenHostsChange(t *testing.T) {
	root, m := newMinter(t, &clock{t: start}, "a.test", "b.test")
	before, err := m.Leaf("a.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetHosts([]string{"b.test", "a.test:8443", "a.test"}); err != nil {
		t.Fatal(err)
	}
	if same, _ := m.Leaf("a.test"); same != before {
		t.Error("the same names are issued anew")
	}
	if err := m.SetHosts([]string{"a.test", "c.test"}); err != nil {
		t.Fatal(err)
	}
	after, err := m.Leaf("a.test")
	if err != nil || bytes.Equal(after.Certificate[1], before.Certificate[1]) {
		t.Errorf("the intermediate is the old one: %v", err)
	}
	if after.PrivateKey.(*ecdsa.PrivateKey).Equal(before.PrivateKey) {
		t.Error("the new intermediate's leaves have the old key")
	}
	if _, err := m.Leaf("b.test"); !errors.Is(err, ErrUndeclared) {
		t.Errorf("a host that is gone: %v", err)
	}
	if c, err := m.Leaf("c.test"); err != nil || verify(root, c, "c.test", start) != nil {
		t.Errorf("a new host: %v", err)
	}
}

func TestManyHosts(t *testing.T) {
	var hosts []string
	for i := range 1000 {
		hosts = append(hosts, fmt.Sprintf("host-%d.acme.test", i))
	}
	root, m := newMinter(t, &clock{t: start}, hosts...)
	inters := map[string]int{}
	for _, h := range hosts {
		c, err := m.Leaf(h)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(root, c, h, start); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Certificate[0]) + len(c.Certificate[1]); n > 4<<10 {
			t.Fatalf("%s: %d bytes are sent in each handshake", h, n)
		}
		inters[string(c.Certificate[1])]++
	}
	if len(inters) != 32 {
		t.Errorf("%d intermediates", len(inters))
	}
	// One host more concerns one intermediate.
	if err := m.SetHosts(append(hosts, "new.acme.test")); err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, s := range m.shards {
		if s.cert == nil {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d intermediates are issued anew for one host", changed)
	}
}

func TestRenewal(t *testing.T) {
	c := &clock{t: start}
	root, m := newMinter(t, c, "a.test")
	first, _ := m.Leaf("a.test")
	c.add(leafLife - skew - renewal - time.Second)
	if same, _ := m.Leaf("a.test"); same != first {
		t.Error("renewed too early")
	}
	c.add(2 * time.Second)
	second, err := m.Leaf("a.test")
	if err != nil || second == first || !bytes.Equal(second.Certificate[1], first.Certificate[1]) {
		t.Errorf("not renewed below the same intermediate: %v", err)
	}
	for range 40 { // over the intermediate's whole life
		c.add(12 * time.Hour)
		leaf, err := m.Leaf("a.test")
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(root, leaf, "a.test", c.now()); err != nil {
			t.Fatal(err)
		}
		if err := verify(root, leaf, "a.test", c.now().Add(renewal-time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	c.add(-30 * 24 * time.Hour) // a clock set back: before the root it cannot work
	c.add(15 * 24 * time.Hour)
	if leaf, err := m.Leaf("a.test"); err != nil || verify(root, leaf, "a.test", c.now()) != nil {
		t.Errorf("after the clock went back: %v", err)
	}
	c.add(rootLife)
	if _, err := m.Leaf("a.test"); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("below a root that has run out: %v", err)
	}
}

// T50, invariant 10: the fingerprint is the usual one, the key comes out only
// where it is asked for.
func TestRoot(t *testing.T) {
	root, _ := newMinter(t, &clock{t: start})
	if want := fmt.Sprintf("%x", sha256.Sum256(root.DER())); root.Fingerprint() != want || len(want) != 64 {
		t.Errorf("fingerprint %s", root.Fingerprint())
	}
	key, err := root.MarshalPKCS8()
	if err != nil {
		t.Fatal(err)
	}
	d := root.key.(*ecdsa.PrivateKey)
	for _, s := range []string{fmt.Sprintf("%v %+v %#v", root, root, root), fmt.Sprint(OpenRoot(root.DER(), key[1:]))} {
		if raw, err := d.Bytes(); err != nil || strings.Contains(s, string(raw)) || strings.Contains(s, fmt.Sprintf("%x", raw)) || strings.Contains(s, fmt.Sprint(raw)) {
			t.Error("the key is printed")
		}
	}
	again, err := OpenRoot(root.DER(), key)
	if err != nil || again.Fingerprint() != root.Fingerprint() || !again.key.(*ecdsa.PrivateKey).Equal(d) {
		t.Fatalf("opened again: %v", err)
	}
	m := NewMinter(again, func() time.Time { return start })
	if err := m.SetHosts([]string{"a.test"}); err != nil {
		t.Fatal(err)
	}
	leaf, err := m.Leaf("a.test")
	if err != nil || verify(root, leaf, "a.test", start) != nil {
		t.Errorf("a leaf below the opened root: %v", err)
	}
	other, _ := newMinter(t, &clock{t: start})
	otherKey, _ := other.MarshalPKCS8()
	inter, _ := x509.ParseCertificate(leaf.Certificate[1])
	interKey, _ := x509.MarshalPKCS8PrivateKey(m.shards[0].key)
	for name, try := range map[string][2][]byte{
		"another key":     {root.DER(), otherKey},
		"no key":          {root.DER(), nil},
		"no certificate":  {nil, key},
		"an intermediate": {inter.Raw, interKey},
	} {
		if r, err := OpenRoot(try[0], try[1]); err == nil {
			t.Errorf("%s is accepted: %v", name, r)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	root, m := newMinter(t, &clock{t: start}, "a.test", "b.test")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if i == 0 {
					hosts := []string{"a.test", "b.test", fmt.Sprintf("c%d.test", j)}
					if err := m.SetHosts(hosts); err != nil {
						t.Error(err)
					}
				}
				c, err := m.Leaf("a.test")
				if err != nil || verify(root, c, "a.test", start) != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLeaf(b *testing.B) {
	b.Run("minted", func(b *testing.B) {
		_, m := newMinter(b, &clock{t: start}, "a.test")
		for b.Loop() {
			m.shards[0].leaves = map[string]*tls.Certificate{}
			if _, err := m.Leaf("a.test"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		_, m := newMinter(b, &clock{t: start}, "a.test")
		for b.Loop() {
			if _, err := m.Leaf("a.test"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
