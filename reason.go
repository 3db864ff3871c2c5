package writ

import "slices"

// Reason says why a decision is what it is. The set is closed, and the words
// are the same in the API, proxy, CLI, ledger and documentation.
type Reason string

// The reason codes.
const (
	NoIdentity             Reason = "no_identity"
	SessionEnded           Reason = "session_ended"
	IdentityInactive       Reason = "identity_inactive"
	MissionInactive        Reason = "mission_inactive"
	NoGrant                Reason = "no_grant"
	GrantInactive          Reason = "grant_inactive"
	OutOfAuthority         Reason = "out_of_authority"
	ParameterViolation     Reason = "parameter_violation"
	DelegationBroken       Reason = "delegation_broken"
	ContextMismatch        Reason = "context_mismatch"
	OutsideGovernance      Reason = "outside_governance"
	AIUseForbidden         Reason = "ai_use_forbidden"
	QuotaExceeded          Reason = "quota_exceeded"
	ActionApprovalRequired Reason = "action_approval_required"
	StepUpRequired         Reason = "step_up_required"
	RequesterIsApprover    Reason = "requester_is_approver"
	GuardrailForbid        Reason = "guardrail_forbid"
	PolicyUnevaluable      Reason = "policy_unevaluable"
	RequestAmbiguous       Reason = "request_ambiguous"
	BodyRequired           Reason = "body_required"
	DestinationBlocked     Reason = "destination_blocked"
	PlacementViolation     Reason = "placement_violation"
	CapabilityDrift        Reason = "capability_drift"
	CredentialInvalid      Reason = "credential_invalid"
	AuthorityStale         Reason = "authority_stale"
	StateUnproven          Reason = "state_unproven"
	LedgerUnavailable      Reason = "ledger_unavailable"
	Stopped                Reason = "stopped"
)

// Explanation is the page of one reason: what it means, who can change it and
// the command that does.
type Explanation struct {
	Reason  Reason `json:"reason"`
	Title   string `json:"title"`
	Cause   string `json:"cause"`
	Who     string `json:"who"`
	Command string `json:"command"`
}

var explanations = []Explanation{
	{NoIdentity, "Nobody is known behind the request", "The request carried no session or key that Writ knows, or one that was mistyped.", "whoever runs the program", "writ run --as agent:NAME -- CMD"},
	{SessionEnded, "The session is over", "The session was ended, ran out, or was cut off when what it rests on was revoked. Ended sessions never come back.", "whoever may start the agent", "writ run --as agent:NAME -- CMD"},
	{IdentityInactive, "The identity may not act", "The agent, service or person, or somebody the chain rests on, is suspended, revoked or past its expiry.", "an admin", "writ identity get NAME"},
	{MissionInactive, "The mission is not active", "The mission this work belongs to is suspended, revoked, expired or completed.", "the mission's approver", "writ identity get NAME"},
	{NoGrant, "No grant", "The identity has no grant for a credential that opens this host.", "an admin", "writ grant add --to agent:NAME --credential NAME --allow 'GET HOST/**'"},
	{GrantInactive, "The grant is over", "There was a grant, but it was revoked, suspended, used up in time, or has expired.", "an admin", "writ grant ls --to agent:NAME"},
	{OutOfAuthority, "Outside the grant", "A grant exists, but it does not cover this method, host, path or query.", "an admin", "writ grant get GRANT"},
	{ParameterViolation, "A value is outside the grant", "The request's body has a value that the grant's conditions do not allow, or lacks one they need.", "an admin", "writ grant get GRANT"},
	{DelegationBroken, "The delegation does not hold", "A grant or session that this one was made from is gone, or this one is no longer narrower than it.", "an admin", "writ grant get GRANT"},
	{ContextMismatch, "Not from here, or not now", "The grant is bound to a network, time, program or device that this use does not have or cannot prove.", "an admin", "writ grant get GRANT"},
	{OutsideGovernance, "The credential is outside governance", "The credential lacks an owner, issuer, authoriser or revocation trigger, so nobody could prove or withdraw its use.", "an admin", "writ credential edit NAME --owner PERSON --issuer TEXT --trigger owner-leaves"},
	{AIUseForbidden, "Agents may not use this credential", "The credential is marked as forbidden for agents, or still needs controls before agents may use it in production.", "an admin", "writ credential edit NAME --ai-use allowed"},
	{QuotaExceeded, "Too many uses", "The grant's number of uses or its rate is exhausted.", "an admin; a rate recovers by itself", "writ grant get GRANT"},
	{ActionApprovalRequired, "A person has to approve this", "Policy asks for a person's approval of this very action.", "the approver", "writ help action_approval_required"},
	{StepUpRequired, "A stronger proof is needed", "The session proved who it is in a weaker way than this action asks for.", "the person who started the session", "writ help step_up_required"},
	{RequesterIsApprover, "Nobody approves their own wish", "The approver is the requester or is part of the delegation chain.", "another approver", "writ help requester_is_approver"},
	{GuardrailForbid, "A guardrail forbids it", "A guardrail policy of the organization forbids this use, whatever is granted.", "an admin", "writ policy ls"},
	{PolicyUnevaluable, "A guardrail could not be evaluated", "A guardrail policy met an error, and what cannot be evaluated is not allowed.", "an admin", "writ policy ls"},
	{RequestAmbiguous, "The request has two readings", "Servers could understand this request in more than one way, so what would be decided might not be what is done.", "whoever writes the program, or an admin by the application's profile", "writ app edit NAME --profile encoded_slash=opaque"},
	{BodyRequired, "The body cannot be judged", "A rule needs the request's body, which is too large, cut short, encoded or not JSON.", "whoever writes the program", "writ grant get GRANT"},
	{DestinationBlocked, "The address is off limits", "The host resolves to a private, local or metadata address that the application does not allow.", "an admin", "writ app edit NAME --network 10.1.0.0/16"},
	{PlacementViolation, "The credential cannot be attached like this", "The request, the secret and the credential's placement do not fit together.", "an admin", "writ credential get NAME"},
	{CapabilityDrift, "The tool is not what it was", "The tool's definition changed after it was allowed.", "an admin", "writ help capability_drift"},
	{CredentialInvalid, "The credential cannot be used", "The credential is suspended, revoked, expired or has no current version.", "the credential's owner", "writ credential get NAME"},
	{AuthorityStale, "The server cannot prove its view is fresh", "A change of authority may have happened that this server has not seen. It denies until it knows.", "an operator", "writ status"},
	{StateUnproven, "A row does not match its record", "Something changed this row in the database without going through Writ, so it is not believed.", "an operator", "writ ledger verify"},
	{LedgerUnavailable, "The ledger cannot be written", "Without a durable record nothing is used.", "an operator", "writ status"},
	{Stopped, "Stopped", "Everything in this organization was stopped by hand.", "an admin", "writ resume all --reason TEXT"},
}

// Explain is the page of a reason.
func Explain(r Reason) (Explanation, bool) {
	i := slices.IndexFunc(explanations, func(e Explanation) bool { return e.Reason == r })
	if i < 0 {
		return Explanation{}, false
	}
	return explanations[i], true
}

// Explanations lists every reason with its page.
func Explanations() []Explanation { return slices.Clone(explanations) }
