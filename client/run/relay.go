package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/proctree"
)

const (
	// RelayProtocol is what a connection of the relay is upgraded to: a raw
	// stream on which the server reads HTTP/1.1 proxy requests.
	RelayProtocol = "writ-relay/1"

	// lingerTime and lingerBytes bound how long a refused client's request is
	// read and thrown away, so that closing does not reset the connection
	// before the client has read the answer (RFC 9112, section 9.6).
	lingerTime  = 2 * time.Second
	lingerBytes = 256 << 10
)

// lookAgain are the pauses between looks for a connection's owner. Processes
// fork and exit while we look; one that truly stands outside still does after
// the last look.
var lookAgain = []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond}

// RelayConfig says whom the relay serves and where it leads.
type RelayConfig struct {
	Server Server // the server's proxy
	// Root is the process whose descendants are served; this process if 0.
	Root int
	// TrustLoopback serves whatever connects, on systems that do not say which
	// process that is. Elsewhere it is not looked at.
	TrustLoopback bool
	// Deny is kept from the git that is asked about the program's repository,
	// as it is kept from the program; see ChildConfig.
	Deny []string
}

// Relay is the proxy of one run, on a loopback port of its own. It has no
// token to steal: it serves the processes below its root, and adds the
// session's proof on the way to the server. It reads no HTTP; the one request
// that it writes itself is the upgrade in front of the client's bytes, so
// there is no second parser to disagree with the server's (T14).
type Relay struct {
	cfg      RelayConfig
	facts    *facts
	listener *net.TCPListener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup // the accept loop and every connection
}

// StartRelay listens on a free port of 127.0.0.1 and serves until ctx ends or
// Close is called.
func StartRelay(ctx context.Context, cfg RelayConfig) (*Relay, error) {
	if err := cfg.Server.check(); err != nil {
		return nil, err
	}
	if cfg.Root == 0 {
		cfg.Root = os.Getpid()
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, unavailable("the relay cannot listen on 127.0.0.1", err)
	}
	r := &Relay{cfg: cfg, facts: newFacts(cfg.Deny), listener: l}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.wg.Add(1)
	go r.accept()
	return r, nil
}

// URL is the proxy's address for the program's environment.
func (r *Relay) URL() string { return "http://" + r.listener.Addr().String() }

// Close cuts every connection and waits until nothing of the relay is left.
func (r *Relay) Close() error {
	r.cancel()
	r.wg.Wait()
	return nil
}

func (r *Relay) accept() {
	defer r.wg.Done()
	defer context.AfterFunc(r.ctx, func() { r.listener.Close() })()
	defer r.listener.Close()
	for {
		conn, err := r.listener.AcceptTCP()
		if err != nil {
			// Out of descriptors, or a client that gave up: neither may end the
			// relay. The pause keeps a lasting error from burning the processor.
			if !pause(r.ctx, 20*time.Millisecond) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			r.serve(conn)
		}()
	}
}

func (r *Relay) serve(client *net.TCPConn) {
	defer client.Close()
	defer context.AfterFunc(r.ctx, func() { client.Close() })()
	who, err := r.identify(client)
	if err != nil {
		refuse(client, err)
		return
	}
	value, err := r.facts.describe(r.ctx, who).Header()
	if err != nil {
		refuse(client, err)
		return
	}
	server, rest, err := r.cfg.Server.upgrade(r.ctx, "/", "writ", RelayProtocol, http.Header{RuntimeHeader: {value}})
	if err != nil {
		refuse(client, err)
		return
	}
	defer server.Close()
	defer context.AfterFunc(r.ctx, func() { server.Close() })()
	splice(client, server, rest)
}

// identify finds out which process connected, and refuses one that does not
// descend from the root. A zero Process is one of ours that hides.
func (r *Relay) identify(client *net.TCPConn) (proctree.Process, error) {
	from, to := addrPort(client.RemoteAddr()), addrPort(client.LocalAddr())
	for _, wait := range lookAgain {
		if !pause(r.ctx, wait) {
			return proctree.Process{}, context.Cause(r.ctx)
		}
		a, err := proctree.Peer(from, to, r.cfg.Root)
		switch {
		case errors.Is(err, proctree.ErrUnsupported) && r.cfg.TrustLoopback:
			return proctree.Process{}, nil
		case err != nil:
			return proctree.Process{}, foreign("it cannot be told which process connects").WithCause(err)
		case a.Standing == proctree.Inside:
			return a.Process, nil
		case a.Standing == proctree.Unknown:
			return proctree.Process{}, nil
		}
	}
	return proctree.Process{}, foreign("the process that connects was not started by this run")
}

func foreign(why string) *writ.Error {
	return writ.Errorf(writ.KindForbidden, "this relay serves the program of one writ run only").
		WithWhy("%s", why).WithFix("start the program with writ run -- CMD")
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}

// refuse answers the client and closes in an order that lets it read the
// answer: no more to send, then read what is under way, then close.
func refuse(client *net.TCPConn, err error) {
	_ = client.SetDeadline(time.Now().Add(lingerTime)) // fails only on a closed connection, as all below then does
	if httpError(client, err) != nil {
		return
	}
	_ = client.CloseWrite()
	_, _ = io.CopyN(io.Discard, client, lingerBytes)
}

// splice carries bytes both ways. An end of one direction is passed on as
// such, and the other goes on until it ends too: a client may close its half
// and still wait for the answer. An error in either ends both. Rest is no
// error, however long (T43).
func splice(client *net.TCPConn, server net.Conn, fromServer io.Reader) {
	var wg sync.WaitGroup
	carry := func(to net.Conn, from io.Reader) {
		defer wg.Done()
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		if err != nil {
			client.Close()
			server.Close()
		}
	}
	wg.Add(2)
	go carry(server, client)
	go carry(client, fromServer)
	wg.Wait()
}

// pause waits for d and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// String names the relay in logs.
func (r *Relay) String() string { return fmt.Sprintf("relay %s", r.listener.Addr()) }
