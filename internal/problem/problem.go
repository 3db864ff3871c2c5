// Package problem is the one place where an error becomes what somebody sees:
// an HTTP status and RFC 9457 problem document, the four lines of the command
// line, and an exit code. What is not a *writ.Error shows nothing but
// "internal error".
package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"writ.dev/writ"
)

// ContentType is the media type of a problem document (RFC 9457, section 3).
const ContentType = "application/problem+json"

// Document is a problem document with Writ's extension member.
type Document struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail,omitempty"`
	Writ   Extension `json:"writ,omitzero"`
}

// Extension carries what people and programs need in order to go on.
type Extension struct {
	Kind     string        `json:"kind,omitempty"`
	Decision writ.ID       `json:"decision,omitempty"`
	Reasons  []writ.Reason `json:"reasons,omitempty"`
	Missing  []string      `json:"missing,omitempty"`
	Why      string        `json:"why,omitempty"`
	Fix      string        `json:"fix,omitempty"`
	Field    string        `json:"field,omitempty"`
}

// Of is the document for err.
func Of(err error) Document {
	var denied *Denied
	if errors.As(err, &denied) {
		return ofDecision(denied.Decision)
	}
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind == writ.KindInternal {
		return Document{
			Type: "urn:writ:problem:internal", Title: "Internal error", Status: http.StatusInternalServerError,
			Writ: Extension{Kind: string(writ.KindInternal), Fix: "look in the server's log, and report it"},
		}
	}
	k := kinds[e.Kind]
	return Document{
		Type: "urn:writ:problem:" + string(e.Kind), Title: k.title, Status: k.status, Detail: e.Message,
		Writ: Extension{Kind: string(e.Kind), Why: e.Why, Fix: e.Fix, Field: e.Field},
	}
}

// kinds maps each kind of error to its HTTP status, title and exit code.
var kinds = map[writ.ErrorKind]struct {
	status int
	title  string
	exit   int
}{
	writ.KindInvalid:         {http.StatusUnprocessableEntity, "Invalid input", ExitUse},
	writ.KindUnauthenticated: {http.StatusUnauthorized, "Not signed in", ExitUse},
	writ.KindForbidden:       {http.StatusForbidden, "Not permitted", ExitDenied},
	writ.KindDenied:          {http.StatusForbidden, "Denied", ExitDenied},
	writ.KindNotFound:        {http.StatusNotFound, "Not found", ExitUse},
	writ.KindConflict:        {http.StatusConflict, "Conflict", ExitUse},
	writ.KindLimited:         {http.StatusTooManyRequests, "Too many", ExitUse},
	writ.KindUnavailable:     {http.StatusServiceUnavailable, "Not available", ExitServer},
	writ.KindCheckFailed:     {http.StatusUnprocessableEntity, "Check failed", ExitCheck},
	writ.KindInternal:        {http.StatusInternalServerError, "Internal error", ExitServer},
}

// Denied is a denial as an error.
type Denied struct{ Decision *writ.Decision }

// Error is the decision's sentence.
func (d *Denied) Error() string { return d.Decision.Detail }

func ofDecision(d *writ.Decision) Document {
	doc := Document{
		Type: "urn:writ:problem:" + string(d.Reason()), Title: "Denied", Status: http.StatusForbidden, Detail: d.Detail,
		Writ: Extension{Kind: string(writ.KindDenied), Decision: d.ID, Reasons: d.Reasons, Missing: d.Missing},
	}
	switch d.Reason() {
	case writ.QuotaExceeded:
		doc.Status = http.StatusTooManyRequests
	case writ.LedgerUnavailable, writ.AuthorityStale:
		doc.Status = http.StatusServiceUnavailable
	case writ.NoIdentity:
		doc.Status = http.StatusUnauthorized
	case writ.RequestAmbiguous:
		doc.Status = http.StatusBadRequest
	}
	if e, ok := writ.Explain(d.Reason()); ok {
		doc.Title, doc.Writ.Why, doc.Writ.Fix = e.Title, e.Cause, e.Command+" ("+e.Who+")"
	}
	return doc
}

// JSON is the document's body.
func (d Document) JSON() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		// The fields are strings and integers, which always marshal.
		panic(err)
	}
	return append(b, '\n')
}

// Write answers an HTTP request with the problem of err.
func Write(w http.ResponseWriter, err error) {
	d := Of(err)
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Cache-Control", "no-store")
	if d.Writ.Decision != "" {
		w.Header().Set("Writ-Decision", string(d.Writ.Decision))
	}
	body := d.JSON()
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(d.Status)
	_, _ = w.Write(body)
}

// Exit codes of the command line.
const (
	ExitOK      = 0
	ExitUse     = 1 // wrong use, or something local
	ExitServer  = 2 // server or network
	ExitDenied  = 3 // denied by policy
	ExitPending = 4 // approval pending
	ExitCheck   = 5 // a check failed
	ExitNoChild = 127
)

// Exit is the exit code for err.
func Exit(err error) int {
	if err == nil {
		return ExitOK
	}
	var denied *Denied
	if errors.As(err, &denied) {
		return ExitDenied
	}
	return kinds[writ.KindOf(err)].exit
}

// FromDocument turns a problem document that a server sent back into the error
// it was made of.
func FromDocument(d Document) error {
	if d.Writ.Kind == string(writ.KindDenied) && len(d.Writ.Reasons) > 0 {
		return &Denied{&writ.Decision{ID: d.Writ.Decision, Reasons: d.Writ.Reasons, Missing: d.Writ.Missing, Detail: d.Detail}}
	}
	kind := writ.ErrorKind(d.Writ.Kind)
	if _, ok := kinds[kind]; !ok {
		kind = kindOfStatus(d.Status)
	}
	message := d.Detail
	if message == "" {
		message = strings.ToLower(d.Title)
	}
	return &writ.Error{Kind: kind, Message: message, Why: d.Writ.Why, Fix: d.Writ.Fix, Field: d.Writ.Field}
}

func kindOfStatus(status int) writ.ErrorKind {
	for _, k := range []writ.ErrorKind{writ.KindInvalid, writ.KindUnauthenticated, writ.KindForbidden, writ.KindNotFound, writ.KindConflict, writ.KindLimited, writ.KindUnavailable} {
		if kinds[k].status == status {
			return k
		}
	}
	return writ.KindInternal
}

// Lines are the four lines of the command line: what, why, fix, more. Lines
// that have nothing to say are left out.
func Lines(err error) string {
	d := Of(err)
	what, code := d.Detail, strings.TrimPrefix(d.Type, "urn:writ:problem:")
	if what == "" {
		what = strings.ToLower(d.Title)
	}
	if d.Writ.Decision != "" {
		what = "denied: " + what
		code += ", decision " + string(d.Writ.Decision)
	}
	var b strings.Builder
	b.WriteString("✗ " + what + "  (" + code + ")\n")
	why := d.Writ.Why
	if len(d.Writ.Missing) > 0 {
		why = strings.TrimSpace(why + " Missing: " + strings.Join(d.Writ.Missing, ", "))
	}
	if why == "" && d.Writ.Field != "" {
		why = "the field " + d.Writ.Field
	}
	more := "writ help"
	if d.Writ.Decision != "" {
		more = "writ why " + string(d.Writ.Decision)
	} else if len(d.Writ.Reasons) > 0 {
		more = "writ help " + string(d.Writ.Reasons[0])
	}
	for _, l := range []struct{ label, text string }{{"why", why}, {"fix", d.Writ.Fix}, {"more", more}} {
		if l.text != "" {
			b.WriteString("  " + l.label + strings.Repeat(" ", 6-len(l.label)) + l.text + "\n")
		}
	}
	return b.String()
}
