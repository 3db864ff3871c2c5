package evidence_test

import (
	"bytes"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
	"writ.dev/writ/store"
)

var _ evidence.Source = (*store.Store)(nil)

func TestUseIsProven(t *testing.T) {
	s := tell(t)
	r := s.verify(s.bundle)
	for _, p := range r.Proven {
		t.Log("+", p.Text, p.Entries)
	}
	for _, p := range r.Unproven {
		t.Log("-", p.Text, p.Entries)
	}
	t.Logf("%d bytes", len(s.bundle))
	if r.Use != s.use || r.Org != s.Org || r.Grant != s.grant.ID || r.Credential != s.cred.ID || r.Identity != s.agent.ID {
		t.Errorf("the report is about another use: %+v", r)
	}
	if r.Outcome == nil || r.Outcome.Kind != writ.Completed || r.Outcome.Status != 201 {
		t.Errorf("outcome: %+v", r.Outcome)
	}
	if len(r.Signers) != 1 || !bytes.HasSuffix(s.bundle, []byte("}\n")) {
		t.Errorf("signers %v", r.Signers)
	}
}
