package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/postgres"
	"writ.dev/writ/store/storetest"
)

func TestPostgres(t *testing.T) {
	c := storetest.NewCluster(t)
	open := func(t testing.TB) store.Engine {
		d, err := postgres.Open(t.Context(), c.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("Conformance", func(t *testing.T) { storetest.Run(t, open) })
	t.Run("SecondServer", func(t *testing.T) { testSecondServer(t, c) })
	t.Run("TakenOver", func(t *testing.T) { testTakenOver(t, c) })
	t.Run("NewerSchema", func(t *testing.T) { testNewerSchema(t, c) })
	t.Run("LostCommit", func(t *testing.T) { testLostCommit(t, c) })
	t.Run("Unreachable", testUnreachable)
}

func testSecondServer(t *testing.T, c *storetest.Cluster) {
	address := c.Database(t)
	first, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Open(t.Context(), address)
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != writ.KindUnavailable || e.Fix == "" || !strings.Contains(e.Why, "process") {
		t.Errorf("a second server got %#v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

// testTakenOver: a server whose lock connection broke, so that another could
// start, writes nothing more.
func testTakenOver(t *testing.T, c *storetest.Cluster) {
	address := c.Database(t)
	d, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	k := storetest.NewKit(t, d)
	if _, err := k.DB.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	other, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, other, k.Clock, k.Keys)
	_, _, err = k.Store.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "late", Text: "forbid"})
	if writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("the first server wrote on: %v", err)
	}
}

func testNewerSchema(t *testing.T, c *storetest.Cluster) {
	address := c.Database(t)
	d, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	k := storetest.NewKit(t, d)
	if _, err := k.DB.ExecContext(t.Context(), `INSERT INTO schema_version (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	if err := k.Store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, err = postgres.Open(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), store.Config{Engine: d})
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != writ.KindUnavailable || !strings.Contains(e.Message, "newer") || e.Fix == "" {
		t.Errorf("a newer schema gave %v", err)
	}
}

// cutter stands between a server and its database and breaks connections at
// COMMIT, after or before the database was told.
type cutter struct {
	to string

	mu   sync.Mutex
	mode string // "", "before" or "after"
}

func (c *cutter) set(mode string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mode = mode
}

func (c *cutter) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.mode
	c.mode = ""
	return m
}

func (c *cutter) serve(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		answers := make(chan struct{}) // closed when the database's answers have ended
		var silent sync.Mutex          // held for good once nothing may be passed back
		go func() {
			defer close(answers)
			b := make([]byte, 64<<10)
			for {
				n, err := out.Read(b)
				silent.Lock()
				if n > 0 {
					_, _ = in.Write(b[:n])
				}
				silent.Unlock()
				if err != nil {
					_ = in.Close()
					return
				}
			}
		}()
		go func() {
			b := make([]byte, 64<<10)
			for {
				n, err := in.Read(b)
				if err != nil {
					_ = out.Close()
					return
				}
				if bytes.Contains(bytes.ToLower(b[:n]), []byte("commit")) {
					switch c.take() {
					case "before":
						_ = in.Close()
						_ = out.Close()
						return
					case "after":
						silent.Lock()
						_, _ = out.Write(b[:n])
						_ = in.Close()
						// The database ends the connection once it has committed and
						// found nobody: only then is the commit over.
						_ = out.(*net.UnixConn).CloseWrite()
						silent.Unlock()
						<-answers
						return
					}
				}
				if _, err := out.Write(b[:n]); err != nil {
					_ = in.Close()
					return
				}
			}
		}()
	}
}

// testLostCommit: the connection breaks at COMMIT. Whether the act happened is
// then found out from the database, subscribers are told that they may be
// stale, and the log goes on.
func testLostCommit(t *testing.T, c *storetest.Cluster) {
	folder := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	between := &cutter{to: filepath.Join(c.Folder, ".s.PGSQL.5432")}
	go between.serve(l)
	address, err := url.Parse(c.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := postgres.Open(t.Context(), c.URL(folder, strings.TrimPrefix(address.Path, "/")))
	if err != nil {
		t.Fatal(err)
	}
	k := storetest.NewKit(t, d)
	w := &storetest.Watcher{}
	k.Store.Subscribe(w)
	for _, mode := range []string{"before", "after"} {
		between.set(mode)
		stale := len(w.Staled())
		p, _, err := k.Store.AddPolicy(t.Context(), k.By, writ.Policy{Org: k.Org, Name: "cut-" + mode, Text: "forbid"})
		if len(w.Staled()) == stale {
			t.Errorf("cut %s COMMIT: nobody was told to be stale", mode)
		}
		_, readErr := k.Store.Policy(t.Context(), k.Org, "cut-"+mode)
		switch mode {
		case "before":
			if err == nil || writ.KindOf(readErr) != writ.KindNotFound {
				t.Errorf("cut before COMMIT: act %v, read %v", err, readErr)
			}
		case "after":
			if err != nil || p == nil || readErr != nil {
				t.Errorf("cut after COMMIT: act %v, read %v", err, readErr)
			}
		}
		k.Agent() // the log goes on
	}
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: k.Store.Reader(), Org: k.Org})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
}

func testUnreachable(t *testing.T) {
	for _, address := range []string{"postgres://writ:hunter2@/x?host=" + t.TempDir(), "postgres://writ:hunter2@[::1/x", "host=h password=hunter2 port=nine"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := postgres.Open(ctx, address)
		cancel()
		var e *writ.Error
		if !errors.As(err, &e) || e.Fix == "" || strings.Contains(e.Message+e.Why+e.Fix, "hunter2") {
			t.Errorf("%q gave %#v", address, err)
		}
	}
}

func TestClass(t *testing.T) {
	for code, want := range map[string]store.Class{
		"23505": store.ClassUnique, "53100": store.ClassFull, "25006": store.ClassReadOnly, "40001": store.ClassBusy, "40P01": store.ClassBusy,
		"57P01": store.ClassLost, "08006": store.ClassLost, "XX001": store.ClassCorrupt, "58030": store.ClassIO, "42601": store.ClassOther,
	} {
		if got := postgres.Class(&pgconn.PgError{Code: code}); got != want {
			t.Errorf("%s is class %d, want %d", code, got, want)
		}
	}
	for _, err := range []error{io.ErrUnexpectedEOF, net.ErrClosed, &net.OpError{Op: "read", Err: errors.New("reset")}} {
		if got := postgres.Class(err); got != store.ClassLost {
			t.Errorf("%v is class %d", err, got)
		}
	}
}
