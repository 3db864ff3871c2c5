package writ

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// AIUse says whether agents may use a credential (R11). Unknown is forbidden.
type AIUse string

// The values of AIUse; NeedsControls is the default: usable by agents outside
// production, denied there until somebody says otherwise.
const (
	AIAllowed       AIUse = "allowed"
	AINeedsControls AIUse = "needs-controls"
	AIForbidden     AIUse = "forbidden"
)

// Trigger names an event that withdraws a credential or grant. The set is
// closed so that a trigger nobody implements cannot be written down.
type Trigger string

// The triggers.
const (
	OnOwnerLeaves      Trigger = "owner-leaves"
	OnExpiry           Trigger = "expiry"
	OnSessionEnd       Trigger = "session-end"
	OnIdentityInactive Trigger = "identity-inactive"
	OnLeak             Trigger = "leak"
	OnManual           Trigger = "manual" // a named person can withdraw it by hand
)

var triggers = []Trigger{OnOwnerLeaves, OnExpiry, OnSessionEnd, OnIdentityInactive, OnLeak, OnManual}

func checkTriggers(field string, ts []Trigger) error {
	for _, t := range ts {
		if !slices.Contains(triggers, t) {
			names := make([]string, len(triggers))
			for i, t := range triggers {
				names[i] = string(t)
			}
			return Invalid(field, "unknown revocation trigger: "+Printable(string(t), 30), "use one of "+strings.Join(names, ", "))
		}
	}
	return nil
}

// Location is where a request carries the secret.
type Location string

// The locations.
const (
	InHeader Location = "header" // Name is the header, Template its value with {secret} once
	InBearer Location = "bearer" // Authorization: Bearer
	InBasic  Location = "basic"  // Authorization: Basic, Name is the user
	InQuery  Location = "query"  // Name is the parameter
	InCookie Location = "cookie" // Name is the cookie
)

// Placement is where and how a credential is attached to a request. It is
// bound into the sealed secret: a secret sealed for one placement cannot be
// attached elsewhere (invariant 12).
type Placement struct {
	In       Location `json:"in"`
	Name     string   `json:"name,omitempty"`
	Template string   `json:"template,omitempty"`
}

// SecretMark stands for the secret in a header template.
const SecretMark = "{secret}"

// forbiddenHeaders may never carry a credential: they frame the message, route
// it, or are commonly logged and forwarded (T23).
var forbiddenHeaders = []string{"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "referer", "user-agent", "cookie", "via", "forwarded", "keep-alive", "accept-encoding", "content-type", "range"}

// Validate checks that the placement can carry a secret safely.
func (p Placement) Validate() error {
	switch p.In {
	case InBearer:
		if p.Name != "" || p.Template != "" {
			return Invalid("placement", "bearer takes no name and no template", "leave both away")
		}
		return nil
	case InHeader:
		lower := strings.ToLower(p.Name)
		if !isToken(p.Name) || slices.Contains(forbiddenHeaders, lower) || strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "x-forwarded-") || strings.HasPrefix(lower, "writ-") {
			return Invalid("placement.name", "a credential may not be carried in the header "+Printable(p.Name, 40), "name the header the application documents, as in X-Api-Key")
		}
		t := p.Template
		if t == "" {
			return nil
		}
		if strings.Count(t, SecretMark) != 1 || CheckText("", t) != nil || !isASCII(t) {
			return Invalid("placement.template", "a template has "+SecretMark+" exactly once and is plain ASCII", `as in "token {secret}"`)
		}
		return nil
	case InBasic:
		if strings.Contains(p.Name, ":") || CheckText("", p.Name) != nil || p.Template != "" {
			return Invalid("placement.name", "the user of basic authentication may not have a colon", "give the user name alone")
		}
		return nil
	case InQuery, InCookie:
		if !isToken(p.Name) || p.Template != "" {
			return Invalid("placement.name", "the "+string(p.In)+" needs a name of letters, digits, '-' and '_'", "as in --name api_key")
		}
		return nil
	}
	return Invalid("placement.in", "unknown placement: "+Printable(string(p.In), 20), "use bearer, basic, header, query or cookie")
}

// isToken reports whether s is an RFC 9110 token (section 5.6.2) of the
// characters that need no quoting anywhere else either.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Credential is a secret with its provenance (R13): who answers for it, where
// it came from, who authorised it, and what withdraws it. Its value lives in
// versions, sealed.
type Credential struct {
	ID      ID     `json:"id"`
	Org     ID     `json:"org"`
	Name    string `json:"name"`
	App     ID     `json:"app"`
	State   State  `json:"state"`
	Created Time   `json:"created"`

	Owner      ID        `json:"owner,omitempty"`
	Backup     ID        `json:"backup,omitempty"`
	Issuer     string    `json:"issuer,omitempty"` // who issued it, in words: "github.com, acme org settings"
	Issued     Time      `json:"issued,omitempty"`
	Authoriser ID        `json:"authoriser,omitempty"`
	Purpose    string    `json:"purpose,omitempty"`
	Triggers   []Trigger `json:"triggers,omitempty"`
	Expires    Time      `json:"expires,omitempty"`
	AIUse      AIUse     `json:"ai_use"`
	Source     string    `json:"source,omitempty"` // where it was found or imported from

	// Current is the version that is used. Versions are immutable; rotation
	// makes a new one and moves this.
	Current ID `json:"current,omitempty"`
}

// Validate checks a credential. Missing provenance is allowed here: such a
// credential can be inventoried, and Ungoverned says why it cannot be used.
func (c *Credential) Validate() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if c.AIUse != AIAllowed && c.AIUse != AINeedsControls && c.AIUse != AIForbidden {
		return Invalid("ai_use", "unknown value of ai_use: "+Printable(string(c.AIUse), 20), "use allowed, needs-controls or forbidden")
	}
	for field, text := range map[string]string{"issuer": c.Issuer, "purpose": c.Purpose, "source": c.Source} {
		if err := CheckText(field, text); err != nil {
			return err
		}
	}
	if c.Backup != "" && c.Backup == c.Owner {
		return Invalid("backup", "the backup owner is the owner", "name another person with --backup")
	}
	return checkTriggers("triggers", c.Triggers)
}

// Ungoverned lists the provenance facts that are missing (R13, R14). Only a
// credential that lacks none is inside governance.
func (c *Credential) Ungoverned() []string {
	var missing []string
	if c.Owner == "" {
		missing = append(missing, "owner")
	}
	if c.Issuer == "" {
		missing = append(missing, "issuer")
	}
	if c.Authoriser == "" {
		missing = append(missing, "authoriser")
	}
	if len(c.Triggers) == 0 {
		missing = append(missing, "revocation trigger")
	}
	return missing
}

// GraceEnds is when an ungoverned credential stops being usable outside
// production.
func (c *Credential) GraceEnds(graceDays int) Time {
	return c.Created.Add(time.Duration(graceDays) * 24 * time.Hour)
}

// Live reports whether the credential may be used at now.
func (c *Credential) Live(now Time) bool { return c.State == Active && !c.Expires.Passed(now) }

// Version is one immutable value of a credential. Hosts and placement are
// bound into the sealed secret as additional authenticated data; changing them
// means sealing a new version.
type Version struct {
	ID         ID        `json:"id"`
	Org        ID        `json:"org"`
	Credential ID        `json:"credential"`
	Number     int       `json:"number"`
	Hosts      []string  `json:"hosts"` // a subset of the application's, sorted
	Placement  Placement `json:"placement"`
	State      State     `json:"state"`
	Created    Time      `json:"created"`

	// Fingerprint is HMAC-SHA-256 of the value under the organization's
	// fingerprint key KeyID, hex: equal values show as equal, nothing more.
	Fingerprint string `json:"fingerprint"`
	KeyID       string `json:"key_id"`
	// SealedHash is SHA-256 of the sealed bytes, hex, so that the record names
	// exactly the ciphertext that lies beside it.
	SealedHash string `json:"sealed_hash"`
}

// Validate checks a version against the application it is for.
func (v *Version) Validate(app *Application) error {
	if len(v.Hosts) == 0 || !slices.IsSorted(v.Hosts) {
		return Invalid("hosts", "a credential version needs its hosts, sorted", "leave the hosts away to take all of the application's")
	}
	for _, h := range v.Hosts {
		if !app.HasHost(h) {
			return Invalid("hosts", "the host "+Printable(h, 80)+" is not one of the application "+app.Name, "add it with: writ app edit "+app.Name+" --host "+Printable(h, 80))
		}
	}
	if v.Number < 1 {
		return Invalid("number", "version numbers begin at 1, not "+strconv.Itoa(v.Number), "")
	}
	return v.Placement.Validate()
}
