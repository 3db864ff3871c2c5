package client

import (
	"context"
	"time"

	"writ.dev/writ"
)

// Use is one decision, as search shows it: a use of a credential, or a denial.
type Use struct {
	ID             writ.ID          `json:"id" doc:"of the use; of a denial, that of its decision"`
	Decision       writ.ID          `json:"decision"`
	Allowed        bool             `json:"allowed"`
	Reason         writ.Reason      `json:"reason,omitempty" doc:"of a denial, the principal one"`
	Time           writ.Time        `json:"time"`
	Identity       writ.ID          `json:"identity,omitempty"`
	IdentityName   string           `json:"identity_name,omitempty"`
	Session        writ.ID          `json:"session,omitempty"`
	Credential     writ.ID          `json:"credential,omitempty"`
	CredentialName string           `json:"credential_name,omitempty"`
	Grant          writ.ID          `json:"grant,omitempty"`
	Method         string           `json:"method,omitempty"`
	Host           string           `json:"host,omitempty"`
	Path           string           `json:"path,omitempty" doc:"without the query"`
	Repeats        int64            `json:"repeats,omitempty" doc:"how often a denial came again within its minute"`
	Outcome        writ.OutcomeKind `json:"outcome,omitempty" doc:"of a use; absent while it is under way, and after a crash"`
	Status         int              `json:"status,omitempty" doc:"HTTP status of the application's answer"`
	Millis         int64            `json:"millis,omitempty"`
	Seq            int64            `json:"seq" doc:"sequence number of its ledger entry"`
}

// UseFilter narrows a search for uses and denials. The newest come first.
type UseFilter struct {
	Actor      string    `query:"actor" maxLength:"254" doc:"the identity that acted"`
	Credential string    `query:"credential" maxLength:"254"`
	Grant      string    `query:"grant" maxLength:"254"`
	Session    string    `query:"session" maxLength:"254"`
	Host       string    `query:"host" maxLength:"260"`
	Result     string    `query:"result" enum:"allowed,denied,completed,failed,cut,abandoned,suppressed" doc:"how it was decided, or how a use ended"`
	Reason     string    `query:"reason" maxLength:"40" doc:"of a denial"`
	Since      time.Time `query:"since" doc:"RFC 3339"`
	Until      time.Time `query:"until" doc:"RFC 3339; up to but not including"`
	Paging
}

// Uses searches uses and denials.
func (c *Client) Uses(ctx context.Context, f UseFilter) (*Page[Use], error) {
	out := &Page[Use]{}
	return out, c.do(ctx, get(query(f), out, "v1", "uses"))
}

// Fact is one fact that a sentence of a trace states.
type Fact struct {
	Name  string  `json:"name"`
	Value string  `json:"value,omitempty" doc:"absent when the fact is missing"`
	ID    writ.ID `json:"id,omitempty" doc:"what it is about, where that has an id"`
}

// Sentence is one of the eight sentences of a trace. A fact that is missing is
// named in Missing and said in Text, never left blank.
type Sentence struct {
	About   string   `json:"about" enum:"owner,issued,scope,authorised,delegation,runtime,used,ends" doc:"which of the eight"`
	Text    string   `json:"text"`
	Facts   []Fact   `json:"facts" nullable:"false"`
	Missing []string `json:"missing,omitempty"`
}

// Position is where the ledger holds something.
type Position struct {
	Org        writ.ID   `json:"org"`
	Seq        int64     `json:"seq"`
	Leaf       string    `json:"leaf" doc:"RFC 6962 leaf hash, hex"`
	Time       writ.Time `json:"time"`
	Type       string    `json:"type" doc:"allow or denials"`
	Outcome    int64     `json:"outcome,omitempty" doc:"sequence number of the entry with the outcome"`
	Size       int64     `json:"size" doc:"size of the log now"`
	Checkpoint int64     `json:"checkpoint,omitempty" doc:"size at the newest checkpoint"`
}

// Trace is the history of one use or denial in eight sentences: who owns the
// credential, where it came from, what the grant covers, who authorised it,
// through whom it was delegated, where it ran, what was done, and what ends it.
type Trace struct {
	ID        writ.ID       `json:"id"`
	Decision  writ.ID       `json:"decision"`
	Allowed   bool          `json:"allowed"`
	Reasons   []writ.Reason `json:"reasons,omitempty"`
	Title     string        `json:"title" doc:"the whole in one line"`
	Sentences []Sentence    `json:"sentences" nullable:"false"`
	Ledger    Position      `json:"ledger"`
	Outcome   *writ.Outcome `json:"outcome,omitempty" doc:"absent while it is under way, and after a crash"`
}

// Trace tells how one use or denial came about. id is that of a use, a
// decision, or a unique beginning of either.
func (c *Client) Trace(ctx context.Context, id string) (*Trace, error) {
	out := &Trace{}
	return out, c.do(ctx, get(nil, out, "v1", "trace", id))
}

// Why is a decision and what came out when it was decided once more, from what
// the ledger holds and nothing else.
type Why struct {
	Decision writ.Decision     `json:"decision" doc:"as it was recorded"`
	Replayed *writ.Decision    `json:"replayed,omitempty" doc:"as it comes out again; absent when it cannot be replayed"`
	Same     bool              `json:"same" doc:"whether both are the same answer"`
	Reason   *writ.Explanation `json:"reason,omitempty" doc:"what the principal reason means"`
	Request  string            `json:"request" doc:"what was asked for: method, host and path"`
	Facts    []FactRecord      `json:"facts" nullable:"false" doc:"the facts it was decided on, by their ledger entries"`
	Note     string            `json:"note,omitempty" doc:"why it cannot be replayed, or where the answers differ"`
	Ledger   Position          `json:"ledger"`
}

// FactRecord is one fact of a decision, and the entry that last changed it then.
type FactRecord struct {
	ID    writ.ID `json:"id"`
	Label string  `json:"label,omitempty"`
	Seq   int64   `json:"seq"`
}

// Why replays a decision.
func (c *Client) Why(ctx context.Context, decision string) (*Why, error) {
	out := &Why{}
	return out, c.do(ctx, get(nil, out, "v1", "why", decision))
}

// Reasons lists every reason that a decision can have, with its page.
func (c *Client) Reasons(ctx context.Context) (*Page[writ.Explanation], error) {
	out := &Page[writ.Explanation]{}
	return out, c.do(ctx, get(nil, out, "v1", "reasons"))
}

// Reason gives the page of one reason.
func (c *Client) Reason(ctx context.Context, code string) (*writ.Explanation, error) {
	out := &writ.Explanation{}
	return out, c.do(ctx, get(nil, out, "v1", "reasons", code))
}
