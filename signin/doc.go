// Package signin finds out who calls the HTTP API.
//
// There are two kinds of token. An API key (writ_key_...) stands for an
// identity with a role. A session's token (writ_ses_...) stands for one run,
// and may do nothing but what concerns that run. Both are 256 random bits, are
// shown once and kept as a SHA-256 hash, always end some day (T3), and are void
// when their identity is not live or was cut off after they were made.
//
// A token is looked up in memory, in the live view of authority, at every
// request: there is nothing to invalidate when it is revoked (T2).
package signin
