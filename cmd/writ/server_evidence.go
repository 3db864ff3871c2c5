package main

import (
	"context"
	"io"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
)

func exportEvidence(ctx context.Context, s *server, org, use writ.ID, w io.Writer) error {
	return evidence.Export(ctx, s.store, org, use, w)
}
