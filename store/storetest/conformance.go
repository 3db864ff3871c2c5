package storetest

import (
	"errors"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/store"
)

// Run runs the conformance suite. open gives an engine on an empty database of
// its own for each call.
func Run(t *testing.T, open func(t testing.TB) store.Engine) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Kit)
	}{
		{"Acts", testActs},
		{"Names", testNames},
		{"References", testReferences},
		{"RevokeIdentity", testRevokeIdentity},
		{"RevokePerson", testRevokePerson},
		{"Suspend", testSuspend},
		{"Grants", testGrants},
		{"Sessions", testSessions},
		{"StopAll", testStopAll},
		{"Credentials", testCredentials},
		{"Reads", testReads},
		{"Once", testOnce},
		{"Proof", testProof},
		{"Log", testLog},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, NewKit(t, open(t)))
		})
	}
}

// wantKind fails unless err is of the kind and says how to right it.
func wantKind(t *testing.T, what string, err error, kind writ.ErrorKind) {
	t.Helper()
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%s: got %v, want an error of kind %s", what, err, kind)
		return
	}
	if e.Fix == "" {
		t.Errorf("%s: the error %q has no fix", what, e.Message)
	}
}
