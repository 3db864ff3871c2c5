//go:build !race

package ledger

// stride is how many bytes apart the tampering tests change one.
const stride = 1
