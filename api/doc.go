// Package api is the HTTP API: every operation of Writ over HTTP, with its
// OpenAPI 3.1 description generated from the code that serves it.
//
// The way of a request:
//
//	guard      host and origin, security headers, request id, log, metrics
//	mux        the operation's route
//	gate       who calls (package signin), and whether her role may: the one
//	           place where roles are enforced
//	huma       parameters and body against the operation's schema
//	handler    func(ctx, *In) (*Out, error)
//
// Bodies are the types of package client. Every error, also those of the
// layers in front of a handler, is a problem document (RFC 9457) made in
// package internal/problem.
//
// A caller's organization comes from her token, never from the request: no
// handler can name another one, and a thing of another organization is not
// found (invariant 14).
package api
