package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/dialguard"
	"writ.dev/writ/internal/wire"
)

// Times of an upstream connection. All but the dial are idle times: a stream
// lives as long as it moves (T43).
const (
	dialTime     = 15 * time.Second
	upstreamIdle = 10 * time.Minute // between two reads or writes that make progress
	pooledIdle   = 90 * time.Second
)

// upstreams pools the connections to upstreams, one pool an application. The
// key has the organization (invariant 14), and an application that was edited
// gets a new pool: connections made under other pins, networks or roots are
// not used again.
type upstreams struct {
	own func() []netip.AddrPort

	mu    sync.Mutex
	pools map[writ.Ref]*pool // guarded by mu
}

type pool struct {
	app       *writ.Application // as it was when the pool was made; never changed
	transport *wire.Transport
}

// of gives the application's transport.
func (u *upstreams) of(app *writ.Application) (*wire.Transport, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := writ.Ref{Org: app.Org, ID: app.ID}
	if p := u.pools[key]; p != nil {
		if p.app == app {
			return p.transport, nil
		}
		p.transport.Close()
	}
	t, err := u.transport(app)
	if err != nil {
		return nil, err
	}
	if u.pools == nil {
		u.pools = map[writ.Ref]*pool{}
	}
	u.pools[key] = &pool{app: app, transport: t}
	return t, nil
}

// destinationKey names a destination to the transport, and splits into what it
// was made of: connections with TLS and without are never taken for each other.
func destinationKey(a *writ.Ask) string { return a.Scheme + "://" + a.Host }

func splitKey(key string) (scheme, host string) {
	scheme, host, _ = strings.Cut(key, "://")
	return scheme, host
}

// destinations says, for one application, where its hosts lead.
func destinations(app *writ.Application) (func(key string) (dialguard.Destination, error), error) {
	var networks []netip.Prefix
	for _, n := range app.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, err
		}
		networks = append(networks, p)
	}
	pinned := map[string][]netip.AddrPort{}
	for host, addrs := range app.Pinned {
		for _, text := range addrs {
			a, err := netip.ParseAddrPort(text)
			if err != nil {
				ip, err := netip.ParseAddr(text)
				if err != nil {
					return nil, err
				}
				a = netip.AddrPortFrom(ip, 0) // the host's own port
			}
			pinned[host] = append(pinned[host], a)
		}
	}
	return func(key string) (dialguard.Destination, error) {
		scheme, host := splitKey(key)
		canonical, err := writ.ParseHost(host)
		if err != nil {
			return dialguard.Destination{}, err
		}
		name, port := writ.SplitHost(canonical)
		return dialguard.Destination{
			Host: name, Port: port, Pinned: pinned[canonical], Networks: networks,
			TLS: scheme == "https", Cleartext: app.Cleartext,
		}, nil
	}, nil
}

func (u *upstreams) transport(app *writ.Application) (*wire.Transport, error) {
	to, err := destinations(app)
	if err != nil {
		return nil, err
	}
	guard := &dialguard.Guard{Own: u.own, Timeout: dialTime}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if app.Roots != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(app.Roots)) {
			return nil, errors.New("the application's roots hold no certificate")
		}
	}
	// Sessions of TLS are resumed within this pool alone, so under the same
	// roots that they were verified under.
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	return &wire.Transport{
		// Whatever the environment says of proxies: the guard is the only way out.
		Dial: func(ctx context.Context, key string) (net.Conn, error) {
			d, err := to(key)
			if err != nil {
				return nil, err
			}
			return guard.DialContext(ctx, d)
		},
		TLS: func(key string) *tls.Config {
			scheme, host := splitKey(key)
			if scheme == "http" {
				return nil
			}
			name, _ := writ.SplitHost(host)
			own := conf.Clone()
			own.ServerName = strings.Trim(name, "[]")
			return own
		},
		MaxIdlePerHost: 128, IdleTimeout: pooledIdle, MoveTimeout: upstreamIdle, HandshakeTimeout: dialTime,
	}, nil
}
