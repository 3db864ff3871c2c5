package run

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const testToken = "wst_3c9f0aa1d2e44b7f"

// authority is a certificate authority with an intermediate, as Writ has one.
type authority struct {
	root, mid []byte // DER
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	rootKey, midKey := newKey(t), newKey(t)
	rootTmpl := caTemplate(name + " root")
	root := sign(t, rootTmpl, rootTmpl, &rootKey.PublicKey, rootKey)
	rootCert := parse(t, root)
	mid := sign(t, caTemplate(name+" intermediate"), rootCert, &midKey.PublicKey, rootKey)
	return &authority{root: root, mid: mid, cert: parse(t, mid), key: midKey}
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root})
}

// leaf is a certificate for one name or address.
func (a *authority) leaf(t *testing.T, host string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	return &tls.Certificate{Certificate: [][]byte{sign(t, tmpl, a.cert, &key.PublicKey, a.key), a.mid}, PrivateKey: key}
}

// proxyServer stands for the Writ server: it takes the upgrade of the relay,
// and is then an intercepting HTTP/1.1 proxy that answers for every host.
type proxyServer struct {
	t        *testing.T
	ca       *authority
	listener net.Listener
	handler  http.Handler // answers for the hosts
	refuse   func(net.Conn) bool
	tls      *tls.Config // nil: plain
	wg       sync.WaitGroup

	mu       sync.Mutex
	seen     []Runtime // of each connection
	requests []string  // "CONNECT api.acme.test:443", "GET http://api.acme.test/x"
	conns    map[net.Conn]bool
}

func newProxyServer(t *testing.T, handler http.Handler) *proxyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &proxyServer{t: t, ca: newAuthority(t, "writ test"), listener: l, handler: handler, conns: make(map[net.Conn]bool)}
	if handler == nil {
		s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello from %s%s", r.Host, r.URL.Path)
		})
	}
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(s.close)
	return s
}

func (s *proxyServer) close() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *proxyServer) server() Server {
	return Server{Addr: s.listener.Addr().String(), Token: func(context.Context) (string, error) { return testToken, nil }}
}

func (s *proxyServer) accept() {
	defer s.wg.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			defer c.Close()
			if s.tls == nil {
				s.serve(c)
				return
			}
			secure := tls.Server(c, s.tls)
			defer secure.Close()
			if secure.Handshake() == nil && secure.ConnectionState().NegotiatedProtocol != "http/1.1" {
				s.t.Errorf("the relay agreed on %q", secure.ConnectionState().NegotiatedProtocol)
			}
			s.serve(secure)
		}()
	}
}

// serve does what the real server does: one upgrade, then a proxy on the bytes.
func (s *proxyServer) serve(c net.Conn) {
	if s.refuse != nil && s.refuse(c) {
		return
	}
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testToken || r.Header.Get("Upgrade") != RelayProtocol || r.Host != "writ" {
		fmt.Fprint(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
		return
	}
	rt, err := ParseRuntime(r.Header.Get(RuntimeHeader))
	if err != nil {
		s.t.Errorf("runtime context: %v", err)
	}
	s.mu.Lock()
	s.seen = append(s.seen, rt)
	s.mu.Unlock()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", RelayProtocol)
	serveOne(&prefixed{Conn: c, r: br}, http.HandlerFunc(s.proxy))
}

func (s *proxyServer) proxy(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.RequestURI)
	s.mu.Unlock()
	if r.Method != http.MethodConnect {
		s.handler.ServeHTTP(w, r)
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		http.Error(w, "bad host", http.StatusBadRequest)
		return
	}
	if host == "denied.acme.test" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"title":"Denied","detail":"no application declares denied.acme.test"}`)
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	inner := tls.Server(&prefixed{Conn: conn, r: rw.Reader}, &tls.Config{
		Certificates: []tls.Certificate{*s.ca.leaf(s.t, host)}, NextProtos: []string{"http/1.1"},
	})
	defer inner.Close()
	if err := inner.Handshake(); err != nil {
		return // a client that does not trust us: its own error says so
	}
	serveOne(inner, s.handler)
}

// prefixed is a connection of which some bytes were read ahead.
type prefixed struct {
	net.Conn
	r io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

// serveOne serves HTTP on one connection until that ends.
func serveOne(c net.Conn, h http.Handler) {
	l := &oneListener{conn: c, done: make(chan struct{})}
	srv := &http.Server{Handler: h, ConnState: func(_ net.Conn, st http.ConnState) {
		if st == http.StateClosed || st == http.StateHijacked {
			l.once.Do(func() { close(l.done) })
		}
	}}
	wrapped := &waitHandler{h: h}
	srv.Handler = wrapped
	_ = srv.Serve(l)
	wrapped.wg.Wait() // a hijacker works on
}

type waitHandler struct {
	h  http.Handler
	wg sync.WaitGroup
}

func (w *waitHandler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.wg.Add(1)
	defer w.wg.Done()
	w.h.ServeHTTP(rw, r)
}

type oneListener struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
	gave bool
}

func (l *oneListener) Accept() (net.Conn, error) {
	if !l.gave {
		l.gave = true
		return l.conn, nil
	}
	<-l.done
	return nil, io.EOF
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// gitHandler serves repositories below dir over smart HTTP.
func gitHandler(t *testing.T, dir string) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path: tool(t, "git"), Args: []string{"http-backend"}, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=test", "PATH=" + os.Getenv("PATH"), "HOME=" + dir},
	}
}

func (s *proxyServer) saw(request string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, request) {
			return true
		}
	}
	return false
}
