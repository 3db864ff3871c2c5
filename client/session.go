package client

import (
	"context"

	"writ.dev/writ"
)

// Session is one run of an agent, service or person, without its token.
type Session struct {
	ID           writ.ID    `json:"id"`
	Org          writ.ID    `json:"org"`
	Identity     writ.ID    `json:"identity"`
	IdentityName string     `json:"identity_name,omitempty"`
	Started      writ.ID    `json:"started" doc:"the identity that started it"`
	StartedName  string     `json:"started_name,omitempty"`
	Parent       writ.ID    `json:"parent,omitempty"`
	Task         string     `json:"task,omitempty"`
	State        writ.State `json:"state"`
	Created      writ.Time  `json:"created"`
	Expires      writ.Time  `json:"expires"`
	Isolation    string     `json:"isolation"`
	Attached     bool       `json:"attached,omitempty" doc:"a control stream holds it: it ends when that is lost"`
	Live         bool       `json:"live"`
}

// SessionFilter narrows a list of sessions.
type SessionFilter struct {
	Identity string     `query:"identity" maxLength:"254"`
	Started  string     `query:"started" maxLength:"254" doc:"started by this identity"`
	State    writ.State `query:"state" enum:"active,ended,revoked"`
	Listing
}

// NewSession starts a session.
type NewSession struct {
	Identity  string    `json:"identity" minLength:"1" maxLength:"254" doc:"who acts in it"`
	Task      string    `json:"task,omitempty" maxLength:"500"`
	For       string    `json:"for,omitempty" maxLength:"20" doc:"how long, as in 90m, 2h or 7d; 8h if neither this nor expires is given"`
	Expires   writ.Time `json:"expires,omitempty" doc:"until when, instead of for"`
	Isolation string    `json:"isolation,omitempty" maxLength:"200" doc:"the isolation in force, in words; none if not given"`
	Attached  bool      `json:"attached,omitempty" doc:"a control stream will hold it: it ends when that is lost"`
	Parent    string    `json:"parent,omitempty" maxLength:"254" doc:"the session it derives from"`
}

// Usable is one thing that a session may use, for its banner.
type Usable struct {
	Grant       writ.ID   `json:"grant"`
	Credential  string    `json:"credential"`
	Application string    `json:"application"`
	Hosts       []string  `json:"hosts" nullable:"false"`
	Rules       []string  `json:"rules" nullable:"false"`
	Expires     writ.Time `json:"expires,omitempty"`
}

// SessionOnce is a new session with its token, which is shown this once.
type SessionOnce struct {
	Session Session  `json:"session"`
	Token   string   `json:"token,omitempty" doc:"the session's token; shown once and kept nowhere"`
	MayUse  []Usable `json:"may_use" nullable:"false"`
	Record  Recorded `json:"record,omitzero"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// StartSession starts a session.
func (c *Client) StartSession(ctx context.Context, in NewSession, o ...Option) (*SessionOnce, error) {
	out := &SessionOnce{}
	return out, c.do(ctx, post(in, out, "v1", "sessions").with(o).once())
}

// Sessions lists sessions.
func (c *Client) Sessions(ctx context.Context, f SessionFilter) (*Page[Session], error) {
	out := &Page[Session]{}
	return out, c.do(ctx, get(query(f), out, "v1", "sessions"))
}

// Session gives one session.
func (c *Client) Session(ctx context.Context, ref string) (*Session, error) {
	out := &Session{}
	return out, c.do(ctx, get(nil, out, "v1", "sessions", ref))
}

// EndSession ends a session and those that derive from it. A session's own
// token may end it.
func (c *Client) EndSession(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "sessions", ref, "end")
}

// Whoami is who a token stands for.
type Whoami struct {
	Org      writ.ID   `json:"org"`
	OrgName  string    `json:"org_name"`
	Identity Identity  `json:"identity"`
	Role     writ.Role `json:"role,omitempty" doc:"absent for a session's token"`
	Via      writ.ID   `json:"via" doc:"the key or session"`
	Expires  writ.Time `json:"expires"`
	Local    bool      `json:"local,omitempty" doc:"the local development token: it administers but never approves"`
	Session  *Session  `json:"session,omitempty"`
}

// Whoami tells who the client's token stands for.
func (c *Client) Whoami(ctx context.Context) (*Whoami, error) {
	out := &Whoami{}
	return out, c.do(ctx, get(nil, out, "v1", "whoami"))
}
