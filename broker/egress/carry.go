package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/dialguard"
	"writ.dev/writ/internal/mask"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/internal/wire"
)

// errHungUp is the cause of the context when the client went away.
var errHungUp = errors.New("the client went away")

// carry carries out an allowed use: it attaches the secret, sends the request,
// and passes the answer back. It runs under the use's lease.
func (x *exchange) carry(ctx context.Context, hangUp context.CancelCauseFunc, u *broker.Use) (out writ.Outcome) {
	out.Kind = writ.Suppressed
	transport, err := x.server.upstreams.of(u.Application)
	if err != nil {
		out.Error = "the application's network settings cannot be used"
		x.reject(u, http.StatusBadGateway, writ.DestinationBlocked, out.Error)
		return out
	}
	request, masker, err := x.request(u)
	if err != nil {
		out.Error = errUnplaceable.Error()
		x.reject(u, http.StatusForbidden, writ.PlacementViolation, out.Error)
		return out
	}
	// The last moment at which a revocation prevents the use: after this the
	// credential is on its way.
	if !u.Send() {
		return out
	}
	out.Kind = writ.Failed
	stop := context.AfterFunc(ctx, func() {
		if u.WasCut() {
			x.farewell.say()
			x.conn.Cut() // whatever the client is in the middle of reading
		}
	})
	defer stop()
	// A client that hangs up ends the use. While it still sends a body, reading
	// that tells; before and after, the watch does. It declines when bytes of a
	// next request are there already, which say as much.
	gone := func() { hangUp(errHungUp) }
	watched := x.conn.Watch(gone)
	request.Sent = func() { watched = watched || x.conn.Watch(gone) }
	response, err := transport.RoundTrip(ctx, destinationKey(u.Ask), request)
	out.Sent = x.sent.Load()
	if err != nil {
		x.upstreamFailed(ctx, u, &out, err)
		return out
	}
	defer func() { _ = response.Body.Close() }()
	out.Status = response.Status
	if response.Upgraded != nil {
		x.passThrough(ctx, u, response, masker, &out)
		return out
	}
	if !watched {
		x.conn.Watch(gone)
	}
	x.answer(ctx, u, response, masker, &out)
	out.Sent = x.sent.Load()
	return out
}

// request builds the upstream's request: the target as it came, the header
// less what is ours or hop-by-hop, and the secret in its place. The strings
// that hold the secret live as long as the request does; docs/THREATS.md says
// what a garbage-collected runtime cannot promise.
func (x *exchange) request(u *broker.Use) (*wire.OutRequest, *mask.Set, error) {
	header := x.header
	header.Del(HintHeader)
	if header.Get("Accept-Encoding") != "" {
		header.Set("Accept-Encoding", "identity") // what can be read can be masked
	}
	header.Set("Host", hostField(u.Ask))
	upgrade := ""
	if strings.EqualFold(x.req.Upgrade, "websocket") {
		upgrade = "websocket"
		header.Del("Sec-WebSocket-Extensions") // compressed frames could not be watched
	}
	target := u.Ask.Target.Raw
	var masker *mask.Set
	err := u.Secret(func(secret []byte) (err error) {
		if target, err = attach(u.Version.Placement, secret, target, &header); err != nil {
			return err
		}
		masker, err = mask.New(forms(u.Version.Placement, secret)...)
		if errors.Is(err, mask.ErrLength) {
			return nil // too short or long to be told from innocent text: not masked
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	r := &wire.OutRequest{Method: x.req.Method, Target: target, Header: header, Upgrade: upgrade}
	if x.req.Length != 0 {
		r.Body, r.Length = x.body()
	}
	return r, masker, nil
}

// forms are the byte strings that must not come back: the secret, and for
// basic authentication also what is base64-encoded together with the user.
func forms(p writ.Placement, secret []byte) [][]byte {
	all := [][]byte{secret}
	if p.In == writ.InBasic {
		all = append(all, append([]byte(p.Name+":"), secret...))
	}
	return all
}

// hostField is the Host to send: as browsers spell it, without a default port.
func hostField(a *writ.Ask) string {
	return strings.TrimSuffix(a.Host, map[string]string{"http": ":80", "https": ":443"}[a.Scheme])
}

// reject answers for an allowed use that could not be carried out.
func (x *exchange) reject(u *broker.Use, status int, r writ.Reason, text string) {
	d := &writ.Decision{ID: u.Decision.ID, Reasons: []writ.Reason{r}, Detail: text}
	x.replied = true
	x.broken = x.server.problem(x.conn, x.req, d, status, nil) != nil
}

// upstreamFailed answers when the upstream gave no answer. Its error text may
// hold the target with the secret in it, so it is never passed on (T54).
func (x *exchange) upstreamFailed(ctx context.Context, u *broker.Use, out *writ.Outcome, err error) {
	var blocked *dialguard.Blocked
	var bad *wire.Error
	if errors.Is(err, wire.ErrNotSent) {
		// Also of the body, however much of it was read.
		out.Kind, out.Sent = writ.Suppressed, 0
	}
	switch {
	case u.WasCut():
		x.replied, x.broken = true, true
		return
	case errors.As(err, &blocked):
		out.Kind, out.Error = writ.Suppressed, "the address is off limits"
		x.reject(u, http.StatusForbidden, writ.DestinationBlocked, blocked.Error())
		return
	case errors.Is(err, wire.ErrRequestBody) && errors.As(err, &bad):
		out.Error = "the request's body is refused: " + bad.Reason
		x.reject(u, bad.Status, writ.RequestAmbiguous, out.Error)
		x.broken = true
		return
	case errors.Is(context.Cause(ctx), errHungUp), errors.Is(err, wire.ErrRequestBody):
		if out.Kind == writ.Failed {
			out.Kind = writ.Abandoned
		}
		x.replied, x.broken = true, true
		return
	}
	out.Error = classify(err)
	doc := problem.Document{
		Type: "urn:writ:problem:upstream", Title: "No answer from the upstream", Status: http.StatusBadGateway, Detail: u.Ask.Host + ": " + out.Error,
		Writ: problem.Extension{Kind: string(writ.KindUnavailable), Decision: u.Decision.ID, Fix: "try again later; the use is recorded as " + string(out.Kind)},
	}
	h := wire.Header{{Name: "Content-Type", Value: problem.ContentType}, {Name: "Writ-Decision", Value: string(u.Decision.ID)}}
	x.replied = true
	// The body may not have been read to its end, and nobody waits for it now.
	r := x.conn.Respond(x.req)
	r.LastOne = x.req.Length != 0
	x.broken = r.Send(doc.Status, h, doc.JSON()) != nil || x.req.Length != 0
}

// classify says in our own words why there was no answer.
func classify(err error) string {
	var timeout interface{ Timeout() bool }
	var malformed *wire.Error
	text := err.Error()
	switch {
	case errors.As(err, &malformed):
		return "its answer cannot be passed on: " + malformed.Reason
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return "its certificate or TLS could not be verified"
	case strings.Contains(text, "connection refused"):
		return "it refused the connection"
	case strings.Contains(text, "no such host"):
		return "its name could not be resolved"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(text, "reset"):
		return "it closed the connection without an answer"
	}
	return "the exchange with it failed"
}
