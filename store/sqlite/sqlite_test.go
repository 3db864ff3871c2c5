package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/sqlite"
	"writ.dev/writ/store/storetest"
)

func open(t testing.TB, folder string) *sqlite.Database {
	t.Helper()
	d, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder, ReserveBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Engine { return open(t, t.TempDir()) })
}

// wantShown fails unless err is of the kind, says what to do and has the word
// somewhere.
func wantShown(t *testing.T, what string, err error, kind writ.ErrorKind, word string) {
	t.Helper()
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Fix == "" || !strings.Contains(e.Message+" "+e.Why+" "+e.Fix, word) {
		t.Errorf("%s gave %v (%#v), want kind %s, a fix and %q", what, err, e, kind, word)
	}
}

func TestModesOfFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "data with spaces?#%41")
	old := syscall.Umask(0)
	k := storetest.NewKit(t, open(t, folder))
	syscall.Umask(old)
	k.Agent()
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) < 4 {
		t.Fatalf("the folder has %v, %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", e.Name(), info.Mode(), err)
		}
	}
	// What somebody opened up is closed again.
	if err := k.Store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{folder: 0o755, filepath.Join(folder, "writ.db"): 0o644} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, folder)
	defer d.Close()
	for name, want := range map[string]os.FileMode{folder: 0o700, filepath.Join(folder, "writ.db"): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s is %v, %v", name, info.Mode(), err)
		}
	}
}

// TestEveryConnectionHasThePragmas: a PRAGMA that is run once holds on one
// connection of a pool only.
func TestEveryConnectionHasThePragmas(t *testing.T) {
	d := open(t, t.TempDir())
	defer d.Close()
	write, read := d.Pools()
	for name, pool := range map[string]*sql.DB{"write": write, "read": read} {
		var conns []*sql.Conn
		for range pool.Stats().MaxOpenConnections {
			c, err := pool.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			queryOnly := "0"
			if name == "read" {
				queryOnly = "1"
			}
			for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000", "trusted_schema": "0", "query_only": queryOnly} {
				var got string
				if err := c.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
					t.Errorf("%s: %s is %q, %v; want %q", name, pragma, got, err, want)
				}
			}
		}
		if name == "write" && len(conns) != 1 {
			t.Errorf("%d writers", len(conns))
		}
		for _, c := range conns {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := read.ExecContext(t.Context(), "CREATE TABLE x (y)"); err == nil {
		t.Error("a reader wrote")
	}
}

func TestSecondServer(t *testing.T) {
	folder := t.TempDir()
	first := open(t, folder)
	_, err := sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
	wantShown(t, "a second server", err, writ.KindUnavailable, strconv.Itoa(os.Getpid()))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, folder).Close(); err != nil {
		t.Fatal(err)
	}
}

const childFolder = "WRIT_SQLITE_TEST_FOLDER"

// TestKilledServer: a server that was killed leaves no lock behind, what it had
// recorded is there, and its log goes on.
func TestKilledServer(t *testing.T) {
	if folder := os.Getenv(childFolder); folder != "" {
		serve(t, folder)
		return
	}
	folder := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledServer$")
	child.Env = append(os.Environ(), childFolder+"="+folder)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	lines := bufio.NewScanner(out)
	var org, last string
	for made := 0; made < 25 && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "org "); ok {
			org = rest
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "made "); ok {
			last, made = rest, made+1
		}
	}
	_, err = sqlite.Open(t.Context(), sqlite.Config{Folder: folder})
	wantShown(t, "a second server", err, writ.KindUnavailable, strconv.Itoa(child.Process.Pid))
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	s := storetest.Open(t, open(t, folder), storetest.NewClock(), &storetest.Keys{})
	if _, err := s.Identity(t.Context(), writ.ID(org), last); err != nil {
		t.Errorf("what was recorded before the kill: %v", err)
	}
	if _, err := s.Load(t.Context(), writ.ID(org), func(n ledger.Noun) error {
		if !n.Proven {
			t.Errorf("%s is not proven", n.ID)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: s.Reader(), Org: writ.ID(org)})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
	if _, _, err := s.AddIdentity(t.Context(), writ.Actor{}, writ.Identity{Org: writ.ID(org), Kind: writ.Person, Name: "after@acme.dev"}); err != nil {
		t.Error(err)
	}
}

// serve makes identities until it is killed.
func serve(t *testing.T, folder string) {
	k := storetest.NewKit(t, open(t, folder))
	fmt.Println("org", k.Org)
	for {
		fmt.Println("made", k.Agent().ID)
	}
}

func TestNewerSchema(t *testing.T) {
	folder := t.TempDir()
	k := storetest.NewKit(t, open(t, folder))
	if _, err := k.DB.ExecContext(t.Context(), `INSERT INTO schema_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := k.Store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{Engine: open(t, folder)})
	wantShown(t, "a newer schema", err, writ.KindUnavailable, "9999")
	if err := open(t, folder).Close(); err != nil {
		t.Errorf("the refused store did not let go of the folder: %v", err)
	}
}

func TestBadFolders(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), sqlite.Config{Folder: file})
	wantShown(t, "a file for a folder", err, writ.KindUnavailable, "folder")
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, "writ.db"), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), sqlite.Config{Folder: garbage})
	wantShown(t, "garbage for a database", err, writ.KindUnavailable, "not a database")
}

const childCase = "WRIT_SQLITE_TEST_CASE"

// TestAsSomebodyElse runs cases that root would pass through as an unprivileged
// user in a process of its own.
func TestAsSomebodyElse(t *testing.T) {
	if c := os.Getenv(childCase); c != "" {
		asSomebodyElse(t, c, os.Getenv(childFolder))
		return
	}
	for _, name := range []string{"read-only folder", "full disk"} {
		t.Run(name, func(t *testing.T) {
			folder, err := os.MkdirTemp("", "writ-sqlite")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(folder)
			// The test binary lies where only its builder may look.
			binary := filepath.Join(folder, "test")
			if b, err := os.ReadFile(os.Args[0]); err != nil {
				t.Fatal(err)
			} else if err := os.WriteFile(binary, b, 0o755); err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(folder, "data")
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			c := exec.CommandContext(t.Context(), binary, "-test.run=^TestAsSomebodyElse$")
			c.Dir = folder
			c.Env = append(os.Environ(), childCase+"="+name, childFolder+"="+data, "TMPDIR="+data, "HOME="+data)
			if os.Getuid() == 0 {
				const nobody = 65534
				for _, p := range []string{folder, data} {
					if err := os.Chown(p, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func asSomebodyElse(t *testing.T, name, data string) {
	switch name {
	case "read-only folder":
		k := storetest.NewKit(t, open(t, data))
		if err := k.Store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(data, 0o500); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(data, 0o700)
		for _, f := range []string{"writ.db", "writ.lock"} {
			if err := os.Chmod(filepath.Join(data, f), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		_, err := sqlite.Open(t.Context(), sqlite.Config{Folder: data})
		wantShown(t, "a read-only folder", err, writ.KindUnavailable, data)
		_, err = sqlite.Open(t.Context(), sqlite.Config{Folder: filepath.Join(data, "below")})
		wantShown(t, "a folder that cannot be made", err, writ.KindUnavailable, "below")
	case "full disk":
		fullDisk(t, data)
	}
}

// fullDisk lets a file-size limit stand for the end of the disk: what goes past
// it fails as a full disk does.
func fullDisk(t *testing.T, data string) {
	k := storetest.NewKit(t, open(t, data))
	info, err := os.Stat(filepath.Join(data, "writ.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	// The WAL may grow by a few pages more; SIGXFSZ is ignored by Go.
	limit := syscall.Rlimit{Cur: uint64(info.Size()) + 64<<10, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	var made []writ.ID
	for n := 0; ; n++ {
		i, _, err := k.Store.AddIdentity(context.Background(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: fmt.Sprintf("p%d@acme.dev", n)})
		if err != nil {
			wantShown(t, "an act on a full disk", err, writ.KindUnavailable, "disk")
			break
		}
		if made = append(made, i.ID); n > 10_000 {
			t.Fatal("the limit does nothing")
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	k.Clock.Add(1 << 31)
	if _, _, err := k.Store.AddIdentity(t.Context(), k.By, writ.Identity{Org: k.Org, Kind: writ.Person, Name: "after@acme.dev"}); err != nil {
		t.Errorf("with space again: %v", err)
	}
	for _, id := range made {
		if _, err := k.Store.Identity(t.Context(), k.Org, string(id)); err != nil {
			t.Errorf("what was recorded before: %v", err)
		}
	}
	report, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Reader: k.Store.Reader(), Org: k.Org})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
}

func TestReserve(t *testing.T) {
	folder := t.TempDir()
	d := open(t, folder)
	defer d.Close()
	path := filepath.Join(folder, "reserve")
	if info, err := os.Stat(path); err != nil || info.Size() != 1<<20 {
		t.Fatalf("the reserve is %v, %v", info, err)
	}
	r := d.Reserve()
	if !r.Release() || r.Release() {
		t.Error("the reserve can be given up once")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("given up, and there: %v", err)
	}
	for range 2 { // the second time it is there already
		if !r.Restore() {
			t.Error("the reserve cannot be taken again")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 1<<20 {
		t.Errorf("taken again it is %v, %v", info, err)
	}
}
