package broker

import (
	"crypto/sha256"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/ledger"
)

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

// refuse records a denial, without waiting for its entry, and returns it as an
// error. A repeated denial gets the first one's id. facts are those that the
// decision was made on, nil when it came before or after a decision.
func (b *Broker) refuse(log *ledger.Log, ask *writ.Ask, facts *decide.Facts, d *writ.Decision, cause error) (*writ.Decision, error) {
	if d.ID == "" {
		d.ID = writ.NewOrderedID(writ.KindDecision, b.Clock())
	}
	if cause != nil {
		b.Logger.Warn("use refused", "decision", d.ID, "reason", d.Reason(), "err", cause)
	}
	if log != nil {
		denial := ledger.Denial{Ask: ask, Decision: d}
		if facts != nil {
			denial.Records, denial.Mentioned = facts.Records, mentioned(facts)
		}
		d.ID = log.Deny(denial)
	}
	return d, &problem.Denied{Decision: d}
}
