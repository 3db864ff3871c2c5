package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"writ.dev/writ"
)

// T54: what is not ours to show is not shown, whatever it says.
func TestUnclassifiedErrorsShowNothing(t *testing.T) {
	for _, err := range []error{errors.New("password=hunter2"), writ.Errorf(writ.KindInternal, "row cred_1 of secret x")} {
		d := Of(err)
		if b := string(d.JSON()) + Lines(err); strings.Contains(b, "hunter2") || strings.Contains(b, "cred_1") {
			t.Errorf("shown: %s", b)
		}
		if d.Status != http.StatusInternalServerError || Exit(err) != ExitServer {
			t.Errorf("%v: status %d, exit %d", err, d.Status, Exit(err))
		}
	}
	private := writ.Errorf(writ.KindUnavailable, "the disk is full").WithCause(errors.New("password=hunter2"))
	if b := string(Of(private).JSON()); strings.Contains(b, "hunter2") || !strings.Contains(b, "the disk is full") {
		t.Errorf("shown: %s", b)
	}
}

// Every kind has a status and an exit code, and comes back from the wire as
// what it was.
func TestErrorsCrossTheWire(t *testing.T) {
	exits := map[writ.ErrorKind]int{
		writ.KindInvalid: 1, writ.KindUnauthenticated: 1, writ.KindForbidden: 3, writ.KindNotFound: 1, writ.KindConflict: 1,
		writ.KindLimited: 1, writ.KindUnavailable: 2, writ.KindCheckFailed: 5,
	}
	for kind, exit := range exits {
		sent := writ.Errorf(kind, "what happened").WithWhy("why").WithFix("the fix")
		sent.Field = "rules[0]"
		w := httptest.NewRecorder()
		Write(w, sent)
		var d Document
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code < 400 || w.Header().Get("Content-Type") != ContentType {
			t.Fatalf("%s: %d %v", kind, w.Code, err)
		}
		d.Status = w.Code
		var got *writ.Error
		if err := FromDocument(d); !errors.As(err, &got) || got.Kind != kind || got.Message != "what happened" || got.Fix != "the fix" || got.Field != "rules[0]" || Exit(err) != exit {
			t.Errorf("%s came back as %+v with exit %d", kind, got, Exit(err))
		}
	}
}

func TestDenialsCrossTheWire(t *testing.T) {
	id := writ.NewID(writ.KindDecision)
	for _, e := range writ.Explanations() {
		w := httptest.NewRecorder()
		Write(w, &Denied{&writ.Decision{ID: id, Reasons: []writ.Reason{e.Reason}, Detail: "the agent may not"}})
		var d Document
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		d.Status = w.Code
		var got *Denied
		err := FromDocument(d)
		if !errors.As(err, &got) || got.Decision.Reason() != e.Reason || got.Decision.ID != id || Exit(err) != ExitDenied {
			t.Errorf("%s came back as %v", e.Reason, err)
		}
		lines := strings.Split(strings.TrimSpace(Lines(err)), "\n")
		if len(lines) != 4 || !strings.Contains(lines[0], string(e.Reason)) || !strings.Contains(lines[3], "writ why "+string(id)) {
			t.Errorf("%s reads:\n%s", e.Reason, strings.Join(lines, "\n"))
		}
		if w.Header().Get("Writ-Decision") != string(id) {
			t.Errorf("%s has the decision %q in its header", e.Reason, w.Header().Get("Writ-Decision"))
		}
	}
}
