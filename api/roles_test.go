package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/internal/problem"
)

// who may call each operation, written down once more: a letter each for an
// admin, auditor, member, a session's token, and nobody ("-").
var mayCall = map[string]string{
	"healthz": "aums-", "readyz": "aums-", "openapi": "aums-", "get-ca": "aums-", "list-reasons": "aums-", "get-reason": "aums-",
	"metrics": "au", "get-status": "aums", "whoami": "aums",

	"list-identities": "aum", "get-identity": "aum", "list-keys": "aum", "get-key": "aum", "list-orgs": "aum", "get-org": "aum",
	"list-applications": "aum", "get-application": "aum", "list-credentials": "aum", "get-credential": "aum", "list-grants": "aum", "get-grant": "aum",
	"list-policies": "aum", "get-policy": "aum", "check-policy": "aum", "list-sessions": "aum", "get-session": "aum",
	"list-uses": "aum", "get-trace": "aum", "get-why": "aum", "tail": "aum",

	"get-ledger": "au", "get-checkpoint": "au", "list-entries": "au", "get-node": "au", "export-ledger": "au", "get-evidence": "au",
	"tlog-checkpoint": "au", "tlog-tile": "au",

	"start-session": "am", "end-session": "ams", "kill": "am", "control-session": "s",

	"add-identity": "a", "edit-identity": "a", "suspend-identity": "a", "resume-identity": "a", "revoke-identity": "a",
	"add-key": "a", "revoke-key": "a", "add-org": "a", "edit-org": "a",
	"add-application": "a", "edit-application": "a", "revoke-application": "a",
	"add-credential": "a", "edit-credential": "a", "rotate-credential": "a", "suspend-credential": "a", "resume-credential": "a", "revoke-credential": "a",
	"add-grant": "a", "suspend-grant": "a", "resume-grant": "a", "revoke-grant": "a",
	"add-policy": "a", "edit-policy": "a", "revoke-policy": "a", "resume": "a",
}

// TestRolesOfEveryOperation walks every operation with every kind of caller.
func TestRolesOfEveryOperation(t *testing.T) {
	w := newWorld(t)
	bob := w.Person("bob@acme.dev")
	tokens := map[byte]string{
		'a': w.token(w.Kit, w.Ana.ID, writ.RoleAdmin), 'u': w.token(w.Kit, bob.ID, writ.RoleAuditor),
		'm': w.token(w.Kit, bob.ID, writ.RoleMember), 's': w.session(false).Token, '-': "",
	}
	seen := map[string]bool{}
	for _, op := range w.server.operations {
		seen[op.id] = true
		may, ok := mayCall[op.id]
		if !ok {
			t.Errorf("%s is not in the table: say who may call it", op.id)
			continue
		}
		for letter, token := range tokens {
			// What does not exist and an empty body: who may call is told before
			// either is looked at, and nothing is done.
			path := strings.NewReplacer("{ref}", "nothing-such", "{code}", "no_grant", "{org}", "nothing-such", "{level}", "0", "{index}", "0", "{path...}", "0/000").Replace(op.path)
			body := ""
			if op.method != http.MethodGet {
				body = "{}"
			}
			resp, text := w.call(op.method, path, token, body)
			refused := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
			if want := strings.IndexByte(may, letter) >= 0; want == refused {
				t.Errorf("%s by %c: %d %s", op.id, letter, resp.StatusCode, text)
			}
			if token == "" && refused && resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: 401 without a challenge", op.id)
			}
			if refused {
				var d problem.Document
				if json.Unmarshal([]byte(text), &d) != nil || d.Writ.Fix == "" || resp.Header.Get("Content-Type") != problem.ContentType {
					t.Errorf("%s by %c: not a problem with a fix: %s", op.id, letter, text)
				}
			}
		}
	}
	for id := range mayCall {
		if !seen[id] {
			t.Errorf("the table names %s, which is no operation", id)
		}
	}
}

// TestAMemberSeesWhatConcernsHer: and nothing else of her organization.
func TestAMemberSeesWhatConcernsHer(t *testing.T) {
	w := newWorld(t)
	bob := w.Person("bob@acme.dev")
	hers := w.Agent(func(i *writ.Identity) { i.Owner = bob.ID })
	anas := w.Agent()
	app, secret := w.App("api.acme.test"), w.App("pay.acme.test")
	cred, hidden := w.Credential(app), w.Credential(secret)
	g, gHidden := w.Grant(hers, cred), w.Grant(anas, hidden)
	s := w.Session(hers)
	sHidden := w.Session(anas)
	dec, decHidden := denied(t, w.Kit, hers.ID, s.ID), denied(t, w.Kit, anas.ID, sHidden.ID)
	c := w.as(w.token(w.Kit, bob.ID, writ.RoleMember))

	for what, get := range map[string]func(ref string) error{
		"identity":    func(r string) error { _, err := c.Identity(t.Context(), r); return err },
		"application": func(r string) error { _, err := c.Application(t.Context(), r); return err },
		"credential":  func(r string) error { _, err := c.Credential(t.Context(), r); return err },
		"grant":       func(r string) error { _, err := c.Grant(t.Context(), r); return err },
		"session":     func(r string) error { _, err := c.Session(t.Context(), r); return err },
		"trace":       func(r string) error { _, err := c.Trace(t.Context(), r); return err },
		"why":         func(r string) error { _, err := c.Why(t.Context(), r); return err },
	} {
		refs := map[string][2]writ.ID{
			"identity": {hers.ID, anas.ID}, "application": {app.ID, secret.ID}, "credential": {cred.ID, hidden.ID}, "grant": {g.ID, gHidden.ID},
			"session": {s.ID, sHidden.ID}, "trace": {dec, decHidden}, "why": {dec, decHidden},
		}[what]
		if err := get(string(refs[0])); err != nil {
			t.Errorf("%s of hers: %v", what, err)
		}
		err, missing := get(string(refs[1])), get(strings.Replace(string(refs[1]), "_", "_000", 1)[:len(refs[1])])
		if writ.KindOf(err) != writ.KindNotFound {
			t.Errorf("%s of another's: %v", what, err)
		}
		if writ.KindOf(missing) != writ.KindNotFound {
			t.Errorf("%s that is not there: %v", what, missing)
		}
	}
	for _, path := range []string{"/v1/identities", "/v1/applications", "/v1/credentials", "/v1/grants", "/v1/sessions", "/v1/keys", "/v1/uses"} {
		_, text := w.call("GET", path+"", w.token(w.Kit, bob.ID, writ.RoleMember), "")
		for _, id := range []writ.ID{anas.ID, secret.ID, hidden.ID, gHidden.ID, sHidden.ID, decHidden} {
			if strings.Contains(text, string(id)) {
				t.Errorf("%s shows %s", path, id)
			}
		}
	}
}

func TestAMemberActsForWhatIsHers(t *testing.T) {
	w := newWorld(t)
	bob := w.Person("bob@acme.dev")
	hers := w.Agent(func(i *writ.Identity) { i.Owner = bob.ID })
	anas := w.Agent()
	token := w.token(w.Kit, bob.ID, writ.RoleMember)
	start := func(id writ.ID) int {
		resp, _ := w.call("POST", "/v1/sessions", token, `{"identity":"`+string(id)+`"}`)
		return resp.StatusCode
	}
	if got := start(hers.ID); got != 200 {
		t.Errorf("a session of hers: %d", got)
	}
	if got := start(bob.ID); got != 200 {
		t.Errorf("a session of herself: %d", got)
	}
	if got := start(anas.ID); got != 403 {
		t.Errorf("a session of another's agent: %d", got)
	}
	if got := start(w.Ana.ID); got != 403 {
		t.Errorf("a session of another person: %d", got)
	}
	kill := func(target writ.ID) int {
		resp, _ := w.call("POST", "/v1/kill", token, `{"target":"`+string(target)+`"}`)
		return resp.StatusCode
	}
	if got := kill(w.Session(hers).ID); got != 200 {
		t.Errorf("killing a session of hers: %d", got)
	}
	if got := kill(hers.ID); got != 200 {
		t.Errorf("killing an agent of hers: %d", got)
	}
	if got := kill(w.Session(anas).ID); got != 404 {
		t.Errorf("killing a session of another's: %d", got)
	}
	if got := kill("all"); got != 403 {
		t.Errorf("killing all: %d", got)
	}
}
