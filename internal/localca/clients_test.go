package localca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tool gives the path of a real client, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("no " + name + " here")
	}
	return path
}

func write(t *testing.T, name string, ders ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// today is a minter on the real clock, since real clients use it.
func today(t *testing.T, hosts ...string) (*Root, *Minter) {
	t.Helper()
	return newMinter(t, &clock{t: time.Now()}, hosts...)
}

// listenTLS shows the certificate that pick chooses.
func listenTLS(t *testing.T, pick func(*tls.ClientHelloInfo) (*tls.Certificate, error)) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: pick, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("reached " + r.Host)) }), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestOpenSSLVerifies(t *testing.T) {
	openssl := tool(t, "openssl")
	root, m := today(t, "api.acme.test", "10.1.2.3")
	rootFile := write(t, "root.pem", root.DER())
	for host, option := range map[string]string{"api.acme.test": "-verify_hostname", "10.1.2.3": "-verify_ip"} {
		c, err := m.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t, openssl, "verify", "-x509_strict", "-CAfile", rootFile, "-untrusted", write(t, "i.pem", c.Certificate[1]),
			"-purpose", "sslserver", option, host, write(t, "leaf.pem", c.Certificate[0]))
		if err != nil || !strings.Contains(out, ": OK") {
			t.Errorf("%s: %v\n%s", host, err, out)
		}
	}
	_, names := today(t, "api.acme.test")
	for name, tc := range map[string]struct {
		m      *Minter
		change func(*x509.Certificate)
	}{
		"another name":    {m, func(c *x509.Certificate) { c.DNSNames = []string{"bank.test"} }},
		"another address": {m, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 4).To4()} }},
		"any address":     {names, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 4).To4()} }},
	} {
		bad := rogue(t, tc.m, "api.acme.test", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
			tc.change(c)
		})
		out, err := run(t, openssl, "verify", "-CAfile", write(t, "root.pem", tc.m.root.DER()), "-untrusted", write(t, "i.pem", bad.Certificate[1]), write(t, "leaf.pem", bad.Certificate[0]))
		if err == nil || !strings.Contains(out, "subtree") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// pickers are an honest server and one that shows a rogue leaf.
func pickers(t *testing.T, m *Minter) (honest, thief func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	bad := rogue(t, m, "api.acme.test", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		c.DNSNames = []string{"bank.test"}
	})
	honest = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return m.Leaf(h.ServerName) }
	thief = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return bad, nil }
	return honest, thief
}

func TestCurlVerifies(t *testing.T) {
	curl := tool(t, "curl")
	root, m := today(t, "api.acme.test")
	honest, thief := pickers(t, m)
	rootFile := write(t, "root.pem", root.DER())
	get := func(port, host string) (string, error) {
		return run(t, curl, "-sS", "--max-time", "20", "--cacert", rootFile, "--resolve", host+":"+port+":127.0.0.1", "https://"+host+":"+port+"/")
	}
	port := listenTLS(t, honest)
	if out, err := get(port, "api.acme.test"); err != nil || !strings.HasPrefix(out, "reached api.acme.test") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := get(port, "bank.test"); err == nil {
		t.Errorf("an undeclared host is reached: %s", out)
	}
	if out, err := get(listenTLS(t, thief), "bank.test"); err == nil || !strings.Contains(out, "certificate problem") {
		t.Errorf("a rogue leaf: %v\n%s", err, out)
	}
}

const pythonGet = `
import socket, ssl, sys
ca, port, host = sys.argv[1:]
ctx = ssl.create_default_context(cafile=ca)
ctx.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(("127.0.0.1", int(port)), 20) as s, ctx.wrap_socket(s, server_hostname=host) as t:
    print("verified", t.getpeercert()["subjectAltName"])
`

func TestPythonVerifies(t *testing.T) {
	python := tool(t, "python3")
	root, m := today(t, "api.acme.test")
	honest, thief := pickers(t, m)
	rootFile := write(t, "root.pem", root.DER())
	if out, err := run(t, python, "-c", pythonGet, rootFile, listenTLS(t, honest), "api.acme.test"); err != nil || !strings.Contains(out, "verified") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, python, "-c", pythonGet, rootFile, listenTLS(t, thief), "bank.test"); err == nil || !strings.Contains(out, "CERTIFICATE_VERIFY_FAILED") {
		t.Errorf("a rogue leaf: %v\n%s", err, out)
	}
}
