package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// limited gives the agent a grant of one use, of /once/**.
func (w *world) limited() *client.Grant {
	w.t.Helper()
	g := must[*client.Change[client.Grant]](w.t)(w.admin.AddGrant(w.t.Context(), client.NewGrant{
		Identity: agentName, Credential: credential, Allow: []string{"GET /once/**"}, Limits: writ.Limits{Uses: 1}, Purpose: "tests",
	}))
	return &g.Item
}

// forge changes the database under the server, as somebody with the file can.
func (w *world) forge(statements ...string) {
	w.t.Helper()
	db := w.database()
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			w.t.Fatalf("%s: %v", s, err)
		}
	}
}

// The number of uses that a grant has left is what the ledger says, not what a
// row says: an UPDATE hands out no uses, neither while the server is stopped
// nor under it (invariant 12).
func TestAttackResettingAUseLimitGivesNoUses(t *testing.T) {
	const reset = `UPDATE grant_uses SET remaining = 1000`
	for name, attack := range map[string]func(*world){
		"stopped": func(w *world) { w.stop(); w.forge(reset); w.start() },
		"running": func(w *world) { w.forge(reset) },
		"its row set anew": func(w *world) {
			w.stop()
			w.forge(`DELETE FROM grant_uses`, `INSERT INTO grant_uses (org, grant_id, remaining) SELECT org, id, 9 FROM grants`)
			w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.limited()
			if resp, body := w.get(w.browser(w.session.Token), base+"/once/a"); resp.StatusCode != http.StatusOK {
				t.Fatalf("the first use: %d %s", resp.StatusCode, body)
			}
			attack(w)
			resp, body := w.get(w.browser(w.open(agentName).Token), base+"/once/b")
			denied(t, resp, body, writ.QuotaExceeded)
			for _, s := range w.up.sights() {
				if s.Target == "/once/b" {
					t.Error("the upstream saw a use beyond the limit")
				}
			}
		})
	}
}

// What the ledger cannot show is not counted as unused: limited grants have
// nothing left, everything else goes on.
func TestAttackAnAllowMadeUnreadableGivesNoUses(t *testing.T) {
	w := newWorld(t)
	w.limited()
	if resp, body := w.get(w.browser(w.session.Token), base+"/once/a"); resp.StatusCode != http.StatusOK {
		t.Fatalf("the first use: %d %s", resp.StatusCode, body)
	}
	w.stop()
	w.forge(`UPDATE grant_uses SET remaining = 1000`,
		`UPDATE entries SET pack = zeroblob(length(pack)) WHERE instr(leaf, '"type":"allow"') > 0`)
	w.start()
	session := w.open(agentName).Token
	resp, body := w.get(w.browser(session), base+"/once/b")
	denied(t, resp, body, writ.QuotaExceeded)
	if resp, body := w.get(w.browser(session), base+"/v1/x"); resp.StatusCode != http.StatusOK {
		t.Errorf("a grant without a limit: %d %s", resp.StatusCode, body)
	}
}

// A denial that comes after the decision still says who was denied, on which
// grant (R2).
func TestExhaustedUsesAreDeniedToSomebody(t *testing.T) {
	w := newWorld(t)
	grant := w.limited()
	c := w.browser(w.session.Token)
	w.get(c, base+"/once/a")
	resp, body := w.get(c, base+"/once/b")
	d := denied(t, resp, body, writ.QuotaExceeded)
	if !strings.Contains(d.Detail, agentName) {
		t.Errorf("the denial does not say who: %q", d.Detail)
	}
	why, err := w.admin.Why(t.Context(), string(d.Writ.Decision))
	// The entry is written behind the answer, and found behind the entry.
	for tick := time.Tick(20 * time.Millisecond); writ.KindOf(err) == writ.KindNotFound && t.Context().Err() == nil; <-tick {
		why, err = w.admin.Why(t.Context(), string(d.Writ.Decision))
	}
	if err != nil {
		t.Fatal(err)
	}
	agent := must[*client.Identity](t)(w.admin.Identity(t.Context(), agentName))
	if why.Decision.Identity != agent.ID || why.Decision.Grant != grant.ID || len(why.Facts) == 0 {
		t.Errorf("recorded for %q on grant %q with %d facts", why.Decision.Identity, why.Decision.Grant, len(why.Facts))
	}
}

// startFails demands that the server refuses to start, with words for people and
// a fix, and that trying leaves the folder as it was.
func (w *world) startFails(kind writ.ErrorKind) *writ.Error {
	w.t.Helper()
	before := w.files()
	s, err := startServer(w.t.Context(), w.config(), silentLog())
	if err == nil {
		_ = s.close()
		w.t.Fatal("the server started")
	}
	var shown *writ.Error
	if !errors.As(err, &shown) || shown.Kind != kind || shown.Fix == "" {
		w.t.Fatalf("refused by %v", err)
	}
	if after := w.files(); !slices.Equal(before, after) {
		w.t.Errorf("a refused start changed the files from %q to %q", before, after)
	}
	return shown
}

// files are the names of all that the server keeps, but for what SQLite makes
// and removes by itself.
func (w *world) files() []string {
	var names []string
	_ = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !strings.HasSuffix(path, "-wal") && !strings.HasSuffix(path, "-shm") {
			names = append(names, path)
		}
		return nil
	})
	return names
}

func (w *world) remove(names ...string) {
	w.t.Helper()
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(w.dir, n)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A log that a checkpoint outside the database vouches for must be there. A
// database that was emptied, or whose organization was taken out, would else
// begin as a fresh one, and its history would be gone without a word (R45).
func TestAttackAnEmptiedDatabaseIsRefused(t *testing.T) {
	for name, attack := range map[string]func(*world){
		"deleted":                       func(w *world) { w.remove("dev/writ.db", "dev/writ.db-wal", "dev/writ.db-shm") },
		"deleted with the data folder":  func(w *world) { w.remove("dev") },
		"without its organizations":     func(w *world) { w.forge(`DELETE FROM orgs`) },
		"without the heads of its logs": func(w *world) { w.forge(`DELETE FROM log_head`) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stop()
			attack(w)
			s, err := startServer(t.Context(), w.config(), silentLog())
			if err == nil {
				_ = s.close()
				t.Fatal("the server started without the history that its checkpoint vouches for")
			}
			var shown *writ.Error
			if !errors.As(err, &shown) || shown.Kind != writ.KindCheckFailed || shown.Fix == "" {
				t.Errorf("refused by %v", err)
			}
		})
	}
}

// Keys are made for a new database only: beside one that exists a new key would
// open none of its secrets and sign another log.
func TestMissingKeysBesideDataAreRefused(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.remove("dev/keyring", "dev.key", "dev.key.checkpoints")
	if e := w.startFails(writ.KindUnavailable); !strings.Contains(e.Message, "keyring") {
		t.Errorf("refused with %q", e.Message)
	}
	// And not only the first time.
	w.startFails(writ.KindUnavailable)
}

// A server that cannot keep its checkpoints outside the database does not
// start; one that no longer can says so, once, and ends with words.
func TestCheckpointsThatCannotBeKeptAreSaid(t *testing.T) {
	w := newWorld(t)
	w.stop()
	folder := filepath.Join(w.dir, "dev.key.checkpoints")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	// A file in its place: root passes through modes.
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := w.startFails(writ.KindUnavailable); !strings.Contains(e.Fix, folder) {
		t.Errorf("the fix is %q", e.Fix)
	}
	w.remove("dev.key.checkpoints")
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	w.start()
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(agentName) // the log grows, and its checkpoint has nowhere to go
	if st := must[*client.Status](t)(w.admin.Status(t.Context())); len(st.Warnings) == 0 {
		t.Error("the status does not warn")
	}
	err := w.server.close()
	w.server = nil
	var shown *writ.Error
	if !errors.As(err, &shown) || shown.Kind != writ.KindUnavailable || shown.Fix == "" {
		t.Errorf("closing gives %v", err)
	}
	if n := strings.Count(w.log.String(), "cannot be kept outside the database"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}
