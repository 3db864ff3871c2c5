package evidence_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ/evidence"
)

var update = flag.Bool("update", false, "write a new golden bundle")

// golden is a bundle of the past with its log's key: what was given to somebody
// once must verify for good.
func golden(t testing.TB) ([]byte, []note.Verifier) {
	t.Helper()
	b, err := os.ReadFile("testdata/genuine.evidence")
	must(t, err)
	k, err := os.ReadFile("testdata/genuine.vkey")
	must(t, err)
	v, err := note.NewVerifier(strings.TrimSpace(string(k)))
	must(t, err)
	return b, []note.Verifier{v}
}

func TestGoldenBundleVerifies(t *testing.T) {
	if *update {
		s := tell(t)
		s.verifiers()
		must(t, os.WriteFile("testdata/genuine.evidence", s.bundle, 0o644))
		must(t, os.WriteFile("testdata/genuine.vkey", []byte(s.keys.verifiers[s.Org]+"\n"), 0o644))
	}
	b, keys := golden(t)
	r, err := evidence.Verify(bytes.NewReader(b), keys)
	must(t, err)
	if r.Request != "POST https://api.acme.test/v1/refunds/17" || r.Outcome == nil || r.Outcome.Status != 201 {
		t.Errorf("%+v", r)
	}
}
