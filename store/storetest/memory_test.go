package storetest

import (
	"testing"

	"writ.dev/writ/store"
)

func TestConformanceInMemory(t *testing.T) {
	Run(t, func(t testing.TB) store.Engine { return NewMemory(t) })
}
