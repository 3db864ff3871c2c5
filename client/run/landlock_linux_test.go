package run

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func needLandlock(t *testing.T) {
	t.Helper()
	if landlockVersion() < minLandlock {
		t.Skip("this kernel has no Landlock, or too old a one")
	}
}

// home makes a folder with Writ's own in it, and what a user has beside it.
func homeWithWrit(t *testing.T) (home, secret string) {
	t.Helper()
	home = t.TempDir()
	for _, d := range []string{".writ/dev", "project/src", ".config"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	secret = filepath.Join(home, ".writ/dev/token")
	for _, f := range []string{secret, filepath.Join(home, ".profile"), filepath.Join(home, "project/src/a.go")} {
		if err := os.WriteFile(f, []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(home, ".writ"), filepath.Join(home, "link")); err != nil {
		t.Fatal(err)
	}
	return home, secret
}

// R30: the program can neither read nor change what is Writ's, however it goes
// about it, and nor can what it starts.
func TestLandlockDeniesWritsFolders(t *testing.T) {
	needLandlock(t)
	tool(t, "python3")
	home, _ := homeWithWrit(t)
	inRoot := filepath.Join(home, "project/src")
	for _, script := range []string{
		`cat "$1/.writ/dev/token"`,
		`cat "$1/link/dev/token"`,
		`cd "$1/.writ/dev" && cat token`,
		`cat "/proc/self/root$1/.writ/dev/token"`,
		`sh -c 'sh -c "cat \"$1/.writ/dev/token\"" sh "$1"' sh "$1"`,
		`(setsid cat "$1/.writ/dev/token")`,
		`echo x > "$1/.writ/dev/token"`,
		`echo x > "$1/.writ/dev/new"`,
		`: >> "$1/.writ/dev/token"`,
		`truncate -s 0 "$1/.writ/dev/token"`,
		// By its name, without opening it: a right of its own.
		`python3 -c 'import os, sys; os.truncate(sys.argv[1], 0)' "$1/.writ/dev/token"`,
		`rm "$1/.writ/dev/token"`,
		`mkdir "$1/.writ/x"`,
		`ln -s /tmp "$1/.writ/s"`,
		`ln "$1/.writ/dev/token" "$1/project/t"`,
		`mv "$1/.writ" "$1/project/w"`,
		`mv "$1/.writ" "$1/.wrot"`,
		`mv "$1/.writ/dev" "$1/project/d"`,
		`rm -r "$1/.writ"`,
		`cp -r "$1/.writ" "$1/project/c"`,
	} {
		out, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", script, "sh", home}, Dir: inRoot, Deny: []string{filepath.Join(home, ".writ")}})
		if code == 0 || strings.Contains(out, "canary") || code >= 126 {
			t.Errorf("%s: code %d, out %q, err %q", script, code, out, errs)
		}
		if b, err := os.ReadFile(filepath.Join(home, ".writ/dev/token")); err != nil || string(b) != "canary" {
			t.Fatalf("%s: the token is now %q, %v", script, b, err)
		}
	}
}

// Everything else works as it did.
func TestLandlockLeavesTheRest(t *testing.T) {
	needLandlock(t)
	home, _ := homeWithWrit(t)
	for _, script := range []string{
		`cat "$1/project/src/a.go"`,
		`echo new > "$1/project/src/b.go" && cat "$1/project/src/b.go"`,
		`mkdir "$1/.config/tool" && echo x > "$1/.config/tool/settings"`,
		`mv "$1/project/src/b.go" "$1/.config/tool/b.go" && rm "$1/.config/tool/b.go"`,
		`echo x >> "$1/.profile" && cat "$1/.profile"`,
		`ls "$1" / /tmp`,
		`d=$(mktemp -d) && echo x > "$d/f" && rm -r "$d"`, // in TMPDIR, see TestTemporaryFolderUnderLandlock
		`echo x > /dev/null && head -c 4 /dev/urandom > /dev/null`,
		`cat /proc/self/status /etc/passwd && test -x /bin/sh`,
	} {
		deny := []string{filepath.Join(home, ".writ")}
		vars := append(cleanEnviron(t), "TMPDIR="+filepath.Join(home, "project"))
		_, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", script, "sh", home}, Env: vars, Deny: deny})
		if code != 0 {
			t.Errorf("%s: code %d, err %q", script, code, errs)
		}
	}
}

// The price, stated by Isolation: no new names in the folders on the way.
func TestLandlockPriceIsStated(t *testing.T) {
	needLandlock(t)
	home, _ := homeWithWrit(t)
	deny := []string{filepath.Join(home, ".writ")}
	_, _, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", `echo x > "$1/new"`, "sh", home}, Deny: deny})
	i := Isolate(deny)
	if stated := slices.Contains(i.Kept, home); (code != 0) != stated {
		t.Errorf("code %d, stated %v", code, stated)
	}
	if !strings.Contains(i.String(), "denied by Landlock") || !strings.Contains(i.String(), home) || !strings.HasPrefix(i.String(), "none (cooperative") {
		t.Errorf("%q", i.String())
	}
}

// Where the temporary folder is one of those that take no new names, the
// program gets another.
func TestTemporaryFolderUnderLandlock(t *testing.T) {
	needLandlock(t)
	home, _ := homeWithWrit(t)
	deny := []string{filepath.Join(home, ".writ")}
	for tmp, replaced := range map[string]bool{home: true, filepath.Join(home, "project"): false} {
		env, err := Environment(EnvironmentConfig{
			Inherited: append(cleanEnviron(t), "TMPDIR="+tmp), Proxy: "http://127.0.0.1:9", CA: newAuthority(t, "writ").pem(), TempDir: tmp, Deny: deny,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := environ(env.Vars).get("TMPDIR"); (got != tmp) != replaced {
			t.Errorf("TMPDIR=%s became %s", tmp, got)
		}
		out, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/sh", "-c", `f=$(mktemp) && echo ok > "$f" && cat "$f"`}, Env: env.Vars, Deny: deny})
		if code != 0 || out != "ok\n" {
			t.Errorf("TMPDIR=%s: code %d, out %q, err %q", tmp, code, out, errs)
		}
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A folder that does not exist yet is denied where it will be, and a single
// file as well as a folder.
func TestLandlockDeniesWhatIsToCome(t *testing.T) {
	needLandlock(t)
	home, _ := homeWithWrit(t)
	later, key := filepath.Join(home, "later/deep"), filepath.Join(home, "project/key")
	if err := os.WriteFile(key, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := fifo(t)
	c, out := startTalkingConfined(t, []string{later, key}, `echo up; read x < "$1"; cat "$2/secret" "$3"; echo code $?`, name, later, key)
	readLine(t, out)
	if err := os.MkdirAll(later, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(later, "secret"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, out); got != "code 1" {
		t.Errorf("%q", got)
	}
	if code := c.Wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// If the promise cannot be kept, the program does not start.
func TestLandlockFailsClosed(t *testing.T) {
	needLandlock(t)
	out, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/echo", "started"}, Deny: []string{"/"}})
	if code != exitNotExecutable || out != "" || !strings.Contains(errs, "Landlock") {
		t.Errorf("code %d, out %q, err %q", code, out, errs)
	}
}

// Without a privilege: no_new_privs is needed then, and the memory and
// environment of `writ run` itself are closed to the program (Harden).
func TestLandlockUnprivileged(t *testing.T) {
	needLandlock(t)
	if os.Getuid() != 0 {
		home, _ := homeWithWrit(t)
		if err := Harden(); err != nil {
			t.Fatal(err)
		}
		script := `cat "$1/.writ/dev/token"; cat "/proc/$2/environ"; head -c 1 "/proc/$2/mem"; ls "/proc/$2/fd"; grep NoNewPrivs /proc/self/status`
		out, errs, code := runProgram(t, ChildConfig{
			Args: []string{"/bin/sh", "-c", script, "sh", home, fmt.Sprint(os.Getpid())}, Deny: []string{filepath.Join(home, ".writ")},
		})
		if code != 0 || out != "NoNewPrivs:\t1\n" {
			t.Errorf("code %d, out %q, err %q", code, out, errs)
		}
		// A folder on the way that can be passed but not listed, and one that
		// cannot even be passed.
		if err := os.Chmod(home, 0o311); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(home, 0o700) })
		out, errs, code = runProgram(t, ChildConfig{
			Args: []string{"/bin/sh", "-c", `cat "$1/.writ/dev/token"; echo up`, "sh", home},
			Deny: []string{filepath.Join(home, ".writ/dev"), "/root/.writ/key"},
		})
		if code != 0 || out != "up\n" || !strings.Contains(errs, "Permission denied") {
			t.Errorf("unlisted: code %d, out %q, err %q", code, out, errs)
		}
		// Hardened, the parent still starts programs, confined and not.
		if out, errs, code := runProgram(t, ChildConfig{Args: []string{"/bin/echo", "ok"}}); code != 0 || out != "ok\n" {
			t.Errorf("code %d, out %q, err %q", code, out, errs)
		}
		// Without Landlock, too, its environment is closed.
		_, _, code = runProgram(t, ChildConfig{Args: []string{"/bin/cat", fmt.Sprintf("/proc/%d/environ", os.Getpid())}})
		if code == 0 {
			t.Error("the environment of writ run can be read")
		}
		return
	}
	asNobody(t)
}

// asNobody runs the calling test in a copy of this binary as an unprivileged user.
func asNobody(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "writ-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	raw, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, filepath.Join(dir, "test")} {
		if err := os.Chown(p, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

func TestPlanDenial(t *testing.T) {
	home, _ := homeWithWrit(t)
	d, err := planDenial([]string{filepath.Join(home, "link", "dev")}) // through a link
	if err != nil {
		t.Fatal(err)
	}
	writ := filepath.Join(home, ".writ")
	for _, p := range []string{"/", home, writ} {
		if !slices.Contains(d.kept, p) {
			t.Errorf("%s is not kept", p)
		}
	}
	for _, p := range append(d.dirs, d.files...) {
		if p == writ || p == filepath.Join(writ, "dev") || p == home || strings.HasSuffix(p, "/link") {
			t.Errorf("%s is allowed", p)
		}
	}
	if !slices.Contains(d.dirs, filepath.Join(home, "project")) || !slices.Contains(d.files, filepath.Join(home, ".profile")) {
		t.Error("a neighbour is not allowed")
	}
	if unix.Getuid() == 0 && !slices.Contains(d.dirs, "/proc") {
		t.Error("/proc is not allowed")
	}
}
