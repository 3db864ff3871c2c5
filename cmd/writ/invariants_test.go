package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// An agent whose owner leaves passes to the living backup, and with nobody
// left it is suspended: somebody is accountable, or nothing is used (R20).
func TestInvariant07SomebodyIsAccountable(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	must[*client.Change[client.Identity]](t)(w.admin.AddIdentity(ctx, client.NewIdentity{Kind: writ.Person, Name: "cy@acme.test"}))
	backup := "cy@acme.test"
	must[*client.Change[client.Identity]](t)(w.admin.EditIdentity(ctx, agentName, client.EditIdentity{Backup: &backup}))
	must[*client.Revocation](t)(w.admin.RevokeIdentity(ctx, "ana@acme.test", client.Because{Reason: "left"}))
	agent := must[*client.Identity](t)(w.admin.Identity(ctx, agentName))
	if agent.OwnerName != "cy@acme.test" || agent.State != writ.Active {
		t.Fatalf("after the owner left: owner %s, %s", agent.OwnerName, agent.State)
	}
	if resp, body := w.get(w.browser(w.open(agentName).Token), base+"/v1/x"); resp.StatusCode != 200 {
		t.Errorf("under the backup: %d %s", resp.StatusCode, body)
	}
	session := w.open(agentName).Token
	must[*client.Revocation](t)(w.admin.RevokeIdentity(ctx, "cy@acme.test", client.Because{Reason: "left too"}))
	agent = must[*client.Identity](t)(w.admin.Identity(ctx, agentName))
	if agent.State != writ.Suspended {
		t.Errorf("with nobody left the agent is %s", agent.State)
	}
	if resp, err := w.browser(session).Get(base + "/v1/x"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("an agent without a living owner was served")
		}
	}
	w.oracle()
}

// A credential without provenance can be kept and not used; supplying the facts
// makes it usable without a restart (R13, R14).
func TestInvariant08OutsideGovernanceUntilItIsProven(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	must[*client.Revocation](t)(w.admin.RevokeCredential(ctx, credential, client.Because{Reason: "replaced"}))
	must[*client.Change[client.Credential]](t)(w.admin.AddCredential(ctx, client.NewCredential{
		Name: "bare-key", App: "acme", Secret: w.up.secret, Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.test", Authoriser: "bo@acme.test", AIUse: writ.AIAllowed,
	}))
	must[*client.Change[client.Grant]](t)(w.admin.AddGrant(ctx, client.NewGrant{Identity: agentName, Credential: "bare-key", Allow: []string{"GET /v1/**"}}))
	c := w.browser(w.session.Token)
	resp, body := w.get(c, base+"/v1/x")
	d := denied(t, resp, body, writ.OutsideGovernance)
	if got := strings.Join(d.Writ.Missing, ","); !strings.Contains(got, "issuer") || !strings.Contains(got, "revocation trigger") {
		t.Errorf("the denial names %q as missing", got)
	}
	w.unseen()
	issuer, triggers := "acme.test", []writ.Trigger{writ.OnManual}
	must[*client.Change[client.Credential]](t)(w.admin.EditCredential(ctx, "bare-key", client.EditCredential{Issuer: &issuer, Triggers: &triggers}))
	if resp, body := w.get(c, base+"/v1/x"); resp.StatusCode != 200 {
		t.Errorf("after the facts: %d %s", resp.StatusCode, body)
	}
	w.oracle()
}

// A row that was written, changed, set back or deleted in the database without
// Writ is not believed after the next start.
func TestInvariant12RowsAreBelievedOnlyWithTheirRecord(t *testing.T) {
	for name, change := range map[string]string{
		"inserted":            `INSERT INTO grants (org, id, body, entry_seq, entry_digest) SELECT org, 'grt_0000000000000000', replace(replace(body, id, 'grt_0000000000000000'), '/v1/**', '/**'), entry_seq, entry_digest FROM grants LIMIT 1`,
		"changed":             `UPDATE grants SET body = replace(body, '/v1/**', '/**')`,
		"revived":             `UPDATE grants SET body = replace(body, '"state":"revoked"', '"state":"active"')`,
		"set back":            `UPDATE grants SET body = (SELECT body FROM grants_before), entry_seq = (SELECT entry_seq FROM grants_before), entry_digest = (SELECT entry_digest FROM grants_before)`,
		"a guardrail deleted": `DELETE FROM policies`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			target, want := base+"/v2/x", writ.StateUnproven
			must[*client.Change[client.Policy]](t)(w.admin.AddPolicy(ctx, client.NewPolicy{Name: "no-v3", Text: `forbid (principal, action, resource) when { context.path like "/v1/forbidden" };`}))
			w.stop()
			db := w.database()
			if _, err := db.Exec(`CREATE TABLE grants_before AS SELECT * FROM grants`); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			w.start()
			switch name {
			case "revived", "set back":
				grants := must[*client.Page[client.Grant]](t)(w.admin.Grants(ctx, client.GrantFilter{Identity: agentName}))
				must[*client.Revocation](t)(w.admin.RevokeGrant(ctx, string(grants.Items[0].ID), client.Because{Reason: "test"}))
				target = base + "/v1/x"
			case "a guardrail deleted":
				target = base + "/v1/forbidden"
			}
			w.stop()
			db = w.database()
			if _, err := db.Exec(change); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			w.start()
			resp, body := w.get(w.browser(w.open(agentName).Token), target)
			denied(t, resp, body, want)
			w.unseen()
		})
	}
}

// database opens the stopped server's database, as somebody with the file can.
func (w *world) database() *sql.DB {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "dev", "writ.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

// A database that was set back as a whole is refused at the start: the newest
// checkpoint lies beside the key (R45).
func TestRolledBackDatabaseIsRefused(t *testing.T) {
	w := newWorld(t)
	w.stop()
	db := w.database()
	saved := filepath.Join(w.dir, "saved.db")
	if _, err := db.Exec(`VACUUM INTO '` + saved + `'`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	w.start()
	must[*client.Revocation](t)(w.admin.RevokeIdentity(t.Context(), agentName, client.Because{Reason: "test"}))
	w.stop()
	replaceDatabase(t, filepath.Join(w.dir, "dev"), saved)
	if s, err := startServer(t.Context(), w.config(), silentLog()); err == nil {
		_ = s.close()
		t.Fatal("a database that was set back was served")
	} else if writ.KindOf(err) == writ.KindInternal {
		t.Errorf("the refusal shows nothing: %v", err)
	}
}

// replaceDatabase puts another database file in the place of a stopped server's.
func replaceDatabase(t *testing.T, folder, with string) {
	t.Helper()
	b, err := os.ReadFile(with)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"writ.db-wal", "writ.db-shm"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "writ.db"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func silentLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A second server on the same data is refused with a clear word.
func TestSecondServerIsRefused(t *testing.T) {
	w := newWorld(t)
	s, err := startServer(t.Context(), w.config(), silentLog())
	if err == nil {
		_ = s.close()
		t.Fatal("a second server was started on the same data")
	}
	if writ.KindOf(err) != writ.KindConflict && writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("%v (%s)", err, writ.KindOf(err))
	}
	// The first one goes on.
	if resp, _ := w.get(w.browser(w.session.Token), base+"/v1/x"); resp.StatusCode != http.StatusOK {
		t.Errorf("the first server answers %d", resp.StatusCode)
	}
}

// A session that runs out ends what is open in it.
func TestExpiryEndsWhatIsOpen(t *testing.T) {
	w := newWorld(t)
	w.grant("GET /open/**")
	w.up.answer(openEnded)
	w.session = must[*client.SessionOnce](t)(w.admin.StartSession(t.Context(), client.NewSession{Identity: agentName, Expires: writ.At(time.Now().Add(2 * time.Second))}))
	s := w.openStream("events")
	s.await(t, 2)
	s.awaitEnd(t)
	w.oracle()
}

// The log of a stopped server can be verified where it lies, also when the
// server refuses to start on it (R45).
func TestLedgerOfAStoppedServerIsVerified(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if resp, _ := w.get(w.browser(w.session.Token), base+"/v1/x"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	data := filepath.Join(w.dir, "dev")
	if _, talk, code := w.writ("ledger", "verify", "--data", data); code == 0 {
		t.Errorf("the data of a running server was opened: %s", talk)
	}
	w.stop()
	w.remote = &devFile{Addr: "http://127.0.0.1:1"} // nothing answers there, and nothing is asked
	if out, talk, code := w.writ("ledger", "verify", "--data", data); code != 0 || !strings.Contains(out, "verified") {
		t.Fatalf("exit %d: %s%s", code, out, talk)
	}
	db := w.database()
	if _, err := db.Exec(`UPDATE entries SET pack = (SELECT pack FROM entries ORDER BY at LIMIT 1) WHERE at = (SELECT max(at) FROM entries)`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if out, talk, code := w.writ("ledger", "verify", "--data", data); code != 5 || !strings.Contains(out+talk, "NOT verified") {
		t.Errorf("a changed entry: exit %d: %s%s", code, out, talk)
	}
	if _, _, code := w.writ("ledger", "verify", "--data", t.TempDir()); code != 1 {
		t.Errorf("a folder without a database: exit %d", code)
	}
}
