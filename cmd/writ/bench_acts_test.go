package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// openMany opens n things on a session, half of them streams and half idle
// tunnels, and waits until each is up.
func (x *benched) openMany(token string, n int) []net.Conn {
	x.b.Helper()
	conns, errs := make([]net.Conn, n), make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range next {
				if i%2 == 0 {
					conns[i], errs[i] = x.stream(token)
				} else {
					conns[i], errs[i] = x.tunnel(token)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		x.b.Fatal(err)
	}
	return conns
}

// stream opens a server-sent stream and waits for its first event.
func (x *benched) stream(token string) (net.Conn, error) {
	c, err := net.Dial("tcp", x.state.Proxy)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, plainRequest("/v1/stream", token)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if first && !strings.HasPrefix(line, "HTTP/1.1 200") {
			return nil, fmt.Errorf("%w: %s", errAnswer, line)
		}
		if strings.HasPrefix(line, "data:") {
			return c, nil
		}
	}
}

// drained waits until every connection is at its end.
func (x *benched) drained(conns []net.Conn) {
	x.b.Helper()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				errs[i] = err
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		x.b.Fatal("a connection outlived the revocation: ", err)
	}
}

// kill ends a session and gives how long its caller waited.
func (x *benched) kill(target string) (time.Duration, *client.Revocation) {
	x.b.Helper()
	start := time.Now()
	r := ok[*client.Revocation](x.b)(x.admin.Kill(x.b.Context(), client.NewKill{Target: target}))
	return time.Since(start), r
}

func (x *benched) newSession() *client.SessionOnce {
	x.b.Helper()
	return ok[*client.SessionOnce](x.b)(x.admin.StartSession(x.b.Context(), client.NewSession{Identity: agentName, Task: "load", For: "2h"}))
}

// BenchmarkRevocation is how long the call takes that ends a session: with
// 1,000 tunnels and streams open on it, with one stream on it beside 1,000 of
// others, and, as the baseline, with nothing open on it; and how long it takes
// to revoke a grant from which 1,000 others were made.
func BenchmarkRevocation(b *testing.B) {
	const open = 1000
	var families []writ.ID
	x := newBenched(b, startRole(b, "origin"), 2, func(x *benched, s *server) {
		for range rounds {
			families = append(families, x.family(s, open))
		}
	})
	var idle, all, one, cascade []float64
	down, found := 0, 0
	for range rounds {
		s := x.newSession()
		took, _ := x.kill(string(s.Session.ID))
		idle = append(idle, inMillis(took))

		s = x.newSession()
		conns := x.openMany(s.Token, open)
		took, r := x.kill(string(s.Session.ID))
		all = append(all, inMillis(took))
		found += r.Uses.Found + r.Connections.Found
		down += r.Uses.Down + r.Connections.Down
		x.drained(conns)
	}
	if found < rounds*open || down != found {
		b.Fatalf("of %d opened %d were found and %d confirmed down", rounds*open, found, down)
	}
	others := x.openMany(x.token, open)
	for range 200 {
		s := x.newSession()
		c, err := x.stream(s.Token)
		if err != nil {
			b.Fatal(err)
		}
		took, _ := x.kill(string(s.Session.ID))
		one = append(one, inMillis(took))
		x.drained([]net.Conn{c})
		s = x.newSession()
		took, _ = x.kill(string(s.Session.ID))
		idle = append(idle, inMillis(took))
	}
	x.kill(agentName)
	x.drained(others)
	ok[*client.Resumed](b)(x.admin.Resume(b.Context(), client.NewResume{Target: agentName}))
	for _, root := range families {
		start := time.Now()
		r := ok[*client.Revocation](b)(x.admin.RevokeGrant(b.Context(), string(root), client.Because{}))
		cascade = append(cascade, inMillis(time.Since(start)))
		if r.Grants != open+1 {
			b.Fatalf("%d grants were revoked", r.Grants)
		}
	}
	for _, m := range []struct {
		name  string
		times []float64
	}{{"session/open=0", idle}, {fmt.Sprintf("session/open=%d", open), all}, {fmt.Sprintf("session/open=1/beside=%d", open), one}, {fmt.Sprintf("grant/descendants=%d", open), cascade}} {
		b.Run(m.name, func(b *testing.B) {
			slices.Sort(m.times)
			b.ReportMetric(median(m.times), "p50-ms")
			b.ReportMetric(m.times[len(m.times)*99/100], "p99-ms")
			b.ReportMetric(float64(len(m.times)), "calls")
			b.ReportMetric(median(m.times)/median(idle), "x-nothing-open")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// family makes an agent with a grant and n that are made from it, straight in
// the store. The agent has nothing else: who has a thousand grants is slower.
func (x *benched) family(s *server, n int) writ.ID {
	b, ctx := x.b, x.b.Context()
	b.Helper()
	rule := func(path string) []writ.Rule { return []writ.Rule{{Methods: []string{"GET"}, Path: path}} }
	agent, _, err := s.store.AddIdentity(ctx, x.by, writ.Identity{
		Org: s.operator.ID, Kind: writ.Agent, Name: "family-" + strings.ToLower(rand.Text()), Owner: x.by.Identity, Purpose: "load", Expires: writ.At(time.Now().Add(24 * time.Hour))})
	if err != nil {
		b.Fatal(err)
	}
	g := writ.Grant{Org: s.operator.ID, Identity: agent.ID, Credential: x.cred, Rules: rule("/v1/family/**"), Authoriser: x.by.Identity, Purpose: "load"}
	root, _, err := s.store.AddGrant(ctx, x.by, g)
	if err != nil {
		b.Fatal(err)
	}
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for k := i; k < n && errs[i] == nil; k += len(errs) {
				child := g
				child.Parent, child.Rules = root.ID, rule(fmt.Sprintf("/v1/family/%d", k))
				_, _, errs[i] = s.store.AddGrant(ctx, x.by, child)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	return root.ID
}

// BenchmarkStart is the start of a development server on an empty folder until
// it says where it listens, and what `writ run` adds to a program that does
// nothing. The baselines are a process of the same binary that prints its
// version, and the program by itself.
func BenchmarkStart(b *testing.B) {
	bin := ok[string](b)(binary())
	x := newBenched(b, startRole(b, "origin"), 2)
	env := append(os.Environ(), "WRIT_ADDR="+x.state.Addr, "WRIT_TOKEN="+string(ok[secretText](b)(readToken(x.state.TokenFile))), "HOME="+b.TempDir())
	took := map[string][]float64{}
	cpu := map[string][]float64{}
	run := func(name string, args ...string) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = env
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v: %s", args, err, out)
		}
		took[name] = append(took[name], inMillis(time.Since(start)))
		cpu[name] = append(cpu[name], inMillis(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()))
	}
	for range 2*rounds + 1 {
		run("writ-version", bin, "version")
		run("true", "true")
		run("writ-run-true", bin, "run", "--quiet", "--as", agentName, "--", "true")
		ms, used := startOnce(b, bin)
		took["writ-server-dev"] = append(took["writ-server-dev"], ms)
		cpu["writ-server-dev"] = append(cpu["writ-server-dev"], used)
	}
	for _, name := range []string{"true", "writ-version", "writ-run-true", "writ-server-dev"} {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(median(cpu[name]), "cpu-ms")
			b.ReportMetric(median(took[name]), "ms")
			b.ReportMetric(slices.Max(took[name]), "max-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startOnce starts a server on an empty folder and ends it.
func startOnce(b *testing.B, bin string) (took, cpu float64) {
	b.Helper()
	data := filepath.Join(b.TempDir(), fmt.Sprintf("dev-%d", time.Now().UnixNano()))
	cmd := exec.Command(bin, "server", "--dev", "--data", data, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0")
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	_, err := awaitDevState(ctx, data+".json")
	took, cpu = inMillis(time.Since(start)), inMillis(cpuOf(cmd.Process.Pid))
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if err != nil {
		b.Fatal(err)
	}
	return took, cpu
}
