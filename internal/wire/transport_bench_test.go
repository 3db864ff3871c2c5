//go:build unix

package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const originEnv = "WIRE_BENCH_ORIGIN"

// TestBenchOrigin is the upstream of BenchmarkTransport, in a process of its
// own, so that only the client's CPU time is measured.
func TestBenchOrigin(t *testing.T) {
	if os.Getenv(originEnv) == "" {
		t.Skip("runs as the child of a benchmark")
	}
	cert := testCertificate(t)
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s %s\n", l.Addr(), base64.StdEncoding.EncodeToString(cert.Certificate[0]))
		if secure {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nServer: acme\r\nX-Request-Id: 0123456789\r\nContent-Length: 256\r\n\r\n" + strings.Repeat("x", 256))
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					br := bufio.NewReader(nc)
					for _, err := readHeadOf(br); err == nil; _, err = readHeadOf(br) {
						if _, err := nc.Write(answer); err != nil {
							return
						}
					}
				}()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTransport sends a request with usual fields and reads an answer of
// 256 bytes, under a context that can end, over kept connections. Both clients
// take turns in each run; figures are medians.
func BenchmarkTransport(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestBenchOrigin$", "-test.v=false")
	child.Env = append(os.Environ(), originEnv+"=1")
	stdin, _ := child.StdinPipe()
	stdout, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = child.Wait()
	}()
	out := bufio.NewReader(stdout)
	for _, secure := range []bool{false, true} {
		var addr, encoded string
		if _, err := fmt.Fscan(out, &addr, &encoded); err != nil {
			b.Fatal(err)
		}
		var conf *tls.Config
		if secure {
			der, _ := base64.StdEncoding.DecodeString(encoded)
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				b.Fatal(err)
			}
			conf = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "a"}
			conf.RootCAs.AddCert(leaf)
		}
		for _, conns := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", map[bool]string{false: "plain", true: "TLS"}[secure], conns), func(b *testing.B) {
				compare(b, addr, conf, conns)
			})
		}
	}
}

func compare(b *testing.B, addr string, conf *tls.Config, conns int) {
	header := Header{{"Host", "api.acme.test"}, {"User-Agent", "acme-sdk/1.2.3 python/3.12"}, {"Accept", "application/json"},
		{"Accept-Encoding", "identity"}, {"X-Request-Id", "0a1b2c3d4e5f"}, {"Authorization", "Bearer 0123456789abcdef"}}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	tr := &Transport{Dial: dial, MaxIdlePerHost: 128}
	scheme := "http"
	if conf != nil {
		tr.TLS, scheme = func(string) *tls.Config { return conf }, "https"
	}
	defer tr.Close()
	std := &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true, TLSClientConfig: conf,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) }}
	defer std.CloseIdleConnections()

	clients := []func(ctx context.Context, buf []byte) error{
		func(ctx context.Context, buf []byte) error {
			r, err := tr.RoundTrip(ctx, addr, &OutRequest{Method: "GET", Target: "/v1/models?limit=2", Header: header})
			if err != nil {
				return err
			}
			_, err = io.ReadFull(r.Body, buf)
			return err
		},
		func(ctx context.Context, buf []byte) error {
			r := &http.Request{Method: "GET", Host: "api.acme.test", Header: headerMap(header[1:]),
				URL:   &url.URL{Scheme: scheme, Host: addr, Opaque: "/v1/models?limit=2"},
				Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
			res, err := std.RoundTrip(r.WithContext(ctx))
			if err != nil {
				return err
			}
			if _, err = io.ReadFull(res.Body, buf); err != nil {
				return err
			}
			return res.Body.Close()
		},
	}
	const rounds = 5
	n := max(b.N/rounds, conns)
	var cpus, allocs [2][]float64
	for round := range rounds + 1 {
		for i, client := range clients {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := cpu()
			run(b, n, conns, client)
			spent := cpu() - began
			runtime.ReadMemStats(&after)
			if round > 0 { // the first one warms up
				cpus[i] = append(cpus[i], float64(spent.Nanoseconds())/float64(n))
				allocs[i] = append(allocs[i], float64(after.Mallocs-before.Mallocs)/float64(n))
			}
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(median(cpus[0]), "wire-cpu-ns/op")
	b.ReportMetric(median(cpus[1]), "std-cpu-ns/op")
	b.ReportMetric(median(cpus[0])/median(cpus[1]), "cpu-ratio")
	b.ReportMetric(median(allocs[0]), "wire-allocs/op")
	b.ReportMetric(median(allocs[1]), "std-allocs/op")
}

func headerMap(h Header) http.Header {
	m := make(http.Header, len(h))
	for _, f := range h {
		m.Add(f.Name, f.Value)
	}
	return m
}

// run sends n requests over conns connections.
func run(b *testing.B, n, conns int, client func(context.Context, []byte) error) {
	var left atomic.Int64
	left.Store(int64(n))
	var wait sync.WaitGroup
	for range conns {
		wait.Go(func() {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			buf := make([]byte, 256)
			for left.Add(-1) >= 0 {
				if err := client(ctx, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}
