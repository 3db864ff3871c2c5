// Package storetest is the conformance suite that every engine of package store
// passes, and what tests of other packages need to have a store: SQLite in
// memory behind a driver that can be made to fail before or after it did as it
// was asked, and a Kit that fills a store.
package storetest
