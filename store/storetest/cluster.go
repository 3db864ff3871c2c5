package storetest

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Cluster is a PostgreSQL of the test's own, on a socket in a folder of its own.
type Cluster struct {
	Folder string // where its socket lies
	n      atomic.Int64
}

// NewCluster starts one, and stops it when the test ends. Without PostgreSQL on
// the machine the test is skipped, except where CI=true says that it must not be.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	bin, err := postgresFolder()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no PostgreSQL here: ", err)
	}
	folder, err := os.MkdirTemp("", "writ-pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	// The server refuses to be root.
	var as []string
	if os.Getuid() == 0 {
		if as, err = giveAway(folder); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) error {
		words := append(slices.Clone(as), append([]string{filepath.Join(bin, name)}, args...)...)
		c := exec.Command(words[0], words[1:]...)
		c.Dir = folder
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out.Bytes())
		}
		return nil
	}
	data, log := filepath.Join(folder, "data"), filepath.Join(folder, "log")
	if err := run("initdb", "-D", data, "-U", "writ", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"); err != nil {
		t.Fatal(err)
	}
	if err := run("pg_ctl", "-D", data, "-l", log, "-w", "-o", "-F -k "+folder+" -c listen_addresses= -c max_connections=200", "start"); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("%v\n%s", err, text)
	}
	t.Cleanup(func() {
		if err := run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"); err != nil {
			t.Error(err)
		}
	})
	return &Cluster{Folder: folder}
}

func postgresFolder() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("initdb is neither on the PATH nor in /usr/lib/postgresql")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// giveAway makes the folder the user postgres' and gives the command that runs
// another as that user.
func giveAway(folder string) ([]string, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(folder, uid, gid); err != nil {
		return nil, err
	}
	return []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}, nil
}

// URL is the address of a database through a socket in the folder.
func (c *Cluster) URL(folder, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("writ"), Path: "/" + database, RawQuery: url.Values{"host": {folder}}.Encode()}).String()
}

// Database makes an empty database and gives its address.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.URL(c.Folder, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	name := "writ" + strconv.FormatInt(c.n.Add(1), 10)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return c.URL(c.Folder, name)
}
