package main

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// The benchmarks of this package measure the whole program, as processes on
// loopback, against baselines that run in turn with it: a shared machine
// drifts, and only what ran in the same seconds can be compared. They are run
// by `make bench`, once each (-benchtime=1x): what they report is a median of
// rounds of their own.

const rounds = 5

// many is how many credentials are many; WRIT_BENCH_MANY changes it for a quick
// look.
func many() int {
	if n, err := strconv.Atoi(os.Getenv("WRIT_BENCH_MANY")); err == nil {
		return n
	}
	return 100_000
}

// BenchmarkBrokered is a brokered request, its ledger entry durable before it
// is forwarded, at 1, 16 and 64 connections: plain HTTP and intercepted HTTPS
// on a warm tunnel, with 2 and with 100,000 credentials configured. The baseline
// is httputil.ReverseProxy as a plain forward proxy that records nothing.
func BenchmarkBrokered(b *testing.B) {
	origin := startRole(b, "origin")
	base := startRole(b, "baseline", "WRIT_BENCH_ORIGIN="+origin.Plain)
	few := newBenched(b, origin, 2)
	subjects := []*subject{
		{name: "httputil", pid: base.pid, proxy: base.Plain, request: plainRequest("/v1/x", few.token)},
		few.plain("http/creds=2"), few.secure("https/creds=2"),
	}
	lots := few
	if os.Getenv(profileTo) == "" { // a profile is of one server
		lots = newBenched(b, origin, many())
		subjects = append(subjects, lots.plain(fmt.Sprintf("http/creds=%d", many())), lots.secure(fmt.Sprintf("https/creds=%d", many())))
	}
	for _, s := range subjects {
		b.Cleanup(s.close)
	}
	for _, conns := range []int{1, 16, 64} {
		lasts := 800 * time.Millisecond
		samples := make([][]sample, len(subjects))
		for round := range rounds + 1 {
			for i, s := range subjects {
				one, err := s.load(conns, lasts)
				if err != nil {
					b.Fatal(err)
				}
				if round > 0 { // the first opens connections and warms pools
					samples[i] = append(samples[i], one)
				}
			}
		}
		for i, s := range subjects {
			b.Run(fmt.Sprintf("%s/conns=%d", s.name, conns), func(b *testing.B) {
				report(b, samples[i], samples[0])
				if i > 2 {
					b.ReportMetric(ratio(samples[i], samples[i-2]), "x-2-creds")
				}
			})
		}
	}
	b.Run("load", func(b *testing.B) {
		b.ReportMetric(lots.filled.Seconds(), "s-to-fill")
		b.ReportMetric(lots.loaded.Seconds(), "s-to-first-answer")
		b.ReportMetric(float64(residentOf(few.process))/(1<<20), "MiB-resident-2")
		b.ReportMetric(float64(residentOf(lots.process))/(1<<20), "MiB-resident-many")
		b.ReportMetric(0, "ns/op")
	})
}

// report gives medians over the rounds, and the median of the rounds' ratios.
func report(b *testing.B, of, base []sample) {
	each := func(f func(s sample) float64) float64 {
		all := make([]float64, len(of))
		for i, s := range of {
			all[i] = f(s)
		}
		return median(all)
	}
	b.ReportMetric(each(func(s sample) float64 { return s.cpu }), "cpu-µs/req")
	b.ReportMetric(ratio(of, base), "x-httputil")
	b.ReportMetric(each(func(s sample) float64 { return s.rate }), "req/s")
	b.ReportMetric(each(func(s sample) float64 { return s.p50 }), "p50-ms")
	b.ReportMetric(each(func(s sample) float64 { return s.p99 }), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// ratio is the median of CPU time against that of the same round.
func ratio(of, base []sample) float64 {
	all := make([]float64, len(of))
	for i := range of {
		all[i] = of[i].cpu / base[i].cpu
	}
	return median(all)
}
