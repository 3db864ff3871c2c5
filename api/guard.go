package api

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/signin"
)

// exchange is what is noted of one request for its log line and metrics. It is
// written by the goroutine that serves the request.
type exchange struct {
	request   string
	operation string
	caller    *signin.Caller
}

type exchangeKey struct{}

func noteOperation(ctx context.Context, op operation) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.operation = op.id
	}
}

func noteCaller(ctx context.Context, c *signin.Caller) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.caller = c
	}
}

func requestID(ctx context.Context) string {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x.request
	}
	return ""
}

// answer watches what is answered.
type answer struct {
	http.ResponseWriter
	status   int
	hijacked atomic.Bool
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ServeHTTP guards a request and serves it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.Clock()
	x := &exchange{request: rand.Text()[:16]}
	a := &answer{ResponseWriter: w}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	securityHeaders(a.Header(), r.TLS != nil)
	a.Header().Set("Writ-Request", x.request)
	defer func() {
		if p := recover(); p != nil {
			s.panicked(a, r, p)
		}
		s.done(a, r, x, s.Clock().Sub(start))
	}()
	if err := s.guard(r); err != nil {
		s.fail(r.Context(), a, err)
		return
	}
	if handler, pattern := s.mux.Handler(r); pattern == "" {
		s.unrouted(a, r, handler)
		return
	}
	s.mux.ServeHTTP(a, r)
}

// securityHeaders are for the browser that somebody points here: nothing of
// the API is a page, and nothing of it is kept.
func securityHeaders(h http.Header, tls bool) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if tls {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

var crossOrigin = http.NewCrossOriginProtection()

// guard refuses what a page of another site could make a browser send. There
// is no CORS: no other origin is ever answered.
func (s *Server) guard(r *http.Request) error {
	if r.TLS == nil && !s.knownHost(r.Host) {
		// A name of somebody else's that resolves to this address (DNS rebinding)
		// would make a browser take the caller's page for ours. Over TLS it has no
		// certificate for that name, and the browser stops there.
		return writ.Errorf(writ.KindForbidden, "this server does not go by the name %s", writ.Printable(r.Host, 80)).
			WithFix("call it by a name that it is configured with, or by its address")
	}
	if err := crossOrigin.Check(r); err != nil {
		return writ.Errorf(writ.KindForbidden, "requests from pages of other sites are refused").WithCause(err)
	}
	return nil
}

func (s *Server) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "localhost" || slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// unrouted answers for what no operation serves. The mux knows whether it is
// the path or the method.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &discard{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	err := writ.Errorf(writ.KindNotFound, "there is nothing at this address").WithFix("the operations are listed in /openapi.json")
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		err = writ.Errorf(writ.KindNotFound, "this address does not take %s", writ.Printable(r.Method, 20)).WithFix("use %s", allow)
	}
	s.fail(r.Context(), w, err)
}

// discard takes an answer and keeps its status and headers.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// panicked answers for a defect of ours. The value is not logged: it may hold
// what the request held. The stack has positions, not values.
func (s *Server) panicked(a *answer, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.ErrorContext(r.Context(), "panic", "request", requestID(r.Context()), "stack", string(debug.Stack()))
	if a.status == 0 && !a.hijacked.Load() {
		s.fail(context.WithoutCancel(r.Context()), a, writ.Errorf(writ.KindInternal, "a defect"))
	}
}

// done writes the request's log line and metrics. The line has the operation
// and no path or query: both hold names and can hold secrets (T54).
func (s *Server) done(a *answer, r *http.Request, x *exchange, took time.Duration) {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	operation := x.operation
	if operation == "" {
		operation = "none"
	}
	s.metrics.observe(operation, status, took)
	attrs := []any{"request", x.request, "operation", operation, "status", status, "ms", took.Milliseconds()}
	if x.caller != nil {
		attrs = append(attrs, "org", x.caller.Org, "identity", x.caller.Identity.ID, "via", x.caller.Via())
	}
	s.log.InfoContext(r.Context(), "request", attrs...)
}

// attempt is what the request shows of who sent it.
func attempt(r *http.Request) signin.Attempt {
	a := signin.Attempt{Authorization: r.Header.Get("Authorization")}
	a.Client, _ = netip.ParseAddrPort(r.RemoteAddr)
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		a.Server, _ = netip.ParseAddrPort(local.String())
	}
	if len(r.Header.Values("Authorization")) > 1 {
		a.Authorization = "two" // two readings are no token
	}
	return a
}
