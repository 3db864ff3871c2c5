package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listenAndServe answers each body with its digest, over TLS or not.
func listenAndServe(t *testing.T, secure bool) (addr string, roots *x509.CertPool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if secure {
		cert := testCertificate(t)
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		roots = x509.NewCertPool()
		roots.AddCert(leaf)
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serve(nc, Timeouts{}, func(c *Conn, req *Request) {
				h := sha256.New()
				n, err := io.Copy(h, req.Body)
				w := c.Respond(req)
				if err != nil {
					w.LastOne = true
					w.Send(400, nil, nil)
					return
				}
				w.Send(200, nil, fmt.Appendf(nil, "%s %s %d %x", req.Method, req.Path, n, h.Sum(nil)))
			})
		}
	}()
	return l.Addr().String(), roots
}

// Go's client, with kept connections, known and unknown lengths, over TLS.
func TestGoClient(t *testing.T) {
	for _, secure := range []bool{false, true} {
		addr, roots := listenAndServe(t, secure)
		var dials int
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{RootCAs: roots, ServerName: "a"},
			ExpectContinueTimeout: 10 * time.Second,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials++
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}}
		scheme := map[bool]string{false: "http", true: "https"}[secure]
		body := make([]byte, 300<<10)
		rand.Read(body)
		for i, expect := range []string{"", "100-continue", "", "100-continue"} {
			var r io.Reader = bytes.NewReader(body)
			if i >= 2 {
				r = io.MultiReader(r) // of unknown length
			}
			req, err := http.NewRequestWithContext(t.Context(), "PUT", scheme+"://"+addr+"/up?load", r)
			if err != nil {
				t.Fatal(err)
			}
			if expect != "" {
				req.Header.Set("Expect", expect)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if want := fmt.Sprintf("PUT /up?load %d %x", len(body), sha256.Sum256(body)); err != nil || string(got) != want {
				t.Errorf("TLS %v, request %d: %v, got %s", secure, i, err, got)
			}
		}
		if dials != 1 {
			t.Errorf("TLS %v: %d connections for 4 requests", secure, dials)
		}
	}
}

// curl sends Expect for large bodies of its own accord, and chunks from a pipe.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	addr, _ := listenAndServe(t, false)
	body := make([]byte, 2<<20)
	rand.Read(body)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	for _, args := range [][]string{
		{"--data-binary", "@" + file, "http://" + addr + "/a", "--next", "--data-binary", "@" + file, "http://" + addr + "/b"},
		{"-T", "-", "-X", "POST", "http://" + addr + "/c"},
		{"--http1.0", "--data-binary", "@" + file, "http://" + addr + "/d"},
		// As a proxy: the target is a URL.
		{"-x", "http://" + addr, "--data-binary", "@" + file, "http://api.acme.test/e"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, curl, append([]string{"-sS", "--noproxy", ""}, args...)...)
		cmd.Stdin = bytes.NewReader(body)
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil || !strings.Contains(string(out), hex.EncodeToString(sum[:])) || !strings.HasPrefix(string(out), "POST /") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
