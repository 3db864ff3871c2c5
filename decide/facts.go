// Package decide answers an Ask: grants give, gates check, guardrails take
// away. It is pure: the same Ask and Facts give the same Decision, so that any
// decision can be replayed from the ledger. Decide alone mints an Allow.
package decide

import "writ.dev/writ"

// Facts is everything a decision may read besides the Ask: one consistent view
// of an organization's authority, stamped with its epoch. Its nouns are shared
// and never changed; a fact that is missing is nil, and nil denies.
type Facts struct {
	Epoch writ.Epoch
	Org   *writ.Org
	// Stale: the view cannot be proven fresh. Stopped: everything was stopped by hand.
	Stale   bool
	Stopped bool

	Session *writ.Session
	// Sessions are the session's ancestors, the nearest first.
	Sessions []*writ.Session
	Identity *writ.Identity // who acts
	// Path leads from the principal, who started the outermost session, to the
	// actor; for somebody acting alone it is just the actor.
	Path []*writ.Identity
	// Parents are the agents that the acting sub-agent belongs to, the nearest first.
	Parents []*writ.Identity
	// Owner is the living person accountable for the actor: its owner, or its
	// backup when the owner is not living; nil when nobody is. A person is her own.
	Owner *writ.Identity

	// Application is the one that declares the Ask's host; nil when none does.
	Application *writ.Application
	// Candidates are the identity's grants whose credential opens the Ask's
	// host, live or not, in the order of their creation.
	Candidates []Candidate

	// Guardrails are the organization's policies, compiled.
	Guardrails *Guardrails

	// Unproven are ids among the above whose rows do not match their records.
	Unproven []writ.ID
	// Records name every fact above by the entry that last changed it.
	Records []Record
}

// Candidate is one grant that might cover the Ask, with what it rests on.
type Candidate struct {
	Grant      *writ.Grant
	Ancestors  []*writ.Grant // the parent first, the root last
	Broken     bool          // an ancestor is missing
	Credential *writ.Credential
	Version    *writ.Version     // the current one
	App        *writ.Application // the credential's
	Owner      *writ.Identity    // the credential's living owner or backup, else nil
	// RateLeft reports whether the rate of the grant and its ancestors allows
	// one more use now. (Numbers of uses are taken when the entry is written.)
	RateLeft bool
}
