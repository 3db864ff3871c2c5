package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// discard is a memory that keeps its head only: what is left is the ledger's
// own cost.
type discard struct{ *memory }

type discardTx struct{ Tx }

func (d discard) Begin(ctx context.Context, org writ.ID) (Tx, Head, error) {
	tx, head, err := d.memory.Begin(ctx, org)
	return discardTx{tx}, head, err
}

func (t discardTx) Write(ctx context.Context, _ []Entry, _ []int64, _ []Node, head Head) error {
	return t.Tx.Write(ctx, nil, nil, nil, head)
}

// BenchmarkAppend is a whole use, allow and outcome, without the database.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			x := newBench(b)
			x.m.head.Org = x.org
			cfg := x.config()
			cfg.Storage, cfg.Anchor = discard{x.m}, nil
			l, err := Open(context.Background(), cfg)
			must(b, err)
			w := newWorld(b, x.org)
			allows := make([]decide.Allow, b.N)
			uses := make([]writ.ID, b.N)
			facts, ask := w.facts(l.Epoch()), w.ask()
			for i := range allows {
				ask := *ask
				ask.ID = writ.NewOrderedID(writ.KindDecision, start.Go())
				_, allows[i] = decide.Decide(&ask, facts)
				uses[i] = writ.UseOf(ask.ID)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					for i := c; i < b.N; i += callers {
						if _, err := l.Append(context.Background(), allows[i]); err != nil {
							b.Error(err)
							return
						}
						l.Outcome(writ.Outcome{Use: uses[i], Kind: writ.Completed, Status: 200, Received: 512, Millis: 12})
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			must(b, l.Close(context.Background()))
		})
	}
}

// BenchmarkEncode is what one allow costs before it reaches the committer.
func BenchmarkEncode(b *testing.B) {
	w := newWorld(b, "org_x")
	ask, facts := w.ask(), w.facts(writ.Epoch{Incarnation: 1, N: 1})
	d, _ := decide.Decide(ask, facts)
	b.ReportAllocs()
	size := 0
	for range b.N {
		var p packer
		p.pack = make([]byte, 0, 2048)
		p.begin(PartCore)
		p.pack = appendVerdict(p.pack, &d, ask.Time, facts.Records)
		p.end()
		p.begin(PartDetail)
		p.pack = appendDetail(p.pack, ask, &d, shownValues(ask, nil))
		p.end()
		l := Leaf{Org: w.org.ID, Incarnation: 1, Seq: 1 << 20, Time: start, Type: TypeAllow, Parts: p.parts()}
		leaf := l.append(make([]byte, 0, 360))
		tlog.RecordHash(leaf)
		size = len(leaf) + len(p.pack)
	}
	b.ReportMetric(float64(size), "bytes/entry")
}

// BenchmarkTree is what one leaf costs in the tree.
func BenchmarkTree(b *testing.B) {
	t := &tree{}
	h := tlog.RecordHash([]byte("x"))
	b.ReportAllocs()
	var full []Node
	for range b.N {
		full = t.append(h, full[:0])
	}
}

// BenchmarkVerify is offline verification with every part opened, an entry.
func BenchmarkVerify(b *testing.B) {
	x, w := opened(b)
	x.close()
	f := x.forge()
	f.b.entries = make([]Entry, 0, 4096)
	for range 2048 {
		var o writ.Outcome
		f.allow(w, func(d *writ.Decision) { o.Use, o.Kind = writ.UseOf(d.ID), writ.Completed })
		f.b.add(TypeOutcomes, sealOutcomes([]writ.Outcome{o}))
	}
	m := f.done(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		v, err := newVerification(&VerifyConfig{Reader: m, Org: x.org})
		must(b, err)
		for _, e := range m.entries {
			if err := v.add(e); err != nil {
				b.Fatal(err)
			}
		}
		if r := v.finish(); !r.OK() {
			b.Fatal(r.Problems)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(m.entries)), "ns/entry")
}

// BenchmarkProof is one inclusion proof in a tree of a million entries.
func BenchmarkProof(b *testing.B) {
	m, t := newMemory("org_x"), &tree{}
	for i := range int64(1_000_000) {
		for _, f := range t.append(tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i))), nil) {
			m.nodes[[2]int64{int64(f.Level), f.Index}] = f.Hashes
		}
	}
	l := &Log{cfg: Config{Org: "org_x", Storage: m}}
	l.state.Store(&state{head: Head{Size: t.size}, tree: t})
	b.ResetTimer()
	for i := range b.N {
		_, err := l.Inclusion(b.Context(), int64(i)*7919%t.size, t.size)
		must(b, err)
	}
}
