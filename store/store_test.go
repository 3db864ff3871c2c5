package store_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

// TestStoppingVeryMany: more sessions than one entry may name are ended by
// several acts, the first of which stops everything.
func TestStoppingVeryMany(t *testing.T) {
	k := storetest.NewKit(t, storetest.NewMemory(t))
	agent := k.Agent()
	for range 25 {
		k.Session(agent)
	}
	w := &storetest.Watcher{}
	k.Store.Subscribe(w)
	if err := store.StopInChunks(t.Context(), k.Store, k.By, k.Org, 10); err != nil {
		t.Fatal(err)
	}
	changes := w.Take()
	if len(changes) != 3 {
		t.Fatalf("%d acts", len(changes))
	}
	ended := 0
	for i, c := range changes {
		for _, n := range c.Nouns {
			switch v := n.Value.(type) {
			case *writ.Org:
				if i > 0 || v.State != writ.Suspended {
					t.Errorf("act %d left the organization %s", i, v.State)
				}
			case *writ.Session:
				if ended++; v.State != writ.Ended {
					t.Errorf("act %d left a session %s", i, v.State)
				}
			}
		}
	}
	if ended != 25 {
		t.Errorf("%d sessions ended", ended)
	}
	if _, _, err := k.Store.ResumeAll(t.Context(), k.By, k.Org, "x"); err != nil {
		t.Error(err)
	}
}

// TestLateSessionsDoNotReturn: a stop that did not come to the end is no reason
// to revive what it did not come to.
func TestLateSessionsDoNotReturn(t *testing.T) {
	m := storetest.NewMemory(t)
	k := storetest.NewKit(t, m)
	agent := k.Agent()
	for range 6 {
		k.Session(agent)
	}
	commits := 0
	m.Hook(func(op storetest.Op) *storetest.Fault {
		if op.Kind == "exec" && len(op.SQL) > 20 && op.SQL[:20] == "UPDATE sessions SET " {
			if commits++; commits > 3 {
				return &storetest.Fault{Class: store.ClassBusy}
			}
		}
		return nil
	})
	if err := store.StopInChunks(t.Context(), k.Store, k.By, k.Org, 3); err == nil {
		t.Fatal("the second act did not fail")
	}
	m.Hook(nil)
	if _, _, err := k.Store.ResumeAll(t.Context(), k.By, k.Org, "x"); writ.KindOf(err) != writ.KindConflict {
		t.Errorf("resumed with sessions left: %v", err)
	}
	if _, _, err := k.Store.StopAll(t.Context(), k.By, k.Org, "once more"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Store.ResumeAll(t.Context(), k.By, k.Org, "x"); err != nil {
		t.Error(err)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRevokeCascade revokes a grant with a thousand descendants, in memory:
// what the act costs beside the disk.
func BenchmarkRevokeCascade(b *testing.B) {
	k := storetest.NewKit(b, storetest.NewMemory(b))
	cred := k.Credential(k.App("api.acme.test"))
	agent := k.Agent()
	var used time.Duration
	for range b.N {
		b.StopTimer()
		root := k.Grant(agent, cred)
		for range 10 {
			child := k.Grant(agent, cred, func(g *writ.Grant) { g.Parent = root.ID })
			for range 99 {
				k.Grant(agent, cred, func(g *writ.Grant) { g.Parent = child.ID })
			}
		}
		before := cpuTime()
		b.StartTimer()
		if _, _, err := k.Store.RevokeGrant(b.Context(), k.By, k.Ref(root.ID), "bench"); err != nil {
			b.Fatal(err)
		}
		used += cpuTime() - before
	}
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
}

// TestCascadesGoByIndex: no step of a cascade walks all of an organization's
// rows; a wrong turn of SQLite's planner did, for each row anew.
func TestCascadesGoByIndex(t *testing.T) {
	k := storetest.NewKit(t, storetest.NewMemory(t))
	for table, conditions := range store.Cascades {
		for _, condition := range conditions {
			rows, err := k.DB.QueryContext(t.Context(), "EXPLAIN QUERY PLAN SELECT body FROM "+table+" WHERE org = $1 AND "+condition, k.Org, "x")
			if err != nil {
				t.Fatal(err)
			}
			steps := 0
			for rows.Next() {
				var a, b, c int
				var step string
				if err := rows.Scan(&a, &b, &c, &step); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(step, "SEARCH") {
					if steps++; !strings.Contains(step, "(org=? AND ") {
						t.Errorf("%s: %s", condition, step)
					}
				} else if strings.HasPrefix(step, "SCAN") && step != "SCAN d" {
					t.Errorf("%s: %s", condition, step)
				}
			}
			if err := rows.Close(); err != nil || steps < 3 {
				t.Errorf("%s: %d steps, %v", condition, steps, err)
			}
		}
	}
}
