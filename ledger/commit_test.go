package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// hold occupies the committer with an act until release is called. It must be
// used in a synctest bubble: when it returns, the committer is inside the act.
func (b *bench) hold() (release func()) {
	gate, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- b.Act(context.Background(), false, func(context.Context, Tx, *Batch) (func(), error) {
			<-gate
			return nil, nil
		})
	}()
	synctest.Wait()
	return func() {
		close(gate)
		must(b.tb, <-done)
	}
}

// pass lets time go by in a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// verify checks the whole log, with its newest checkpoint, and returns the report.
func (b *bench) verify() *Report {
	b.tb.Helper()
	r, err := Verify(context.Background(), VerifyConfig{Reader: b.m, Org: b.org, Keys: b.keys(), Checkpoints: b.notes()})
	must(b.tb, err)
	for _, p := range r.Problems {
		b.tb.Errorf("entry %d: %s (%s)", p.Seq, p.What, p.Means)
	}
	return r
}

func (b *bench) keys() []note.Verifier { return []note.Verifier{b.verifier} }

func (b *bench) notes() [][]byte {
	n, _ := b.anchor.Load(b.org)
	if n == nil {
		return nil
	}
	return [][]byte{n}
}

// types are the types of the entries from seq on.
func (b *bench) types(from int) string {
	b.tb.Helper()
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	var list []string
	for _, e := range b.m.entries[from:] {
		l, err := ParseLeaf(e.Leaf)
		must(b.tb, err)
		list = append(list, l.Type)
	}
	return strings.Join(list, " ")
}

// appending appends an allow in the background.
func (b *bench) appending(ctx context.Context, a decide.Allow) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := b.Append(ctx, a)
		done <- err
	}()
	return done
}

func TestUrgentActsGoBeforeQueuedUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		from := len(b.m.entries)
		release := b.hold()
		_, allow := w.allow(b.Epoch())
		use := b.appending(t.Context(), allow)
		synctest.Wait()
		var order []string
		var acts sync.WaitGroup
		act := func(name string, urgent bool) {
			acts.Go(func() {
				must(t, b.Act(context.Background(), urgent, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
					_, err := batch.Change(Change{Act: name})
					return func() { order = append(order, name) }, err
				}))
			})
			synctest.Wait()
		}
		act("edit", false)
		act("revoke", true)
		release()
		acts.Wait()
		must(t, <-use)
		if got := strings.Join(order, " "); got != "revoke edit" {
			t.Errorf("acts ran as %q", got)
		}
		if got := b.types(from); got != "change change allow" {
			t.Errorf("entries are %q", got)
		}
		b.close()
		b.verify()
	})
}

func TestConcurrentAppendsShareOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		release := b.hold()
		var uses []chan error
		for range 100 {
			_, a := w.allow(b.Epoch())
			uses = append(uses, b.appending(t.Context(), a))
		}
		synctest.Wait()
		before := b.m.commits.Load()
		release()
		for _, u := range uses {
			must(t, <-u)
		}
		if n := b.m.commits.Load() - before; n != 1 {
			t.Errorf("100 waiting appends took %d commits", n)
		}
		b.close()
		if r := b.verify(); r.Allows != 100 {
			t.Errorf("%d allows", r.Allows)
		}
	})
}

func TestInvariant06NoAllowFollowsTheEndOfItsBasis(t *testing.T) {
	t.Run("revoked before", func(t *testing.T) {
		b, w := opened(t)
		_, allow := w.allow(b.Epoch())
		w.grant.State = writ.Revoked
		b.change(true, Change{Act: "revoke-grant", Rows: []Row{row(t, w.grant.ID, w.grant, false)}}, []writ.ID{w.grant.ID})
		_, err := b.Append(t.Context(), allow)
		var gone *BasisGone
		if !errors.As(err, &gone) || !slices.Equal(gone.Dead, []writ.ID{w.grant.ID}) || writ.KindOf(err) != writ.KindConflict {
			t.Fatalf("Append = %v", err)
		}
		b.close()
		if r := b.verify(); r.Allows != 0 {
			t.Error("the allow was recorded")
		}
	})
	t.Run("revoked in the same batch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, w := opened(t)
			release := b.hold()
			_, allow := w.allow(b.Epoch())
			use := b.appending(t.Context(), allow)
			other, w2 := make(chan error, 1), *w.session
			w2.State = writ.Ended
			go func() {
				other <- b.Act(context.Background(), false, func(_ context.Context, tx Tx, batch *Batch) (func(), error) {
					tx.(*memoryTx).died[w.session.ID] = true
					_, err := batch.Change(Change{Act: "end-session", Rows: []Row{row(t, w2.ID, &w2, false)}})
					return nil, err
				})
			}()
			synctest.Wait()
			before := b.m.commits.Load()
			release()
			must(t, <-other)
			var gone *BasisGone
			if err := <-use; !errors.As(err, &gone) || !slices.Equal(gone.Dead, []writ.ID{w.session.ID}) {
				t.Errorf("Append = %v", err)
			}
			if b.m.commits.Load()-before != 1 {
				t.Error("the two were not in one batch")
			}
		})
	})
	t.Run("something else changed", func(t *testing.T) {
		b, w := opened(t)
		_, allow := w.allow(b.Epoch())
		b.change(false, Change{Act: "edit"}, nil)
		_, err := b.Append(t.Context(), allow)
		must(t, err)
		if b.m.rechecks.Load() != 1 {
			t.Error("a moved epoch was not rechecked")
		}
		_, allow = w.allow(b.Epoch())
		_, err = b.Append(t.Context(), allow)
		must(t, err)
		if b.m.rechecks.Load() != 1 {
			t.Error("an epoch that had not moved was rechecked")
		}
	})
	t.Run("expired before the entry", func(t *testing.T) {
		b, w := opened(t)
		_, allow := w.allow(b.Epoch())
		b.clock.Store(int64(w.session.Expires)) // it expires at that instant
		_, err := b.Append(t.Context(), allow)
		var gone *BasisGone
		if !errors.As(err, &gone) || !gone.Expired {
			t.Fatalf("Append = %v", err)
		}
	})
	t.Run("guardrails changed", func(t *testing.T) {
		b, w := opened(t)
		_, allow := w.allow(b.Epoch())
		p := &writ.Policy{ID: writ.NewID(writ.KindPolicy), Org: b.org, Name: "freeze", Text: "forbid (principal, action, resource);", Version: 1, State: writ.Active}
		b.change(false, Change{Act: "add-policy", Rows: []Row{row(t, p.ID, p, false)}}, nil)
		_, err := b.Append(t.Context(), allow)
		var gone *BasisGone
		if !errors.As(err, &gone) || !gone.Guardrails {
			t.Fatalf("Append = %v", err)
		}
	})
}

func TestUseLimitsAreTakenWithTheEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).open()
		w := newWorld(t, b.org)
		w.grant.Limits.Uses = 3
		b.record(w)
		b.m.uses[w.grant.ID] = 3
		release := b.hold()
		var uses []chan error
		for range 5 {
			_, a := w.allow(b.Epoch())
			uses = append(uses, b.appending(t.Context(), a))
		}
		synctest.Wait()
		release()
		allowed := 0
		for _, u := range uses {
			err := <-u
			var gone *BasisGone
			switch {
			case err == nil:
				allowed++
			case !errors.As(err, &gone) || gone.Exhausted != w.grant.ID:
				t.Errorf("Append = %v", err)
			}
		}
		if allowed != 3 || b.m.uses[w.grant.ID] != 0 {
			t.Errorf("%d of 3 uses were allowed, %d are left", allowed, b.m.uses[w.grant.ID])
		}
		b.close()
		b.verify()
	})
}

// A use that one grant of its chain refuses must not use up another.
func TestAUseThatIsRefusedTakesNothing(t *testing.T) {
	a, b := writ.ID("grt_a"), writ.ID("grt_b")
	m := newMemory("org_x")
	m.uses[a] = 5
	tx := &memoryTx{m: m, took: map[writ.ID]int64{}}
	uses := []*use{{terms: &decide.Terms{Decision: &writ.Decision{}, Limited: []writ.ID{a, b}}}, {terms: &decide.Terms{Decision: &writ.Decision{}, Limited: []writ.ID{a}}}}
	must(t, admitUses(t.Context(), tx, &Batch{}, uses))
	var gone *BasisGone
	if !errors.As(uses[0].err, &gone) || gone.Exhausted != b || uses[1].err != nil || tx.took[a] != 1 || tx.took[b] != 0 {
		t.Errorf("%v, %v, took %v", uses[0].err, uses[1].err, tx.took)
	}
}

func TestAnActsErrorUndoesItsPartAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		from := len(b.m.entries)
		release := b.hold()
		wrong := writ.Errorf(writ.KindConflict, "no")
		bad, good := make(chan error, 1), make(chan error, 1)
		go func() {
			bad <- b.Act(context.Background(), false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
				if _, err := batch.Change(Change{Act: "bad"}); err != nil {
					return nil, err
				}
				return func() { t.Error("after of a failed act ran") }, wrong
			})
		}()
		synctest.Wait()
		go func() {
			good <- b.Act(context.Background(), false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
				_, err := batch.Change(Change{Act: "good", By: writ.Actor{Identity: w.ana.ID}})
				return nil, err
			})
		}()
		synctest.Wait()
		release()
		if err := <-bad; err != wrong {
			t.Errorf("Act = %v", err)
		}
		must(t, <-good)
		if got := b.types(from); got != "change" {
			t.Errorf("entries are %q", got)
		}
		ch, err := DecodeChange(b.m.entries[from])
		must(t, err)
		if ch.Act != "good" {
			t.Errorf("recorded %q", ch.Act)
		}
		b.close()
		b.verify()
	})
}

func TestAPanicInAnActFailsItsBatchAndNothingElse(t *testing.T) {
	b, w := opened(t)
	err := b.Act(t.Context(), false, func(context.Context, Tx, *Batch) (func(), error) { panic("boom") })
	if writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("Act = %v", err)
	}
	_, a := w.allow(b.Epoch())
	_, err = b.Append(t.Context(), a)
	must(t, err)
	b.close()
	b.verify()
}

// TestInvariant01NoRecordNoReceipt: whatever an operation of the storage does,
// there is a receipt exactly when the allow is in the log; the log goes on, and
// a new start finds it whole.
func TestInvariant01NoRecordNoReceipt(t *testing.T) {
	for _, c := range []struct {
		op     string
		f      fault
		in     bool // the use is in the log, and the caller knows
		unsure bool
	}{
		{"begin", refuses, false, false},
		{"recheck", refuses, false, false},
		{"uses", refuses, false, false},
		{"take", refuses, false, false},
		{"write", refuses, false, false},
		{"commit", refuses, false, false},
		{"commit", persists, true, false},
		{"commit", unsure, false, true},
		{"commit", unsureIn, true, true},
	} {
		t.Run(c.op+" "+[]string{"", "refuses", "persists", "unsure", "unsure in"}[c.f], func(t *testing.T) {
			b := newBench(t).open()
			w := newWorld(t, b.org)
			w.grant.Limits.Uses = 10
			b.record(w)
			b.m.uses[w.grant.ID] = 10
			_, a := w.allow(b.Epoch())
			b.change(false, Change{Act: "edit"}, nil) // so that there is a recheck
			hits := 0
			b.m.setHook(func(op string) fault {
				if op == c.op && hits == 0 {
					hits++
					return c.f
				}
				return fine
			})
			receipt, err := b.Append(t.Context(), a)
			if hits != 1 {
				t.Fatal("the fault was not met")
			}
			if _, opens := receipt.Spend(); opens != c.in {
				t.Errorf("the receipt opens: %v", opens)
			}
			if c.in != (err == nil) || err != nil && writ.KindOf(err) != writ.KindUnavailable {
				t.Errorf("Append = %v", err)
			}
			if c.unsure != (b.unsure.Load() == 1) {
				t.Errorf("Uncertain was called %d times", b.unsure.Load())
			}
			_, again := w.allow(b.Epoch())
			_, err = b.Append(t.Context(), again)
			must(t, err)
			b.close()
			want := int64(1)
			if c.in {
				want = 2
			}
			if r := b.verify(); r.Allows != want {
				t.Errorf("%d allows in the log, want %d", r.Allows, want)
			}
			if left := b.m.uses[w.grant.ID]; left != 10-want {
				t.Errorf("%d uses left", left)
			}
			b.open() // a new start finds the log whole
			_, again = w.allow(b.Epoch())
			_, err = b.Append(t.Context(), again)
			must(t, err)
		})
	}
}

// A rollback that fails as well must not wedge the log.
func TestAFailingRollbackIsSurvived(t *testing.T) {
	b, w := opened(t)
	b.m.setHook(func(op string) fault {
		if op == "write" || op == "rollback" {
			return refuses
		}
		return fine
	})
	_, a := w.allow(b.Epoch())
	if _, err := b.Append(t.Context(), a); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("Append = %v", err)
	}
	b.m.setHook(nil)
	_, a = w.allow(b.Epoch())
	_, err := b.Append(t.Context(), a)
	must(t, err)
	b.close()
	b.verify()
}

// R45: a full disk fails uses clearly, loses no outcome, and is over when there
// is room again.
func TestDiskFullThenFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		id, a := w.allow(b.Epoch())
		_, err := b.Append(t.Context(), a)
		must(t, err)
		b.m.setHook(func(op string) fault {
			if op == "write" {
				return refuses
			}
			return fine
		})
		b.Outcome(writ.Outcome{Use: writ.UseOf(id), Kind: writ.Completed})
		for range 3 {
			_, a := w.allow(b.Epoch())
			if _, err := b.Append(t.Context(), a); writ.KindOf(err) != writ.KindUnavailable {
				t.Errorf("Append = %v", err)
			}
			pass(2 * time.Second)
		}
		b.m.setHook(nil)
		pass(2 * time.Second)
		_, a = w.allow(b.Epoch())
		_, err = b.Append(t.Context(), a)
		must(t, err)
		b.close()
		r := b.verify()
		if r.Allows != 2 || r.Outcomes != 1 {
			t.Errorf("%d allows, %d outcomes", r.Allows, r.Outcomes)
		}
	})
}

// While nobody can tell whether a commit happened, authority is stale and
// callers are told so after a while; once the database answers, what is in the
// log comes to its end: the lost allow gets its outcome.
func TestUnknownCommitWhileTheDatabaseIsAway(t *testing.T) {
	for _, f := range []fault{unsure, unsureIn} {
		synctest.Test(t, func(t *testing.T) {
			b, w := opened(t)
			away := false
			b.m.setHook(func(op string) fault {
				switch {
				case op == "commit" && !away:
					away = true
					return f
				case op == "begin" && away:
					return refuses
				}
				return fine
			})
			_, a := w.allow(b.Epoch())
			began := time.Now()
			_, err := b.Append(t.Context(), a)
			if writ.KindOf(err) != writ.KindUnavailable || time.Since(began) < patience {
				t.Errorf("Append = %v after %v", err, time.Since(began))
			}
			if b.unsure.Load() != 1 {
				t.Errorf("Uncertain was called %d times", b.unsure.Load())
			}
			pass(time.Minute)
			b.m.setHook(nil)
			pass(10 * time.Second)
			_, a = w.allow(b.Epoch())
			_, err = b.Append(t.Context(), a)
			must(t, err)
			b.close()
			r := b.verify()
			if f == unsure && (r.Allows != 1 || r.Outcomes != 0) || f == unsureIn && (r.Allows != 2 || r.Outcomes != 1) {
				t.Errorf("%d allows, %d outcomes", r.Allows, r.Outcomes)
			}
		})
	}
}

func TestACallerMayLeave(t *testing.T) {
	t.Run("while it is committed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, w := opened(t)
			gate := make(chan struct{})
			b.m.setHook(func(op string) fault {
				if op == "commit" {
					<-gate
				}
				return fine
			})
			ctx, cancel := context.WithCancel(t.Context())
			id, a := w.allow(b.Epoch())
			use := b.appending(ctx, a)
			synctest.Wait()
			cancel()
			if err := <-use; !errors.Is(err, context.Canceled) || writ.KindOf(err) != writ.KindUnavailable {
				t.Errorf("Append = %v", err)
			}
			close(gate)
			b.close()
			o, err := DecodeOutcomes(b.m.entries[len(b.m.entries)-1])
			must(t, err)
			if len(o.List) != 1 || o.List[0].Use != writ.UseOf(id) || o.List[0].Kind != writ.Suppressed {
				t.Errorf("outcomes %+v", o.List)
			}
			b.verify()
		})
	})
	t.Run("while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, w := opened(t)
			release := b.hold()
			ctx, cancel := context.WithCancel(t.Context())
			_, a := w.allow(b.Epoch())
			use := b.appending(ctx, a)
			act := make(chan error, 1)
			go func() {
				act <- b.Act(ctx, true, func(context.Context, Tx, *Batch) (func(), error) {
					t.Error("an act ran whose caller had left before")
					return nil, nil
				})
			}()
			synctest.Wait()
			cancel()
			if err := <-use; !errors.Is(err, context.Canceled) {
				t.Errorf("Append = %v", err)
			}
			if err := <-act; !errors.Is(err, context.Canceled) {
				t.Errorf("Act = %v", err)
			}
			release()
			b.close()
			if r := b.verify(); r.Allows != 0 {
				t.Error("an allow was recorded whose caller had left before")
			}
			if len(b.usePlaces)+len(b.actPlaces)+len(b.urgentPlaces) != 0 {
				t.Error("a place was not given back")
			}
		})
	})
}

func TestAFullQueueMakesCallersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		for range cap(b.usePlaces) {
			b.usePlaces <- struct{}{}
		}
		_, first := w.allow(b.Epoch())
		_, second := w.allow(b.Epoch())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Append(ctx, first); !errors.Is(err, context.DeadlineExceeded) || writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Append = %v", err)
		}
		// Acts have places of their own.
		b.change(true, Change{Act: "revoke"}, nil)
		use := b.appending(t.Context(), second)
		synctest.Wait()
		select {
		case err := <-use:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		<-b.usePlaces
		must(t, <-use)
		for len(b.usePlaces) > 0 {
			<-b.usePlaces
		}
	})
}

func TestCloseWritesWhatWaitsAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		id, a := w.allow(b.Epoch())
		_, err := b.Append(t.Context(), a)
		must(t, err)
		b.Outcome(writ.Outcome{Use: writ.UseOf(id), Kind: writ.Failed})
		b.close()
		if r := b.verify(); r.Outcomes != 1 || r.Checkpoints != 1 {
			t.Errorf("%d outcomes, %d checkpoints", r.Outcomes, r.Checkpoints)
		}
		_, a = w.allow(b.Epoch())
		if _, err := b.Append(t.Context(), a); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Append = %v", err)
		}
		if err := b.Act(t.Context(), true, nil); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Act = %v", err)
		}
	})
}

func TestCloseDoesNotOutwaitADeadDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := opened(t)
		b.m.locked <- struct{}{} // somebody holds the head's lock and never lets go
		_, a := w.allow(b.Epoch())
		use := b.appending(t.Context(), a)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		if err := <-use; writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Append = %v", err)
		}
		<-b.m.locked
	})
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	b, w := opened(t)
	_, a := w.allow(b.Epoch())
	_, err := b.Append(t.Context(), a)
	must(t, err)
	at := b.Head().Time
	b.clock.Add(-3_600_000)
	_, a = w.allow(b.Epoch())
	_, err = b.Append(t.Context(), a)
	must(t, err)
	if b.Head().Time != at {
		t.Errorf("time went from %v to %v", at, b.Head().Time)
	}
	b.close()
	b.open() // and not at a start either
	b.change(false, Change{Act: "edit"}, nil)
	if b.Head().Time != at {
		t.Errorf("time went from %v to %v", at, b.Head().Time)
	}
	b.close()
	b.verify()
}
