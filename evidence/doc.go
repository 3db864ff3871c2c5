// Package evidence makes and verifies bundles: one use of one credential, with
// everything that says who used it, on whose authority and within what limits,
// and the proofs that tie all of it to one signed checkpoint of the ledger.
//
// A stranger verifies a bundle offline, with this package or from
// docs/formats/evidence.md alone. A bundle carries no key: whose ledger it is
// from is for the caller's keys to say, never for the file.
//
// Export and Verify share one judgement (judge.go): what Export opens of the
// ledger is exactly what the judgement reads, and Export refuses to write what
// would not verify.
package evidence
