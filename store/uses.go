package store

import (
	"sync"

	"writ.dev/writ"
)

// useIndex keeps the table uses behind the ledger.
type useIndex struct {
	c  *core
	mu sync.Mutex
}

func newUseIndex(c *core) *useIndex { return &useIndex{c: c} }

func (u *useIndex) notice(writ.ID) {}

func (u *useIndex) stop() {}
