package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/decide"
	"writ.dev/writ/store/sqlite"
)

// flatFile is the least that a durable log can be: callers append, and one
// fdatasync makes durable whatever waits.
type flatFile struct {
	f     *os.File
	queue chan chan error
	size  int
}

func newFlatFile(b *testing.B, size int) *flatFile {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "flat"))
	if err != nil {
		b.Fatal(err)
	}
	l := &flatFile{f: f, queue: make(chan chan error, 4096), size: size}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.commit()
	}()
	b.Cleanup(func() {
		close(l.queue)
		<-ended
		_ = f.Close()
	})
	return l
}

func (l *flatFile) commit() {
	record := make([]byte, l.size)
	var batch []byte
	for first := range l.queue {
		waiting := []chan error{first}
		for len(l.queue) > 0 && len(waiting) < 1024 {
			waiting = append(waiting, <-l.queue)
		}
		batch = batch[:0]
		for range waiting {
			batch = append(batch, record...)
		}
		_, err := l.f.Write(batch)
		if err == nil {
			err = syscall.Fdatasync(int(l.f.Fd()))
		}
		for _, w := range waiting {
			w <- err
		}
	}
}

func (l *flatFile) append() error {
	done := make(chan error, 1)
	l.queue <- done
	return <-done
}

// drive has callers call f for a while; it gives calls a second, the p99 of a
// call in ms, and the CPU time of this process a call in µs.
func drive(b *testing.B, callers int, lasts time.Duration, f func() error) sample {
	b.Helper()
	times, errs := make([][]time.Duration, callers), make([]error, callers)
	var wg sync.WaitGroup
	before, start := cpuOf(os.Getpid()), time.Now()
	end := start.Add(lasts)
	for i := range callers {
		wg.Go(func() {
			for last := time.Now(); last.Before(end) && errs[i] == nil; {
				errs[i] = f()
				now := time.Now()
				times[i] = append(times[i], now.Sub(last))
				last = now
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(start), cpuOf(os.Getpid())-before
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return sample{
		cpu: float64(cpu.Nanoseconds()) / 1e3 / float64(len(all)), rate: float64(len(all)) / took.Seconds(),
		p50: inMillis(all[len(all)/2]), p99: inMillis(all[len(all)*99/100]),
	}
}

// BenchmarkLedger is a whole use in the ledger on SQLite, facts, decision,
// durable allow and outcome, at 1 to 256 callers, against a bare file that gets
// the same number of bytes with one fdatasync for all that wait.
func BenchmarkLedger(b *testing.B) {
	x := &benched{b: b, origin: &role{roleAddrs: roleAddrs{Plain: "127.0.0.1:9", TLS: "127.0.0.1:9"}}, data: filepath.Join(b.TempDir(), "dev")}
	s := x.inProcess()
	b.Cleanup(func() {
		if err := s.close(); err != nil {
			b.Error(err)
		}
	})
	x.stage(s, 2)
	x.admin = x.client("http://"+s.apiAt.Addr().String(), string(ok[secretText](b)(readToken(s.tokenFile()))))
	session := ok[*client.SessionOnce](b)(x.admin.StartSession(b.Context(), client.NewSession{Identity: agentName, For: "2h"})).Session
	log, err := s.store.Log(b.Context(), session.Org)
	if err != nil {
		b.Fatal(err)
	}
	target, err := writ.ParseTarget("/v1/x", writ.Profile{})
	if err != nil {
		b.Fatal(err)
	}
	var uses atomic.Int64
	use := func() error {
		now := time.Now()
		ask := &writ.Ask{ID: writ.NewOrderedID(writ.KindDecision, now), Org: session.Org, Session: session.ID, Time: writ.At(now), Scheme: "https",
			Request: writ.Request{Method: "GET", Host: apiHost, Target: target}}
		ask.Info.Mode = writ.BodyNone
		facts, err := s.index.Facts(b.Context(), ask)
		if err != nil {
			return err
		}
		d, allow := decide.Decide(ask, facts)
		if !allow.OK() {
			return errors.New(d.Detail)
		}
		if _, err := log.Append(b.Context(), allow); err != nil {
			return err
		}
		log.Outcome(writ.Outcome{Use: writ.UseOf(d.ID), Kind: writ.Completed, Status: 200, Received: 512, Millis: 12})
		uses.Add(1)
		return nil
	}
	const lasts = 700 * time.Millisecond
	pages, err := sql.Open("sqlite", sqlite.DSN(filepath.Join(x.data, "writ.db"), true))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = pages.Close() })
	// What lies in the write-ahead log counts as much as what is in its place.
	onDisk := func() (n int64) {
		if err := pages.QueryRow("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	before := onDisk()
	for range 4 { // also warms up
		drive(b, 64, lasts, use)
	}
	size := int(max(1, (onDisk()-before)/uses.Load()))
	flat := newFlatFile(b, size)
	for _, callers := range []int{1, 16, 64, 256} {
		var ours, bare []sample
		var ratios []float64
		for range rounds {
			bare = append(bare, drive(b, callers, lasts, flat.append))
			ours = append(ours, drive(b, callers, lasts, use))
			ratios = append(ratios, ours[len(ours)-1].rate/bare[len(bare)-1].rate)
		}
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			each := func(of []sample, f func(s sample) float64) float64 {
				all := make([]float64, len(of))
				for i, s := range of {
					all[i] = f(s)
				}
				return median(all)
			}
			b.ReportMetric(each(ours, func(s sample) float64 { return s.cpu }), "cpu-µs/use")
			b.ReportMetric(median(ratios), "x-flat-file")
			b.ReportMetric(each(ours, func(s sample) float64 { return s.rate }), "uses/s")
			b.ReportMetric(each(bare, func(s sample) float64 { return s.rate }), "flat/s")
			b.ReportMetric(each(ours, func(s sample) float64 { return s.p50 }), "p50-ms")
			b.ReportMetric(each(ours, func(s sample) float64 { return s.p99 }), "p99-ms")
			b.ReportMetric(float64(size), "B/use")
			b.ReportMetric(0, "ns/op")
		})
	}
}
