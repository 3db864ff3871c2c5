package writ

import "time"

// Bounds of lives that somebody might set too long.
const (
	MaxKeyLife     = 366 * 24 * time.Hour
	MaxSessionLife = 30 * 24 * time.Hour
)

// Session is one run of an agent, service or person. All that is derived from
// it ends with it. Its token is shown once to the caller and kept as a hash.
type Session struct {
	ID       ID     `json:"id"`
	Org      ID     `json:"org"`
	Identity ID     `json:"identity"` // who acts
	Started  ID     `json:"started"`  // the identity that started it: the principal when a person
	Parent   ID     `json:"parent,omitempty"`
	Task     string `json:"task,omitempty"`
	State    State  `json:"state"`
	Created  Time   `json:"created"`
	Expires  Time   `json:"expires"`
	Hash     string `json:"hash"` // SHA-256 of the token, hex

	Isolation string `json:"isolation"` // as `writ run` states it; "none" when nothing enforces it
	Device    ID     `json:"device,omitempty"`
	// Attached says that a control stream holds the session: when that is lost,
	// the session ends.
	Attached bool `json:"attached,omitempty"`
}

// Validate checks a session about to start.
func (s *Session) Validate() error {
	if err := CheckText("task", s.Task); err != nil {
		return err
	}
	switch {
	case s.Expires <= s.Created:
		return Invalid("expires", "a session needs an end in the future", "say how long, as in --for 2h")
	case s.Expires > s.Created.Add(MaxSessionLife):
		return Invalid("expires", "a session may last at most 30 days", "shorten it with --for")
	case s.Isolation == "":
		return Invalid("isolation", "the isolation in force must be stated", `say "none" when there is none`)
	}
	return nil
}

// Live reports whether the session itself is running at now. Whoever it
// belongs to and whatever it derives from is judged beside it.
func (s *Session) Live(now Time) bool { return s.State == Active && !s.Expires.Passed(now) }

// Policy is one guardrail in Cedar: it can only take away (invariant 4).
type Policy struct {
	ID      ID     `json:"id"`
	Org     ID     `json:"org"`
	Name    string `json:"name"`
	Text    string `json:"text"` // one Cedar policy, effect forbid
	Observe bool   `json:"observe,omitempty"`
	Version int    `json:"version"`
	State   State  `json:"state"`
	Created Time   `json:"created"`
}

// MaxPolicyText bounds a policy's text, in bytes.
const MaxPolicyText = 16 << 10

// Validate checks all but the Cedar text itself, which package decide parses.
func (p *Policy) Validate() error {
	if err := CheckName("name", p.Name); err != nil {
		return err
	}
	if p.Text == "" || len(p.Text) > MaxPolicyText {
		return Invalid("text", "a policy's text has 1 byte to 16 KiB", "give one Cedar forbid policy")
	}
	return nil
}
