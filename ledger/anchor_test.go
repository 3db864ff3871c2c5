package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// reopened opens the log of b over another memory.
func (b *bench) reopened(m *memory) error {
	cfg := b.config()
	cfg.Storage = m
	l, err := Open(context.Background(), cfg)
	if err == nil {
		must(b.tb, l.Close(context.Background()))
	}
	return err
}

// A database that does not extend the newest checkpoint kept outside it is not
// served from: it lacks revocations.
func TestADatabaseThatDoesNotExtendItsAnchorIsRefused(t *testing.T) {
	b, w := opened(t)
	b.close()
	old := b.m.copyOf()
	kept := b.notes()[0]
	b.open()
	revoked := *w.grant
	revoked.State = writ.Revoked
	b.change(true, Change{Act: "revoke-grant", Rows: []Row{row(t, revoked.ID, &revoked, false)}}, nil)
	b.close()

	if err := b.reopened(b.m); err != nil {
		t.Fatalf("the newest database = %v", err)
	}
	for name, m := range map[string]*memory{
		"rolled back": old,
		"emptied":     newMemory(b.org),
		"rewritten": func() *memory {
			f := b.forge()
			f.m.entries, f.m.changes, f.m.head.Size = f.m.entries[:2], f.m.changes[:1], 2
			f.b.head.Size, f.b.head.LastChange, f.b.head.Epoch = 2, 1, 1
			_, err := f.b.Change(Change{Act: "edit"})
			must(t, err)
			_, err = f.b.Change(Change{Act: "edit"})
			must(t, err)
			return f.done(t)
		}(),
		"changes uncounted": func() *memory {
			m := b.m.copyOf()
			m.head.Epoch--
			return m
		}(),
		"newest change forgotten": func() *memory {
			m := b.m.copyOf()
			m.head.LastChange = 1
			return m
		}(),
		"frontier changed": func() *memory {
			m := b.m.copyOf()
			m.head.Frontier[0] ^= 1
			return m
		}(),
		"entry changed": func() *memory {
			m := b.m.copyOf()
			m.entries[1].Leaf[30] ^= 1
			return m
		}(),
		"entry missing": func() *memory {
			m := b.m.copyOf()
			m.entries = m.entries[:2]
			return m
		}(),
		"time moved": func() *memory {
			m := b.m.copyOf()
			m.head.Time += 1_000_000_000
			return m
		}(),
	} {
		err := b.reopened(m)
		var shown *writ.Error
		if writ.KindOf(err) != writ.KindCheckFailed || !errors.As(err, &shown) || shown.Fix == "" || shown.Why == "" {
			t.Errorf("%s: Open = %v", name, err)
		}
	}
	// A crash between commit and anchor leaves an anchor that is behind.
	b.anchor.set(kept, nil)
	if err := b.reopened(b.m); err != nil {
		t.Errorf("an anchor that is behind: %v", err)
	}
	// The changes behind the anchor are counted, not believed.
	b.anchor.set(kept, nil)
	m := b.m.copyOf()
	m.head.Epoch, m.head.LastChange = 1, 1
	if err := b.reopened(m); writ.KindOf(err) != writ.KindCheckFailed {
		t.Errorf("a change hidden behind the anchor: %v", err)
	}
}

func TestAForeignOrDamagedAnchorIsRefused(t *testing.T) {
	b, _ := opened(t)
	b.close()
	good := b.notes()[0]
	other, _ := opened(t)
	other.close()
	skey, _, err := note.GenerateKey(rand.Reader, b.origin)
	must(t, err)
	stranger, err := note.NewSigner(skey)
	must(t, err)
	text, _, _ := strings.Cut(string(good), "\n\n")
	forged, err := note.Sign(&note.Note{Text: text + "\n"}, stranger)
	must(t, err)
	for name, n := range map[string][]byte{
		"another log's":  other.notes()[0],
		"another key's":  forged,
		"a changed size": bytes.Replace(good, []byte("\n2\n"), []byte("\n1\n"), 1),
		"empty":          {},
		"cut short":      good[:len(good)-10],
		"noise":          []byte("\n\n\x00"),
	} {
		b.anchor.set(n, nil)
		if err := b.reopened(b.m.copyOf()); writ.KindOf(err) != writ.KindCheckFailed {
			t.Errorf("%s: Open = %v", name, err)
		}
	}
	b.anchor.set(good, errDisk)
	if _, err := Open(t.Context(), b.config()); !errors.Is(err, errDisk) {
		t.Errorf("an anchor that cannot be read: %v", err)
	}
	// Signed by the old key and the new one, it is this log's.
	both, err := note.Sign(&note.Note{Text: text + "\n"}, stranger, b.signer)
	must(t, err)
	b.anchor.set(both, nil)
	if err := b.reopened(b.m.copyOf()); err != nil {
		t.Errorf("two signatures: %v", err)
	}
}

// A growing log is anchored every second; an idle one is left alone.
func TestCheckpointsFollowTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := opened(t)
		pass(checkpointEvery + time.Millisecond)
		c, err := OpenCheckpoint(b.notes()[0], note.VerifierList(b.verifier))
		must(t, err)
		root, err := b.Root(t.Context(), 2)
		must(t, err)
		if c != (Checkpoint{Origin: b.origin, Size: 2, Root: root, Epoch: writ.Epoch{Incarnation: 1, N: 1}, LastChange: 1}) {
			t.Errorf("%+v", c)
		}
		b.anchor.set(nil, nil)
		pass(time.Minute)
		if b.notes() != nil {
			t.Error("an idle log was signed again")
		}
		// An anchor that fails is tried again, and hides nothing from callers.
		b.anchor.set(nil, errDisk)
		b.change(false, Change{Act: "edit"}, nil)
		if _, err := b.Checkpoint(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Checkpoint = %v", err)
		}
		if n := b.Counts().Anchored; n != 2 {
			t.Errorf("anchored at %d while the anchor fails", n)
		}
		b.anchor.set(nil, nil)
		pass(2 * checkpointEvery)
		n, _ := b.anchor.Load(b.org)
		c, err = OpenCheckpoint(n, note.VerifierList(b.verifier))
		must(t, err)
		if c.Size != 3 {
			t.Errorf("anchored at %d", c.Size)
		}
	})
}

func TestParseCheckpointReadsOneSpelling(t *testing.T) {
	c := Checkpoint{Origin: "writ/org_x", Size: 7, Root: tlog.RecordHash([]byte("x")), Epoch: writ.Epoch{Incarnation: 2, N: 5}, LastChange: -1}
	got, err := ParseCheckpoint(c.Text())
	if err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	// Lines that others add are none of our business (C2SP tlog-checkpoint).
	if got, err := ParseCheckpoint(c.Text() + "other extension\n"); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "a\n", "a\n1\n", strings.Replace(c.Text(), "\n7\n", "\n07\n", 1), strings.Replace(c.Text(), "\n7\n", "\n-7\n", 1),
		strings.Replace(c.Text(), "epoch 2 5 -1", "epoch 2 5 -2", 1), strings.Replace(c.Text(), "epoch 2 5 -1", "epoch 2 x 1", 1),
		strings.Replace(c.Text(), "epoch 2 5 -1", "epoch 2 5", 1), c.Text()[:len(c.Text())-1], strings.Replace(c.Text(), "=\n", "\n", 1)} {
		if got, err := ParseCheckpoint(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

// Somebody else who wrote to the database: what extends the log is caught up
// with, after everybody was told that their view is stale; anything else stops
// the log.
func TestAHeadThatMoved(t *testing.T) {
	t.Run("forwards", func(t *testing.T) {
		b, w := opened(t)
		_, before := w.allow(b.Epoch())
		f := b.forge()
		_, err := f.b.Change(Change{Act: "edit"})
		must(t, err)
		m := f.done(t)
		b.m.mu.Lock()
		b.m.entries, b.m.changes, b.m.head = m.entries, m.changes, m.head
		b.m.mu.Unlock()
		// What the other one changed is not known here, so what was decided before
		// is decided anew.
		_, err = b.Append(t.Context(), before)
		var gone *BasisGone
		if !errors.As(err, &gone) || b.unsure.Load() != 1 {
			t.Errorf("Append = %v, Uncertain called %d times", err, b.unsure.Load())
		}
		_, again := w.allow(b.Epoch())
		_, err = b.Append(t.Context(), again)
		must(t, err)
		b.close()
		b.verify()
	})
	t.Run("backwards", func(t *testing.T) {
		b, w := opened(t)
		old := b.m.copyOf()
		b.change(false, Change{Act: "edit"}, nil)
		b.m.mu.Lock()
		b.m.entries, b.m.changes, b.m.head = old.entries, old.changes, old.head
		b.m.mu.Unlock()
		for range 2 {
			_, a := w.allow(b.Epoch())
			if _, err := b.Append(t.Context(), a); writ.KindOf(err) != writ.KindUnavailable {
				t.Errorf("Append = %v", err)
			}
		}
		if err := b.Act(t.Context(), true, nil); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Act = %v", err)
		}
		if len(b.m.entries) != 2 {
			t.Error("a log that was set back was written to")
		}
		if b.unsure.Load() == 0 {
			t.Error("nobody was told")
		}
	})
	t.Run("rewritten", func(t *testing.T) {
		b, w := opened(t)
		f := b.forge()
		f.m.entries, f.m.changes, f.m.head.Size = f.m.entries[:1], nil, 1
		f.b.head.Size, f.b.head.LastChange, f.b.head.Epoch = 1, -1, 0
		for range 3 {
			_, err := f.b.Change(Change{Act: "other"})
			must(t, err)
		}
		m := f.done(t)
		b.m.mu.Lock()
		b.m.entries, b.m.changes, b.m.head = m.entries, m.changes, m.head
		b.m.mu.Unlock()
		_, a := w.allow(b.Epoch())
		if _, err := b.Append(t.Context(), a); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("Append = %v", err)
		}
		if len(b.m.entries) != 4 {
			t.Error("a rewritten log was written to")
		}
	})
}

// A start that meets a failing storage fails, and the next one does not.
func TestOpenOverAFailingStorage(t *testing.T) {
	b, _ := opened(t)
	b.close()
	for _, op := range []string{"head", "entries"} {
		b.m.setHook(func(o string) fault {
			if o == op {
				return refuses
			}
			return fine
		})
		if _, err := Open(t.Context(), b.config()); !errors.Is(err, errDisk) {
			t.Errorf("%s: Open = %v", op, err)
		}
	}
	fresh := newBench(t)
	for _, op := range []string{"begin", "write", "commit"} {
		fresh.m.setHook(func(o string) fault {
			if o == op {
				return refuses
			}
			return fine
		})
		if _, err := Open(t.Context(), fresh.config()); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("%s: Open = %v", op, err)
		}
	}
	fresh.m.setHook(nil)
	fresh.open()
	if fresh.Head().Size != 1 {
		t.Errorf("size %d after a genesis that failed thrice", fresh.Head().Size)
	}
	cfg := fresh.config()
	cfg.Origin = "writ/other"
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("a signer of another name was accepted")
	}
}

// A crash is a process that is gone between two lines of the commit order:
// what the storage had by then is what the next start finds.
func TestACrashAtEveryPointOfTheCommit(t *testing.T) {
	for op, want := range map[string]struct {
		f      fault
		allows int64
	}{
		"begin": {refuses, 0}, "write": {refuses, 0}, "commit": {unsure, 0}, "committed": {unsureIn, 1},
	} {
		t.Run(op, func(t *testing.T) {
			b, w := opened(t)
			died := make(chan struct{})
			crashed := false
			b.m.setHook(func(o string) fault {
				switch {
				case crashed:
					return refuses // the process is gone: nothing it does reaches the disk
				case o == strings.TrimSuffix(op, "ted"):
					crashed = true
					close(died)
					return want.f
				}
				return fine
			})
			ctx, cancel := context.WithCancel(t.Context())
			_, a := w.allow(b.Epoch())
			use := b.appending(ctx, a)
			<-died
			cancel()
			receipted := <-use == nil
			gone, stop := context.WithCancel(t.Context())
			stop()
			_ = b.Close(gone)
			b.m.setHook(nil)
			if receipted {
				t.Error("a receipt was given for what is not known to be durable")
			}
			b.open()
			_, a = w.allow(b.Epoch())
			_, err := b.Append(t.Context(), a)
			must(t, err)
			b.close()
			if r := b.verify(); r.Allows != want.allows+1 {
				t.Errorf("%d allows", r.Allows)
			}
		})
	}
}

func TestAwaitFollowsTheLog(t *testing.T) {
	b, _ := opened(t)
	got := make(chan int64, 1)
	go func() {
		n, err := b.Await(context.Background(), 2)
		must(t, err)
		got <- n
	}()
	b.change(false, Change{Act: "edit"}, nil)
	if n := <-got; n != 3 {
		t.Errorf("Await = %d", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Await(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("Await = %v", err)
	}
	b.close()
	if _, err := b.Await(t.Context(), 3); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("Await = %v", err)
	}
}
