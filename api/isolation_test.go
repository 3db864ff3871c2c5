package api

import (
	"net/http"
	"strings"
	"testing"

	"writ.dev/writ"
)

// TestInvariant14AKeyOfOneOrganizationMeetsNothingOfAnother walks every
// operation with ids and names of another organization: they are not there, in
// any place where a request can name something, and no answer shows one.
func TestInvariant14AKeyOfOneOrganizationMeetsNothingOfAnother(t *testing.T) {
	w := newWorld(t)
	b := w.other
	agent := b.Agent()
	app := b.App("api.other.test")
	cred := b.Credential(app)
	grant := b.Grant(agent, cred)
	session := b.Session(agent)
	key := b.Key(b.Ana)
	policy := b.Policy("forbid (principal, action, resource);")
	decision := denied(t, b, agent.ID, session.ID)
	theirs := map[string][]string{
		"identities": {string(agent.ID), string(agent.ID)[:12], "agent:" + agent.Name}, "keys": {string(key.ID), key.Name},
		"orgs": {string(b.Org), "other"}, "applications": {string(app.ID), app.Name}, "credentials": {string(cred.ID), cred.Name},
		"grants": {string(grant.ID)}, "policies": {string(policy.ID), policy.Name}, "sessions": {string(session.ID)},
		"trace": {string(decision), string(writ.UseOf(decision))}, "why": {string(decision)}, "evidence": {string(writ.UseOf(decision))},
	}
	all := []string{string(b.Org), string(agent.ID), string(app.ID), string(cred.ID), string(grant.ID), string(session.ID), string(key.ID), string(policy.ID), string(decision)}
	admin, own := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin), w.session(false).Token
	bodies := map[string]string{
		"POST /v1/credentials/{ref}/rotate": `{"secret":"s"}`,
	}
	walked := 0
	for _, op := range w.server.operations {
		token := admin
		if op.access.admit(callerForTest(writ.RoleAdmin)) != nil {
			token = own // only a session may
		}
		switch {
		case strings.Contains(op.path, "{ref}"):
			noun := strings.Split(op.path, "/")[2]
			refs := theirs[noun]
			if refs == nil {
				t.Errorf("%s: no reference of the other organization for %s", op.id, noun)
			}
			for _, ref := range refs {
				body := bodies[op.method+" "+op.path]
				if body == "" && op.method != http.MethodGet {
					body = "{}"
				}
				resp, text := w.call(op.method, strings.Replace(op.path, "{ref}", ref, 1), token, body)
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s with %s: %d %s", op.id, ref, resp.StatusCode, text)
				}
				walked++
			}
		case strings.Contains(op.path, "{org}"):
			for _, ref := range theirs["orgs"] {
				path := strings.NewReplacer("{org}", ref, "{path...}", "0/000.p/1").Replace(op.path)
				if resp, text := w.call(op.method, path, token, ""); resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s with %s: %d %s", op.id, ref, resp.StatusCode, text)
				}
				walked++
			}
		case op.method == http.MethodGet && op.id != "tail":
			path := strings.NewReplacer("{code}", "no_grant", "{level}", "0", "{index}", "0").Replace(op.path)
			_, text := w.call(op.method, path+"?all=true", token, "")
			_, plain := w.call(op.method, path, token, "")
			for _, id := range all {
				if strings.Contains(text+plain, id) {
					t.Errorf("%s shows %s", op.id, id)
				}
			}
			walked++
		}
	}
	if walked < 50 {
		t.Errorf("only %d calls", walked)
	}

	// The same calls with what is the caller's own do find it, so the above says
	// something: a dry run where the call would change it.
	mine := w.Agent()
	mineApp := w.App("api.acme.test")
	mineCred := w.Credential(mineApp)
	mineSession := w.Session(mine)
	mineDenied := denied(t, w.Kit, mine.ID, mineSession.ID)
	owned := map[string]writ.ID{
		"identities": mine.ID, "keys": w.Key(w.Ana).ID, "orgs": w.Org, "applications": mineApp.ID, "credentials": mineCred.ID, "grants": w.Grant(mine, mineCred).ID,
		"policies": w.Policy("forbid (principal, action, resource);").ID, "sessions": mineSession.ID,
		"trace": mineDenied, "why": mineDenied, "evidence": mineDenied,
	}
	for _, op := range w.server.operations {
		if !strings.Contains(op.path, "{ref}") || op.id == "control-session" {
			continue
		}
		path, body := strings.Replace(op.path, "{ref}", string(owned[strings.Split(op.path, "/")[2]]), 1), ""
		if op.method != http.MethodGet {
			path += "?dry_run=true"
			if body = bodies[op.method+" "+op.path]; body == "" {
				body = "{}"
			}
		}
		if resp, text := w.call(op.method, path, admin, body); resp.StatusCode != http.StatusOK && op.id != "get-evidence" {
			t.Errorf("%s with the caller's own: %d %s", op.id, resp.StatusCode, text)
		}
	}

	// References inside of bodies and queries.
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/identities", `{"kind":"agent","name":"x1","purpose":"p","expires":"2027-01-01T00:00:00Z","owner":"` + string(b.Ana.ID) + `"}`},
		{"POST", "/v1/identities", `{"kind":"agent","name":"x2","purpose":"p","expires":"2027-01-01T00:00:00Z","owner":"ana@acme.dev","parent":"` + string(agent.ID) + `"}`},
		{"PATCH", "/v1/identities/" + string(mine.ID), `{"owner":"` + string(b.Ana.ID) + `"}`},
		{"POST", "/v1/keys", `{"identity":"` + string(b.Ana.ID) + `","role":"admin","name":"x","expires":"2027-01-01T00:00:00Z"}`},
		{"POST", "/v1/applications", `{"name":"x","env":"dev","hosts":["x.test"],"owner":"` + string(b.Ana.ID) + `"}`},
		{"POST", "/v1/credentials", `{"name":"x","app":"` + string(app.ID) + `","secret":"s","placement":{"in":"bearer"}}`},
		{"POST", "/v1/grants", `{"identity":"` + string(agent.ID) + `","credential":"` + string(mineCred.ID) + `","allow":["GET /x"]}`},
		{"POST", "/v1/grants", `{"identity":"` + string(mine.ID) + `","credential":"` + string(cred.ID) + `","allow":["GET /x"]}`},
		{"POST", "/v1/grants", `{"identity":"` + string(mine.ID) + `","parent":"` + string(grant.ID) + `","allow":["GET /x"]}`},
		{"POST", "/v1/sessions", `{"identity":"` + string(agent.ID) + `"}`},
		{"POST", "/v1/sessions", `{"identity":"` + string(mine.ID) + `","parent":"` + string(session.ID) + `"}`},
		{"POST", "/v1/kill", `{"target":"` + string(session.ID) + `"}`},
		{"POST", "/v1/kill", `{"target":"` + agent.Name + `"}`},
		{"POST", "/v1/kill", `{"target":"` + string(b.Org) + `"}`},
		{"POST", "/v1/resume", `{"target":"` + string(grant.ID) + `"}`},
		{"GET", "/v1/grants?identity=" + string(agent.ID), ""},
		{"GET", "/v1/uses?actor=" + string(agent.ID), ""},
		{"GET", "/v1/credentials?app=" + string(app.ID), ""},
	} {
		resp, text := w.call(c.method, c.path, admin, c.body)
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, resp.StatusCode, text)
		}
	}
	for _, id := range []writ.ID{agent.ID, cred.ID, grant.ID, session.ID} {
		if n, err := w.server.noun(t.Context(), b.Org, id); err != nil || !liveState(n) {
			t.Errorf("%s of the other organization is not what it was: %v", id, err)
		}
	}
}

func liveState(noun any) bool {
	switch n := noun.(type) {
	case *writ.Identity:
		return n.State == writ.Active
	case *writ.Credential:
		return n.State == writ.Active
	case *writ.Grant:
		return n.State == writ.Active
	case *writ.Session:
		return n.State == writ.Active
	}
	return false
}
