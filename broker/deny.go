package broker

import (
	"crypto/sha256"

	"writ.dev/writ"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/ledger"
)

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

// refuse records a denial, without waiting for its entry, and returns it as an
// error. A repeated denial gets the first one's id.
func (b *Broker) refuse(log *ledger.Log, in Intent, d *writ.Decision, cause error) (*writ.Decision, error) {
	if d.ID == "" {
		d.ID = writ.NewOrderedID(writ.KindDecision, b.Clock())
	}
	if cause != nil {
		b.Logger.Warn("use refused", "decision", d.ID, "reason", d.Reason(), "err", cause)
	}
	if log != nil {
		d.ID = log.Deny(ledger.Denial{Ask: in.Ask, Decision: d})
	}
	return d, &problem.Denied{Decision: d}
}
