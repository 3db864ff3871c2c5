package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// outside is a server in a process of its own, which can be killed.
type outside struct {
	t     *testing.T
	world *world // the upstream and the stage; its server is the process
	bin   string
	cmd   *exec.Cmd
	log   string
}

// binary builds the program once for all tests that need a process.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "writ-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "writ")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func newOutside(t *testing.T) *outside {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{t: t, bin: bin, world: &world{t: t, dir: t.TempDir(), log: &safeBuffer{}, up: newUpstream(t)}}
	o.log = filepath.Join(o.world.dir, "server.log")
	o.start()
	t.Cleanup(func() { o.kill() })
	o.world.stage()
	return o
}

// start starts the process and waits until it answers. The ports are new each
// time, as after a restart of a machine.
func (o *outside) start() devFile {
	o.t.Helper()
	data := filepath.Join(o.world.dir, "dev")
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	_ = os.Remove(data + ".json")
	o.cmd = exec.Command(o.bin, "server", "--dev", "--data", data, "--person", "bo@acme.test", "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--verbose")
	o.cmd.Stdout, o.cmd.Stderr = log, log
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 30*time.Second)
	defer cancel()
	state, err := awaitDevState(ctx, data+".json")
	if err != nil {
		text, _ := os.ReadFile(o.log)
		o.t.Fatalf("the server did not start: %v\n%s", err, text[max(0, len(text)-2000):])
	}
	token, err := readToken(state.TokenFile)
	if err != nil {
		o.t.Fatal(err)
	}
	o.world.remote, o.world.token = &state, string(token)
	o.world.admin = o.world.as(o.world.token)
	return state
}

// kill ends the process as a power cut would.
func (o *outside) kill() {
	if o.cmd == nil {
		return
	}
	_ = o.cmd.Process.Signal(syscall.SIGKILL)
	_ = o.cmd.Wait()
	o.cmd = nil
}

// TestKill: the process is killed at random moments under load. Each time the
// next one starts without a hand, the ledger verifies, and every request that
// the upstream saw with the credential has its earlier, durable allow.
func TestKill(t *testing.T) {
	o := newOutside(t)
	w := o.world
	kills := scale(200, 20)
	var asked, answered atomic.Int64
	for i := range kills {
		session := w.open(agentName).Token
		ctx, stop := context.WithCancel(t.Context())
		var load sync.WaitGroup
		for worker := range 4 {
			load.Go(func() {
				c := w.browser(session)
				for n := 0; ctx.Err() == nil; n++ {
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/v1/kill/%d/%d/%d", base, i, worker, n), nil)
					if err != nil {
						return
					}
					asked.Add(1)
					resp, err := c.Do(r)
					if err != nil {
						continue
					}
					if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == 200 {
						answered.Add(1)
					}
					_ = resp.Body.Close()
				}
			})
		}
		moment := time.NewTimer(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		<-moment.C
		o.kill()
		stop()
		load.Wait()
		o.start()
		if i%10 == 0 || i == kills-1 {
			w.verifyLedger()
		}
	}
	t.Logf("%d kills: %d requests, %d answered, the upstream saw %d", kills, asked.Load(), answered.Load(), len(w.up.sights()))
	if answered.Load() == 0 {
		t.Error("nothing was answered between the kills: they prove nothing")
	}
	w.oracle()
}

// TestFlood: an agent that loops over denials as fast as it can neither fills
// the disk nor slows another agent's uses.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	soon := writ.At(time.Now().Add(time.Hour))
	must[*client.Change[client.Identity]](t)(w.admin.AddIdentity(ctx, client.NewIdentity{Kind: writ.Agent, Name: "looper", Owner: "ana@acme.test", Purpose: "loops", Expires: soon}))
	looper := w.open("agent:looper").Token

	uses := func(n int) time.Duration {
		c := w.browser(w.session.Token)
		start := time.Now()
		for range n {
			resp, _ := w.get(c, base+"/v1/x")
			if resp.StatusCode != 200 {
				t.Fatalf("a use beside the flood got %d", resp.StatusCode)
			}
		}
		return time.Since(start) / time.Duration(n)
	}
	n := scale(500, 100)
	alone := uses(n)
	before := must[*client.Ledger](t)(w.admin.Ledger(ctx)).Size

	flood, stop := context.WithCancel(ctx)
	var denials atomic.Int64
	var loops sync.WaitGroup
	for range 4 {
		loops.Go(func() {
			tc, err := w.tunnelAs(looper, apiHost, apiHost)
			if err != nil {
				t.Error(err)
				return
			}
			// Pipelining: as many as the proxy will take.
			request := strings.Repeat("GET /v1/denied HTTP/1.1\r\nHost: "+apiHost+"\r\n\r\n", 50)
			go func() {
				<-flood.Done()
				_ = tc.Close()
			}()
			go func() {
				for {
					if _, err := io.WriteString(tc, request); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, 64<<10)
			for {
				k, err := tc.Read(buf)
				denials.Add(int64(strings.Count(string(buf[:k]), "HTTP/1.1 403")))
				if err != nil {
					return
				}
			}
		})
	}
	start := time.Now()
	beside := uses(n)
	for denials.Load() < int64(scale(200_000, 20_000)) && time.Since(start) < 60*time.Second {
		_ = uses(1)
	}
	took := time.Since(start)
	stop()
	loops.Wait()
	grown := must[*client.Ledger](t)(w.admin.Ledger(ctx)).Size - before
	t.Logf("%d denials in %v (%.0f/s); a use took %v alone and %v beside them; the ledger grew by %d entries", denials.Load(), took.Round(time.Millisecond), float64(denials.Load())/took.Seconds(), alone, beside, grown)
	if made := int64(len(w.up.sights()))*2 + 50; grown > made {
		t.Errorf("the ledger grew by %d entries; the uses account for %d at most", grown, made)
	}
	w.verifyLedger()
}

// TestCanaryIsNowhere looks for the secret outside the vault after all sorts of
// use: in what Writ wrote, what it said, and what its processes show.
func TestCanaryIsNowhere(t *testing.T) {
	o := newOutside(t)
	w := o.world
	c := w.browser(w.session.Token)
	for _, target := range []string{"/v1/x", "/v2/denied", "/v1/%zz", "/v1/" + strings.Repeat("y", 3000)} {
		resp, err := c.Get(base + target)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	w.up.answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if resp, err := c.Get(base + "/v1/x"); err == nil {
		_ = resp.Body.Close()
	}
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", o.cmd.Process.Pid, name))
		if err != nil {
			continue // not Linux, or not dumpable: nobody can read it
		}
		for form, needle := range encodings(w.up.secret) {
			if strings.Contains(string(b), needle) {
				t.Errorf("the secret (%s) is in the server's %s", form, name)
			}
		}
	}
	r, err := http.NewRequest(http.MethodGet, w.remote.Addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || !strings.Contains(string(metrics), "writ_") {
		t.Errorf("/metrics: %d", resp.StatusCode)
	}
	for form, needle := range encodings(w.up.secret) {
		if strings.Contains(string(metrics), needle) {
			t.Errorf("the secret (%s) is in /metrics", form)
		}
	}
	if strings.Contains(string(metrics), w.token) || strings.Contains(string(metrics), w.session.Token) {
		t.Error("a token is in /metrics")
	}
	// The log and everything in the data folder, the log of the process included.
	w.oracle()
}
