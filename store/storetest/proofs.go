package storetest

import (
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// exec changes the database behind the store's back, as somebody with the file
// or the database's password can.
func (k *Kit) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := k.DB.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// loaded gives what Load yields, by id.
func (k *Kit) loaded(t testing.TB) map[writ.ID]ledger.Noun {
	t.Helper()
	m := map[writ.ID]ledger.Noun{}
	_, err := k.Store.Load(t.Context(), k.Org, func(n ledger.Noun) error {
		if _, twice := m[n.ID]; twice {
			t.Errorf("%s was yielded twice", n.ID)
		}
		m[n.ID] = n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantUnproven fails unless exactly these are not proven.
func (k *Kit) wantUnproven(t *testing.T, what string, ids ...writ.ID) {
	t.Helper()
	doubted := map[writ.ID]bool{}
	for id, n := range k.loaded(t) {
		if !n.Proven {
			doubted[id] = true
		}
	}
	for _, id := range ids {
		if !doubted[id] {
			t.Errorf("%s: %s came out as proven, or not at all", what, id)
		}
		delete(doubted, id)
	}
	for id := range doubted {
		t.Errorf("%s: %s came out as not proven, and nobody touched it", what, id)
	}
}

// testProof is invariant 12 where rows are read: whatever is written into the
// database past the store does not come out as proven.
func testProof(t *testing.T, k *Kit) {
	cred := k.Credential(k.App("api.acme.test"))
	agent := k.Agent()
	grant := k.Grant(agent, cred)
	policy := k.Policy("forbid (principal, action, resource);")
	session := k.Session(agent)
	k.wantUnproven(t, "untouched")
	type saved struct {
		body   string
		seq    int64
		digest []byte
	}
	save := func(table string, id writ.ID) (s saved) {
		if err := k.DB.QueryRowContext(t.Context(), "SELECT body, entry_seq, entry_digest FROM "+table+" WHERE org = $1 AND id = $2", k.Org, id).Scan(&s.body, &s.seq, &s.digest); err != nil {
			t.Fatal(err)
		}
		return s
	}
	put := func(table string, id writ.ID, s saved) {
		k.exec(t, "UPDATE "+table+" SET body = $3, entry_seq = $4, entry_digest = $5 WHERE org = $1 AND id = $2", k.Org, id, s.body, s.seq, s.digest)
	}
	was := save("grants", grant.ID)

	wider := was
	wider.body = strings.Replace(was.body, `"GET"`, `"*"`, 1)
	put("grants", grant.ID, wider)
	k.wantUnproven(t, "an altered grant", grant.ID)
	put("grants", grant.ID, saved{was.body, was.seq + 1, was.digest})
	k.wantUnproven(t, "a grant that names another entry", grant.ID)
	put("grants", grant.ID, saved{was.body + " ", was.seq, was.digest})
	k.wantUnproven(t, "a grant spelled differently", grant.ID)
	put("grants", grant.ID, was)
	k.wantUnproven(t, "put right again")

	forged := writ.NewID(writ.KindGrant)
	k.exec(t, "INSERT INTO grants (org, id, body, entry_seq, entry_digest) VALUES ($1, $2, $3, $4, $5)", k.Org, forged,
		strings.Replace(was.body, string(grant.ID), string(forged), 1), was.seq, was.digest)
	k.wantUnproven(t, "an inserted grant", forged)
	k.exec(t, "DELETE FROM grants WHERE org = $1 AND id = $2", k.Org, forged)

	// Set back to a state that was true once: before it was revoked.
	if _, _, err := k.Store.RevokeGrant(t.Context(), k.By, k.Ref(grant.ID), "over"); err != nil {
		t.Fatal(err)
	}
	now := save("grants", grant.ID)
	put("grants", grant.ID, was)
	k.wantUnproven(t, "a grant set back to before its revocation", grant.ID)
	put("grants", grant.ID, now)

	// Suspending, changing and resuming gives a row whose text recurs; its entry does not.
	if _, _, err := k.Store.SuspendCredential(t.Context(), k.By, k.Ref(cred.ID), "x"); err != nil {
		t.Fatal(err)
	}
	suspended := save("credentials", cred.ID)
	if _, _, err := k.Store.ResumeCredential(t.Context(), k.By, k.Ref(cred.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.SuspendCredential(t.Context(), k.By, k.Ref(cred.ID), "x"); err != nil {
		t.Fatal(err)
	}
	if again := save("credentials", cred.ID); again.body != suspended.body {
		t.Fatalf("the test rests on equal bodies: %s, %s", again.body, suspended.body)
	}
	latest := save("credentials", cred.ID)
	put("credentials", cred.ID, suspended)
	k.wantUnproven(t, "a row of an older entry", cred.ID)
	put("credentials", cred.ID, latest)

	gone := save("policies", policy.ID)
	k.exec(t, "DELETE FROM policies WHERE org = $1 AND id = $2", k.Org, policy.ID)
	k.wantUnproven(t, "a deleted guardrail", policy.ID)
	if n := k.loaded(t)[policy.ID]; n.Value != nil {
		t.Errorf("a deleted guardrail was yielded with %v", n.Value)
	}
	k.exec(t, "INSERT INTO policies (org, id, body, entry_seq, entry_digest) VALUES ($1, $2, $3, $4, $5)", k.Org, policy.ID, gone.body, gone.seq, gone.digest)
	k.wantUnproven(t, "put right again")

	// A row that is no noun at all does not stop the rest from loading.
	running := save("sessions", session.ID)
	put("sessions", session.ID, saved{`{"id":"` + string(session.ID) + `","org":"` + string(k.Org) + `","expires":[]}`, 0, nil2(running.digest)})
	k.wantUnproven(t, "nonsense", session.ID)
	put("sessions", session.ID, running)
	k.wantUnproven(t, "put right again")
	testHiddenChanges(t, k)
}

func nil2(b []byte) []byte { return b[:2] }

// testHiddenChanges: the record itself is not believed where it was tampered with.
func testHiddenChanges(t *testing.T, k *Kit) {
	head, err := k.Store.Reader().Head(t.Context(), k.Org)
	if err != nil {
		t.Fatal(err)
	}
	at := head.Number<<40 | head.LastChange
	load := func() error {
		_, err := k.Store.Load(t.Context(), k.Org, func(ledger.Noun) error { return nil })
		return err
	}
	k.exec(t, "DELETE FROM changes WHERE at = $1", at)
	wantKind(t, "a hidden change", load(), writ.KindCheckFailed)
	k.exec(t, "INSERT INTO changes (at) VALUES ($1)", at)
	if err := load(); err != nil {
		t.Fatal(err)
	}
	var pack, leaf []byte
	if err := k.DB.QueryRowContext(t.Context(), "SELECT leaf, pack FROM entries WHERE at = $1", at).Scan(&leaf, &pack); err != nil {
		t.Fatal(err)
	}
	k.exec(t, "UPDATE entries SET pack = $2 WHERE at = $1", at, append([]byte(strings.ReplaceAll(string(pack), "active", "ACTIVE")), 0))
	wantKind(t, "an altered change", load(), writ.KindCheckFailed)
	k.exec(t, "UPDATE entries SET pack = $2 WHERE at = $1", at, pack)
	k.exec(t, "UPDATE log_head SET epoch = epoch - 1 WHERE org = $1", k.Org)
	wantKind(t, "a head set back", load(), writ.KindUnavailable)
	k.exec(t, "UPDATE log_head SET epoch = epoch + 1 WHERE org = $1", k.Org)
	if err := load(); err != nil {
		t.Fatal(err)
	}
}

// testLog: the log of the acts verifies, belongs to one organization, and goes
// on where it stood when the store is opened again.
func testLog(t *testing.T, k *Kit) {
	far := k.Found("globex")
	for range 20 {
		k.Agent()
		far.Agent()
	}
	k.Clock.Add(-time.Hour) // the clock goes back; time in entries does not
	late := k.Agent()
	before, err := k.Store.Reader().Head(t.Context(), k.Org)
	if err != nil {
		t.Fatal(err)
	}
	if late.Created != before.Time || before.Time <= writ.At(k.Clock.Now()) {
		t.Errorf("the clock went back to %v and the entry to %v", writ.At(k.Clock.Now()), late.Created)
	}
	for _, k := range []*Kit{k, far} {
		report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: k.Store.Reader(), Org: k.Org})
		if err != nil || len(report.Problems) > 0 {
			t.Errorf("the log does not verify: %+v, %v", report, err)
		}
	}
	seq, err := k.Store.EntryOf(t.Context(), k.Org, late.ID)
	if err != nil {
		t.Fatal(err)
	}
	e, err := k.Store.Entry(t.Context(), k.Org, seq)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := ledger.DecodeChange(e)
	if err != nil || ch.Act != "add-identity" || ch.By != k.By || len(ch.Refs) != 1 || ch.Refs[0] != late.ID {
		t.Errorf("the entry of the last act is %+v, %v", ch, err)
	}
	_, err = k.Store.EntryOf(t.Context(), far.Org, late.ID)
	wantKind(t, "another organization's entry", err, writ.KindNotFound)
	_, err = k.Store.Entry(t.Context(), k.Org, before.Size+5)
	wantKind(t, "an entry that is not there", err, writ.KindNotFound)
	uses, _, err := k.Store.Uses(t.Context(), k.Org, store.UseQuery{})
	if err != nil || len(uses) != 0 {
		t.Errorf("a log without uses lists %v, %v", uses, err)
	}
}
