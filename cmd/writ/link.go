package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
)

// link is how a run reaches its server: the API for the control stream, the
// proxy for the relay, both with the session's own token and nothing stronger.
type link struct {
	api, proxy run.Server
	client     *client.Client
}

// link makes the link for a session's token. proxy is where the server says
// its proxy is.
func (s *settings) link(proxy, token string) (*link, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	own, err := client.New(client.Config{Address: s.server.Value, Token: token, Roots: roots, UserAgent: "writ/" + version})
	if err != nil {
		return nil, err
	}
	give := func(context.Context) (string, error) { return token, nil }
	api, secure, err := hostPort(s.server.Value, "")
	if err != nil {
		return nil, err
	}
	l := &link{client: own, api: run.Server{Addr: api, Token: give}}
	name, _, _ := net.SplitHostPort(api)
	addr, proxySecure, err := hostPort(proxy, name)
	if err != nil {
		return nil, err
	}
	l.proxy = run.Server{Addr: addr, Token: give}
	if secure {
		l.api.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if proxySecure {
		l.proxy.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return l, nil
}

// hostPort takes an address apart: a URL, or host:port, which is TLS unless it
// is loopback. A proxy that listens on every address is reached where the API
// is.
func hostPort(address, api string) (hostport string, secure bool, err error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "", address
	}
	u, err := url.Parse("//" + rest)
	if err != nil || u.Hostname() == "" {
		return "", false, writ.Errorf(writ.KindUnavailable, "the server gave an address that cannot be used: %s", writ.Printable(address, 60)).
			WithFix("check the server's configuration of its proxy's address")
	}
	host, port := u.Hostname(), u.Port()
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() && api != "" {
		host = api
	}
	switch scheme {
	case "https":
		secure = true
	case "":
		a, err := netip.ParseAddr(host)
		secure = host != "localhost" && (err != nil || !a.IsLoopback())
	}
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[secure]
	}
	return net.JoinHostPort(host, port), secure, nil
}

// endTime bounds how long a run waits for the server when it is over. The
// control stream has told it already; this is the record of why.
const endTime = 5 * time.Second

// end ends the session. It succeeds as well when the session has ended before,
// or the server is gone, which ends it too.
func (l *link) end(ctx context.Context, session writ.ID, why client.Because) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	defer l.client.Close()
	if why.Reason == "" {
		why.Reason = "the program of writ run ended"
	}
	_, _ = l.client.EndSession(ctx, string(session), why)
}
