package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// roleOf is the environment variable that turns this test binary into one of
// the other processes of a benchmark. The product knows nothing of them.
const roleOf = "WRIT_BENCH_ROLE"

// BenchmarkRole is no benchmark: it is how the upstream and the baseline run as
// processes of their own, so that the CPU time of each can be told apart. They
// end when their parent does, since it holds their standard input.
func BenchmarkRole(b *testing.B) {
	var addrs roleAddrs
	var err error
	switch os.Getenv(roleOf) {
	case "origin":
		addrs, err = runOrigin()
	case "baseline":
		addrs, err = runBaseline()
	case "server":
		err = runProfiled(b)
	default:
		b.Skip("a part of the other benchmarks")
	}
	if err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(addrs)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(string(text))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// roleAddrs is what a role tells its parent.
type roleAddrs struct{ Plain, TLS, Roots string }

// role is a process that plays a role.
type role struct {
	roleAddrs
	pid int
}

func startRole(b *testing.B, name string, env ...string) *role {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^$", "-test.bench=^BenchmarkRole$", "-test.benchtime=1x")
	cmd.Env = append(append(os.Environ(), roleOf+"="+name), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	r := &role{pid: cmd.Process.Pid}
	lines := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			b.Fatalf("the role %s said nothing: %v", name, err)
		}
		if line[0] == '{' {
			if err := json.Unmarshal(line, &r.roleAddrs); err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return r
		}
	}
}

// benchSecret is the credential's value, which the upstream demands.
const benchSecret = "bench-secret-0123456789abcdef"

// runOrigin is the upstream: 256 bytes for whoever has the credential, and a
// stream that says something each second.
func runOrigin() (a roleAddrs, err error) {
	certificate, roots, err := acmeCertificate(apiHost)
	if err != nil {
		return a, err
	}
	answer := []byte(`{"padding":"` + strings.Repeat("x", 256-14) + `"}`)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+benchSecret {
			http.Error(w, "no credential", http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/stream") {
			w.Header().Set("Content-Type", "text/event-stream")
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				_, _ = io.WriteString(w, "data: tick\n\n")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	})
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(plain) }()
	go func() {
		_ = s.Serve(tls.NewListener(secure, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}))
	}()
	return roleAddrs{Plain: plain.Addr().String(), TLS: secure.Addr().String(), Roots: roots}, nil
}

// runBaseline is what Writ is measured against: the standard library's reverse
// proxy as a forward proxy that sets the credential and records nothing.
func runBaseline() (a roleAddrs, err error) {
	to := os.Getenv("WRIT_BENCH_ORIGIN")
	var d net.Dialer
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Header.Del("Proxy-Authorization")
			r.Out.Header.Set("Authorization", "Bearer "+benchSecret)
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 128, DisableCompression: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return d.DialContext(ctx, network, to) },
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return roleAddrs{Plain: l.Addr().String()}, nil
}

// cpuOf is the CPU time that a process has used so far, of all its threads. The
// scheduler counts it in nanoseconds where it tells, else in ticks of 10 ms.
func cpuOf(pid int) time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(ran, 10, 64)
		sum += time.Duration(n)
	}
	if sum > 0 {
		return sum
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses, which may have spaces.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// residentOf is the memory that a process occupies, in bytes.
func residentOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// subject is a proxy under test and one way to go through it.
type subject struct {
	name    string
	pid     int
	proxy   string
	request string
	tunnel  func() (net.Conn, error) // nil: the request goes to the proxy itself

	open []*caller // connections, kept warm
}

// caller is one client connection.
type caller struct {
	conn net.Conn
	r    *bufio.Reader
}

func (s *subject) dial() (*caller, error) {
	dial := s.tunnel
	if dial == nil {
		dial = func() (net.Conn, error) { return net.Dial("tcp", s.proxy) }
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	return &caller{c, bufio.NewReaderSize(c, 8<<10)}, nil
}

var errAnswer = errors.New("not the answer of the upstream")

// ask sends the request and reads the answer, as cheaply as can be: what this
// costs is not measured, and takes CPU from what is.
func (c *caller) ask(request string) error {
	if _, err := io.WriteString(c.conn, request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			rest, _ := c.r.Peek(c.r.Buffered())
			return fmt.Errorf("%w: %s%s", errAnswer, line, rest)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errAnswer
	}
	_, err := c.r.Discard(length)
	return err
}

// sample is one stretch of load on one subject.
type sample struct {
	cpu      float64 // µs of the process under test, a request
	rate     float64 // requests a second
	p50, p99 float64 // ms
}

// load puts conns connections to work for a while.
func (s *subject) load(conns int, lasts time.Duration) (sample, error) {
	for len(s.open) < conns {
		c, err := s.dial()
		if err != nil {
			return sample{}, err
		}
		s.open = append(s.open, c)
	}
	times := make([][]time.Duration, conns)
	errs := make([]error, conns)
	var wg sync.WaitGroup
	before, start := cpuOf(s.pid), time.Now()
	end := start.Add(lasts)
	for i, c := range s.open[:conns] {
		wg.Go(func() {
			for last := time.Now(); last.Before(end); {
				if errs[i] = c.ask(s.request); errs[i] != nil {
					return
				}
				now := time.Now()
				times[i] = append(times[i], now.Sub(last))
				last = now
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(start), cpuOf(s.pid)-before
	all := slices.Concat(times...)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return sample{}, fmt.Errorf("%s: %w", s.name, cmp.Or(err, errAnswer))
	}
	slices.Sort(all)
	return sample{
		cpu: float64(cpu.Nanoseconds()) / 1e3 / float64(len(all)), rate: float64(len(all)) / took.Seconds(),
		p50: inMillis(all[len(all)/2]), p99: inMillis(all[len(all)*99/100]),
	}, nil
}

func (s *subject) close() {
	for _, c := range s.open {
		_ = c.conn.Close()
	}
	s.open = nil
}

func inMillis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
