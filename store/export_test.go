package store

import (
	"context"

	"writ.dev/writ"
)

// StopInChunks is StopAll with fewer sessions an act, so that a test need not
// start twenty thousand.
func StopInChunks(ctx context.Context, s *Store, by writ.Actor, org writ.ID, chunk int) error {
	_, _, err := s.endAll(ctx, org, act{name: "stop-all", by: by, takes: true}, chunk)
	return err
}

// Cascades are the conditions by which cascades are found, by their table.
var Cascades = map[string][]string{"sessions": {sessionsOf, sessionsFrom}, "grants": {grantsTo, grantsFrom}, "identities": {agentsUnder}}
