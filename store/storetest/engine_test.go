package storetest_test

import (
	"testing"

	"writ.dev/writ/store"
	"writ.dev/writ/store/postgres"
	"writ.dev/writ/store/storetest"
)

// postgresEngine opens an empty database in a cluster of the test's own.
func postgresEngine(t testing.TB) store.Engine {
	t.Helper()
	d, err := postgres.Open(t.Context(), storetest.NewCluster(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
