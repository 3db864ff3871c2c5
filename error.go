package writ

import (
	"errors"
	"fmt"
)

// ErrorKind says what sort of failure an Error is. It is mapped to an HTTP
// status, a problem type and an exit code in one place: internal/problem.
type ErrorKind string

// The kinds of failure. Anything that is not an *Error is KindInternal and its
// text is never shown.
const (
	KindInvalid         ErrorKind = "invalid"         // the input is wrong; the fix says how to right it
	KindUnauthenticated ErrorKind = "unauthenticated" // nobody, or not who they say
	KindForbidden       ErrorKind = "forbidden"       // known, but without the right
	KindDenied          ErrorKind = "denied"          // a Decision said no; it has reason codes
	KindNotFound        ErrorKind = "not_found"       // no such thing in this organization
	KindConflict        ErrorKind = "conflict"        // it exists, or has changed meanwhile
	KindLimited         ErrorKind = "limited"         // too many, too fast, too large
	KindUnavailable     ErrorKind = "unavailable"     // cannot be answered now; nothing was done
	KindCheckFailed     ErrorKind = "check_failed"    // a verification said no
	KindInternal        ErrorKind = "internal"        // a defect of ours
)

// Error is the one error that people see. Message, Why and Fix are safe to
// show to whoever asked; cause is for the log and is never shown.
type Error struct {
	Kind    ErrorKind
	Message string // what happened, one sentence without a final stop
	Why     string // the facts it rests on; may be empty
	Fix     string // the next step, a command where there is one
	Field   string // the input that is meant, as a path ("rules[0].path"); may be empty

	cause error
}

// Errorf makes an Error of a kind. The format's arguments are shown: never
// pass a secret or another system's error text.
func Errorf(kind ErrorKind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Invalid is an Error about one input field, with the fix that rights it.
func Invalid(field, message, fix string) *Error {
	return &Error{Kind: KindInvalid, Message: message, Fix: fix, Field: field}
}

// WithWhy returns a copy that states the facts it rests on.
func (e *Error) WithWhy(format string, args ...any) *Error {
	c := *e
	c.Why = fmt.Sprintf(format, args...)
	return &c
}

// WithFix returns a copy that names the next step.
func (e *Error) WithFix(format string, args ...any) *Error {
	c := *e
	c.Fix = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy that carries a private cause, for the log only.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// Error is the message alone: what is safe to show.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the private cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.cause }

// KindOf is the kind of err, KindInternal for what is not an *Error.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}
