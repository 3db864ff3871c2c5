package run

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is also the trampoline, a Go program behind the relay, and a
// `writ run` of its own where a test needs one.
func TestMain(m *testing.M) {
	Trampoline(os.Args)
	switch os.Getenv("RUN_TEST_MODE") {
	case "get":
		os.Exit(get(os.Args[1]))
	case "run":
		os.Exit(runForeground(os.Args[1:]))
	case "die":
		os.Exit(startAndDie(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// get is the Go program: nothing but the standard client.
func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

// runForeground is `writ run` at a terminal, without a server.
func runForeground(args []string) int {
	c, err := StartChild(ChildConfig{Args: args, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return c.Wait()
}

// startAndDie is a `writ run` that is killed.
func startAndDie(args []string) int {
	c, err := StartChild(ChildConfig{Args: args, Env: os.Environ(), Stdout: os.Stdout})
	if err != nil {
		return 1
	}
	fmt.Println("started", c.PID())
	<-context.Background().Done()
	return 0
}

// tool is the path of a program, or the test is skipped; in CI it must be there.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return path
}

// runProgram runs a program to its end and returns its output and code.
func runProgram(t *testing.T, cfg ChildConfig) (stdout, stderr string, code int) {
	t.Helper()
	out, errs := tempFile(t), tempFile(t)
	cfg.Stdout, cfg.Stderr = out, errs
	if cfg.Env == nil {
		cfg.Env = os.Environ()
	}
	c, err := StartChild(cfg)
	if err != nil {
		t.Fatal(err)
	}
	code = c.Wait()
	return contents(t, out), contents(t, errs), code
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cleanEnviron is the environment of the tests without what would lead the
// tools astray: trust and proxies of the machine that runs them.
func cleanEnviron(t *testing.T) []string {
	t.Helper()
	home := t.TempDir()
	env := []string{"HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "HOME", strings.HasPrefix(name, "GIT_"), strings.Contains(strings.ToLower(name), "proxy"),
			strings.Contains(name, "CERT"), strings.Contains(name, "CA_BUNDLE"), strings.HasPrefix(name, "NODE_"):
			continue
		}
		env = append(env, kv)
	}
	return env
}
