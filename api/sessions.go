package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
	"writ.dev/writ/signin"
	"writ.dev/writ/store"
)

// sessionLife is how long a session lasts when nobody says.
const sessionLife = 8 * time.Hour

func (s *Server) sessionRoutes() {
	const tag = "sessions"
	operate(s, operation{id: "start-session", method: "POST", path: "/v1/sessions", tag: tag, access: member, summary: "Start a session; its token is shown once"}, s.startSession)

	operate(s, operation{id: "list-sessions", method: "GET", path: "/v1/sessions", tag: tag, access: reader, summary: "List sessions"},
		func(ctx context.Context, in *client.SessionFilter) (*Out[client.Page[client.Session]], error) {
			q := store.Query{State: in.State}
			if err := s.references(ctx,
				wanted{"identity", writ.KindIdentity, in.Identity, &q.Identity},
				wanted{"started", writ.KindIdentity, in.Started, &q.Started}); err != nil {
				return nil, err
			}
			return list(ctx, s, q, in.Listing, nil, (*names).session)
		})

	operate(s, operation{id: "get-session", method: "GET", path: "/v1/sessions/{ref}", tag: tag, access: reader, summary: "Get a session, without its token"},
		func(ctx context.Context, in *Named) (*Out[client.Session], error) {
			return show(ctx, s, in.Ref, (*names).session)
		})

	operate(s, operation{id: "end-session", method: "POST", path: "/v1/sessions/{ref}/end", tag: tag, access: memberOrHolder, summary: "End a session and those that derive from it"},
		func(ctx context.Context, in *act) (*Out[client.Revocation], error) {
			if err := ownSession(callerOf(ctx), in.Ref); err != nil {
				return nil, err
			}
			return withdraw[writ.Session](ctx, s, in, "end", s.Store.EndSession)
		})

	operate(s, operation{id: "control-session", method: "GET", path: "/v1/sessions/{ref}/control", tag: tag, access: holder, media: run.ControlProtocol,
		summary: "Hold a session by a control stream: an upgrade to " + run.ControlProtocol},
		func(ctx context.Context, in *Named) (*stream, error) {
			if err := ownSession(callerOf(ctx), in.Ref); err != nil {
				return nil, err
			}
			return s.control(callerOf(ctx)), nil
		})
}

// ownSession refuses a session's token at another session, as if that did not
// exist.
func ownSession(c *signin.Caller, ref string) error {
	if c.Session != nil && ref != string(c.Session.ID) {
		return notFound(writ.KindSession, ref)
	}
	return nil
}

// lasting reads how long a session is to last, as in 90m, 2h or 7d.
func lasting(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 30 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d >= time.Second && d <= writ.MaxSessionLife {
		return d, nil
	}
	return 0, writ.Invalid("for", "not a time that a session may last: "+writ.Printable(text, 20), "write it as 90m, 2h or 7d, at most 30d")
}

func (s *Server) startSession(ctx context.Context, in *struct {
	Creation
	Body client.NewSession
}) (*Out[client.SessionOnce], error) {
	c, b := callerOf(ctx), &in.Body
	x := writ.Session{
		Org: c.Org, Started: c.Identity.ID, Task: b.Task, Isolation: b.Isolation, Attached: b.Attached, State: writ.Active,
		Created: s.now(), Expires: b.Expires,
	}
	if x.Isolation == "" {
		x.Isolation = "none"
	}
	if b.For != "" && b.Expires != 0 {
		return nil, writ.Invalid("for", "both for and expires are given", "give one of them")
	}
	if x.Expires == 0 {
		d := sessionLife
		if b.For != "" {
			var err error
			if d, err = lasting(b.For); err != nil {
				return nil, err
			}
		}
		x.Expires = x.Created.Add(d)
	}
	if err := s.references(ctx,
		wanted{"identity", writ.KindIdentity, b.Identity, &x.Identity},
		wanted{"parent", writ.KindSession, b.Parent, &x.Parent}); err != nil {
		return nil, err
	}
	if err := s.mayStart(ctx, c, &x); err != nil {
		return nil, err
	}
	n := s.names(ctx, c.Org)
	usable, err := s.usable(ctx, c.Org, x.Identity)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		if err := x.Validate(); err != nil {
			return nil, err
		}
		return out(client.SessionOnce{Session: n.session(&x), MayUse: usable, DryRun: true}), nil
	}
	st, err := s.once(in.Creation, "start-session", b)
	if err != nil {
		return nil, err
	}
	token, hash := signin.NewSessionToken()
	x.Hash = hex.EncodeToString(hash[:])
	made, mark, err := st.StartSession(ctx, c.Actor(), x)
	if err != nil {
		return nil, err
	}
	if made.Hash != x.Hash {
		token = "" // started by an earlier request under the same idempotency key
	} else if made.Attached {
		ref := writ.Ref{Org: made.Org, ID: made.ID}
		s.children.expect(ref, func() { s.endSession(ref, nil, causeUnattached) })
	}
	return out(client.SessionOnce{Session: n.session(made), Token: token, MayUse: usable, Record: recorded(mark)}), nil
}

// mayStart checks that a member starts sessions only of what is hers: herself,
// and the services and agents that she owns.
func (s *Server) mayStart(ctx context.Context, c *signin.Caller, x *writ.Session) error {
	who, err := find[writ.Identity](ctx, s, c.Org, string(x.Identity))
	if err != nil {
		return err
	}
	if who.Kind == writ.Person && who.ID != c.Identity.ID {
		// Not even an admin acts as another person.
		return writ.Errorf(writ.KindForbidden, "a session of a person is started by herself").WithFix("start it with her own key")
	}
	if c.Role == writ.RoleAdmin || who.ID == c.Identity.ID || who.Owner == c.Identity.ID {
		return nil
	}
	return writ.Errorf(writ.KindForbidden, "%s is not yours to start", who.Label()).
		WithWhy("a member starts sessions of herself and of what she owns").
		WithFix("ask its owner or an admin")
}

// usable lists what a session of the identity may use now.
func (s *Server) usable(ctx context.Context, org, identity writ.ID) ([]client.Usable, error) {
	grants, err := every[writ.Grant](ctx, s, org, store.Query{Identity: identity, State: writ.Active})
	if err != nil {
		return nil, err
	}
	usable := []client.Usable{}
	for _, g := range grants {
		if !g.Live(s.now()) {
			continue
		}
		c, err := find[writ.Credential](ctx, s, org, string(g.Credential))
		if err != nil {
			return nil, err
		}
		if !c.Live(s.now()) || c.Current == "" {
			continue
		}
		app, err := find[writ.Application](ctx, s, org, string(c.App))
		if err != nil {
			return nil, err
		}
		v, err := find[writ.Version](ctx, s, org, string(c.Current))
		if err != nil {
			return nil, err
		}
		usable = append(usable, client.Usable{
			Grant: g.ID, Credential: c.Name, Application: app.Name, Hosts: v.Hosts, Rules: texts(g.Rules), Expires: g.Expires,
		})
	}
	return usable, nil
}

func (s *Server) whoami(ctx context.Context) (*client.Whoami, error) {
	c := callerOf(ctx)
	o, err := s.Store.Org(ctx, string(c.Org))
	if err != nil {
		return nil, err
	}
	n := s.names(ctx, c.Org)
	w := &client.Whoami{Org: c.Org, OrgName: o.Name, Identity: n.identity(c.Identity), Role: c.Role, Via: c.Via(), Expires: c.Expires()}
	if c.Key != nil {
		w.Local = c.Key.Local
	}
	if c.Session != nil {
		x := n.session(c.Session)
		w.Session = &x
	}
	return w, nil
}

func (s *Server) status(ctx context.Context) (*client.Status, error) {
	c := callerOf(ctx)
	o, err := s.Store.Org(ctx, string(c.Org))
	if err != nil {
		return nil, err
	}
	st := &client.Status{
		Version: s.About.Version, Mode: s.About.Mode, Org: o.ID, OrgName: o.Name, Started: writ.At(s.started), Now: s.now(),
		Database: s.About.Database, Proxy: s.About.Proxy, Stopped: o.State != writ.Active, Stale: s.Standing != nil && s.Standing(c.Org),
		CA: authorityOf(s.CA), Rests: s.About.Rests, Warnings: s.About.Warnings,
	}
	log, err := s.Store.Log(ctx, c.Org)
	if err != nil {
		return nil, err
	}
	if st.Ledger, err = s.ledgerStatus(ctx, log); err != nil {
		// A checkpoint that cannot be kept is what a status is for, not the end of it.
		s.Logger.Error("status without a checkpoint", "err", err)
		st.Ledger = client.LedgerStatus{Size: log.Head().Size}
		st.Warnings = append(slices.Clone(st.Warnings), "the ledger's newest checkpoint cannot be made or kept; see the server's log")
	}
	return st, nil
}

// ready reports why the server cannot serve.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if s.Operator == "" {
		return nil
	}
	if _, err := s.Store.Org(ctx, string(s.Operator)); err != nil {
		return writ.Errorf(writ.KindUnavailable, "the database does not answer").WithCause(err)
	}
	if s.Standing != nil && s.Standing(s.Operator) {
		return writ.Errorf(writ.KindUnavailable, "the server's view is not fresh")
	}
	return nil
}

var _ http.Handler = (*Server)(nil)
