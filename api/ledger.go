package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
)

// Bounds of one answer with entries.
const (
	maxEntries      = 1000
	maxEntriesBytes = 16 << 20
)

func (s *Server) ledgerRoutes() {
	const tag = "ledger"
	operate(s, operation{id: "get-ledger", method: "GET", path: "/v1/ledger", tag: tag, access: auditor, summary: "Where the log stands"},
		func(ctx context.Context, _ *struct{}) (*Out[client.Ledger], error) {
			l, err := s.ledger(ctx)
			if err != nil {
				return nil, err
			}
			return out(*l), nil
		})

	operate(s, operation{id: "get-checkpoint", method: "GET", path: "/v1/ledger/checkpoint", tag: tag, access: auditor, summary: "A checkpoint over all that is durable"},
		func(ctx context.Context, _ *struct{}) (*Out[client.Checkpoint], error) {
			log, err := s.Store.Log(ctx, callerOf(ctx).Org)
			if err != nil {
				return nil, err
			}
			cp, err := s.checkpoint(ctx, log)
			if err != nil {
				return nil, err
			}
			return out(*cp), nil
		})

	operate(s, operation{id: "list-entries", method: "GET", path: "/v1/ledger/entries", tag: tag, access: auditor, summary: "Entries of the log, byte for byte"}, s.entries)

	operate(s, operation{id: "get-node", method: "GET", path: "/v1/ledger/nodes/{level}/{index}", tag: tag, access: auditor, summary: "A full tile of the tree"},
		func(ctx context.Context, in *struct {
			Level int   `path:"level" minimum:"0" maximum:"7"`
			Index int64 `path:"index" minimum:"0"`
		}) (*Out[client.Node], error) {
			log, err := s.Store.Log(ctx, callerOf(ctx).Org)
			if err != nil {
				return nil, err
			}
			hashes, err := log.Tile(ctx, in.Level, in.Index, 256)
			if err != nil {
				return nil, err
			}
			return out(client.Node{Level: in.Level, Index: in.Index, Hashes: hashes}), nil
		})

	operate(s, operation{id: "export-ledger", method: "GET", path: "/v1/ledger/export", tag: tag, access: auditor, media: "application/octet-stream",
		summary: "The whole log as one file, up to a size"}, s.export)

	operate(s, operation{id: "get-evidence", method: "GET", path: "/v1/evidence/{ref}", tag: tag, access: auditor, media: "application/octet-stream",
		summary: "The evidence bundle of one use, for offline verification"}, s.evidence)

	// C2SP tlog-tiles. The routes need the auditor's right: what is logged is the
	// organization's own business.
	operate(s, operation{id: "tlog-checkpoint", method: "GET", path: "/tlog/{org}/checkpoint", tag: tag, access: auditor, media: "text/plain", hidden: true,
		summary: "The log's newest checkpoint"},
		func(ctx context.Context, in *struct {
			Org string `path:"org" maxLength:"254"`
		}) (*stream, error) {
			log, err := s.tlog(ctx, in.Org)
			if err != nil {
				return nil, err
			}
			note, err := log.Checkpoint(ctx)
			if err != nil {
				return nil, err
			}
			return text("text/plain; charset=utf-8", note), nil
		})

	operate(s, operation{id: "tlog-tile", method: "GET", path: "/tlog/{org}/tile/{path...}", tag: tag, access: auditor, media: "application/octet-stream", hidden: true,
		summary: "A tile of the log"},
		func(ctx context.Context, in *struct {
			Org  string `path:"org" maxLength:"254"`
			Path string `path:"path" maxLength:"100"`
		}) (*stream, error) {
			log, err := s.tlog(ctx, in.Org)
			if err != nil {
				return nil, err
			}
			r, err := ledger.ParseResource("tile/" + in.Path)
			if err != nil {
				return nil, err
			}
			b, err := log.Read(ctx, r)
			if err != nil {
				return nil, err
			}
			return text("application/octet-stream", b), nil
		})
}

// tlog is the log of the organization that a path names: the caller's own.
func (s *Server) tlog(ctx context.Context, ref string) (*ledger.Log, error) {
	o, err := s.ownOrg(ctx, callerOf(ctx).Org, ref)
	if err != nil {
		return nil, err
	}
	return s.Store.Log(ctx, o.ID)
}

func (s *Server) ledger(ctx context.Context) (*client.Ledger, error) {
	org := callerOf(ctx).Org
	log, err := s.Store.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	h := log.Head()
	l := &client.Ledger{Org: org, Incarnation: h.Incarnation, Size: h.Size, Epoch: h.Epoch, LastChange: h.LastChange, Time: h.Time, Keys: []string{}}
	if s.Origin != nil {
		l.Origin = s.Origin(org)
	}
	if s.VerifierKeys != nil {
		l.Keys = append(l.Keys, s.VerifierKeys(org)...)
	}
	l.Checkpoint, err = s.checkpoint(ctx, log)
	return l, err
}

// checkpoint signs what is durable now.
func (s *Server) checkpoint(ctx context.Context, log *ledger.Log) (*client.Checkpoint, error) {
	// Read before the note is made: the note covers at least this much.
	at := log.Head().Time
	note, err := log.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	body, _, _ := strings.Cut(string(note), "\n\n")
	c, err := ledger.ParseCheckpoint(body + "\n")
	if err != nil {
		return nil, err
	}
	return &client.Checkpoint{Size: c.Size, Time: at, Note: string(note)}, nil
}

func (s *Server) ledgerStatus(ctx context.Context, log *ledger.Log) (client.LedgerStatus, error) {
	cp, err := s.checkpoint(ctx, log)
	if err != nil {
		return client.LedgerStatus{}, err
	}
	return client.LedgerStatus{Size: log.Head().Size, Checkpoint: cp.Size, CheckpointTime: cp.Time}, nil
}

func (s *Server) entries(ctx context.Context, in *client.EntryFilter) (*Out[client.Entries], error) {
	org := callerOf(ctx).Org
	log, err := s.Store.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	limit, to := in.Limit, in.To
	if limit == 0 {
		limit = maxEntries
	}
	if size := log.Head().Size; to == 0 || to > size {
		to = size
	}
	answer := client.Entries{Items: []client.Entry{}}
	read := s.Store.Reader().Entries
	if in.Changes {
		read = s.Store.Reader().Changes
	}
	bytes := 0
	err = read(ctx, org, in.From, to, func(e ledger.Entry) error {
		// An entry can be large: the answer ends early rather than grow with them.
		if len(answer.Items) == limit || bytes > maxEntriesBytes {
			answer.Next = e.Seq
			return errEnough
		}
		bytes += len(e.Leaf) + len(e.Pack)
		answer.Items = append(answer.Items, client.Entry{Seq: e.Seq, Leaf: e.Leaf, Pack: e.Pack})
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return out(answer), nil
}

var errEnough = errors.New("api: enough")

func (s *Server) export(ctx context.Context, in *struct {
	Size int64 `query:"size" minimum:"0" doc:"how many entries; all if not given"`
}) (*stream, error) {
	org := callerOf(ctx).Org
	log, err := s.Store.Log(ctx, org)
	if err != nil {
		return nil, err
	}
	size := log.Head().Size
	if in.Size > size {
		return nil, writ.Errorf(writ.KindNotFound, "the log has only %d entries", size)
	}
	if in.Size > 0 {
		size = in.Size
	}
	return raw(func(w http.ResponseWriter, r *http.Request) {
		// A log can take longer than one request may otherwise.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := ledger.WriteExport(r.Context(), w, s.Store.Reader(), org, size); err != nil {
			s.failed(r.Context(), err)
			panic(http.ErrAbortHandler) // the file is cut short, and the connection shows it
		}
	}), nil
}

func (s *Server) evidence(ctx context.Context, in *Named) (*stream, error) {
	if s.Evidence == nil {
		return nil, writ.Errorf(writ.KindNotFound, "this server makes no evidence bundles")
	}
	org := callerOf(ctx).Org
	v, err := s.verdict(ctx, in.Ref)
	if err != nil {
		return nil, err
	}
	if !v.Decision.Allow {
		return nil, writ.Errorf(writ.KindConflict, "%s was denied, so there was no use to give evidence of", v.Decision.ID).
			WithFix("look at it with: writ trace %s", v.Decision.ID)
	}
	b, err := s.Evidence(ctx, org, writ.UseOf(v.Decision.ID))
	if err != nil {
		return nil, err
	}
	return raw(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Header().Set("Content-Disposition", `attachment; filename="`+string(writ.UseOf(v.Decision.ID))+`.evidence"`)
		_, _ = w.Write(b)
	}), nil
}
