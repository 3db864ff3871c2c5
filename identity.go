package writ

// IdentityKind is what sort of actor an identity is. Every feature works for
// every kind; the kinds differ only in what registration demands (R1, R5).
type IdentityKind string

// The kinds of identity.
const (
	Person  IdentityKind = "person"
	Service IdentityKind = "service" // a service account or workload
	Agent   IdentityKind = "agent"   // software that chooses its own actions
)

// State is where a row stands in its life. Unknown states are not Active, so
// an unknown value denies.
type State string

// The states. Revoked and Ended are final: nothing leads back from them.
const (
	Active    State = "active"
	Suspended State = "suspended"
	Revoked   State = "revoked"
	Ended     State = "ended" // a session that finished
)

// Final reports whether nothing may follow the state.
func (s State) Final() bool { return s == Revoked || s == Ended }

// Org is a tenant. Every row, key, token and log belongs to one.
type Org struct {
	ID      ID     `json:"id"`
	Name    string `json:"name"`
	State   State  `json:"state"`
	Created Time   `json:"created"`

	// GraceDays is how long a credential without full provenance may still be
	// used outside production (invariant 8). Zero: not at all.
	GraceDays int `json:"grace_days,omitempty"`
	// MaxDepth bounds delegation below a grant or session; zero means DefaultMaxDepth.
	MaxDepth int `json:"max_depth,omitempty"`
}

// DefaultMaxDepth is how many hops a delegation may have where the
// organization does not say.
const DefaultMaxDepth = 4

// Depth is the organization's bound on delegation.
func (o *Org) Depth() int {
	if o.MaxDepth == 0 {
		return DefaultMaxDepth
	}
	return o.MaxDepth
}

// Identity is an actor: a person, a service or an agent.
type Identity struct {
	ID      ID           `json:"id"`
	Org     ID           `json:"org"`
	Kind    IdentityKind `json:"kind"`
	Name    string       `json:"name"`
	State   State        `json:"state"`
	Created Time         `json:"created"`

	// Owner is the person accountable for a service or agent, Backup the one
	// who succeeds her. A person has neither (invariant 7).
	Owner   ID     `json:"owner,omitempty"`
	Backup  ID     `json:"backup,omitempty"`
	Purpose string `json:"purpose,omitempty"`
	Expires Time   `json:"expires,omitempty"`
	// Parent is the agent that this sub-agent belongs to.
	Parent ID `json:"parent,omitempty"`

	// Cutoff is the authorization cut-off: sessions and keys made before it are
	// void. It never decreases, so re-enabling an identity revives nothing.
	Cutoff Time `json:"cutoff,omitempty"`
}

// Validate checks what registration demands of each kind (R5, R20).
func (i *Identity) Validate() error {
	if err := CheckText("purpose", i.Purpose); err != nil {
		return err
	}
	switch i.Kind {
	case Person:
		if i.Owner != "" || i.Backup != "" || i.Parent != "" {
			return Invalid("owner", "a person has no owner", "leave owner, backup and parent away for a person")
		}
		return CheckPersonName("name", i.Name)
	case Service, Agent:
	default:
		return Invalid("kind", "unknown kind of identity: "+Printable(string(i.Kind), 20), "use person, service or agent")
	}
	if err := CheckName("name", i.Name); err != nil {
		return err
	}
	switch {
	case !i.Owner.Is(KindIdentity):
		return Invalid("owner", "a "+string(i.Kind)+" needs a person who is accountable for it", "name one with --owner, as in --owner ana@acme.dev")
	case i.Backup != "" && i.Backup == i.Owner:
		return Invalid("backup", "the backup owner is the owner", "name another person with --backup")
	case i.Purpose == "":
		return Invalid("purpose", "a "+string(i.Kind)+" needs a purpose", "say in a few words what it is for, with --purpose")
	case i.Kind == Agent && i.Expires == 0:
		return Invalid("expires", "an agent needs an expiry", "say until when it is needed, as in --expires 90d")
	case i.Kind == Service && i.Parent != "":
		return Invalid("parent", "only an agent has a parent", "leave the parent away")
	}
	return nil
}

// Label is the name with its kind, as people write it: "agent:claude-pay",
// "service:app-ci"; a person is her address alone.
func (i *Identity) Label() string {
	if i.Kind == Person {
		return i.Name
	}
	return string(i.Kind) + ":" + i.Name
}

// Live reports whether the identity may act at now.
func (i *Identity) Live(now Time) bool { return i.State == Active && !i.Expires.Passed(now) }

// Role is what an identity may do with Writ itself.
type Role string

// The roles of the HTTP API and CLI.
const (
	RoleAdmin   Role = "admin"   // everything but approving
	RoleAuditor Role = "auditor" // read and evidence
	RoleMember  Role = "member"  // her own: sessions for agents she owns, what concerns them
)

// Key is a hashed API key: the last resort for those without a better proof.
// The key's text is shown once and kept nowhere.
type Key struct {
	ID       ID     `json:"id"`
	Org      ID     `json:"org"`
	Identity ID     `json:"identity"`
	Role     Role   `json:"role"`
	Name     string `json:"name"`
	Hash     string `json:"hash"` // SHA-256 of the key's text, hex; its text has 256 random bits
	State    State  `json:"state"`
	Created  Time   `json:"created"`
	Expires  Time   `json:"expires"` // mandatory (T3)
	// Local marks the development token of the first person, which lies in a
	// file beside the data: it administers but never approves (invariant 11).
	Local bool `json:"local,omitempty"`
}

// Validate checks the key; it must end some day (T3).
func (k *Key) Validate() error {
	if err := CheckName("name", k.Name); err != nil {
		return err
	}
	switch {
	case k.Role != RoleAdmin && k.Role != RoleAuditor && k.Role != RoleMember:
		return Invalid("role", "unknown role: "+Printable(string(k.Role), 20), "use admin, auditor or member")
	case k.Expires == 0 || k.Expires <= k.Created:
		return Invalid("expires", "a key needs an expiry in the future", "say until when, as in --expires 30d")
	case k.Expires > k.Created.Add(MaxKeyLife):
		return Invalid("expires", "a key may live at most 366 days", "shorten the expiry, and rotate")
	}
	return nil
}

// Live reports whether the key may be used at now by an identity with the
// given authorization cut-off.
func (k *Key) Live(now, cutoff Time) bool {
	return k.State == Active && !k.Expires.Passed(now) && k.Created >= cutoff
}
