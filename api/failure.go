package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"writ.dev/writ"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/signin"
)

// failure is a problem document as huma takes errors.
type failure struct {
	problem.Document
	header http.Header
}

// Error is the detail, safe to show.
func (f *failure) Error() string { return f.Detail }

// GetStatus is the HTTP status.
func (f *failure) GetStatus() int { return f.Status }

// GetHeaders are the headers that go with it.
func (f *failure) GetHeaders() http.Header { return f.header }

// ContentType is that of problem documents.
func (f *failure) ContentType(string) string { return problem.ContentType }

// failed makes the failure that err is shown as, and logs what is not shown.
func (s *Server) failed(ctx context.Context, err error) *failure {
	f := &failure{Document: problem.Of(err), header: http.Header{}}
	var limited *signin.Limited
	if errors.As(err, &limited) {
		f.header.Set("Retry-After", strconv.Itoa(limited.Wait))
	}
	if f.Status == http.StatusUnauthorized {
		f.header.Set("WWW-Authenticate", `Bearer realm="writ"`) // RFC 9110, section 15.5.2
	}
	if f.Writ.Decision != "" {
		f.header.Set("Writ-Decision", string(f.Writ.Decision))
	}
	if f.Status >= 500 && ctx.Err() == nil {
		cause := err
		if inner := errors.Unwrap(err); inner != nil {
			cause = inner
		}
		s.log.ErrorContext(ctx, "operation failed", "request", requestID(ctx), "err", err, "cause", cause)
	}
	return f
}

// fail answers with the problem of err, outside of a handler.
func (s *Server) fail(ctx context.Context, w http.ResponseWriter, err error) {
	f := s.failed(ctx, err)
	h := w.Header()
	for name, values := range f.header {
		h[name] = values
	}
	h.Set("Content-Type", problem.ContentType)
	w.WriteHeader(f.Status)
	_, _ = w.Write(f.JSON())
}

// reshape turns the errors that huma makes itself, about parameters and
// bodies, into problem documents. What was sent is never repeated: it may be a
// secret under a misspelled name.
func reshape(_ huma.Context, status string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code, err := strconv.Atoi(status)
	if err != nil {
		return nil, err
	}
	d := problem.Document{
		Type: "urn:writ:problem:" + string(writ.KindInvalid), Title: "Invalid input", Status: code,
		Writ: problem.Extension{Kind: string(writ.KindInvalid), Fix: "the operation is described in /openapi.json"},
	}
	switch code {
	case http.StatusRequestEntityTooLarge:
		d.Detail, d.Writ.Fix = "the body is larger than 1 MiB", "send less at a time"
	case http.StatusUnsupportedMediaType:
		d.Detail, d.Writ.Fix = "the body is not of the kind application/json", "send JSON with Content-Type: application/json"
	case http.StatusRequestTimeout:
		d.Detail, d.Writ.Fix = "the body did not arrive in time", "try again"
	case http.StatusBadRequest:
		d.Detail, d.Writ.Fix = "the body is missing or is not JSON", "send one JSON object in which no name stands twice"
	default:
		d.Detail = "the input does not fit the operation"
	}
	if code == http.StatusUnprocessableEntity && len(m.Errors) > 0 {
		first := m.Errors[0]
		d.Writ.Field = field(first.Location)
		d.Detail = d.Writ.Field + ": " + first.Message
		if len(m.Errors) > 1 {
			rest := make([]string, 0, len(m.Errors)-1)
			for _, e := range m.Errors[1:min(len(m.Errors), 10)] {
				rest = append(rest, field(e.Location)+": "+e.Message)
			}
			d.Writ.Why = "also " + strings.Join(rest, "; ")
		}
		d.Writ.Fix = fixOf(first.Message)
	}
	return d, nil
}

// field is where an error lies, as callers name their fields. A name that the
// caller made up is part of it, so it is made printable and short.
func field(location string) string {
	for _, prefix := range []string{"body.", "query.", "path.", "header."} {
		if rest, ok := strings.CutPrefix(location, prefix); ok {
			return writ.Printable(rest, 80)
		}
	}
	return writ.Printable(location, 80)
}

func fixOf(message string) string {
	switch {
	case strings.HasPrefix(message, "unexpected property"), strings.HasPrefix(message, "unknown query parameter"):
		return "leave it away, or correct its name; /openapi.json has the names"
	case strings.Contains(message, "required"):
		return "give it"
	case strings.Contains(message, "date-time"), strings.Contains(message, "date/time"):
		return "write RFC 3339, as in 2026-11-24T09:00:00Z"
	}
	return "correct it; /openapi.json says what it may be"
}
