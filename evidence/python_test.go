package evidence_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormatPageSuffices checks a bundle with a verifier that was written from
// docs/formats/evidence.md, in another language, and that it refuses what ours
// refuses.
func TestFormatPageSuffices(t *testing.T) {
	for _, tool := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("without " + tool)
		}
	}
	genuine, _ := golden(t)
	b, err := os.ReadFile("testdata/genuine.vkey")
	must(t, err)
	key := strings.TrimSpace(string(b))
	other := newWorld(t)
	other.verifiers()
	run := func(b []byte, args ...string) (string, int) {
		file := filepath.Join(t.TempDir(), "use.evidence")
		must(t, os.WriteFile(file, b, 0o600))
		out, err := exec.CommandContext(t.Context(), "python3", append([]string{"testdata/verify.py", file}, args...)...).CombinedOutput()
		if err == nil {
			return string(out), 0
		}
		exit, ok := err.(*exec.ExitError)
		if !ok {
			t.Fatal(err)
		}
		return string(out), exit.ExitCode()
	}
	if out, code := run(genuine, key); code != 0 || !strings.Contains(out, "VERIFIED") || !strings.Contains(out, `"path": "/v1/refunds/17"`) {
		t.Fatalf("exit %d: %s", code, out)
	}
	if out, code := run(genuine); code != 5 || !strings.Contains(out, "CONSISTENT") {
		t.Errorf("without a key: exit %d: %s", code, out)
	}
	if out, code := run(genuine, other.keys.verifiers[other.Org]); code == 0 {
		t.Errorf("another log's key: %s", out)
	}
	for _, change := range []struct{ old, new string }{
		{"refunds/17", "refunds/18"}, {`\"status\":201`, `\"status\":200`}, {`"index":1`, `"index":0`}, {"\n", " \n"}, {`"use":"use_`, `"use":"use_0`}, {"epoch 1", "epoch 2"}, {"payments", "paymentz"},
	} {
		b := bytes.Replace(genuine, []byte(change.old), []byte(change.new), 1)
		if bytes.Equal(b, genuine) {
			t.Fatalf("the bundle has no %q", change.old)
		}
		if out, code := run(b, key); code == 0 {
			t.Errorf("%q for %q: %s", change.new, change.old, out)
		}
	}
}
