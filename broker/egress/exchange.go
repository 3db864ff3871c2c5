package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/internal/wire"
)

// HintHeader names the credential to use, where grants leave a choice.
const HintHeader = "Writ-Credential"

// ask begins the Ask of a request: what is known without reading its target.
func (s *Server) ask(req *wire.Request, who client, host string) *writ.Ask {
	a := &writ.Ask{
		Org: who.session.Org, Session: who.session.ID, Time: writ.At(s.Clock()),
		Scheme: "https", Source: who.source, Runtime: who.runtime,
		Hint: writ.Printable(req.Header.Get(HintHeader), writ.MaxName),
	}
	a.Method, a.Host = req.Method, host
	a.Info.Mode = writ.BodyNone
	if req.Length != 0 {
		a.Info.Mode = writ.BodyStreamed
	}
	return a
}

// exchange answers one request that is for an upstream.
func (s *Server) exchange(ctx context.Context, c *wire.Conn, req *wire.Request, who client) bool {
	host, scheme, why := destination(req, who)
	ask := s.ask(req, who, host)
	ask.Scheme = scheme
	if why != "" {
		return s.deny(ctx, c, req, who, ask, writ.RequestAmbiguous, why)
	}
	app, ok := s.Authority.Application(ctx, who.session.Org, host)
	if !ok {
		return s.deny(ctx, c, req, who, ask, writ.NoGrant, "no application declares the host "+host)
	}
	if _, port := writ.SplitHost(host); scheme == "http" && (!app.Cleartext || port == 443) {
		return s.deny(ctx, c, req, who, ask, writ.DestinationBlocked, "the application "+app.Name+" does not allow cleartext to "+host)
	}
	target, err := writ.ParseTarget(req.Path, app.Profile)
	if err != nil {
		ask.Target.Raw = req.Path
		return s.deny(ctx, c, req, who, ask, writ.RequestAmbiguous, err.Error())
	}
	ask.Target = target
	header := req.Header.Clone()
	if stripped := wire.StripRequest(&header); len(stripped.Override) > 0 || hasMethodParam(target.Query) {
		return s.deny(ctx, c, req, who, ask, writ.RequestAmbiguous, "the request asks to be taken for one with another method")
	}
	switch req.Method {
	case "TRACE", "CONNECT":
		return s.deny(ctx, c, req, who, ask, writ.RequestAmbiguous, req.Method+" is never brokered")
	}
	x := &exchange{server: s, conn: c, req: req, header: header, farewell: who.farewell, org: who.session.Org}
	return x.run(ctx, ask)
}

// destination is the canonical host and scheme that the request is for, or why
// that cannot be said: the host of CONNECT, of TLS, of an absolute target and
// of the Host field must all be the same (T8).
func destination(req *wire.Request, who client) (host, scheme, why string) {
	named, err := canonical(withScheme(req.Host, schemeOf(req, who)))
	if t := who.tunnel; t != nil {
		switch {
		case req.Form != wire.Origin:
			return t.host, t.scheme, "inside a tunnel a request's target is a path"
		case err != nil || named != t.host:
			return t.host, t.scheme, "the tunnel is for " + t.host + " and the Host field names another host"
		}
		return t.host, t.scheme, ""
	}
	if req.Form != wire.Absolute || req.Scheme != "http" {
		return "", "http", "the target is not an http:// URL; https goes through CONNECT"
	}
	host, aerr := canonical(withScheme(req.Authority, "http"))
	if aerr != nil {
		return "", "http", "the host of the target is not one: " + writ.Printable(req.Authority, 80)
	}
	if err != nil || named != host {
		return host, "http", "the target names one host and the Host field another"
	}
	return host, "http", ""
}

func schemeOf(req *wire.Request, who client) string {
	if who.tunnel != nil {
		return who.tunnel.scheme
	}
	return "http"
}

// withScheme spells the default port out where it is not the one that canonical
// hosts leave away.
func withScheme(host, scheme string) string {
	if scheme != "http" || host == "" {
		return host
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host
	}
	return host + ":80"
}

// methodParams are query parameters that some framework takes for another
// method, as paramName spells them (T13).
var methodParams = map[string]bool{
	"_method": true, "$httpmethod": true, "x_http_method_override": true, "x_http_method": true, "x_method_override": true,
}

func hasMethodParam(query []writ.Param) bool {
	for _, p := range query {
		if methodParams[paramName(p.Name)] {
			return true
		}
	}
	return false
}

// paramName is the name of a query parameter as the most forgiving server reads
// it: without regard to case, spaces before it, or an index behind it, and with
// '_' for what PHP's variables cannot have in a name.
func paramName(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimLeft(name, " ")), "[")
	return strings.NewReplacer(" ", "_", ".", "_", "-", "_").Replace(name)
}

// exchange is one request and its answer.
type exchange struct {
	server   *Server
	conn     *wire.Conn
	req      *wire.Request
	header   wire.Header // of the request, stripped
	farewell *farewell

	org            writ.ID
	spooled        []byte // the body, once read for a rule
	prefix         []byte // what was read of a body that could not be spooled
	held           int64  // what these take of the quota
	sent, received atomic.Int64
	broken         bool // the connection cannot be used for another request
	replied        bool
}

// run has the request decided and carried out, and reports whether the
// connection may go on.
func (x *exchange) run(ctx context.Context, ask *writ.Ask) bool {
	ctx, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	in := broker.Intent{
		Ask: ask, ContentType: x.req.Header.Get("Content-Type"), ContentEncoding: x.req.Header.Get("Content-Encoding"),
	}
	if x.req.Length != 0 {
		in.Spool = x.spool
	}
	if x.req.Header.Count("Content-Type") > 1 {
		in.ContentType = "" // two readings: no rule over the body holds
	}
	d, err := x.server.Broker.Use(ctx, in, func(ctx context.Context, u *broker.Use) writ.Outcome {
		return x.carry(ctx, hangUp, u)
	})
	x.unspool()
	if x.replied {
		return !x.broken
	}
	var denied *problem.Denied
	if errors.As(err, &denied) || err == nil {
		return x.server.problem(x.conn, x.req, d, 0, nil) == nil
	}
	doc := problem.Of(err)
	h := wire.Header{{Name: "Content-Type", Value: problem.ContentType}, {Name: "Writ-Decision", Value: string(d.ID)}}
	return x.conn.Respond(x.req).Send(doc.Status, h, doc.JSON()) == nil
}

var errSpool = errors.New("the body is larger than a rule can look into")

// spool reads the whole body for the rules that need it, and keeps it for the
// carrier, so that what was judged is what is sent. Room is taken as the body
// comes, and never for what a client only says that it will send.
func (x *exchange) spool(limit int64) ([]byte, error) {
	if x.req.Length > limit {
		return nil, errSpool
	}
	most := limit + 1 // one byte more tells that it is too large
	if x.req.Length >= 0 {
		most = x.req.Length + 1
	}
	var body []byte
	for {
		var err error
		if len(body) == cap(body) {
			body, err = x.makeRoom(body, most)
		}
		if err == nil {
			var n int
			n, err = x.req.Body.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
		}
		switch {
		case err == io.EOF && int64(len(body)) <= limit:
			x.spooled = body
			return body, nil
		case err != nil || int64(len(body)) > limit:
			// Another grant, without a rule over the body, may still allow the request:
			// what was read goes first then.
			x.prefix = body
			return nil, errSpool
		}
	}
}

// makeRoom gives body twice the room, at most most bytes, if the quota has it.
func (x *exchange) makeRoom(body []byte, most int64) ([]byte, error) {
	room := min(max(2*int64(cap(body)), 4<<10), most)
	more := room - int64(cap(body))
	if !x.server.spool.take(x.org, more) {
		return body, errSpool
	}
	x.held += more
	return append(make([]byte, 0, room), body...), nil
}

// unspool gives back the room that the body took.
func (x *exchange) unspool() {
	if x.held == 0 {
		return
	}
	x.server.spool.release(x.org, x.held)
	x.spooled, x.prefix, x.held = nil, nil, 0
}

// spoolQuota bounds the bodies that are held in memory at a time, in bytes, so
// that many large ones cannot take all of it, and those of one organization not
// the room of the others.
type spoolQuota struct {
	mu    sync.Mutex
	used  int64             // guarded by mu
	byOrg map[writ.ID]int64 // guarded by mu
}

const (
	maxSpooled    = 128 << 20
	maxOrgSpooled = maxSpooled / 2
)

func (q *spoolQuota) take(org writ.ID, n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used+n > maxSpooled || q.byOrg[org]+n > maxOrgSpooled {
		return false
	}
	if q.byOrg == nil {
		q.byOrg = map[writ.ID]int64{}
	}
	q.used += n
	q.byOrg[org] += n
	return true
}

func (q *spoolQuota) release(org writ.ID, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used -= n
	if q.byOrg[org] -= n; q.byOrg[org] == 0 {
		delete(q.byOrg, org)
	}
}

// body is the request's body for the upstream.
func (x *exchange) body() (io.ReadCloser, int64) {
	switch {
	case x.spooled != nil:
		return &countedBody{Reader: bytes.NewReader(x.spooled), n: &x.sent}, int64(len(x.spooled))
	case x.req.Length == 0 && x.req.Method != http.MethodGet && x.req.Method != http.MethodHead && x.req.Method != http.MethodOptions:
		return nil, 0
	case x.req.Length == 0:
		// A body, though an empty one: without, net/http would send these methods
		// a second time when a pooled connection breaks, and one allow is one request.
		return &countedBody{Reader: strings.NewReader(""), n: &x.sent}, 0
	}
	var r io.Reader = x.req.Body
	if x.prefix != nil {
		r = io.MultiReader(bytes.NewReader(x.prefix), r)
	}
	return &countedBody{Reader: r, n: &x.sent}, x.req.Length // wire.Chunked is net/http's -1
}

// countedBody counts what is read of a body. It offers no way to read it
// twice, so that the transport cannot replay a request: one allow, one request.
type countedBody struct {
	io.Reader
	n *atomic.Int64
}

// Read reads and counts.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// Close leaves the client's connection to the codec, which owns it.
func (b *countedBody) Close() error { return nil }

type counter struct{ n atomic.Int64 }

func (c *counter) add()         { c.n.Add(1) }
func (c *counter) value() int64 { return c.n.Load() }
