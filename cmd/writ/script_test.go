package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write derived files")

// The test binary is the command line: a script's writ is this very program,
// run as a process of its own with real pipes, files and exit codes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"writ": main, "fetch": fetch})
}

// fetch is an ordinary HTTP program: it knows nothing of Writ and takes proxy
// and certificates from its environment, as Go programs do.
func fetch() {
	req, err := http.NewRequest(os.Args[1], os.Args[2], nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}

func TestScriptsWithoutAServer(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script/local", RequireExplicitExec: true, RequireUniqueNames: true, Setup: func(e *testscript.Env) error {
		e.Setenv("HOME", e.WorkDir)
		e.Setenv("TZ", "UTC")
		return nil
	}})
}

// Each script gets a whole server of its own, with bo (whose token it has),
// ana, ana's agent claude-pay, and what the agent may use: GET /v1/** at
// api.acme.test. SECRET is what must not be seen anywhere.
func TestScriptsWithAServer(t *testing.T) {
	files, err := filepath.Glob("testdata/script/server/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			w := newWorld(t)
			testscript.Run(t, testscript.Params{Files: []string{file}, RequireExplicitExec: true, RequireUniqueNames: true, Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"stop-server": func(*testscript.TestScript, bool, []string) { w.stop() },
			}, Setup: func(e *testscript.Env) error {
				e.Setenv("HOME", e.WorkDir)
				e.Setenv("TMPDIR", e.WorkDir)
				e.Setenv("TZ", "UTC")
				e.Setenv("WRIT_ADDR", w.apiURL())
				e.Setenv("WRIT_TOKEN", w.token)
				e.Setenv("SECRET", w.up.secret)
				return nil
			}})
			if strings.Contains(w.log.String(), w.up.secret) {
				t.Error("the server's log has the secret")
			}
		})
	}
}
