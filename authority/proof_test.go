package authority_test

import (
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
)

// TestInvariant12UnprovenRowsGiveNothing: a server that starts on a database in
// which somebody wrote denies what rests on it, and says so.
func TestInvariant12UnprovenRowsGiveNothing(t *testing.T) {
	type ids struct {
		agent, cred, version, app, grant, session, policy writ.ID
	}
	replace := func(table string, pick func(ids) writ.ID, old, new string) func(*testing.T, *world, ids) {
		return func(t *testing.T, w *world, i ids) {
			w.exec(t, "UPDATE "+table+" SET body = replace(body, $3, $4) WHERE org = $1 AND id = $2", w.Org, pick(i), old, new)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, w *world, i ids)
		tamper  func(t *testing.T, w *world, i ids)
		want    writ.Reason
	}{
		"a wider grant":            {nil, replace("grants", func(i ids) writ.ID { return i.grant }, `"/narrow/**"`, `"/**"`), writ.StateUnproven},
		"a grant for longer":       {nil, replace("grants", func(i ids) writ.ID { return i.grant }, `"path":`, `"path":`+" "), writ.StateUnproven},
		"a credential's ai_use":    {nil, replace("credentials", func(i ids) writ.ID { return i.cred }, `"allowed"`, `"needs-controls"`), writ.StateUnproven},
		"a version's hosts":        {nil, replace("versions", func(i ids) writ.ID { return i.version }, `"bearer"`, `"basic"`), writ.StateUnproven},
		"an application's env":     {nil, replace("applications", func(i ids) writ.ID { return i.app }, `"dev"`, `"prod"`), writ.StateUnproven},
		"an agent's kind":          {nil, replace("identities", func(i ids) writ.ID { return i.agent }, `"agent"`, `"service"`), writ.StateUnproven},
		"a session's expiry":       {nil, replace("sessions", func(i ids) writ.ID { return i.session }, `"none"`, `"netns"`), writ.StateUnproven},
		"an altered guardrail":     {nil, replace("policies", func(i ids) writ.ID { return i.policy }, "false", "1 > 2"), writ.StateUnproven},
		"a guardrail switched off": {nil, replace("policies", func(i ids) writ.ID { return i.policy }, `"active"`, `"revoked"`), writ.StateUnproven},
		"a deleted guardrail": {nil, func(t *testing.T, w *world, i ids) {
			w.exec(t, "DELETE FROM policies WHERE org = $1 AND id = $2", w.Org, i.policy)
		}, writ.StateUnproven},
		"a grant from nowhere": {
			func(t *testing.T, w *world, i ids) {
				if _, _, err := w.Store.RevokeGrant(t.Context(), w.By, w.Ref(i.grant), "x"); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, w *world, i ids) {
				forged := writ.NewID(writ.KindGrant)
				w.exec(t, `INSERT INTO grants (org, id, body, entry_seq, entry_digest)
					SELECT org, $3, replace(replace(body, id, $3), '"revoked"', '"active"'), entry_seq, entry_digest FROM grants WHERE org = $1 AND id = $2`, w.Org, i.grant, forged)
			}, writ.StateUnproven,
		},
		"a revoked grant set back": {
			func(t *testing.T, w *world, i ids) {
				w.exec(t, `CREATE TEMP TABLE kept AS SELECT id, body, entry_seq, entry_digest FROM grants WHERE org = $1 AND id = $2`, w.Org, i.grant)
				if _, _, err := w.Store.RevokeGrant(t.Context(), w.By, w.Ref(i.grant), "x"); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, w *world, i ids) {
				w.exec(t, `UPDATE grants SET (body, entry_seq, entry_digest) = (SELECT body, entry_seq, entry_digest FROM kept) WHERE org = $1 AND id = $2`, w.Org, i.grant)
			}, writ.StateUnproven,
		},
		"an ended session set going": {
			func(t *testing.T, w *world, i ids) {
				if _, _, err := w.Store.EndSession(t.Context(), w.By, w.Ref(i.session), "x"); err != nil {
					t.Fatal(err)
				}
			}, replace("sessions", func(i ids) writ.ID { return i.session }, `"ended"`, `"active"`), writ.StateUnproven,
		},
		"a stopped organization set going": {
			func(t *testing.T, w *world, i ids) {
				if _, _, err := w.Store.StopAll(t.Context(), w.By, w.Org, "x"); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, w *world, i ids) {
				w.exec(t, `UPDATE orgs SET body = replace(body, '"suspended"', '"active"') WHERE org = $1`, w.Org)
			}, writ.Stopped,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app := w.App("api.acme.test")
			cred := w.Credential(app)
			agent := w.Agent()
			grant := w.Grant(agent, cred, func(g *writ.Grant) { g.Rules[0].Path, g.Expires = "/narrow/**", w.In(time.Hour) })
			s := w.Session(agent)
			policy := w.Policy("forbid (principal, action, resource) when { false };")
			i := ids{agent.ID, cred.ID, cred.Current, app.ID, grant.ID, s.ID, policy.ID}
			a := w.ask(s, "api.acme.test", "/narrow/x")
			if r := decided(t, w.fresh(), a); r != "" {
				t.Fatalf("untouched: %s", r)
			}
			if c.prepare != nil {
				c.prepare(t, w, i)
			}
			c.tamper(t, w, i)
			got := decided(t, w.fresh(), a)
			if got != c.want && !(c.want == writ.Stopped && got == writ.StateUnproven) {
				t.Errorf("decided %q, want %q", got, c.want)
			}
			if name == "a wider grant" {
				if r := decided(t, w.fresh(), w.ask(s, "api.acme.test", "/wide")); r != writ.StateUnproven {
					t.Errorf("what the grant was widened to: %q", r)
				}
			}
			// The token is worth nothing when it, or somebody it acts for, is in doubt.
			doubted := name == "an agent's kind" || strings.Contains(name, "session") || strings.Contains(name, "organization")
			if _, _, err := w.fresh().Session(t.Context(), hashOf(t, s.Hash)); doubted != (err != nil) {
				t.Errorf("the token: %v", err)
			}
			// What nobody touched goes on working, unless everybody rests on it.
			other := w.Agent()
			otherCred := w.Credential(w.App("other.test"))
			w.Grant(other, otherCred)
			if strings.Contains(name, "guardrail") || strings.Contains(name, "organization") {
				return
			}
			if r := decided(t, w.fresh(), w.ask(w.Session(other), "other.test", "/x")); r != "" {
				t.Errorf("what nobody touched: %q", r)
			}
		})
	}
}

// TestInvariant12ActsBelieveNoForgedRow: an act that rests on a row, or changes
// it, would write a forged one into the ledger and so make it true.
func TestInvariant12ActsBelieveNoForgedRow(t *testing.T) {
	w := newWorld(t)
	cred := w.Credential(w.App("api.acme.test"))
	agent := w.Agent()
	grant := w.Grant(agent, cred, func(g *writ.Grant) { g.Rules[0].Path = "/narrow/**" })
	owned := w.Agent(func(i *writ.Identity) { i.Owner = w.Person("bo@acme.dev").ID })
	if err := w.index.Ready(t.Context(), w.Org); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE grants SET body = replace(body, '/narrow/**', '/**') WHERE org = $1 AND id = $2`, w.Org, grant.ID)
	w.exec(t, `UPDATE identities SET body = replace(body, '"tests"', '"forged"') WHERE org = $1 AND id = $2`, w.Org, owned.ID)
	refused := func(what string, err error) {
		t.Helper()
		if writ.KindOf(err) != writ.KindCheckFailed {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err := w.Store.SuspendGrant(t.Context(), w.By, w.Ref(grant.ID), "x")
	refused("suspending a forged grant", err)
	_, _, err = w.Store.ResumeGrant(t.Context(), w.By, w.Ref(grant.ID), "x")
	refused("resuming a forged grant", err)
	child := writ.Grant{Org: w.Org, Identity: agent.ID, Credential: cred.ID, Parent: grant.ID, Rules: []writ.Rule{{Methods: []string{"GET"}, Path: "/wide"}}}
	_, _, err = w.Store.AddGrant(t.Context(), w.By, child)
	refused("delegating from a forged grant", err)
	_, _, err = w.Store.EditIdentity(t.Context(), w.By, w.Ref(owned.ID), func(i *writ.Identity) error { i.Name = "renamed"; return nil })
	refused("editing a forged identity", err)
	_, _, err = w.Store.AddKey(t.Context(), w.By, writ.Key{Org: w.Org, Identity: owned.ID, Role: writ.RoleAdmin, Name: "k", Hash: strings.Repeat("ab", 32), Expires: w.In(time.Hour)})
	refused("a key for a forged identity", err)
	// Its owner leaves: the forged row is neither handed over nor written.
	if _, _, err := w.Store.RevokeIdentity(t.Context(), w.By, w.Ref(owned.Owner), "left"); err != nil {
		t.Fatal(err)
	}
	if n, ok := w.index.Believed(w.Org, owned.ID); !ok || n.Value.(*writ.Identity).Purpose != "tests" {
		t.Errorf("the index took over %+v", n)
	}
	// Revoking works on whatever is there, and is believed.
	for _, revoke := range []func() error{
		func() error {
			_, _, err := w.Store.RevokeGrant(t.Context(), w.By, w.Ref(grant.ID), "forged")
			return err
		},
		func() error {
			_, _, err := w.Store.RevokeIdentity(t.Context(), w.By, w.Ref(owned.ID), "forged")
			return err
		},
	} {
		if err := revoke(); err != nil {
			t.Error(err)
		}
	}
	sameAsFresh(t, w)
}
