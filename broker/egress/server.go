// Package egress is the forward proxy: HTTP/1.1 with absolute targets, and
// CONNECT with interception. It turns each request into an Ask, has broker.Use
// decide and record it, and carries it out: the secret is attached here, on
// this side of the wire, and never comes back to the client.
//
// A client is known by its session's token, sent as Proxy-Authorization or,
// better, once per connection by the relay of `writ run`, so that the program
// itself holds nothing.
package egress

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/client/run"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/internal/wire"
)

// Authority is what the proxy asks of the authority index.
type Authority interface {
	// Session finds the session of a token by its SHA-256.
	Session(ctx context.Context, hash [32]byte) (*writ.Session, *writ.Identity, error)
	// Application finds the application that declares a canonical host.
	Application(ctx context.Context, org writ.ID, host string) (*writ.Application, bool)
}

// Certifier mints the certificate that intercepts a declared host.
type Certifier interface {
	Certificate(ctx context.Context, org writ.ID, host string) (*tls.Certificate, error)
}

// Config is what a Server is made of.
type Config struct {
	Broker    *broker.Broker
	Authority Authority
	Certifier Certifier
	// Own lists the server's own listeners, which no upstream may be.
	Own    func() []netip.AddrPort
	Clock  func() time.Time
	Logger *slog.Logger
}

// Server is the forward proxy. It is safe for concurrent use.
type Server struct {
	Config
	upstreams upstreams
	spool     spoolQuota

	// Unauthenticated counts connections turned away for want of a session.
	// They are counted, not logged: anybody can cause them.
	unauthenticated counter

	mu    sync.Mutex
	conns map[*wire.Conn]struct{} // guarded by mu
	wait  sync.WaitGroup
}

// New makes a Server.
func New(c Config) *Server {
	s := &Server{Config: c, conns: map[*wire.Conn]struct{}{}}
	s.upstreams.own = c.Own
	return s
}

// Unauthenticated is how many requests came without a session that is known.
func (s *Server) Unauthenticated() int64 { return s.unauthenticated.value() }

// Serve accepts connections until ctx ends or the listener fails. It returns
// when all of them are closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		s.cutAll()
	})
	defer stop()
	defer s.wait.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				// Out of file descriptors, say: connections that end will free some.
				s.Logger.Warn("accept", "err", err)
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			return err
		}
		s.wait.Go(func() { s.serveConn(ctx, nc, client{source: addrOf(nc), farewell: &farewell{}}) })
	}
}

func (s *Server) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Cut()
	}
}

func (s *Server) track(c *wire.Conn, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
}

func addrOf(nc net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// client is who is at the other end of a connection.
type client struct {
	source  netip.Addr
	session writ.Ref // zero until known
	runtime writ.Runtime
	relayed bool // the session was proven once for the whole connection

	// Inside a tunnel: its host, application and scheme.
	tunnel *tunnel
	lease  *broker.Lease
	// farewell is shared by all layers of one client connection.
	farewell *farewell
}

// serveConn serves one connection, or what is inside a tunnel or relay
// connection, until it ends. It closes nc.
func (s *Server) serveConn(ctx context.Context, nc net.Conn, who client) {
	c := wire.NewConn(nc, wire.Timeouts{})
	s.track(c, true)
	defer s.track(c, false)
	defer func() { _ = c.Close() }()
	if ctx.Err() != nil {
		return
	}
	if who.lease != nil {
		stop := context.AfterFunc(who.lease.Context(), func() {
			who.farewell.say()
			c.Cut()
		})
		defer stop()
	}
	for {
		req, err := c.ReadRequest()
		if err != nil {
			var bad *wire.Error
			if errors.As(err, &bad) {
				s.refuseUnreadable(ctx, c, who, bad)
			}
			return
		}
		if goOn := s.serveRequest(ctx, c, req, who); !goOn {
			return
		}
	}
}

// serveRequest answers one request and reports whether another may follow on
// the connection.
func (s *Server) serveRequest(ctx context.Context, c *wire.Conn, req *wire.Request, who client) bool {
	if who.tunnel == nil && !who.relayed {
		if req.Upgrade == run.RelayProtocol {
			s.relay(ctx, c, req, who)
			return false
		}
		var ok bool
		if who.session, ok = s.authenticate(ctx, req); !ok {
			s.unauthenticated.add()
			h := wire.Header{{Name: "Proxy-Authenticate", Value: `Basic realm="writ", charset="UTF-8"`}}
			return s.problem(c, req, &writ.Decision{Reasons: []writ.Reason{writ.NoIdentity}, Detail: "this proxy knows no session for the request"}, 407, h) == nil
		}
	}
	if req.Method == "CONNECT" {
		if who.tunnel != nil {
			s.deny(ctx, c, req, who, s.ask(req, who, ""), writ.RequestAmbiguous, "a tunnel inside a tunnel is not served")
			return false
		}
		s.connect(ctx, c, req, who)
		return false
	}
	return s.exchange(ctx, c, req, who)
}

// authenticate reads the session's token from Proxy-Authorization, in the
// Basic form that URLs with a user part produce (the password is the token) or
// as a bearer token.
func (s *Server) authenticate(ctx context.Context, req *wire.Request) (writ.Ref, bool) {
	if req.Header.Count("Proxy-Authorization") != 1 {
		return writ.Ref{}, false
	}
	scheme, value, _ := strings.Cut(req.Header.Get("Proxy-Authorization"), " ")
	token := value
	switch strings.ToLower(scheme) {
	case "basic":
		plain, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return writ.Ref{}, false
		}
		_, token, _ = strings.Cut(string(plain), ":")
	case "bearer":
	default:
		return writ.Ref{}, false
	}
	return s.session(ctx, token)
}

func (s *Server) session(ctx context.Context, token string) (writ.Ref, bool) {
	found, _, err := s.Authority.Session(ctx, sha256.Sum256([]byte(token)))
	if err != nil {
		return writ.Ref{}, false
	}
	return writ.Ref{Org: found.Org, ID: found.ID}, true
}

// relay turns the connection into one of a known session: after this the bytes
// are the program's own proxy requests.
func (s *Server) relay(ctx context.Context, c *wire.Conn, req *wire.Request, who client) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if ok {
		who.session, ok = s.session(ctx, token)
	}
	if !ok {
		s.unauthenticated.add()
		_ = s.problem(c, req, &writ.Decision{Reasons: []writ.Reason{writ.NoIdentity}, Detail: "the relay's session is not known; it may have ended"}, 401, nil)
		return
	}
	runtime, err := parseRuntime(req.Header.Get(run.RuntimeHeader))
	if err != nil {
		_ = s.problem(c, req, &writ.Decision{Reasons: []writ.Reason{writ.RequestAmbiguous}, Detail: "the relay's runtime context is not understood"}, 400, nil)
		return
	}
	who.runtime, who.relayed = runtime, true
	if err := c.Respond(req).Switch(run.RelayProtocol, nil); err != nil {
		return
	}
	inner, err := c.Detach()
	if err != nil {
		return
	}
	who.lease = s.Broker.Connect(ctx, who.session.Org, who.session.ID)
	defer who.lease.Close()
	if _, ok = s.session(ctx, token); !ok {
		return // it ended before the lease was there to be found
	}
	s.serveConn(ctx, inner, who)
}

// parseRuntime reads the relay's statement about the calling program. It is
// shown to people and recorded, so its texts are made safe to show.
func parseRuntime(encoded string) (writ.Runtime, error) {
	if encoded == "" {
		return writ.Runtime{}, nil
	}
	said, err := run.ParseRuntime(encoded)
	if err != nil {
		return writ.Runtime{}, err
	}
	show := func(text string) string { return writ.Printable(text, 400) }
	return writ.Runtime{
		PID: said.PID, Program: show(said.Exe), Executable: show(said.ExeSHA256), Directory: show(said.Cwd),
		GitRemote: show(said.GitRemote), GitCommit: show(said.GitCommit), GitDirty: said.GitDirty != nil && *said.GitDirty,
	}, nil
}

// problem answers with the problem document of a denial.
func (s *Server) problem(c *wire.Conn, req *wire.Request, d *writ.Decision, status int, h wire.Header) error {
	doc := problem.Of(&problem.Denied{Decision: d})
	if status != 0 {
		doc.Status = status
	}
	h.Set("Content-Type", problem.ContentType)
	h.Set("Cache-Control", "no-store")
	if d.ID != "" {
		h.Set("Writ-Decision", string(d.ID))
	}
	return c.Respond(req).Send(doc.Status, h, doc.JSON())
}

// refuseUnreadable answers a request that could not be read at all. Whoever
// sent it is known on relay and tunnel connections only; there the refusal is
// recorded like any other denial.
func (s *Server) refuseUnreadable(ctx context.Context, c *wire.Conn, who client, bad *wire.Error) {
	d := &writ.Decision{Reasons: []writ.Reason{writ.RequestAmbiguous}, Detail: bad.Reason}
	if who.session.ID != "" {
		ask := s.ask(&wire.Request{}, who, "")
		ask.Refused, ask.RefusedText = writ.RequestAmbiguous, bad.Reason
		d = s.decideRefused(ctx, ask)
	}
	_ = s.problem(c, nil, d, bad.Status, nil)
}

// deny records a refusal that the proxy itself comes to and answers with it.
func (s *Server) deny(ctx context.Context, c *wire.Conn, req *wire.Request, who client, ask *writ.Ask, r writ.Reason, text string) bool {
	ask.Refused, ask.RefusedText = r, text
	return s.problem(c, req, s.decideRefused(ctx, ask), 0, nil) == nil
}

// decideRefused sends an Ask that cannot be allowed down the one path, so that
// its denial is decided and recorded like every other.
func (s *Server) decideRefused(ctx context.Context, ask *writ.Ask) *writ.Decision {
	d, _ := s.Broker.Use(ctx, broker.Intent{Ask: ask}, func(context.Context, *broker.Use) writ.Outcome {
		return writ.Outcome{Kind: writ.Suppressed}
	})
	return d
}

// drainTo copies until either side ends, for protocols that are passed through.
func drainTo(dst io.Writer, src io.Reader) error {
	buf := make([]byte, 32<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf)
	return err
}
