package mask

import (
	"errors"
	"io"
)

// Writer masks what is written to it and passes it on. Each Write passes on at
// once all that cannot be the beginning of a value any more; only a text that
// could still become one is held back, until it does not or the stream ends.
// So an event of a stream leaves with the Write that ends it, unless its very
// last bytes begin a value: the empty line that ends a server-sent event does
// not, save for a value that begins with it. Since lengths change, a
// Content-Length no longer holds.
//
// A Writer is for one goroutine and one stream.
type Writer struct {
	dst  io.Writer
	scan scan
	held []byte // the stream from base on that was not passed on
	base int64
	over int64 // up to here the stream was replaced already
	done bool
}

// NewWriter masks towards dst.
func (s *Set) NewWriter(dst io.Writer) *Writer {
	return &Writer{dst: dst, scan: scan{set: s}}
}

// Count is how many values were masked so far; ones that overlap count once.
func (w *Writer) Count() int { return w.scan.count }

var errDone = errors.New("mask: written to after the end")

// Write masks p. It reports len(p) when dst took what was passed on, though a
// part may be held back.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errDone
	}
	w.scan.feed(p)
	settled := w.scan.settled()
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		rest, err := w.pass(w.held, settled)
		w.held = w.held[:copy(w.held, rest)]
		return len(p), err
	}
	rest, err := w.pass(p, settled)
	w.held = append(w.held, rest...)
	return len(p), err
}

// Flush flushes dst, if it can. What is held back stays so: passing it on
// would let a value through in two halves.
func (w *Writer) Flush() error {
	if f, ok := w.dst.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

// Close passes on what is held back: the stream has ended, so it is no value.
// It does not close dst.
func (w *Writer) Close() error {
	if w.done {
		return nil
	}
	w.done = true
	_, err := w.pass(w.held, w.scan.pos)
	clear(w.held)
	w.held = nil
	return err
}

// pass passes on b, which begins at base, up to the position settled, and
// returns the rest.
func (w *Writer) pass(b []byte, settled int64) ([]byte, error) {
	w.drop(&b, min(w.over, settled))
	for _, piece := range w.scan.spans {
		if piece.from >= settled {
			break
		}
		// A short span may still grow; what stands for it depends on its
		// length, and must not depend on where the chunks are cut.
		if piece.to > settled && piece.from >= w.over && piece.to-piece.from < int64(len(Marker)) {
			settled = piece.from
			break
		}
		// A span that goes on from one replaced already is the same one.
		if piece.from >= w.over {
			if err := w.emit(&b, piece.from); err != nil {
				return b, err
			}
			if _, err := io.WriteString(w.dst, w.scan.set.filler(piece.to-piece.from)); err != nil {
				return b, err
			}
			w.scan.count++
		}
		w.over = piece.to
		w.drop(&b, min(piece.to, settled))
		w.scan.spans = w.scan.spans[1:]
	}
	if len(w.scan.spans) == 0 {
		w.scan.spans = nil
	}
	return b, w.emit(&b, settled)
}

// emit passes b on up to a position.
func (w *Writer) emit(b *[]byte, to int64) error {
	n := to - w.base
	if n <= 0 {
		return nil
	}
	piece := (*b)[:n]
	w.drop(b, to)
	_, err := w.dst.Write(piece)
	return err
}

// drop leaves b out up to a position.
func (w *Writer) drop(b *[]byte, to int64) {
	if n := to - w.base; n > 0 {
		*b = (*b)[n:]
		w.base = to
	}
}

// MaskHeader masks a field's value and reports whether there was something to
// mask.
func (s *Set) MaskHeader(value string) (string, bool) {
	var sc scan
	sc.set = s
	i := 0
	for i < len(value) && !s.stir[value[i]] {
		i++
	}
	if i == len(value) {
		return value, false
	}
	sc.feed([]byte(value))
	if len(sc.spans) == 0 {
		return value, false
	}
	var out []byte
	at := int64(0)
	for _, piece := range sc.spans {
		out = append(out, value[at:piece.from]...)
		out = append(out, s.filler(piece.to-piece.from)...)
		at = piece.to
	}
	return string(append(out, value[at:]...)), true
}
