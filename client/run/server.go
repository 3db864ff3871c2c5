package run

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/problem"
)

const (
	// dialTimeout bounds reaching the server; it is on this machine or one
	// round trip of TLS away.
	dialTimeout = 10 * time.Second
	// upgradeTimeout bounds the server's answer to an upgrade: it looks up a
	// session in memory.
	upgradeTimeout = 10 * time.Second
	// maxRefusal bounds the body of an answer that is not 101.
	maxRefusal = 64 << 10
)

// Server is where a Writ server listens and how this run proves itself to it.
type Server struct {
	Addr string      // host:port
	TLS  *tls.Config // nil: no TLS, which is permitted on loopback only
	// Token gives the session's token, renewed when it must be. It is asked for
	// each connection and kept nowhere.
	Token func(context.Context) (string, error)
}

// check refuses to send a token in the clear to anywhere but this machine.
func (s Server) check() error {
	host, _, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return writ.Invalid("addr", "the server's address is not HOST:PORT", "")
	}
	if s.Token == nil {
		return writ.Invalid("token", "a session's token is needed to reach the server", "")
	}
	if s.TLS != nil || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return writ.Invalid("addr", "a server that is not on this machine is reached by TLS only", "give an https:// address")
}

// refusal is an answer to an upgrade that is not 101.
type refusal struct {
	response *http.Response
	body     []byte // at most maxRefusal bytes of it
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the server refused the connection with %d", r.response.StatusCode)
}

// upgrade opens a connection to the server and turns it into a stream of the
// given protocol (RFC 9110, section 7.8). What the server has sent behind its
// 101 comes out of the returned reader, which must be used for reading. Any
// other answer is a *refusal.
func (s Server) upgrade(ctx context.Context, path, host, protocol string, header http.Header) (net.Conn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+upgradeTimeout)
	defer cancel()
	token, err := s.Token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("token: %w", err)
	}
	request, err := upgradeRequest(path, host, protocol, token, header)
	if err != nil {
		return nil, nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, nil, err
	}
	if s.TLS != nil {
		cfg := s.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(s.Addr)
		}
		cfg.NextProtos = []string{"http/1.1"} // an upgrade exists in HTTP/1.1 only
		conn = tls.Client(conn, cfg)
	}
	// A cancelled context ends the exchange by closing under it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	br, err := exchange(conn, request, protocol)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return nil, nil, err
	}
	return conn, br, nil
}

func upgradeRequest(path, host, protocol, token string, header http.Header) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nAuthorization: Bearer %s\r\n", path, host, protocol, token)
	for name, values := range header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("\r\n")
	// Whatever went in, one request must come out: a line end inside a value
	// would make two of it (T14). The error does not repeat the value.
	lines := 5
	for _, values := range header {
		lines += len(values)
	}
	s := b.String()
	if strings.Count(s, "\n") != lines+1 || strings.Count(s, "\r") != lines+1 || strings.ContainsRune(s, 0) || strings.ContainsAny(path, " ") {
		return nil, errors.New("a value of the upgrade request holds a control character")
	}
	return []byte(s), nil
}

func exchange(conn net.Conn, request []byte, protocol string) (*bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(upgradeTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		if err != nil {
			return nil, err
		}
		return nil, &refusal{response: resp, body: body}
	}
	if !strings.EqualFold(resp.Header.Get("Upgrade"), protocol) {
		return nil, errors.New("the server switched to another protocol than the one asked for")
	}
	// From here on the stream may rest for as long as both ends like (T43).
	return br, conn.SetDeadline(time.Time{})
}

// httpError writes err to a client of the proxy as an HTTP/1.1 answer and
// says that the connection ends.
func httpError(w io.Writer, err error) error {
	var r *refusal
	if errors.As(err, &r) {
		resp := *r.response
		resp.Header = resp.Header.Clone()
		// Hop-by-hop: they were about the connection to the server (T5).
		for _, h := range []string{"Connection", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Trailer"} {
			resp.Header.Del(h)
		}
		return writeResponse(w, resp.StatusCode, resp.Header, r.body)
	}
	var known *writ.Error
	if !errors.As(err, &known) {
		known = unavailable("the Writ server cannot be reached", err).
			WithFix("check that it runs: writ status")
	}
	doc := problem.Of(known)
	return writeResponse(w, doc.Status, http.Header{"Content-Type": {problem.ContentType}, "Cache-Control": {"no-store"}}, doc.JSON())
}

func writeResponse(w io.Writer, status int, header http.Header, body []byte) error {
	resp := &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Close: true,
		Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)),
	}
	return resp.Write(w)
}
