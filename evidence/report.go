package evidence

import (
	"slices"
	"strconv"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Report is what a bundle shows, in words and for programs. Every text in it is
// safe to print.
type Report struct {
	Use      writ.ID   `json:"use"`
	Decision writ.ID   `json:"decision"`
	Org      writ.ID   `json:"org"`
	Time     writ.Time `json:"time"` // at which the use was recorded, before it was made

	Identity    writ.ID             `json:"identity"`
	Session     writ.ID             `json:"session"`
	Application writ.ID             `json:"application"`
	Credential  writ.ID             `json:"credential"`
	Version     writ.ID             `json:"version"`
	Grant       writ.ID             `json:"grant"`
	Path        []writ.ID           `json:"path"` // from the principal to the actor
	Basis       writ.AuthorityBasis `json:"basis"`
	Request     string              `json:"request,omitempty"` // "" when it is erased
	Outcome     *writ.Outcome       `json:"outcome,omitempty"` // nil when the bundle has none

	// Signers are the caller's keys whose signatures hold; empty: the signer is
	// unproven.
	Signers    []string   `json:"signers"`
	Checkpoint Checkpoint `json:"checkpoint"`

	Proven   []Statement `json:"proven"`
	Unproven []Statement `json:"unproven"`
	Notice   string      `json:"notice"` // what the promises rest on
}

// Checkpoint is the state of the log that the bundle's proofs lead to.
type Checkpoint struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // standard base64, as in the checkpoint
}

// Statement is one sentence with the ledger entries that it rests on.
type Statement struct {
	Text    string  `json:"text"`
	Entries []int64 `json:"entries,omitempty"`
}

func (r *Report) proven(text string, seqs ...int64) {
	r.Proven = append(r.Proven, Statement{text, tidy(seqs)})
}

func (r *Report) unproven(text string, seqs ...int64) {
	r.Unproven = append(r.Unproven, Statement{text, tidy(seqs)})
}

func tidy(seqs []int64) []int64 {
	s := slices.Clone(seqs)
	slices.Sort(s)
	return slices.Compact(s)
}

// show makes text from the ledger printable and short.
func show(s string) string { return writ.Printable(s, 200) }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// plural is "1 entry", "3 entries".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// limits states what no bundle can show by itself.
func (j *judgement) limits() {
	r, d := j.report, j.d
	r.unproven("No witness outside the operator's reach is known to have cosigned the checkpoint: whoever holds the log's key could have written another history.")
	r.unproven("That no change after these records, and before the use, took any of this authority away, and how often the grant had been used: the whole log shows that, with writ ledger verify.", j.m.allow.leaf.Seq)
	if j.policies > 0 {
		r.unproven("That the guardrails, evaluated, leave this use alone: their texts are shown; the decision is made once more by writ why "+string(d.ID)+".", j.m.allow.leaf.Seq)
	}
	if o := j.m.outcome; o == nil {
		r.unproven("What became of the use: this file has no outcome of it.")
	} else {
		r.unproven("That the other side saw the same: the outcome is what the server saw.", j.m.outcomes.leaf.Seq)
	}
	if a := j.m.verdict.Ask; a != nil && a.Runtime != (writ.Runtime{}) {
		r.unproven("Which program made the request: the user's machine said so, and that is as good as the isolation that was in force.", j.m.allow.leaf.Seq)
	}
	r.unproven("The times: they are the server's clock, which never runs backwards in a log.")
}

func checkpointOf(c *ledger.Checkpoint) Checkpoint {
	return Checkpoint{Origin: writ.Printable(c.Origin, 200), Size: c.Size, Root: spell([]hash{c.Root})[0]}
}
