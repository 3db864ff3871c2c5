package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/dialguard"
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
	transport *http.Transport
}

// of gives the application's transport.
func (u *upstreams) of(app *writ.Application) (*http.Transport, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := writ.Ref{Org: app.Org, ID: app.ID}
	if p := u.pools[key]; p != nil {
		if p.app == app {
			return p.transport, nil
		}
		p.transport.CloseIdleConnections()
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

// destinations says, for one application, where its hosts lead.
func destinations(app *writ.Application) (func(addr string) (dialguard.Destination, error), error) {
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
	return func(addr string) (dialguard.Destination, error) {
		canonical, err := writ.ParseHost(addr)
		if err != nil {
			return dialguard.Destination{}, err
		}
		name, port := writ.SplitHost(canonical)
		return dialguard.Destination{
			Host: name, Port: port, Pinned: pinned[canonical], Networks: networks,
			TLS: !app.Cleartext || port == 443, Cleartext: app.Cleartext,
		}, nil
	}, nil
}

func (u *upstreams) transport(app *writ.Application) (*http.Transport, error) {
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
	return &http.Transport{
		Proxy: nil, // whatever the environment says: the guard below is the only way out
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			d, err := to(addr)
			if err != nil {
				return nil, err
			}
			c, err := guard.DialContext(ctx, d)
			if err != nil {
				return nil, err
			}
			return &idleConn{Conn: c}, nil
		},
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    dialTime,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1
		DisableCompression:     true,                                                   // what the client asked for is what is sent
		MaxIdleConnsPerHost:    128,
		IdleConnTimeout:        pooledIdle,
		MaxResponseHeaderBytes: 256 << 10,
		ExpectContinueTimeout:  time.Second,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
	}, nil
}

// idleConn gives every read and write a deadline of its own, so that a
// connection ends when nothing moves, and only then. Deadlines are renewed at
// most once a second, since setting one costs as much as a small write.
type idleConn struct {
	net.Conn
	mu   sync.Mutex
	next time.Time // guarded by mu: when the deadline is next renewed
}

func (c *idleConn) renew() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(time.Second)
	_ = c.Conn.SetDeadline(now.Add(upstreamIdle))
}

// Read reads under a renewed deadline.
func (c *idleConn) Read(b []byte) (int, error) {
	c.renew()
	return c.Conn.Read(b)
}

// Write writes under a renewed deadline.
func (c *idleConn) Write(b []byte) (int, error) {
	c.renew()
	return c.Conn.Write(b)
}
