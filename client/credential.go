package client

import (
	"context"

	"writ.dev/writ"
)

// Application is what a credential opens.
type Application struct {
	writ.Application
	OwnerName string `json:"owner_name,omitempty"`
}

// ApplicationFilter narrows a list of applications.
type ApplicationFilter struct {
	Env   writ.Environment `query:"env" enum:"dev,staging,prod"`
	Host  string           `query:"host" maxLength:"260"`
	State writ.State       `query:"state" enum:"active,suspended,revoked"`
	Listing
}

// NewApplication declares an application.
type NewApplication struct {
	Name      string              `json:"name" minLength:"1" maxLength:"63"`
	Env       writ.Environment    `json:"env" enum:"dev,staging,prod"`
	Hosts     []string            `json:"hosts" minItems:"1" maxItems:"100" nullable:"false" doc:"host or host:port"`
	Owner     string              `json:"owner,omitempty" maxLength:"254"`
	Profile   writ.Profile        `json:"profile,omitzero"`
	Pinned    map[string][]string `json:"pinned,omitempty" doc:"addresses of a host, instead of the resolver's"`
	Networks  []string            `json:"networks,omitempty" maxItems:"100" doc:"private networks that its hosts may lie in"`
	Cleartext bool                `json:"cleartext,omitempty" doc:"plain HTTP to hosts listed with a port other than 443"`
	Roots     string              `json:"roots,omitempty" maxLength:"65536" doc:"PEM certificates trusted for it instead of the system's"`
}

// EditApplication changes what is set and leaves the rest.
type EditApplication struct {
	Env       *writ.Environment    `json:"env,omitempty" enum:"dev,staging,prod"`
	Hosts     *[]string            `json:"hosts,omitempty" doc:"all of its hosts"`
	Owner     *string              `json:"owner,omitempty" maxLength:"254"`
	Profile   *writ.Profile        `json:"profile,omitempty"`
	Pinned    *map[string][]string `json:"pinned,omitempty"`
	Networks  *[]string            `json:"networks,omitempty"`
	Cleartext *bool                `json:"cleartext,omitempty"`
	Roots     *string              `json:"roots,omitempty" maxLength:"65536"`
}

// AddApplication declares an application.
func (c *Client) AddApplication(ctx context.Context, in NewApplication, o ...Option) (*Change[Application], error) {
	out := &Change[Application]{}
	return out, c.do(ctx, post(in, out, "v1", "applications").with(o).once())
}

// Applications lists applications.
func (c *Client) Applications(ctx context.Context, f ApplicationFilter) (*Page[Application], error) {
	out := &Page[Application]{}
	return out, c.do(ctx, get(query(f), out, "v1", "applications"))
}

// Application gives one application.
func (c *Client) Application(ctx context.Context, ref string) (*Application, error) {
	out := &Application{}
	return out, c.do(ctx, get(nil, out, "v1", "applications", ref))
}

// EditApplication changes an application.
func (c *Client) EditApplication(ctx context.Context, ref string, in EditApplication, o ...Option) (*Change[Application], error) {
	out := &Change[Application]{}
	return out, c.do(ctx, patch(in, out, "v1", "applications", ref).with(o))
}

// RevokeApplication ends an application for good: nothing reaches it any more.
func (c *Client) RevokeApplication(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "applications", ref, "revoke")
}

// Credential is a credential with its provenance and current version. Its
// value is in none of the answers.
type Credential struct {
	writ.Credential
	AppName        string   `json:"app_name,omitempty"`
	OwnerName      string   `json:"owner_name,omitempty"`
	BackupName     string   `json:"backup_name,omitempty"`
	AuthoriserName string   `json:"authoriser_name,omitempty"`
	Version        *Version `json:"version,omitempty" doc:"the version in use"`
	Missing        []string `json:"missing,omitempty" doc:"provenance facts that it lacks to be inside governance"`
	Live           bool     `json:"live"`
}

// Version is one immutable value of a credential, described.
type Version struct {
	ID          writ.ID        `json:"id"`
	Credential  writ.ID        `json:"credential"`
	Number      int            `json:"number"`
	Hosts       []string       `json:"hosts" nullable:"false"`
	Placement   writ.Placement `json:"placement"`
	State       writ.State     `json:"state"`
	Created     writ.Time      `json:"created"`
	Fingerprint string         `json:"fingerprint" doc:"keyed: equal values of one organization have equal fingerprints"`
}

// CredentialFilter narrows a list of credentials.
type CredentialFilter struct {
	App        string     `query:"app" maxLength:"254"`
	Owner      string     `query:"owner" maxLength:"254"`
	State      writ.State `query:"state" enum:"active,suspended,revoked"`
	Ungoverned bool       `query:"ungoverned" doc:"only those that lack provenance"`
	Listing
}

// NewCredential stores a credential.
type NewCredential struct {
	Name       string         `json:"name" minLength:"1" maxLength:"63"`
	App        string         `json:"app" minLength:"1" maxLength:"254"`
	Secret     string         `json:"secret" writeOnly:"true" minLength:"1" maxLength:"65536" doc:"the value, as text; it is sealed at once and never comes back"`
	Encoding   string         `json:"encoding,omitempty" enum:"text,base64" doc:"how secret is written; text if not given"`
	Placement  writ.Placement `json:"placement"`
	Hosts      []string       `json:"hosts,omitempty" maxItems:"100" doc:"hosts that it may be sent to; all of its application's if not given"`
	Owner      string         `json:"owner,omitempty" maxLength:"254"`
	Backup     string         `json:"backup,omitempty" maxLength:"254"`
	Issuer     string         `json:"issuer,omitempty" maxLength:"500"`
	Issued     writ.Time      `json:"issued,omitempty"`
	Authoriser string         `json:"authoriser,omitempty" maxLength:"254"`
	Purpose    string         `json:"purpose,omitempty" maxLength:"500"`
	Triggers   []writ.Trigger `json:"triggers,omitempty" maxItems:"16" doc:"what withdraws it: owner-leaves, expiry, session-end, identity-inactive, leak, manual"`
	Expires    writ.Time      `json:"expires,omitempty"`
	AIUse      writ.AIUse     `json:"ai_use,omitempty" enum:"allowed,needs-controls,forbidden" doc:"whether agents may use it; needs-controls if not given"`
	Source     string         `json:"source,omitempty" maxLength:"500" doc:"where it was found or imported from"`
}

// EditCredential changes the provenance that is set and leaves the rest.
type EditCredential struct {
	Owner      *string         `json:"owner,omitempty" maxLength:"254"`
	Backup     *string         `json:"backup,omitempty" maxLength:"254"`
	Issuer     *string         `json:"issuer,omitempty" maxLength:"500"`
	Issued     *writ.Time      `json:"issued,omitempty"`
	Authoriser *string         `json:"authoriser,omitempty" maxLength:"254"`
	Purpose    *string         `json:"purpose,omitempty" maxLength:"500"`
	Triggers   *[]writ.Trigger `json:"triggers,omitempty"`
	Expires    *writ.Time      `json:"expires,omitempty"`
	AIUse      *writ.AIUse     `json:"ai_use,omitempty" enum:"allowed,needs-controls,forbidden"`
	Source     *string         `json:"source,omitempty" maxLength:"500"`
}

// NewVersion gives a credential a new value.
type NewVersion struct {
	Secret    string          `json:"secret" writeOnly:"true" minLength:"1" maxLength:"65536" doc:"the new value; it is sealed at once and never comes back"`
	Encoding  string          `json:"encoding,omitempty" enum:"text,base64"`
	Placement *writ.Placement `json:"placement,omitempty" doc:"the current version's if not given"`
	Hosts     []string        `json:"hosts,omitempty" maxItems:"100" doc:"the current version's if not given"`
}

// String names the credential and not its secret, so that a body that is
// logged by mistake shows none.
func (n NewCredential) String() string { return "new credential " + n.Name }

// GoString is String.
func (n NewCredential) GoString() string { return n.String() }

// String shows no secret.
func (n NewVersion) String() string { return "new version of a credential" }

// GoString is String.
func (n NewVersion) GoString() string { return n.String() }

// AddCredential stores a credential.
func (c *Client) AddCredential(ctx context.Context, in NewCredential, o ...Option) (*Change[Credential], error) {
	out := &Change[Credential]{}
	return out, c.do(ctx, post(in, out, "v1", "credentials").with(o).once())
}

// Credentials lists credentials.
func (c *Client) Credentials(ctx context.Context, f CredentialFilter) (*Page[Credential], error) {
	out := &Page[Credential]{}
	return out, c.do(ctx, get(query(f), out, "v1", "credentials"))
}

// Credential gives one credential.
func (c *Client) Credential(ctx context.Context, ref string) (*Credential, error) {
	out := &Credential{}
	return out, c.do(ctx, get(nil, out, "v1", "credentials", ref))
}

// EditCredential changes a credential's provenance.
func (c *Client) EditCredential(ctx context.Context, ref string, in EditCredential, o ...Option) (*Change[Credential], error) {
	out := &Change[Credential]{}
	return out, c.do(ctx, patch(in, out, "v1", "credentials", ref).with(o))
}

// RotateCredential gives a credential a new value; the old version is retired.
func (c *Client) RotateCredential(ctx context.Context, ref string, in NewVersion, o ...Option) (*Change[Credential], error) {
	out := &Change[Credential]{}
	return out, c.do(ctx, post(in, out, "v1", "credentials", ref, "rotate").with(o).once())
}

// SuspendCredential stops a credential until it is resumed.
func (c *Client) SuspendCredential(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "credentials", ref, "suspend")
}

// ResumeCredential lets a suspended credential be used again.
func (c *Client) ResumeCredential(ctx context.Context, ref string, why Because, o ...Option) (*Change[Credential], error) {
	out := &Change[Credential]{}
	return out, c.do(ctx, post(why, out, "v1", "credentials", ref, "resume").with(o))
}

// RevokeCredential ends a credential for good. It is not withdrawn where it
// was issued: that is for whoever answers for it.
func (c *Client) RevokeCredential(ctx context.Context, ref string, why Because, o ...Option) (*Revocation, error) {
	return c.revocation(ctx, why, o, "v1", "credentials", ref, "revoke")
}
