package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"writ.dev/writ"
)

const (
	intermediateLife = 7 * 24 * time.Hour
	// leafLife counts from NotBefore (T51).
	leafLife = 24 * time.Hour
	// renewal is how much of its life a leaf must have left to be shown: a
	// client may keep it for a while, or have a clock that is ahead.
	renewal = 6 * time.Hour
	// perIntermediate is about how many hosts one intermediate is for.
	perIntermediate = 32
)

// ErrUndeclared is the private cause of a refusal to mint for a host.
var ErrUndeclared = errors.New("localca: the host is not declared")

// Minter mints leaves for the declared hosts of one organization. It is safe
// for concurrent use.
type Minter struct {
	root *Root
	now  func() time.Time

	mu     sync.Mutex
	names  map[string]bool // the declared names and IP literals, without ports
	shards []*shard        // names are spread over them by hash; a power of two
}

// shard is one intermediate with the leaves below it.
type shard struct {
	names  []string          // sorted; what it is constrained to
	cert   *x509.Certificate // nil until a leaf is asked for
	key    *ecdsa.PrivateKey
	leaf   *ecdsa.PrivateKey // of every leaf
	leaves map[string]*tls.Certificate
}

// NewMinter mints below root. now is the clock.
func NewMinter(root *Root, now func() time.Time) *Minter {
	return &Minter{root: root, now: now}
}

// SetHosts replaces the declared hosts, in their canonical form (ports do not
// matter here). Intermediates whose hosts stay the same are kept, and their
// leaves with them.
func (m *Minter) SetHosts(hosts []string) error {
	names := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		canonical, err := writ.ParseHost(h)
		if err != nil {
			return err
		}
		if canonical != h {
			return writ.Invalid("host", "the host "+writ.Printable(h, 80)+" is not in its canonical form", "write "+canonical)
		}
		names[bare(h)] = true
	}
	count := 1
	for count*perIntermediate < len(names) {
		count *= 2
	}
	shards := make([]*shard, count)
	for i := range shards {
		shards[i] = &shard{leaves: map[string]*tls.Certificate{}}
	}
	for name := range names {
		s := shards[place(name, count)]
		s.names = append(s.names, name)
	}
	for _, s := range shards {
		slices.Sort(s.names)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range shards {
		if len(m.shards) == count && slices.Equal(m.shards[i].names, s.names) {
			shards[i] = m.shards[i]
		}
	}
	m.names, m.shards = names, shards
	return nil
}

// Leaf is the certificate for a declared host, with its intermediate. It may
// be shown to any number of clients and is not to be changed.
func (m *Minter) Leaf(host string) (*tls.Certificate, error) {
	name := bare(host)
	m.mu.Lock()
	defer m.mu.Unlock()
	// Constraints cover what lies below a name as well; this does not.
	if !m.names[name] {
		return nil, writ.Errorf(writ.KindDenied, "no application declares the host %s", writ.Printable(name, 80)).WithCause(ErrUndeclared)
	}
	now := m.now()
	if !now.Before(m.root.cert.NotAfter) {
		return nil, writ.Errorf(writ.KindUnavailable, "the interception root has run out").
			WithWhy("it was valid until %s", m.root.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	s := m.shards[place(name, len(m.shards))]
	if c := s.leaves[name]; c != nil && fresh(c.Leaf, now, renewal) {
		return c, nil
	}
	if s.cert == nil || !fresh(s.cert, now, leafLife) {
		if err := m.issue(s, now); err != nil {
			return nil, err
		}
	}
	c, err := s.mint(name, now)
	if err != nil {
		return nil, err
	}
	s.leaves[name] = c
	return c, nil
}

// fresh reports whether a certificate is valid for some time yet. A clock set
// back makes one stale that seems to come from the future.
func fresh(c *x509.Certificate, now time.Time, left time.Duration) bool {
	return !now.Before(c.NotBefore) && now.Add(left).Before(c.NotAfter)
}

// issue makes a shard's intermediate, with new keys.
func (m *Minter) issue(s *shard, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("localca: intermediate key: %w", err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("localca: leaf key: %w", err)
	}
	notAfter := now.Add(intermediateLife)
	if notAfter.After(m.root.cert.NotAfter) {
		notAfter = m.root.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Writ"}, CommonName: "Writ interception"},
		NotBefore:             now.Add(-skew),
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	constrain(template, s.names)
	cert, err := sign(template, m.root.cert, key.Public(), m.root.key)
	if err != nil {
		return err
	}
	s.cert, s.key, s.leaf = cert, key, leaf
	clear(s.leaves)
	return nil
}

// constrain permits the names and nothing else. A constraint concerns only the
// kinds of name it mentions (RFC 5280, section 4.2.1.10), so each kind is
// mentioned: without IP addresses to permit all are excluded, and without DNS
// names one is permitted that can never be (RFC 6761, section 6.4).
func constrain(c *x509.Certificate, names []string) {
	c.PermittedDNSDomainsCritical = true
	for _, name := range names {
		if a, ok := literal(name); ok {
			c.PermittedIPRanges = append(c.PermittedIPRanges, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())})
		} else {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, name)
		}
	}
	if len(c.PermittedDNSDomains) == 0 {
		c.PermittedDNSDomains = []string{"writ.invalid"}
	}
	if len(c.PermittedIPRanges) == 0 {
		c.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
}

// mint makes a leaf. Its subject names nothing that could be taken for a host:
// clients look at the alternative names (RFC 9525, section 2), and some check
// a common name against the constraints.
func (s *shard) mint(name string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Writ"}, CommonName: "Writ intercepted host"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafLife - skew),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(s.cert.NotAfter) {
		template.NotAfter = s.cert.NotAfter
	}
	if a, ok := literal(name); ok {
		template.IPAddresses = []net.IP{a.AsSlice()}
	} else {
		template.DNSNames = []string{name}
	}
	cert, err := sign(template, s.cert, s.leaf.Public(), s.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, s.cert.Raw}, PrivateKey: s.leaf, Leaf: cert}, nil
}

// bare is a canonical host without port and brackets.
func bare(host string) string {
	name, _ := writ.SplitHost(host)
	return strings.Trim(name, "[]")
}

func literal(name string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(name)
	return a.Unmap(), err == nil
}

// place is the shard of a name.
func place(name string, count int) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() & uint32(count-1))
}
