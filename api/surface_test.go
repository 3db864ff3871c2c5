package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/internal/problem"
)

var update = flag.Bool("update", false, "write docs/reference/openapi.json anew")

// TestOpenAPIIsWhatTheCodeServes: the page in docs is generated from the code.
func TestOpenAPIIsWhatTheCodeServes(t *testing.T) {
	const path = "../docs/reference/openapi.json"
	got, err := New(Config{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/reference/openapi.json is out of date; run: go test ./api -run TestOpenAPI -update\n%s", cmp.Diff(string(want), string(got)))
	}
	var d struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Summary     string                     `json:"summary"`
			Responses   map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(got, &d); err != nil || d.OpenAPI != "3.1.0" {
		t.Fatalf("version %q, %v", d.OpenAPI, err)
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.OperationID == "" || op.Summary == "" || op.Responses["default"] == nil || op.Responses["200"] == nil {
				t.Errorf("%s %s is not described: %+v", method, path, op)
			}
		}
	}
	if bytes.Contains(got, []byte("ErrorModel")) {
		t.Error("huma's own error model is described")
	}
	w := newWorld(t)
	if _, served := w.call("GET", "/openapi.json", "", ""); served != string(got) {
		t.Error("what is served is not what is generated")
	}
}

// once are the only fields of answers that may hold a secret, each shown by
// the call that made it.
var once = map[string]bool{"KeyOnce.Text": true, "OrgOnce.Text": true, "SessionOnce.Token": true}

// harmless are fields whose names sound like secrets and are none.
var harmless = map[string]string{
	"Sentence.Text": "a sentence", "Event.Text": "a line", "Policy.Text": "a guardrail, which everybody may read",
	"Grant.Texts": "rules", "Entry.Leaf": "hashes and ids", "Entry.Pack": "what the ledger records, for auditors", "Node.Hashes": "of the tree",
	"Version.Fingerprint": "keyed", "Authority.Fingerprint": "of a public certificate",
	"OrgOnce.Key": "a key described", "KeyOnce.Key": "a key described", "Ledger.Keys": "public",
	"Position.Leaf": "a hash of the tree",
}

// TestNoAnswerHasAPlaceForASecret walks every type that an answer is made of.
func TestNoAnswerHasAPlaceForASecret(t *testing.T) {
	forbidden := []reflect.Type{
		reflect.TypeFor[writ.Key](), reflect.TypeFor[writ.Session](), reflect.TypeFor[writ.Version](),
		reflect.TypeFor[client.NewCredential](), reflect.TypeFor[client.NewVersion](),
	}
	found := map[string]bool{}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(typ.Elem())
			return
		case reflect.Map:
			walk(typ.Key())
			walk(typ.Elem())
			return
		case reflect.Struct:
		case reflect.Interface:
			t.Errorf("an answer has an interface: %s", typ)
			return
		default:
			return
		}
		if seen[typ] || typ == reflect.TypeFor[writ.Scalar]() {
			return
		}
		seen[typ] = true
		for _, f := range forbidden {
			if typ == f {
				t.Errorf("an answer has a %s", typ)
			}
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			name := typ.Name() + "." + f.Name
			if j := strings.IndexByte(name, '['); j >= 0 {
				name = "generic." + f.Name
			}
			lower := strings.ToLower(f.Name + " " + f.Tag.Get("json"))
			sounds := f.Type == reflect.TypeFor[[]byte]()
			for _, word := range []string{"secret", "token", "password", "passphrase", "hash", "sealed", "salt", "private", "text", "key", "value", "fingerprint"} {
				sounds = sounds || strings.Contains(lower, word) && f.Type.Kind() != reflect.Int && f.Type.Kind() != reflect.Bool
			}
			switch {
			case once[name]:
				found[name] = true
			case !sounds || harmless[name] != "":
			case name == "Fact.Value" || name == "Condition.Key" || name == "Condition.Values":
				// Facts of a trace and rules of a grant, which name what was recorded.
			default:
				t.Errorf("%s (%s) sounds like a secret: say in the test why it is none", name, f.Type)
			}
			walk(f.Type)
		}
	}
	for _, op := range New(Config{}).operations {
		body, ok := op.answer.FieldByName("Body")
		if !ok || body.Type.Kind() == reflect.Func {
			continue
		}
		walk(body.Type)
	}
	for name := range once {
		if !found[name] {
			t.Errorf("%s is in no answer; take it out of the list", name)
		}
	}
}

// TestErrorsOfEveryLayerAreProblems: with a field and a fix where one is meant,
// and never with what was sent.
func TestErrorsOfEveryLayerAreProblems(t *testing.T) {
	w := newWorld(t)
	admin := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)
	const canary = "canary-4f1c"
	app := w.App("api.acme.test")
	long := strings.Repeat("x", maxBody)
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		field              string
	}{
		"nothing there":          {"GET", "/v2/nothing", "", nil, 404, ""},
		"wrong method":           {"DELETE", "/v1/identities", "", nil, 404 + 1, ""},
		"unknown field":          {"POST", "/v1/policies/check", `{"text":"x","` + canary + `":1}`, nil, 422, "canary-4f1c"},
		"secret under a typo":    {"POST", "/v1/credentials", `{"name":"c","app":"` + app.Name + `","secrit":"` + canary + `","placement":{"in":"bearer"}}`, nil, 422, ""},
		"secret of a wrong type": {"POST", "/v1/credentials", `{"name":"c","app":"` + app.Name + `","secret":{"v":"` + canary + `"},"placement":{"in":"bearer"}}`, nil, 422, "secret"},
		"secret not base64":      {"POST", "/v1/credentials", `{"name":"c","app":"` + app.Name + `","secret":"` + canary + `!","encoding":"base64","placement":{"in":"bearer"}}`, nil, 422, "secret"},
		"not an enum":            {"POST", "/v1/identities", `{"kind":"robot","name":"x"}`, nil, 422, "kind"},
		"not a time":             {"POST", "/v1/keys", `{"identity":"ana@acme.dev","role":"admin","name":"x","expires":"soon"}`, nil, 422, "expires"},
		"too long a name":        {"POST", "/v1/identities", `{"kind":"agent","name":"` + strings.Repeat("n", 300) + `"}`, nil, 422, "name"},
		"control characters":     {"POST", "/v1/identities", `{"kind":"agent","name":"a","owner":"ana@acme.dev","purpose":"a\u001bb","expires":"2027-01-01T00:00:00Z"}`, nil, 422, "purpose"},
		"reserved name":          {"POST", "/v1/policies", `{"name":"all","text":"forbid (principal, action, resource);"}`, nil, 422, "name"},
		"name twice in JSON":     {"POST", "/v1/policies/check", `{"text":"a","text":"b"}`, nil, 400, ""},
		"name twice by case":     {"POST", "/v1/policies/check", `{"text":"a","Text":"b"}`, nil, 400, ""},
		"no JSON":                {"POST", "/v1/policies/check", `{"text":` + canary, nil, 400, ""},
		"something behind JSON":  {"POST", "/v1/policies/check", `{"text":"a"} {}`, nil, 400, ""},
		"not UTF-8":              {"POST", "/v1/policies/check", "{\"text\":\"a\xff\"}", nil, 400, ""},
		"no body":                {"POST", "/v1/policies/check", "", []string{"Content-Type", "application/json"}, 400, ""},
		"not JSON's type":        {"POST", "/v1/policies/check", `{"text":"a"}`, []string{"Content-Type", "text/plain"}, 415, ""},
		"no type":                {"POST", "/v1/policies/check", `{"text":"a"}`, []string{"Content-Type", ""}, 415, ""},
		"too large":              {"POST", "/v1/policies/check", `{"text":"` + long + `"}`, nil, 413, ""},
		"unknown query":          {"GET", "/v1/identities?ownr=" + canary, "", nil, 422, "ownr"},
		"not a limit":            {"GET", "/v1/identities?limit=1000", "", nil, 422, "limit"},
		"not a cursor":           {"GET", "/v1/identities?cursor=" + canary, "", nil, 422, "after"},
		"no such owner":          {"POST", "/v1/identities", `{"kind":"agent","name":"a","owner":"nobody@acme.dev","purpose":"p","expires":"2027-01-01T00:00:00Z"}`, nil, 422, "owner"},
		"not a rule":             {"POST", "/v1/grants", `{"identity":"ana@acme.dev","credential":"x","allow":["GET"]}`, nil, 422, "allow[0]"},
		"deep":                   {"POST", "/v1/policies/check", strings.Repeat("[", 200) + strings.Repeat("]", 200), nil, 400, ""},
		"not a tail place":       {"GET", "/v1/tail?after=x", "", nil, 422, "after"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, text := w.call(c.method, c.path, admin, c.body, c.header...)
			want := c.status
			if name == "wrong method" {
				want = 404
				if resp.Header.Get("Allow") == "" {
					t.Error("no Allow")
				}
			}
			if resp.StatusCode != want || resp.Header.Get("Content-Type") != problem.ContentType {
				t.Fatalf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), text)
			}
			var d problem.Document
			if err := json.Unmarshal([]byte(text), &d); err != nil {
				t.Fatal(err)
			}
			if d.Status != want || d.Title == "" || d.Detail == "" || d.Writ.Fix == "" || !strings.HasPrefix(d.Type, "urn:writ:problem:") {
				t.Errorf("not whole: %s", text)
			}
			if c.field != "" && d.Writ.Field != c.field {
				t.Errorf("field %q, want %q: %s", d.Writ.Field, c.field, text)
			}
			if name != "unknown field" && strings.Contains(text, canary) && !strings.Contains(name, "cursor") {
				t.Errorf("what was sent comes back: %s", text)
			}
		})
	}
	if strings.Contains(w.logs.String(), canary) {
		t.Error("what was sent is in the log")
	}
}

// TestBrowsersOfOtherSitesGetNothing: T50 and DNS rebinding.
func TestBrowsersOfOtherSitesGetNothing(t *testing.T) {
	w := newWorld(t)
	admin := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)
	for _, host := range []string{"evil.example", "evil.example:8440", "localhost.evil.example", "", "127.0.0.1.nip.io"} {
		if host == "" {
			continue
		}
		if resp, _ := w.call("GET", "/v1/whoami", admin, "", "Host", host); resp.StatusCode != http.StatusForbidden {
			t.Errorf("Host %q: %d", host, resp.StatusCode)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8440", "127.0.0.1:8440", "[::1]:8440"} {
		if resp, text := w.call("GET", "/v1/whoami", admin, "", "Host", host); resp.StatusCode != http.StatusOK {
			t.Errorf("Host %q: %d %s", host, resp.StatusCode, text)
		}
	}
	resp, _ := w.call("POST", "/v1/kill", admin, `{"target":"all"}`, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site: %d", resp.StatusCode)
	}
	resp, _ = w.call("OPTIONS", "/v1/kill", "", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("CORS: %s", name)
		}
	}
	resp, _ = w.call("GET", "/v1/whoami", admin, "")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if resp.Header.Get("Writ-Request") == "" {
		t.Error("no request id")
	}
}

// TestLogsHaveTheOperationAndNoNames: T54.
func TestLogsHaveTheOperationAndNoNames(t *testing.T) {
	w := newWorld(t)
	admin := w.token(w.Kit, w.Ana.ID, writ.RoleAdmin)
	w.call("GET", "/v1/identities/ana@acme.dev", admin, "")
	w.call("GET", "/v1/uses?host=secret-host.test", admin, "")
	w.call("GET", "/v1/whoami", admin[:len(admin)-1]+"0", "")
	log := w.logs.String()
	for _, want := range []string{"operation=get-identity", "operation=list-uses", "status=200", "status=401", "identity=" + string(w.Ana.ID)} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	for _, never := range []string{"ana@acme.dev", "secret-host", admin[9:40], "Bearer"} {
		if strings.Contains(log, never) {
			t.Errorf("the log has %q", never)
		}
	}
	_, metrics := w.call("GET", "/metrics", admin, "")
	if !strings.Contains(metrics, `writ_api_requests_total{class="2xx",operation="get-identity"} 1`) || strings.Contains(metrics, string(w.Ana.ID)) {
		t.Errorf("metrics:\n%s", metrics)
	}
}
