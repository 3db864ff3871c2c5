package client

import (
	"context"

	"writ.dev/writ"
)

// Count is how many of something were found, and how many of those are
// confirmed down.
type Count struct {
	Found int `json:"found"`
	Down  int `json:"down"`
}

// Target is what an act was about.
type Target struct {
	Kind  writ.Kind `json:"kind" doc:"prefix of the id: idn, ses, grt, cred, app, key; org for everything"`
	ID    writ.ID   `json:"id"`
	Label string    `json:"label" doc:"its name"`
}

// Revocation is what a withdrawal ended, counted, and how long that took. All
// is done when it is answered: nothing that rests on the target starts any
// more, and what was in flight is down where Down equals Found.
type Revocation struct {
	Target Target   `json:"target"`
	Act    string   `json:"act" doc:"what was done: revoke, suspend, end or stop"`
	Record Recorded `json:"record,omitzero"`

	// What the act itself ended, the target included.
	Identities  int `json:"identities"`
	Sessions    int `json:"sessions"`
	Grants      int `json:"grants"`
	Credentials int `json:"credentials"`
	Keys        int `json:"keys"`
	// What was in flight on this server.
	Uses        Count `json:"uses" doc:"requests under way, streams and WebSockets included"`
	Connections Count `json:"connections" doc:"tunnels and relay connections"`
	Children    Count `json:"children" doc:"programs that writ run started"`

	Received writ.Time `json:"received,omitempty" doc:"when the server was asked"`
	Decided  writ.Time `json:"decided,omitempty" doc:"when the change was durable"`
	Settled  writ.Time `json:"settled,omitempty" doc:"when the last thing in flight was confirmed down, or waiting ended"`
	Micros   int64     `json:"micros" doc:"microseconds from received to settled"`
	DryRun   bool      `json:"dry_run,omitempty" doc:"nothing was ended; the counts are of the target alone"`
}

// NewKill says what to stop, and why.
type NewKill struct {
	Target string `json:"target" minLength:"1" maxLength:"254" doc:"a session, identity, grant, credential or key by id or name, or all"`
	Because
}

// NewResume says what to resume, and why.
type NewResume struct {
	Target string `json:"target" minLength:"1" maxLength:"254" doc:"an identity, grant or credential by id or name, or all"`
	Because
}

// Resumed is what a resume did. It never revives a session or key from before.
type Resumed struct {
	Target Target   `json:"target"`
	Record Recorded `json:"record,omitzero"`
	DryRun bool     `json:"dry_run,omitempty"`
}

// Kill stops something now: a session ends, an identity, grant or credential
// is suspended until it is resumed, a key is revoked, all stops everything in
// the organization.
func (c *Client) Kill(ctx context.Context, in NewKill, o ...Option) (*Revocation, error) {
	out := &Revocation{}
	return out, c.do(ctx, post(in, out, "v1", "kill").with(o))
}

// Resume lets what was stopped act again.
func (c *Client) Resume(ctx context.Context, in NewResume, o ...Option) (*Resumed, error) {
	out := &Resumed{}
	return out, c.do(ctx, post(in, out, "v1", "resume").with(o))
}

func (c *Client) revocation(ctx context.Context, why Because, o []Option, path ...string) (*Revocation, error) {
	out := &Revocation{}
	return out, c.do(ctx, post(why, out, path...).with(o))
}
