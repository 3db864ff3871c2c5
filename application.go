package writ

import (
	"net/netip"
	"strconv"
	"strings"
)

// Environment is where an application's data is real. Unknown is treated as
// production.
type Environment string

// The environments.
const (
	Dev     Environment = "dev"
	Staging Environment = "staging"
	Prod    Environment = "prod"
)

// ReadOpaque declares that an application reads a peculiar spelling as an
// ordinary character of a segment.
const ReadOpaque = "opaque"

// Profile declares how an application reads requests that have two readings.
// What it does not declare is refused (invariant 5).
type Profile struct {
	// EncodedSlash "opaque": %2F stays inside its segment (npm scopes, GitLab
	// project ids).
	EncodedSlash string `json:"encoded_slash,omitempty"`
	// Semicolon "opaque": ';' is an ordinary character of a path or query.
	Semicolon string `json:"semicolon,omitempty"`
	// EmptySegment "opaque": '//' means a segment that is empty.
	EmptySegment string `json:"empty_segment,omitempty"`
}

// Application is what a credential opens.
type Application struct {
	ID      ID          `json:"id"`
	Org     ID          `json:"org"`
	Name    string      `json:"name"`
	State   State       `json:"state"`
	Created Time        `json:"created"`
	Env     Environment `json:"env"`
	Hosts   []string    `json:"hosts"` // canonical: host, or host:port when not 443
	Owner   ID          `json:"owner,omitempty"`

	Profile Profile `json:"profile,omitzero"`
	// Pinned gives a host its addresses instead of the resolver's.
	Pinned map[string][]string `json:"pinned,omitempty"`
	// Networks are private networks that an administrator allows by name.
	// Metadata addresses are refused even inside them.
	Networks []string `json:"networks,omitempty"`
	// Cleartext allows plain HTTP to the hosts listed with a port other than 443 (T26).
	Cleartext bool `json:"cleartext,omitempty"`
	// Roots are PEM certificates trusted for this application instead of the
	// system's, for a private authority.
	Roots string `json:"roots,omitempty"`
}

// Limits of an application.
const (
	MaxHosts = 100
	MaxRoots = 64 << 10
)

// Validate checks an application.
func (a *Application) Validate() error {
	if err := CheckName("name", a.Name); err != nil {
		return err
	}
	if a.Env != Dev && a.Env != Staging && a.Env != Prod {
		return Invalid("env", "unknown environment: "+Printable(string(a.Env), 20), "use dev, staging or prod")
	}
	if len(a.Hosts) == 0 || len(a.Hosts) > MaxHosts {
		return Invalid("hosts", "an application has 1 to 100 hosts", "name its hosts, as in --host api.github.com")
	}
	seen := map[string]bool{}
	for i, h := range a.Hosts {
		canonical, err := ParseHost(h)
		if err != nil {
			return err
		}
		if canonical != h {
			return Invalid("hosts["+strconv.Itoa(i)+"]", "the host "+Printable(h, 80)+" is not in its canonical form", "write "+canonical)
		}
		if seen[h] {
			return Invalid("hosts["+strconv.Itoa(i)+"]", "the host "+h+" is named twice", "name it once")
		}
		seen[h] = true
	}
	for name, v := range map[string]string{"encoded_slash": a.Profile.EncodedSlash, "semicolon": a.Profile.Semicolon, "empty_segment": a.Profile.EmptySegment} {
		if v != "" && v != ReadOpaque {
			return Invalid("profile."+name, "unknown reading: "+Printable(v, 20), "use "+ReadOpaque+" or leave it away")
		}
	}
	return a.validateNetwork(seen)
}

func (a *Application) validateNetwork(hosts map[string]bool) error {
	for h, addrs := range a.Pinned {
		if !hosts[h] {
			return Invalid("pinned", "the pinned host "+Printable(h, 80)+" is not one of the application's", "pin only hosts that are listed")
		}
		if len(addrs) == 0 || len(addrs) > 16 {
			return Invalid("pinned", "a pinned host has 1 to 16 addresses", "list its IP addresses")
		}
		for _, s := range addrs {
			if _, err := netip.ParseAddr(s); err != nil {
				if _, err := netip.ParseAddrPort(s); err != nil {
					return Invalid("pinned", "not an IP address: "+Printable(s, 60), "pin addresses, as in 10.0.0.7 or 10.0.0.7:8443")
				}
			}
		}
	}
	for _, n := range a.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil || p != p.Masked() {
			return Invalid("networks", "not a network: "+Printable(n, 60), "write it as 10.1.0.0/16")
		}
	}
	if len(a.Roots) > MaxRoots {
		return Invalid("roots", "the roots are larger than 64 KiB", "give only the certificates this application needs")
	}
	return nil
}

// HasHost reports whether the application declares the canonical host.
func (a *Application) HasHost(host string) bool {
	for _, h := range a.Hosts {
		if h == host {
			return true
		}
	}
	return false
}

// ParseHost gives the canonical form of "host" or "host:port": lower case,
// without a trailing dot, without the port when it is 443. It accepts ASCII
// names and IP literals only; names in other scripts are turned into their
// xn-- form before they come here. Host spellings that some resolvers read as
// numbers ("0x7f.1", "2130706433") are refused (T8, T15).
func ParseHost(s string) (string, error) {
	const fix = "write it as api.github.com or api.github.com:8443"
	bad := func() (string, error) {
		return "", Invalid("host", "not a host: "+Printable(s, 80), fix)
	}
	host, port := s, "443"
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (s[0] != '[' || strings.HasPrefix(s[i-1:], "]:")) {
		host, port = s[:i], s[i+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
		return bad()
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(host, "]") {
			return bad()
		}
		host = "[" + addr.String() + "]"
	} else if host, err = parseHostName(host); err != nil {
		return bad()
	}
	if n == 443 {
		return host, nil
	}
	return host + ":" + port, nil
}

func parseHostName(host string) (string, error) {
	// Before folding: the Kelvin sign becomes an ASCII k when it is folded.
	if !isASCII(host) {
		return "", errNotHost
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || len(host) > 253 {
		return "", errNotHost
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if !addr.Is4() {
			return "", errNotHost
		}
		return addr.String(), nil
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return "", errNotHost
		}
		for i := range len(l) {
			c := l[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errNotHost
			}
		}
	}
	// A last label that begins with a digit makes resolvers try to read the
	// whole as an address in some old notation.
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return "", errNotHost
	}
	return host, nil
}

var errNotHost = Errorf(KindInvalid, "not a host")

// SplitHost takes a canonical host apart into name and port.
func SplitHost(canonical string) (name string, port uint16) {
	i := strings.LastIndexByte(canonical, ':')
	if i < 0 || strings.HasSuffix(canonical, "]") {
		return canonical, 443
	}
	n, err := strconv.ParseUint(canonical[i+1:], 10, 16)
	if err != nil {
		return canonical, 443
	}
	return canonical[:i], uint16(n)
}
