package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

// TestEverythingCanBeMadeAndRead goes once through what an administrator does.
func TestEverythingCanBeMadeAndRead(t *testing.T) {
	w := newWorld(t)
	ctx, c := t.Context(), w.admin()
	bob, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Person, Name: "bob@acme.dev"})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Agent, Name: "claude-pay", Owner: "ana@acme.dev", Backup: string(bob.Item.ID), Purpose: "payments", Expires: w.In(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if agent.Item.Label != "agent:claude-pay" || agent.Item.OwnerName != "ana@acme.dev" || agent.Item.BackupName != "bob@acme.dev" || !agent.Item.Live || agent.Record.Seq == 0 {
		t.Errorf("agent: %+v", agent)
	}
	app, err := c.AddApplication(ctx, client.NewApplication{Name: "acme", Env: writ.Dev, Hosts: []string{"API.acme.test.", "b.acme.test:443"}})
	if err != nil || app.Item.Hosts[0] != "api.acme.test" || app.Item.Hosts[1] != "b.acme.test" {
		t.Fatalf("application: %+v %v", app, err)
	}
	const secret = "canary-of-the-credential"
	cred, err := c.AddCredential(ctx, client.NewCredential{
		Name: "acme-token", App: "acme", Secret: secret, Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.dev", Issuer: "acme.test", Authoriser: "ana@acme.dev",
		Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed,
	})
	if err != nil {
		t.Fatal(err)
	}
	if cred.Item.Version == nil || cred.Item.Version.Number != 1 || cred.Item.Version.Fingerprint == "" || len(cred.Item.Version.Hosts) != 2 || len(cred.Item.Missing) != 0 {
		t.Errorf("credential: %+v", cred.Item)
	}
	same, err := c.RotateCredential(ctx, "acme-token", client.NewVersion{Secret: base64.StdEncoding.EncodeToString([]byte(secret)), Encoding: "base64"})
	if err != nil || same.Item.Version.Number != 2 || same.Item.Version.Fingerprint != cred.Item.Version.Fingerprint || same.Item.Version.ID == cred.Item.Version.ID {
		t.Errorf("rotated to the same value: %+v %v", same, err)
	}
	root, err := c.AddGrant(ctx, client.NewGrant{Identity: "bob@acme.dev", Credential: "acme-token", Allow: []string{"GET,POST api.acme.test/v1/**"}, Expires: w.In(time.Hour)})
	if err != nil || root.Item.Texts[0] != "GET,POST api.acme.test/v1/**" || root.Item.AuthoriserName != "ana@acme.dev" {
		t.Fatalf("grant: %+v %v", root, err)
	}
	child, err := c.AddGrant(ctx, client.NewGrant{Identity: "agent:claude-pay", Parent: string(root.Item.ID)[:14], Allow: []string{"GET api.acme.test/v1/x"}, Expires: w.In(time.Minute)})
	if err != nil || child.Item.Parent != root.Item.ID || child.Item.CredentialName != "acme-token" {
		t.Fatalf("delegated grant: %+v %v", child, err)
	}
	if _, err := c.AddGrant(ctx, client.NewGrant{Identity: "agent:claude-pay", Parent: string(root.Item.ID), Allow: []string{"DELETE api.acme.test/v1/x"}, Expires: w.In(time.Minute)}); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("a wider delegation: %v", err)
	}
	if _, err := c.AddPolicy(ctx, client.NewPolicy{Name: "night", Text: "forbid (principal, action, resource);"}); err != nil {
		t.Fatal(err)
	}
	observe := true
	if p, err := c.EditPolicy(ctx, "night", client.EditPolicy{Observe: &observe}); err != nil || p.Item.Version != 2 || !p.Item.Observe {
		t.Errorf("policy: %+v %v", p, err)
	}
	if check, err := c.CheckPolicy(ctx, "permit (principal, action, resource);"); err != nil || check.OK || check.Problem == "" {
		t.Errorf("a permit passes as a guardrail: %+v %v", check, err)
	}
	s, err := c.StartSession(ctx, client.NewSession{Identity: "agent:claude-pay", Task: "refunds", For: "90m"})
	if err != nil || len(s.MayUse) != 1 || s.MayUse[0].Grant != child.Item.ID || s.Session.StartedName != "ana@acme.dev" || s.Session.Expires != w.In(90*time.Minute) {
		t.Fatalf("session: %+v %v", s, err)
	}
	me, err := w.as(s.Token).Whoami(ctx)
	if err != nil || me.Identity.Label != "agent:claude-pay" || me.Session == nil || me.Role != "" || me.OrgName != "acme" {
		t.Errorf("whoami of the session: %+v %v", me, err)
	}
	st, err := c.Status(ctx)
	if err != nil || st.Ledger.Size == 0 || st.Ledger.Checkpoint == 0 || st.OrgName != "acme" || st.CA.Fingerprint == "" || len(st.Rests) == 0 {
		t.Errorf("status: %+v %v", st, err)
	}
	purpose := "refunds"
	if e, err := c.EditIdentity(ctx, "agent:claude-pay", client.EditIdentity{Purpose: &purpose}); err != nil || e.Item.Purpose != purpose || e.Item.Owner != w.Ana.ID {
		t.Errorf("edit: %+v %v", e, err)
	}
	if ca, err := w.as("").CA(ctx); err != nil || !bytes.HasPrefix(ca, []byte("-----BEGIN")) {
		t.Errorf("certificate: %s %v", ca, err)
	}
	var dump strings.Builder
	rows, err := w.DB.QueryContext(ctx, `SELECT body FROM credentials UNION ALL SELECT body FROM versions UNION ALL SELECT CAST(pack AS TEXT) FROM entries UNION ALL SELECT response FROM idempotency`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var b string
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		dump.WriteString(b)
	}
	if strings.Contains(dump.String()+w.logs.String(), secret) || strings.Contains(dump.String(), base64.StdEncoding.EncodeToString([]byte(secret))) {
		t.Error("the secret lies in the database or the log")
	}
}

// TestPagesAreWalkedByCursor: with the client's own iterator.
func TestPagesAreWalkedByCursor(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.Agent()
	}
	c := w.admin()
	var names []string
	for i, err := range client.All(t.Context(), func(ctx context.Context, cursor string) (*client.Page[client.Identity], error) {
		return c.Identities(ctx, client.IdentityFilter{Kind: writ.Agent, Listing: client.Listing{Paging: client.Paging{Cursor: cursor, Limit: 3}}})
	}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, i.Name)
	}
	if len(names) != 7 || names[0] == names[6] {
		t.Errorf("walked %v", names)
	}
}

// TestADryRunChangesNothing for any operation that takes one.
func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.admin(), t.Context()
	agent, app := w.Agent(), w.App("api.acme.test")
	cred := w.Credential(app)
	grant, session, key, policy := w.Grant(agent, cred), w.Session(agent), w.Key(w.Ana), w.Policy("forbid (principal, action, resource);")
	log, err := w.Store.Log(ctx, w.Org)
	if err != nil {
		t.Fatal(err)
	}
	admin := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)
	before := log.Head().Size
	bodies := map[string]string{
		"add-identity": `{"kind":"person","name":"x@acme.dev"}`, "add-key": `{"identity":"ana@acme.dev","role":"admin","name":"x","expires":"2027-01-01T00:00:00Z"}`,
		"add-org": `{"name":"third","admin":"x@acme.dev"}`, "edit-org": `{"grace_days":3}`, "add-application": `{"name":"x","env":"dev","hosts":["x.test"]}`,
		"add-credential": `{"name":"x","app":"` + app.Name + `","secret":"s","placement":{"in":"bearer"}}`, "rotate-credential": `{"secret":"s"}`,
		"add-grant":  `{"identity":"` + agent.Name + `","credential":"` + cred.Name + `","allow":["GET /x"]}`,
		"add-policy": `{"name":"x","text":"forbid (principal, action, resource);"}`, "edit-policy": `{"observe":true}`,
		"start-session": `{"identity":"` + agent.Name + `"}`, "kill": `{"target":"all"}`, "resume": `{"target":"all"}`,
	}
	refs := map[string]writ.ID{"identities": agent.ID, "keys": key.ID, "orgs": w.Org, "applications": app.ID, "credentials": cred.ID, "grants": grant.ID, "policies": policy.ID, "sessions": session.ID}
	n := 0
	for _, op := range w.server.operations {
		if op.method == http.MethodGet || op.id == "check-policy" {
			continue
		}
		body := bodies[op.id]
		if body == "" {
			body = `{}`
		}
		noun := strings.Split(op.path, "/")[2]
		resp, text := w.call(op.method, strings.Replace(op.path, "{ref}", string(refs[noun]), 1)+"?dry_run=true", admin, body)
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, `"dry_run":true`) {
			t.Errorf("%s: %d %s", op.id, resp.StatusCode, text)
		}
		if strings.Contains(text, "writ_key_") || strings.Contains(text, "writ_ses_") {
			t.Errorf("%s: a token was minted", op.id)
		}
		n++
	}
	if after := log.Head().Size; after != before || n < 25 {
		t.Errorf("%d entries were written by %d dry runs", after-before, n)
	}
	if _, err := c.AddIdentity(ctx, client.NewIdentity{Kind: writ.Agent, Name: "x"}, client.DryRun()); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("a dry run does not validate: %v", err)
	}
}

func TestAnIdempotencyKeyDoesOnce(t *testing.T) {
	w := newWorld(t)
	c := w.admin()
	ctx := client.WithIdempotencyKey(t.Context(), "key-1")
	in := client.NewIdentity{Kind: writ.Person, Name: "bob@acme.dev"}
	first, err := c.AddIdentity(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.AddIdentity(ctx, in)
	if err != nil || again.Item.ID != first.Item.ID || again.Record != first.Record {
		t.Errorf("again: %+v %v", again, err)
	}
	in.Name = "eve@acme.dev"
	if _, err := c.AddIdentity(ctx, in); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("another body: %v", err)
	}
	if _, err := c.AddPolicy(ctx, client.NewPolicy{Name: "p", Text: "forbid (principal, action, resource);"}); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("another operation: %v", err)
	}

	// A token is shown by the call that made it, and by no repeat of it.
	ctx = client.WithIdempotencyKey(t.Context(), "key-2")
	key := client.NewKey{Identity: "bob@acme.dev", Role: writ.RoleMember, Name: "laptop", Expires: w.In(time.Hour)}
	k1, err := c.AddKey(ctx, key)
	if err != nil || k1.Text == "" {
		t.Fatal(k1, err)
	}
	k2, err := c.AddKey(ctx, key)
	if err != nil || k2.Key.ID != k1.Key.ID || k2.Text != "" {
		t.Errorf("a repeat: %+v %v", k2, err)
	}
	ctx = client.WithIdempotencyKey(t.Context(), "key-3")
	s1, err := c.StartSession(ctx, client.NewSession{Identity: "ana@acme.dev"})
	if err != nil {
		t.Fatal(err)
	}
	s2, err := c.StartSession(ctx, client.NewSession{Identity: "ana@acme.dev"})
	if err != nil || s2.Session.ID != s1.Session.ID || s2.Token != "" {
		t.Errorf("a repeated session: %+v %v", s2, err)
	}

	// A secret counts as what was asked, by its keyed fingerprint.
	app := w.App("api.acme.test")
	ctx = client.WithIdempotencyKey(t.Context(), "key-4")
	cred := client.NewCredential{Name: "c", App: app.Name, Secret: "one", Placement: writ.Placement{In: writ.InBearer}}
	c1, err := c.AddCredential(ctx, cred)
	if err != nil {
		t.Fatal(err)
	}
	if c2, err := c.AddCredential(ctx, cred); err != nil || c2.Item.ID != c1.Item.ID {
		t.Errorf("the same secret: %+v %v", c2, err)
	}
	cred.Secret = "two"
	if _, err := c.AddCredential(ctx, cred); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("another secret: %v", err)
	}
}

// TestARevocationCountsAndIsRecorded: R13; the cut lies in the ledger.
func TestARevocationCountsAndIsRecorded(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.admin(), t.Context()
	agent := w.Agent()
	cred := w.Credential(w.App("api.acme.test"))
	w.Grant(agent, cred)
	w.Session(agent)
	w.Session(agent)
	r, err := c.RevokeIdentity(ctx, "agent:"+agent.Name, client.Because{Reason: "left"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Identities != 1 || r.Sessions != 2 || r.Grants != 1 || r.Target.Label != agent.Label() || r.Act != "revoke" || r.Record.Seq == 0 || r.Micros < 0 || r.Decided == 0 || r.Settled == 0 {
		t.Errorf("counts: %+v", r)
	}
	e, err := w.Store.Entry(ctx, w.Org, r.Record.Seq+1)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := ledger.DecodeCut(e)
	if err != nil || cut.Change != r.Record.Seq || cut.Sessions != 2 || cut.Targets[0] != agent.ID {
		t.Errorf("cut: %+v %v", cut, err)
	}
	again, err := c.RevokeIdentity(ctx, string(agent.ID), client.Because{})
	if err != nil || again.Identities != 0 || again.Record != r.Record {
		t.Errorf("again: %+v %v", again, err)
	}
}

func TestKillAndResume(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.admin(), t.Context()
	agent := w.Agent()
	session := w.Session(agent)
	cred := w.Credential(w.App("api.acme.test"))
	for target, act := range map[string]string{string(session.ID): "end", "credential:" + cred.Name: "suspend", "agent:" + agent.Name: "suspend"} {
		if r, err := c.Kill(ctx, client.NewKill{Target: target, Because: client.Because{Reason: "test"}}); err != nil || r.Act != act {
			t.Errorf("kill %s: %+v %v", target, r, err)
		}
	}
	if _, err := c.Resume(ctx, client.NewResume{Target: string(session.ID)}); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("a session came back: %v", err)
	}
	if r, err := c.Resume(ctx, client.NewResume{Target: agent.Name}); err != nil || r.Target.ID != agent.ID {
		t.Errorf("resume: %+v %v", r, err)
	}
	running := w.session(false)
	r, err := c.Kill(ctx, client.NewKill{Target: "all"})
	if err != nil || r.Act != "stop" || r.Target.Label != "all" || r.Sessions != 1 {
		t.Errorf("stop: %+v %v", r, err)
	}
	if _, err := w.as(running.Token).Whoami(ctx); writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("a session goes on: %v", err)
	}
	if _, err := c.StartSession(ctx, client.NewSession{Identity: "ana@acme.dev"}); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("a session starts while all is stopped: %v", err)
	}
	if st, err := c.Status(ctx); err != nil || !st.Stopped {
		t.Errorf("status: %+v %v", st, err)
	}
	if _, err := c.Resume(ctx, client.NewResume{Target: "all"}); err != nil {
		t.Error(err)
	}
	if _, err := w.as(running.Token).Whoami(ctx); writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("a session came back: %v", err)
	}
	// One name for two things is not guessed at.
	w.Agent(func(i *writ.Identity) { i.Name = "twin" })
	w.Credential(w.App("twin.test"), func(c *writ.Credential) { c.Name = "twin" })
	if _, err := c.Kill(ctx, client.NewKill{Target: "twin"}); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("an ambiguous name: %v", err)
	}
}

func TestOnlyTheOperatorMakesOrganizations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	o, err := w.admin().AddOrg(ctx, client.NewOrg{Name: "third", Admin: "carol@third.dev"})
	if err != nil || o.Text == "" || o.Org.Name != "third" {
		t.Fatalf("%+v %v", o, err)
	}
	carol := w.as(o.Text)
	me, err := carol.Whoami(ctx)
	if err != nil || me.Org != o.Org.ID || me.Role != writ.RoleAdmin || me.Identity.Name != "carol@third.dev" {
		t.Errorf("%+v %v", me, err)
	}
	if orgs, err := carol.Orgs(ctx, client.Paging{}); err != nil || len(orgs.Items) != 1 || orgs.Items[0].ID != o.Org.ID {
		t.Errorf("%+v %v", orgs, err)
	}
	if _, err := carol.AddOrg(ctx, client.NewOrg{Name: "fourth", Admin: "dan@fourth.dev"}); writ.KindOf(err) != writ.KindForbidden {
		t.Errorf("%v", err)
	}
	if _, err := w.admin().AddOrg(ctx, client.NewOrg{Name: "third", Admin: "dan@fourth.dev"}); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("a name twice: %v", err)
	}
}
