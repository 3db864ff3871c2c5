package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

// TestAUseIsToldInEightSentencesAndDecidedAgain: one use through the broker,
// read back through the API; also after what it rested on has changed.
func TestAUseIsToldInEightSentencesAndDecidedAgain(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.admin(), t.Context()
	agent := w.Agent()
	app := w.App("api.acme.test")
	const secret = "canary-secret"
	cred, err := c.AddCredential(ctx, client.NewCredential{
		Name: "acme-token", App: app.Name, Secret: secret, Placement: writ.Placement{In: writ.InBearer}, Owner: "ana@acme.dev", Issuer: "acme.test, settings",
		Authoriser: "ana@acme.dev", Triggers: []writ.Trigger{writ.OnManual}, AIUse: writ.AIAllowed, Purpose: "refunds",
	})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := c.AddGrant(ctx, client.NewGrant{Identity: agent.Label(), Credential: "acme-token", Allow: []string{"GET api.acme.test/v1/**"}, Expires: w.In(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	session := w.Session(agent, func(s *writ.Session) { s.Task = "add refunds" })
	use := func(method, target string) *writ.Decision {
		ask := &writ.Ask{Org: w.Org, Session: session.ID, Time: w.In(0), Scheme: "https", Source: netip.MustParseAddr("127.0.0.1"), Info: writ.Body{Mode: writ.BodyNone}, Runtime: writ.Runtime{Program: "curl"}}
		ask.Method, ask.Host = method, "api.acme.test"
		if ask.Target, err = writ.ParseTarget(target, writ.Profile{}); err != nil {
			t.Fatal(err)
		}
		d, err := w.broker.Use(ctx, broker.Intent{Ask: ask}, func(_ context.Context, u *broker.Use) writ.Outcome {
			if err := u.Secret(func(b []byte) error {
				if string(b) != secret {
					t.Error("another secret")
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			return writ.Outcome{Kind: writ.Completed, Status: 204}
		})
		if (err == nil) != d.Allow {
			t.Fatalf("%+v %v", d, err)
		}
		return d
	}
	log, err := w.Store.Log(ctx, w.Org)
	if err != nil {
		t.Fatal(err)
	}
	size := log.Head().Size
	allowed := use("GET", "/v1/refunds/7?q=not-recorded")
	if !allowed.Allow {
		t.Fatalf("%+v", allowed)
	}
	if _, err := log.Await(ctx, size+1); err != nil { // the allow, then its outcome
		t.Fatal(err)
	}
	size = log.Head().Size
	refused := use("DELETE", "/v1/refunds/7")
	if refused.Allow {
		t.Fatal("a DELETE was allowed")
	}
	if _, err := log.Await(ctx, size); err != nil {
		t.Fatal(err)
	}
	// What stands now is not what stood then.
	if _, err := c.RevokeGrant(ctx, string(grant.Item.ID), client.Because{}); err != nil {
		t.Fatal(err)
	}
	purpose := "something else"
	if _, err := c.EditCredential(ctx, string(cred.Item.ID), client.EditCredential{Purpose: &purpose}); err != nil {
		t.Fatal(err)
	}

	tr, err := c.Trace(ctx, string(writ.UseOf(allowed.ID)))
	if err != nil {
		t.Fatal(err)
	}
	if tr.ID != writ.UseOf(allowed.ID) || !tr.Allowed || tr.Outcome == nil || tr.Outcome.Status != 204 || tr.Ledger.Outcome == 0 {
		t.Errorf("%+v", tr)
	}
	want := map[string]string{
		"owner": "ana@acme.dev answers for acme-token", "issued": "issued by acme.test, settings", "scope": "by the rule GET api.acme.test/v1/**",
		"authorised": "ana@acme.dev gave the grant", "delegation": "ana@acme.dev → " + agent.Label(), "runtime": "task: add refunds",
		"used": "HTTP 204", "ends": "the grant ends on " + w.In(time.Hour).String(),
	}
	for _, s := range tr.Sentences {
		if !strings.Contains(s.Text, want[s.About]) || want[s.About] == "" {
			t.Errorf("%s: %s", s.About, s.Text)
		}
		if strings.Contains(s.Text, "something else") || strings.Contains(s.Text, "not-recorded") || strings.Contains(s.Text, secret) {
			t.Errorf("%s: %s", s.About, s.Text)
		}
	}
	for _, d := range []*writ.Decision{allowed, refused} {
		why, err := c.Why(ctx, string(d.ID))
		if err != nil {
			t.Fatal(err)
		}
		if !why.Same || why.Replayed == nil || why.Decision.Allow != d.Allow || len(why.Facts) == 0 || why.Note != "" {
			t.Errorf("%s: %+v", d.ID, why)
		}
	}
	uses, err := c.Uses(ctx, client.UseFilter{Credential: "acme-token", Result: "completed", Since: w.Clock.Now().Add(-time.Minute)})
	if err != nil || len(uses.Items) != 1 || uses.Items[0].ID != tr.ID || uses.Items[0].Status != 204 || uses.Items[0].Path != "/v1/refunds/7" {
		t.Errorf("%+v %v", uses, err)
	}
	var bundle bytes.Buffer
	if n, err := c.Evidence(ctx, string(tr.ID), &bundle); err != nil || n != int64(len("a bundle")) {
		t.Errorf("evidence: %d %v", n, err)
	}
	if _, err := c.Evidence(ctx, string(refused.ID), &bundle); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("evidence of a denial: %v", err)
	}
}

// TestTailShowsWhatIsCommittedAndResumes: with the client's own reconnecting.
func TestTailShowsWhatIsCommittedAndResumes(t *testing.T) {
	w := newWorld(t)
	c := w.admin()
	agent := w.Agent()
	session := w.Session(agent)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first := denied(t, w.Kit, agent.ID, session.ID)
	var place string
	for ev, err := range c.Tail(ctx, client.TailFilter{Last: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type != "denial" || ev.Decision != first || ev.Actor != agent.Label() || ev.Reason != writ.NoGrant || ev.Path != "/v1/thing" || strings.Contains(ev.Text, "not-recorded") {
			t.Errorf("event: %+v", ev)
		}
		place = ev.ID
		break
	}
	got := make(chan client.Event, 10)
	go func() {
		for ev, err := range c.Tail(ctx, client.TailFilter{After: place}) {
			if err != nil {
				return
			}
			got <- ev
		}
	}()
	if _, err := c.Kill(ctx, client.NewKill{Target: string(session.ID), Because: client.Because{Reason: "enough"}}); err != nil {
		t.Fatal(err)
	}
	if ev := <-got; ev.Type != "change" || ev.Act != "end-session" || ev.Actor != "ana@acme.dev" || !strings.Contains(ev.Text, "enough") {
		t.Errorf("change: %+v", ev)
	}
	if ev := <-got; ev.Type != "cut" {
		t.Errorf("cut: %+v", ev)
	}
}

// TestATailEndsWithItsKey: T1, an open stream does not outlive its right.
func TestATailEndsWithItsKey(t *testing.T) {
	w := newWorld(t)
	bob := w.Person("bob@acme.dev")
	token := w.token(w.Kit, bob.ID, writ.RoleAuditor)
	errs := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		for _, err := range w.as(token).Tail(t.Context(), client.TailFilter{Last: 1}) {
			if err != nil {
				errs <- err
				return
			}
			select {
			case <-started:
			default:
				close(started)
			}
		}
	}()
	<-started
	r, err := w.admin().RevokeIdentity(t.Context(), "bob@acme.dev", client.Because{})
	if err != nil || r.Connections.Found != 1 || r.Connections.Down != 1 {
		t.Errorf("counts: %+v %v", r, err)
	}
	if err := <-errs; writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("the tail goes on: %v", err)
	}
}

// TestTheLedgerIsVerifiedFromOutside: what an auditor fetches fits together.
func TestTheLedgerIsVerifiedFromOutside(t *testing.T) {
	w := newWorld(t)
	bob := w.Person("bob@acme.dev")
	c, ctx := w.as(w.token(w.Kit, bob.ID, writ.RoleAuditor)), t.Context()
	var export bytes.Buffer
	cp, err := c.Export(ctx, &export)
	if err != nil {
		t.Fatal(err)
	}
	body, _, _ := strings.Cut(cp.Note, "\n\n")
	signer, err := w.Keys.Signer(w.Org)
	if err != nil {
		t.Fatal(err)
	}
	// Ed25519 is deterministic: the log's key signs the text to the same note.
	again, err := note.Sign(&note.Note{Text: body + "\n"}, signer)
	if err != nil || string(again) != cp.Note {
		t.Errorf("the checkpoint is not signed by the log's key: %v", err)
	}
	if parsed, err := ledger.ParseCheckpoint(body + "\n"); err != nil || parsed.Size != cp.Size {
		t.Errorf("%+v %v", parsed, err)
	}
	if r, err := ledger.VerifyExport(ctx, bytes.NewReader(export.Bytes()), ledger.VerifyConfig{Org: w.Org}); err != nil || !r.OK() || r.Size != cp.Size {
		t.Errorf("%+v %v", r, err)
	}
	changed := bytes.Clone(export.Bytes())
	changed[len(changed)/2] ^= 1
	if r, err := ledger.VerifyExport(ctx, bytes.NewReader(changed), ledger.VerifyConfig{Org: w.Org}); err == nil && r.OK() {
		t.Error("a changed export passes")
	}
	l, err := c.Ledger(ctx)
	if err != nil || l.Size < cp.Size || l.Origin != "writ/"+string(w.Org) {
		t.Errorf("%+v %v", l, err)
	}
	var all []client.Entry
	for from := int64(0); ; {
		page, err := c.Entries(ctx, client.EntryFilter{From: from, To: cp.Size, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if from = page.Next; from == 0 {
			break
		}
	}
	if int64(len(all)) != cp.Size || all[0].Seq != 0 {
		t.Errorf("%d entries of %d", len(all), cp.Size)
	}
	token := w.token(w.Kit, bob.ID, writ.RoleAuditor)
	resp, text := w.call("GET", "/tlog/"+string(w.Org)+"/checkpoint", token, "")
	if resp.StatusCode != 200 || !strings.HasPrefix(text, "writ/") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, text := w.call("GET", "/tlog/"+string(w.Org)+"/tile/0/000.p/4", token, ""); resp.StatusCode != 200 || len(text) != 4*32 {
		t.Errorf("tile: %d, %d bytes", resp.StatusCode, len(text))
	}
	for _, bad := range []string{"tile/0/000", "tile/9/000.p/1", "tile/0/0", "tile/entries/000.p/999", "tile/0/..%2f000.p/1"} {
		if resp, _ := w.call("GET", "/tlog/"+string(w.Org)+"/"+bad, token, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %d", bad, resp.StatusCode)
		}
	}
}

func TestADenialIsTracedWithItsMissingFacts(t *testing.T) {
	w := newWorld(t)
	c := w.admin()
	agent := w.Agent()
	session := w.Session(agent)
	id := denied(t, w.Kit, agent.ID, session.ID)
	tr, err := c.Trace(t.Context(), string(id)[:16])
	if err != nil {
		t.Fatal(err)
	}
	if tr.ID != id || tr.Allowed || len(tr.Sentences) != 8 || !strings.Contains(tr.Title, "no_grant") || tr.Ledger.Leaf == "" {
		t.Errorf("%+v", tr)
	}
	for _, s := range tr.Sentences {
		if s.Text == "" || s.Text == "." || len(s.Facts) == 0 {
			t.Errorf("%s says nothing: %+v", s.About, s)
		}
		if strings.Contains(s.Text, "not-recorded") {
			t.Errorf("a value of the query: %s", s.Text)
		}
	}
	if len(tr.Sentences[0].Missing) == 0 || !strings.Contains(tr.Sentences[0].Text, "not recorded") {
		t.Errorf("a missing fact is not named: %+v", tr.Sentences[0])
	}
	why, err := c.Why(t.Context(), string(id))
	if err != nil || why.Reason == nil || why.Reason.Reason != writ.NoGrant || why.Request != "GET api.acme.test/v1/thing" {
		t.Errorf("%+v %v", why, err)
	}
	uses, err := c.Uses(t.Context(), client.UseFilter{Actor: agent.Label(), Result: "denied"})
	if err != nil || len(uses.Items) != 1 || uses.Items[0].Decision != id || uses.Items[0].IdentityName != agent.Label() {
		t.Errorf("%+v %v", uses, err)
	}
	b, err := json.Marshal(uses)
	if err != nil || strings.Contains(string(b), "not-recorded") {
		t.Errorf("%s %v", b, err)
	}
}
