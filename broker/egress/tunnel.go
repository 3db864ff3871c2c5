package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/dialguard"
	"writ.dev/writ/internal/wire"
)

// tunnel is what a CONNECT opened: every request inside it is for this host.
type tunnel struct {
	host   string // canonical
	scheme string
}

// handshakeTime bounds the TLS handshake inside a tunnel.
const handshakeTime = 20 * time.Second

// connect answers CONNECT. An undeclared host is refused here, with a problem
// document in the answer to CONNECT, since most clients show that and none
// could read one inside a tunnel they cannot trust (T49: nothing else is
// judged about the CONNECT itself; the requests inside are).
func (s *Server) connect(ctx context.Context, c *wire.Conn, req *wire.Request, who client) {
	host, err := canonical(req.Authority)
	if err != nil {
		s.deny(ctx, c, req, who, s.ask(req, who, ""), writ.RequestAmbiguous, "the host of CONNECT is not one: "+writ.Printable(req.Authority, 80))
		return
	}
	if h, err := canonical(connectHost(req)); err != nil || h != host {
		s.deny(ctx, c, req, who, s.ask(req, who, host), writ.RequestAmbiguous, "CONNECT names one host and its Host field another")
		return
	}
	app, ok := s.Authority.Application(ctx, who.session.Org, host)
	if !ok {
		s.deny(ctx, c, req, who, s.ask(req, who, host), writ.NoGrant, "no application declares the host "+host)
		return
	}
	if err := c.Respond(req).Send(200, nil, nil); err != nil {
		return
	}
	inner, err := c.Detach()
	if err != nil {
		return
	}
	who.lease = s.Broker.Connect(ctx, who.session.Org, who.session.ID, app.ID)
	defer who.lease.Close()
	s.insideTunnel(ctx, inner, who, host, app)
}

// connectHost is the Host field of a CONNECT, whose port clients spell or leave
// away; without one, the authority stands alone.
func connectHost(req *wire.Request) string {
	if req.Host == "" || strings.EqualFold(req.Host, req.Authority) {
		return req.Authority
	}
	if i := strings.LastIndexByte(req.Authority, ':'); i >= 0 && strings.EqualFold(req.Host, req.Authority[:i]) {
		return req.Authority
	}
	return req.Host
}

func (s *Server) insideTunnel(ctx context.Context, inner net.Conn, who client, host string, app *writ.Application) {
	defer func() { _ = inner.Close() }()
	// Until serveConn watches the lease: it breaks the connection off, so that an
	// answer that is cut cannot pass for one that has ended.
	stop := context.AfterFunc(who.lease.Context(), func() { _ = inner.Close() })
	defer stop()
	_ = inner.SetReadDeadline(time.Now().Add(handshakeTime))
	first := bufio.NewReaderSize(inner, 1)
	b, err := first.Peek(1)
	if err != nil {
		return
	}
	peeked := &peekedConn{Conn: inner, r: first}
	const handshakeRecord = 0x16 // RFC 8446, section 5.1: ContentType handshake
	if b[0] != handshakeRecord {
		if _, port := writ.SplitHost(host); !app.Cleartext || port == 443 {
			return // cleartext that nobody allowed: no answer in HTTP would be understood
		}
		_ = inner.SetReadDeadline(time.Time{})
		who.tunnel = &tunnel{host: host, scheme: "http"}
		stop()
		s.serveConn(ctx, peeked, who)
		return
	}
	tlsConn := tls.Server(peeked, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := s.checkServerName(ctx, hello.ServerName, host, who); err != nil {
				return nil, err
			}
			return s.Certifier.Certificate(ctx, who.session.Org, host)
		},
	})
	handshake, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := tlsConn.HandshakeContext(handshake); err != nil {
		s.Logger.Debug("handshake in tunnel", "session", who.session.ID, "host", host, "err", err)
		return
	}
	_ = inner.SetReadDeadline(time.Time{})
	who.tunnel = &tunnel{host: host, scheme: "https"}
	stop()
	s.serveConn(ctx, tlsConn, who)
}

var errServerName = errors.New("the server name of TLS is not the host of CONNECT")

// checkServerName demands that TLS asks for the host that CONNECT named (T8).
// Clients send no name for an IP literal (RFC 6066, section 3); without a name
// for anything else the handshake fails.
func (s *Server) checkServerName(ctx context.Context, sni, host string, who client) error {
	name, _ := writ.SplitHost(host)
	got, err := canonical(sni)
	if _, address := netip.ParseAddr(strings.Trim(name, "[]")); sni == "" && address == nil {
		return nil
	}
	if err == nil && got == name {
		return nil
	}
	ask := s.ask(&wire.Request{Method: "CONNECT"}, who, host)
	ask.Refused, ask.RefusedText = writ.RequestAmbiguous, "CONNECT names "+host+" and TLS asks for another host"
	s.decideRefused(ctx, ask)
	return errServerName
}

// canonical is the one spelling of a host as a client wrote it: names in other
// scripts become their xn-- form first.
func canonical(host string) (string, error) {
	ascii, err := dialguard.Canonical(host)
	if err != nil {
		return "", err
	}
	return writ.ParseHost(ascii)
}

// peekedConn is a connection whose first byte was looked at.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

// Read reads the byte that was looked at, then the connection.
func (p *peekedConn) Read(b []byte) (int, error) { return p.r.Read(b) }

// NetConn is the connection below, which a cut has to reach.
func (p *peekedConn) NetConn() net.Conn { return p.Conn }
