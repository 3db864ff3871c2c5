package ledger

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"writ.dev/writ"
)

// An export is a log's entries in a file:
//
//	"writ-ledger-export-v1 " org "\n", then for each entry
//	u32 length of the leaf, leaf, u32 length of the pack, pack
//
// Integers are big-endian. It is verified against checkpoints, which come from
// elsewhere.
const exportDomain = "writ-ledger-export-v1 "

// WriteExport writes the first size entries of a log.
func WriteExport(ctx context.Context, w io.Writer, r Reader, org writ.ID, size int64) error {
	b := bufio.NewWriter(w)
	if _, err := b.WriteString(exportDomain + string(org) + "\n"); err != nil {
		return err
	}
	next := int64(0)
	err := r.Entries(ctx, org, 0, size, func(e Entry) error {
		if e.Seq != next {
			return missingEntry(next)
		}
		next++
		for _, part := range [][]byte{e.Leaf, e.Pack} {
			if _, err := b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))); err != nil {
				return err
			}
			if _, err := b.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && next != size {
		err = missingEntry(next)
	}
	if err != nil {
		return err
	}
	return b.Flush()
}

// VerifyExport is Verify over an export. Without checkpoints the report says
// that the entries fit together, and nothing about where they come from.
func VerifyExport(ctx context.Context, in io.Reader, cfg VerifyConfig) (*Report, error) {
	r := bufio.NewReaderSize(in, 1<<20)
	line, err := r.ReadString('\n')
	org, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), exportDomain)
	if err != nil || !ok || !writ.ID(org).Is(writ.KindOrg) || cfg.Org != "" && cfg.Org != writ.ID(org) {
		return nil, errExport.WithCause(err)
	}
	cfg.Org = writ.ID(org)
	v, err := newVerification(&cfg)
	if err != nil {
		return nil, err
	}
	for seq := int64(0); ; seq++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return v.finish(), nil
		}
		e := Entry{Seq: seq}
		if e.Leaf, err = readChunk(r); err == nil {
			e.Pack, err = readChunk(r)
		}
		if err != nil {
			return nil, errExport.WithCause(err)
		}
		v.full = v.full[:0]
		if err := v.add(e); err != nil {
			return nil, err
		}
	}
}

var errExport = writ.Errorf(writ.KindInvalid, "the file is not a ledger export, or it is cut short").
	WithFix("export it again")

// readChunk reads a length and as many bytes, and takes memory only for bytes
// that are there.
func readChunk(r *bufio.Reader) ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(n[:]))
	if length > maxPart {
		return nil, errPack
	}
	b, err := io.ReadAll(io.LimitReader(r, length))
	if err == nil && int64(len(b)) != length {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
