package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writ.dev/writ"
)

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func wantError(t *testing.T, err error, kind writ.ErrorKind, parts ...string) {
	t.Helper()
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Fix == "" {
		t.Errorf("got %+v, want %s with a fix", err, kind)
		return
	}
	for _, p := range parts {
		if !strings.Contains(e.Message+" "+e.Why+" "+e.Fix, p) {
			t.Errorf("%q / %q / %q does not say %q", e.Message, e.Why, e.Fix, p)
		}
	}
}

func TestKeyFileIsPrivateAndNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != rootKeySize || !info.Mode().IsRegular() {
		t.Fatalf("%v %v", info, err)
	}
	if folder, _ := os.Stat(filepath.Dir(path)); folder.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v", folder.Mode())
	}
	before, _ := os.ReadFile(path)
	wantError(t, CreateKeyFile(path), writ.KindConflict, "already there", "never overwritten")
	after, _ := os.ReadFile(path)
	if !bytes.Equal(before, after) {
		t.Fatal("the key file was changed")
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("something was left beside the key file: %v", left)
	}
	one, err := OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	two, err := OpenKeyFile(path)
	if err != nil || one.ID() != two.ID() || !strings.HasPrefix(one.ID(), "file:") {
		t.Fatalf("%v %v", two, err)
	}
	if strings.Contains(one.ID(), string(before)) {
		t.Error("the id shows the key")
	}
	wrapped, err := one.Wrap(t.Context(), []byte(canary), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := two.Unwrap(t.Context(), wrapped, []byte("a")); err != nil || string(plain) != canary {
		t.Errorf("%v", err)
	}
}

func TestKeyFileRefusesWhatOthersCouldKnow(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKeyFile(path)
		wantError(t, err, writ.KindInvalid, "by others", "chmod 600 "+path)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyFile(path); err != nil {
		t.Errorf("a file only its owner can read: %v", err)
	}
	link := filepath.Join(folder, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	_, err := OpenKeyFile(link)
	wantError(t, err, writ.KindInvalid, "not a plain file", "not a link")
	wantError(t, CreateKeyFile(link), writ.KindConflict)
	dangling := filepath.Join(folder, "dangling")
	if err := os.Symlink(filepath.Join(folder, "elsewhere"), dangling); err != nil {
		t.Fatal(err)
	}
	wantError(t, CreateKeyFile(dangling), writ.KindConflict)
	if _, err := os.Stat(filepath.Join(folder, "elsewhere")); err == nil {
		t.Error("a key was written through a link")
	}
	_, err = OpenKeyFile(folder)
	wantError(t, err, writ.KindInvalid, "not a plain file")
	_, err = OpenKeyFile(filepath.Join(folder, "none"))
	wantError(t, err, writ.KindNotFound, "no key file")
	if os.Geteuid() == 0 {
		foreign := filepath.Join(folder, "foreign")
		if err := CreateKeyFile(foreign); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 12345, -1); err != nil {
			t.Fatal(err)
		}
		_, err = OpenKeyFile(foreign)
		wantError(t, err, writ.KindInvalid, "another user")
	}
	for _, size := range []int{0, 31, 33, 4096} {
		odd := filepath.Join(folder, "odd")
		if err := os.WriteFile(odd, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = OpenKeyFile(odd)
		wantError(t, err, writ.KindInvalid, "32 bytes", "backup")
	}
}

// A folder that cannot be written gives the system's reason and the fix, and
// leaves nothing. A file in the folder's place fails for every user, also root.
func TestKeyFileThatCannotBeWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, CreateKeyFile(filepath.Join(folder, "key")), writ.KindUnavailable, "cannot be written", "not a directory")
}

func TestWrappingIsBoundToItsPurpose(t *testing.T) {
	k := provider(t)
	wrapped, err := k.Wrap(t.Context(), []byte(canary), []byte("purpose"))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := k.Wrap(t.Context(), []byte(canary), []byte("purpose")); bytes.Equal(again, wrapped) {
		t.Error("two wrappings of one value are equal")
	}
	if plain, err := k.Unwrap(t.Context(), wrapped, []byte("purpose")); err != nil || string(plain) != canary {
		t.Fatal(err)
	}
	for _, aad := range []string{"", "other", "purposes", "purpos"} {
		if _, err := k.Unwrap(t.Context(), wrapped, []byte(aad)); err == nil {
			t.Errorf("unwrapped for %q", aad)
		}
	}
	if _, err := provider(t).Unwrap(t.Context(), wrapped, []byte("purpose")); err == nil {
		t.Error("unwrapped with another key")
	}
	for i := range wrapped {
		tampered := bytes.Clone(wrapped)
		tampered[i] ^= 1
		if _, err := k.Unwrap(t.Context(), tampered, []byte("purpose")); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
	}
	for n := range wrapped {
		if _, err := k.Unwrap(t.Context(), wrapped[:n], []byte("purpose")); err == nil {
			t.Errorf("unwrapped from %d bytes", n)
		}
	}
}

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passphrase.json")
	wantError(t, CreatePassphrase(path, []byte("short")), writ.KindInvalid, "shorter")
	if err := CreatePassphrase(path, []byte("correct horse battery")); err != nil {
		t.Fatal(err)
	}
	wantError(t, CreatePassphrase(path, []byte("correct horse battery")), writ.KindConflict)
	one, err := OpenPassphrase(path, []byte("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := one.Wrap(t.Context(), []byte(canary), nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := OpenPassphrase(path, []byte("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := two.Unwrap(t.Context(), wrapped, nil); err != nil || string(plain) != canary {
		t.Errorf("the same passphrase does not open: %v", err)
	}
	_, err = OpenPassphrase(path, []byte("correct horse batterz"))
	wantError(t, err, writ.KindInvalid, "not the one")
	_, err = OpenPassphrase(path+"x", nil)
	wantError(t, err, writ.KindNotFound)

	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(good, []byte("horse")) {
		t.Error("the file shows the passphrase")
	}
	for name, change := range map[string]func(m map[string]any){
		"memory for all":   func(m map[string]any) { m["memory_kib"] = 4_000_000_000 },
		"no memory":        func(m map[string]any) { m["memory_kib"] = 1 },
		"passes for ever":  func(m map[string]any) { m["passes"] = 4_000_000_000 },
		"no salt":          func(m map[string]any) { m["salt"] = "" },
		"another function": func(m map[string]any) { m["kdf"] = "md5" },
		"a later version":  func(m map[string]any) { m["v"] = 2 },
		"an unknown field": func(m map[string]any) { m["x"] = 1 },
		"a huge salt":      func(m map[string]any) { m["salt"] = strings.Repeat("AAAA", 900) },
	} {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPassphrase(path, []byte("correct horse battery")); err == nil {
			t.Errorf("%s was taken", name)
		} else {
			wantError(t, err, writ.KindInvalid, "damaged")
		}
	}
}
