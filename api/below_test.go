package api

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
)

// TestHelperCallsAsAProgram is no test: the test below runs it as a process of
// its own, which calls the server with a key and prints what came back.
func TestHelperCallsAsAProgram(t *testing.T) {
	url, token := os.Getenv("TEST_URL"), os.Getenv("TEST_TOKEN")
	if url == "" {
		t.Skip("runs as a process of TestAdministrationFromBelowARunIsRefused")
	}
	c, err := client.New(client.Config{Address: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); err != nil {
		t.Fatalf("refused: %v", err)
	}
}

// TestAdministrationFromBelowARunIsRefused: the process that holds the control
// stream is the root of a run, and what runs below it may hold a key that it
// found in a file. Who runs beside it is not held up (invariant 11).
func TestAdministrationFromBelowARunIsRefused(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell whose connection it is")
	}
	w := newWorld(t)
	admin := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)
	call := func() string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperCallsAsAProgram$", "-test.v")
		cmd.Env = append(os.Environ(), "TEST_URL="+w.http.URL, "TEST_TOKEN="+admin)
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		_ = cmd.Run()
		return b.String()
	}
	if got := call(); !strings.Contains(got, "--- PASS") {
		t.Fatalf("before there is a run: %s", got)
	}
	s := w.session(true)
	c, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := call(); !strings.Contains(got, "refused: a program that runs below writ run may not administer Writ") {
		t.Errorf("below a run: %s", got)
	}
	if resp, text := w.call("GET", "/v1/whoami", admin, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("the run's own process: %d %s", resp.StatusCode, text)
	}
	c.Close()
	w.ended(s.Session.ID)
	w.server.children.running.Wait() // the stream is forgotten just after
	if got := call(); !strings.Contains(got, "--- PASS") {
		t.Errorf("after the run: %s", got)
	}
}
