package client

import (
	"context"

	"writ.dev/writ"
)

// Grant is permission for one identity to use one credential.
type Grant struct {
	writ.Grant
	IdentityName   string   `json:"identity_name,omitempty"`
	CredentialName string   `json:"credential_name,omitempty"`
	AuthoriserName string   `json:"authoriser_name,omitempty"`
	Texts          []string `json:"texts" nullable:"false" doc:"the rules as people write them"`
	Live           bool     `json:"live" doc:"active and not expired; whether its ancestors are is judged at each use"`
}

// GrantFilter narrows a list of grants.
type GrantFilter struct {
	Identity   string     `query:"identity" maxLength:"254"`
	Credential string     `query:"credential" maxLength:"254"`
	Parent     string     `query:"parent" maxLength:"254"`
	State      writ.State `query:"state" enum:"active,suspended,revoked"`
	Listing
}

// NewGrant gives a grant. With a parent it delegates: the credential is then
// the parent's and may be left away.
type NewGrant struct {
	Identity   string          `json:"identity" minLength:"1" maxLength:"254"`
	Credential string          `json:"credential,omitempty" maxLength:"254"`
	Parent     string          `json:"parent,omitempty" maxLength:"254" doc:"the grant that is delegated; the new one must lie within it"`
	Rules      []writ.Rule     `json:"rules,omitempty" maxItems:"100"`
	Allow      []string        `json:"allow,omitempty" maxItems:"100" doc:"rules as people write them: 'GET,POST api.github.com/repos/acme/**'"`
	Conditions writ.Conditions `json:"conditions,omitzero"`
	Limits     writ.Limits     `json:"limits,omitzero"`
	Purpose    string          `json:"purpose,omitempty" maxLength:"500"`
	Triggers   []writ.Trigger  `json:"triggers,omitempty" maxItems:"16"`
	Expires    writ.Time       `json:"expires,omitempty"`
}

// AddGrant gives a grant.
func (c *Client) AddGrant(ctx context.Context, in NewGrant, o ...Option) (*Change[Grant], error) {
	out := &Change[Grant]{}
	return out, c.do(ctx, post(in, out, "v1", "grants").with(o).once())
}

// Grants lists grants.
func (c *Client) Grants(ctx context.Context, f GrantFilter) (*Page[Grant], error) {
	out := &Page[Grant]{}
	return out, c.do(ctx, get(query(f), out, "v1", "grants"))
}

// Grant gives one grant.
func (c *Client) Grant(ctx context.Context, ref string) (*Grant, error) {
	out := &Grant{}
	return out, c.do(ctx, get(nil, out, "v1", "grants", ref))
}

// SuspendGrant stops a grant, and with it what was delegated from it, until it
// is resumed.
func (c *Client) SuspendGrant(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "grants", ref, "suspend")
}

// ResumeGrant lets a suspended grant be used again.
func (c *Client) ResumeGrant(ctx context.Context, ref string, why Because, o ...Option) (*Change[Grant], error) {
	out := &Change[Grant]{}
	return out, c.do(ctx, post(why, out, "v1", "grants", ref, "resume").with(o))
}

// RevokeGrant ends a grant and everything delegated from it for good.
func (c *Client) RevokeGrant(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "grants", ref, "revoke")
}

// Policy is one guardrail in Cedar. It can only take away.
type Policy struct {
	writ.Policy
}

// PolicyFilter narrows a list of policies.
type PolicyFilter struct {
	State writ.State `query:"state" enum:"active,revoked"`
	Listing
}

// NewPolicy adds a guardrail.
type NewPolicy struct {
	Name    string `json:"name" minLength:"1" maxLength:"63"`
	Text    string `json:"text" minLength:"1" maxLength:"16384" doc:"one Cedar policy, effect forbid"`
	Observe bool   `json:"observe,omitempty" doc:"only report what it would forbid"`
}

// EditPolicy changes what is set and leaves the rest.
type EditPolicy struct {
	Text    *string `json:"text,omitempty" minLength:"1" maxLength:"16384"`
	Observe *bool   `json:"observe,omitempty"`
}

// PolicyText is a Cedar text to be checked.
type PolicyText struct {
	Text string `json:"text" minLength:"1" maxLength:"16384"`
}

// PolicyCheck is what a check of a text found.
type PolicyCheck struct {
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

// AddPolicy adds a guardrail.
func (c *Client) AddPolicy(ctx context.Context, in NewPolicy, o ...Option) (*Change[Policy], error) {
	out := &Change[Policy]{}
	return out, c.do(ctx, post(in, out, "v1", "policies").with(o).once())
}

// Policies lists guardrails.
func (c *Client) Policies(ctx context.Context, f PolicyFilter) (*Page[Policy], error) {
	out := &Page[Policy]{}
	return out, c.do(ctx, get(query(f), out, "v1", "policies"))
}

// Policy gives one guardrail.
func (c *Client) Policy(ctx context.Context, ref string) (*Policy, error) {
	out := &Policy{}
	return out, c.do(ctx, get(nil, out, "v1", "policies", ref))
}

// EditPolicy changes a guardrail; it becomes its next version.
func (c *Client) EditPolicy(ctx context.Context, ref string, in EditPolicy, o ...Option) (*Change[Policy], error) {
	out := &Change[Policy]{}
	return out, c.do(ctx, patch(in, out, "v1", "policies", ref).with(o))
}

// RevokePolicy takes a guardrail away for good.
func (c *Client) RevokePolicy(ctx context.Context, ref string, why Because, o ...Option) (*Change[Policy], error) {
	out := &Change[Policy]{}
	return out, c.do(ctx, post(why, out, "v1", "policies", ref, "revoke").with(o))
}

// CheckPolicy reports whether a text is a guardrail.
func (c *Client) CheckPolicy(ctx context.Context, text string) (*PolicyCheck, error) {
	out := &PolicyCheck{}
	return out, c.do(ctx, post(PolicyText{Text: text}, out, "v1", "policies", "check"))
}
