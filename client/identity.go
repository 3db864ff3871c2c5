package client

import (
	"context"

	"writ.dev/writ"
)

// Identity is a person, service or agent.
type Identity struct {
	writ.Identity
	Label      string `json:"label" doc:"the name with its kind, as in agent:claude-pay"`
	OwnerName  string `json:"owner_name,omitempty"`
	BackupName string `json:"backup_name,omitempty"`
	Live       bool   `json:"live" doc:"whether it may act now: active and not expired"`
}

// IdentityFilter narrows a list of identities.
type IdentityFilter struct {
	Kind  writ.IdentityKind `query:"kind" enum:"person,service,agent"`
	Owner string            `query:"owner" maxLength:"254" doc:"owned by this person"`
	State writ.State        `query:"state" enum:"active,suspended,revoked"`
	Listing
}

// NewIdentity registers an identity.
type NewIdentity struct {
	Kind    writ.IdentityKind `json:"kind" enum:"person,service,agent"`
	Name    string            `json:"name" minLength:"1" maxLength:"254" doc:"a person's e-mail address; else lower-case letters, digits, '-', '_' and '.'"`
	Owner   string            `json:"owner,omitempty" maxLength:"254" doc:"the person accountable for a service or agent"`
	Backup  string            `json:"backup,omitempty" maxLength:"254" doc:"the person who succeeds the owner"`
	Purpose string            `json:"purpose,omitempty" maxLength:"500"`
	Expires writ.Time         `json:"expires,omitempty" doc:"an agent needs one"`
	Parent  string            `json:"parent,omitempty" maxLength:"254" doc:"the agent that a sub-agent belongs to"`
}

// EditIdentity changes what is set and leaves the rest.
type EditIdentity struct {
	Owner   *string    `json:"owner,omitempty" maxLength:"254"`
	Backup  *string    `json:"backup,omitempty" maxLength:"254"`
	Purpose *string    `json:"purpose,omitempty" maxLength:"500"`
	Expires *writ.Time `json:"expires,omitempty"`
}

// AddIdentity registers an identity.
func (c *Client) AddIdentity(ctx context.Context, in NewIdentity, o ...Option) (*Change[Identity], error) {
	out := &Change[Identity]{}
	return out, c.do(ctx, post(in, out, "v1", "identities").with(o).once())
}

// Identities lists identities, the oldest first.
func (c *Client) Identities(ctx context.Context, f IdentityFilter) (*Page[Identity], error) {
	out := &Page[Identity]{}
	return out, c.do(ctx, get(query(f), out, "v1", "identities"))
}

// Identity gives one identity.
func (c *Client) Identity(ctx context.Context, ref string) (*Identity, error) {
	out := &Identity{}
	return out, c.do(ctx, get(nil, out, "v1", "identities", ref))
}

// EditIdentity changes an identity.
func (c *Client) EditIdentity(ctx context.Context, ref string, in EditIdentity, o ...Option) (*Change[Identity], error) {
	out := &Change[Identity]{}
	return out, c.do(ctx, patch(in, out, "v1", "identities", ref).with(o))
}

// SuspendIdentity stops an identity until it is resumed, and cuts what it has
// in flight.
func (c *Client) SuspendIdentity(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "identities", ref, "suspend")
}

// ResumeIdentity lets a suspended identity act again. Sessions and keys from
// before stay dead.
func (c *Client) ResumeIdentity(ctx context.Context, ref string, why Because, o ...Option) (*Change[Identity], error) {
	out := &Change[Identity]{}
	return out, c.do(ctx, post(why, out, "v1", "identities", ref, "resume").with(o))
}

// RevokeIdentity ends an identity for good, with everything that derives from
// it. What a person owned passes to a living backup, else is suspended.
func (c *Client) RevokeIdentity(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "identities", ref, "revoke")
}

// Key is an API key without its text, which nobody has but who was shown it.
type Key struct {
	ID           writ.ID    `json:"id"`
	Org          writ.ID    `json:"org"`
	Identity     writ.ID    `json:"identity"`
	IdentityName string     `json:"identity_name,omitempty"`
	Role         writ.Role  `json:"role"`
	Name         string     `json:"name"`
	State        writ.State `json:"state"`
	Created      writ.Time  `json:"created"`
	Expires      writ.Time  `json:"expires"`
	Local        bool       `json:"local,omitempty" doc:"the local development token: it administers but never approves"`
	Live         bool       `json:"live"`
}

// KeyFilter narrows a list of keys.
type KeyFilter struct {
	Identity string     `query:"identity" maxLength:"254"`
	State    writ.State `query:"state" enum:"active,revoked"`
	Listing
}

// NewKey asks for an API key.
type NewKey struct {
	Identity string    `json:"identity" minLength:"1" maxLength:"254"`
	Role     writ.Role `json:"role" enum:"admin,auditor,member"`
	Name     string    `json:"name" minLength:"1" maxLength:"63"`
	Expires  writ.Time `json:"expires" doc:"every key ends; at most 366 days from now"`
}

// KeyOnce is a new key with its text, which is shown this once.
type KeyOnce struct {
	Key    Key      `json:"key"`
	Text   string   `json:"text,omitempty" doc:"the key itself; shown once and kept nowhere"`
	Record Recorded `json:"record,omitzero"`
	DryRun bool     `json:"dry_run,omitempty"`
}

// AddKey makes an API key.
func (c *Client) AddKey(ctx context.Context, in NewKey, o ...Option) (*KeyOnce, error) {
	out := &KeyOnce{}
	return out, c.do(ctx, post(in, out, "v1", "keys").with(o).once())
}

// Keys lists API keys.
func (c *Client) Keys(ctx context.Context, f KeyFilter) (*Page[Key], error) {
	out := &Page[Key]{}
	return out, c.do(ctx, get(query(f), out, "v1", "keys"))
}

// Key gives one API key.
func (c *Client) Key(ctx context.Context, ref string) (*Key, error) {
	out := &Key{}
	return out, c.do(ctx, get(nil, out, "v1", "keys", ref))
}

// RevokeKey ends an API key.
func (c *Client) RevokeKey(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "keys", ref, "revoke")
}

// Org is an organization.
type Org struct {
	writ.Org
	Stopped bool `json:"stopped,omitempty" doc:"everything was stopped by hand"`
}

// NewOrg makes an organization with its first person, an administrator.
type NewOrg struct {
	Name  string `json:"name" minLength:"1" maxLength:"63"`
	Admin string `json:"admin" minLength:"3" maxLength:"254" doc:"e-mail address of its first person"`
}

// EditOrg changes what is set and leaves the rest.
type EditOrg struct {
	GraceDays *int `json:"grace_days,omitempty" minimum:"0" maximum:"366" doc:"how long a credential without full provenance may be used outside production"`
	MaxDepth  *int `json:"max_depth,omitempty" minimum:"0" maximum:"16" doc:"how many hops a delegation may have; 0 is the default"`
}

// OrgOnce is a new organization with the text of its first key, shown this once.
type OrgOnce struct {
	Org    Org      `json:"org"`
	Admin  Identity `json:"admin"`
	Key    Key      `json:"key" doc:"an administrator's key that lives one day"`
	Text   string   `json:"text,omitempty" doc:"the key itself; shown once and kept nowhere"`
	DryRun bool     `json:"dry_run,omitempty"`
}

// AddOrg makes an organization. Only administrators of the server's first
// organization may.
func (c *Client) AddOrg(ctx context.Context, in NewOrg, o ...Option) (*OrgOnce, error) {
	out := &OrgOnce{}
	return out, c.do(ctx, post(in, out, "v1", "orgs").with(o))
}

// Orgs lists the organizations that the caller may see: her own.
func (c *Client) Orgs(ctx context.Context, f Paging) (*Page[Org], error) {
	out := &Page[Org]{}
	return out, c.do(ctx, get(query(f), out, "v1", "orgs"))
}

// Org gives one organization.
func (c *Client) Org(ctx context.Context, ref string) (*Org, error) {
	out := &Org{}
	return out, c.do(ctx, get(nil, out, "v1", "orgs", ref))
}

// EditOrg changes an organization's settings.
func (c *Client) EditOrg(ctx context.Context, ref string, in EditOrg, o ...Option) (*Change[Org], error) {
	out := &Change[Org]{}
	return out, c.do(ctx, patch(in, out, "v1", "orgs", ref).with(o))
}
