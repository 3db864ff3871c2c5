package store

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// Together with Entry and EntryOf, these are what an export of evidence reads.

// OutcomeOf gives the seq of the entry with the outcome of a use.
func (s *Store) OutcomeOf(ctx context.Context, org, use writ.ID) (int64, error) {
	u, err := s.Use(ctx, org, use)
	if err != nil {
		return 0, err
	}
	if u.OutcomeSeq == 0 {
		return 0, writ.Errorf(writ.KindNotFound, "%s has no outcome yet", use)
	}
	return u.OutcomeSeq, nil
}

// Checkpoint signs what is durable in the organization's log.
func (s *Store) Checkpoint(ctx context.Context, org writ.ID) ([]byte, error) {
	log, err := s.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	return log.Checkpoint(ctx)
}

// Inclusion is the RFC 6962 audit path of an entry of the organization's log.
func (s *Store) Inclusion(ctx context.Context, org writ.ID, seq, size int64) (tlog.RecordProof, error) {
	log, err := s.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	return log.Inclusion(ctx, seq, size)
}
