//go:build race

package ledger

// stride is how many bytes apart the tampering tests change one: each change
// verifies a whole log, which the race detector makes ten times slower.
const stride = 11
