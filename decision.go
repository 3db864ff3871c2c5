package writ

import "net/netip"

// BodyMode is how the body of an Ask is treated.
type BodyMode string

// The modes.
const (
	BodyNone     BodyMode = "none"
	BodyStreamed BodyMode = "streamed"
	BodySpooled  BodyMode = "spooled"
)

// Body is what is known of a request's body before it is sent.
type Body struct {
	Mode   BodyMode
	Length int64    // of a spooled body
	SHA256 [32]byte // of a spooled body
	// Values are read from a spooled JSON body at the pointers that candidate
	// rules ask for; nil when nobody read the body. Unreadable says why a body
	// that was needed could not be read.
	Values     Values
	Unreadable string
}

// Runtime is what the relay of `writ run` says about the calling program. It is
// a statement of the user's machine, as good as the isolation in force.
type Runtime struct {
	PID        int    `json:"pid,omitempty"`
	Program    string `json:"program,omitempty"`
	Executable string `json:"executable,omitempty"` // SHA-256, hex
	Directory  string `json:"directory,omitempty"`
	GitRemote  string `json:"git_remote,omitempty"`
	GitCommit  string `json:"git_commit,omitempty"`
	GitDirty   bool   `json:"git_dirty,omitempty"`
	Isolation  string `json:"isolation,omitempty"`
}

// Ask is one intended use, parsed once, before it is decided.
type Ask struct {
	ID      ID // of the decision that will answer it
	Org     ID
	Session ID
	Time    Time

	Scheme string // "http" or "https"
	Request
	Info    Body
	Source  netip.Addr
	Runtime Runtime
	// Hint is the credential that the client asked for by name, where its
	// grants leave a choice.
	Hint string
	// Refused is set when the request has no single reading or may not be sent
	// on at all; the decision then is to deny with this reason.
	Refused     Reason
	RefusedText string
}

// AuthorityBasis says whose authority a use rests on. It is computed from the
// session and the identities, never taken from a request (R9).
type AuthorityBasis string

// The bases.
const (
	BasisDirect         AuthorityBasis = "direct"
	BasisServiceAccount AuthorityBasis = "service-account"
	BasisDelegatedHuman AuthorityBasis = "delegated-human"
	BasisBreakGlass     AuthorityBasis = "break-glass"
	BasisMaintenance    AuthorityBasis = "maintenance"
)

// Epoch is the state of an organization's authority: it grows with every
// committed change of it. Incarnation grows with every restore.
type Epoch struct {
	Incarnation int64 `json:"incarnation"`
	N           int64 `json:"n"`
}

// Decision is the answer to an Ask.
type Decision struct {
	ID      ID       `json:"id"`
	Time    Time     `json:"time"`
	Allow   bool     `json:"allow"`
	Reasons []Reason `json:"reasons,omitempty"` // of a denial, the first is the principal one
	Detail  string   `json:"detail"`            // one sentence for people
	Missing []string `json:"missing,omitempty"` // facts that would be needed

	Identity    ID             `json:"identity,omitempty"`
	Session     ID             `json:"session,omitempty"`
	Application ID             `json:"application,omitempty"`
	Credential  ID             `json:"credential,omitempty"`
	Version     ID             `json:"version,omitempty"`
	Grant       ID             `json:"grant,omitempty"`
	Rule        int            `json:"rule,omitempty"`   // index in the grant's rules
	Path        []ID           `json:"path,omitempty"`   // identities from the principal to the actor
	Basis       AuthorityBasis `json:"basis,omitempty"`  // whose authority
	Policy      string         `json:"policy,omitempty"` // version of the guardrail set: SHA-256, hex
	Guardrails  []ID           `json:"guardrails,omitempty"`
	Epoch       Epoch          `json:"epoch"`
	// Rests lists everything the decision rests on: session and its ancestors,
	// identities, grant and its ancestors, credential, version, application.
	// Revoking any of them ends what this decision allowed.
	Rests []ID `json:"rests,omitempty"`
}

// Reason is the principal reason of a denial.
func (d *Decision) Reason() Reason {
	if len(d.Reasons) == 0 {
		return ""
	}
	return d.Reasons[0]
}

// OutcomeKind is how a use ended.
type OutcomeKind string

// The outcomes, as execution evidence names them.
const (
	Completed  OutcomeKind = "completed"  // the upstream answered, whatever it said
	Failed     OutcomeKind = "failed"     // no answer, or it broke off
	Cut        OutcomeKind = "cut"        // a revocation ended it
	Abandoned  OutcomeKind = "abandoned"  // the client went away
	Suppressed OutcomeKind = "suppressed" // allowed, but nothing was sent
)

// Outcome is what became of a use.
type Outcome struct {
	Use      ID          `json:"use"`
	Kind     OutcomeKind `json:"kind"`
	Status   int         `json:"status,omitempty"` // of the upstream's answer
	Sent     int64       `json:"sent,omitempty"`   // body bytes towards the upstream
	Received int64       `json:"received,omitempty"`
	Millis   int64       `json:"millis"`
	Masked   int         `json:"masked,omitempty"` // places where the secret was masked in the answer
	Error    string      `json:"error,omitempty"`  // ours, never the upstream's text
}
