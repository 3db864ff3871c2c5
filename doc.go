// Package writ holds the nouns of identity security and their rules: who can
// act (Identity), what opens what (Application, Credential), who may use it
// (Grant), in which run (Session), and what one intended use is (Ask) and was
// answered (Decision).
//
// It imports the standard library only and does no I/O, so that every rule in
// it can be tested, replayed and trusted on its own. Everything else in this
// module stands around it: see docs/ARCHITECTURE.md.
package writ
