package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"writ.dev/writ"
)

// masking is a Wrapper for these tests: it hides the bytes and notices every
// change, under an id. The real ones are tested in package vault.
type masking struct {
	id   string
	fail error
}

func (m masking) mask(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0xa5
	}
	return out
}

func (m masking) Wrap(_ context.Context, plain, aad []byte) ([]byte, error) {
	if m.fail != nil {
		return nil, m.fail
	}
	whole, err := json.Marshal([3][]byte{[]byte(m.id), aad, plain})
	return m.mask(whole), err
}

func (m masking) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	var parts [3][]byte
	if err := json.Unmarshal(m.mask(wrapped), &parts); err != nil || string(parts[0]) != m.id || !bytes.Equal(parts[1], aad) {
		return nil, errors.New("does not unwrap")
	}
	return parts[2], nil
}

func (m masking) ID() string { return "test:" + m.id }

func wantError(t *testing.T, err error, kind writ.ErrorKind, part string) {
	t.Helper()
	var e *writ.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Fix == "" || !strings.Contains(e.Message, part) {
		t.Errorf("got %+v, want %s about %q with a fix", err, kind, part)
	}
}

func TestRingKeepsKeys(t *testing.T) {
	path, w := filepath.Join(t.TempDir(), "new", "keyring"), masking{id: "a"}
	_, err := Open(t.Context(), path, w)
	wantError(t, err, writ.KindNotFound, "no keyring")
	r, err := Create(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Create(t.Context(), path, w)
	wantError(t, err, writ.KindConflict, "already there")
	made := 0
	generate := func() ([]byte, error) { made++; return []byte("KEY-MATERIAL-1"), nil }
	for range 3 {
		k, err := r.GetOrCreate(t.Context(), "checkpoint/org_1", generate)
		if err != nil || string(k) != "KEY-MATERIAL-1" {
			t.Fatal(err)
		}
		clear(k) // a copy: the ring's own stays
	}
	if made != 1 {
		t.Errorf("the key was made %d times", made)
	}
	if _, err := r.GetOrCreate(t.Context(), "ca", func() ([]byte, error) { return []byte("KEY-MATERIAL-2"), nil }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("something was left beside the keyring: %v", left)
	}
	again, err := Open(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.Names(), []string{"ca", "checkpoint/org_1"}) {
		t.Errorf("%v", again.Names())
	}
	if k, ok := again.Get("ca"); !ok || string(k) != "KEY-MATERIAL-2" {
		t.Error("a key is lost")
	}
	if _, ok := again.Get("none"); ok {
		t.Error("a key that nobody made")
	}
	for _, shown := range []string{fmt.Sprint(again), fmt.Sprintf("%+v %#v %s", again, again, again)} {
		if strings.Contains(shown, "MATERIAL") || strings.Contains(shown, fmt.Sprint([]byte("MATERIAL"))) {
			t.Errorf("a key shows: %s", shown)
		}
	}
	if b, _ := os.ReadFile(path); bytes.Contains(b, []byte("MATERIAL")) {
		t.Error("a key lies in the file in the clear")
	}
}

func TestRingSaysWhatIsWrong(t *testing.T) {
	path, w := filepath.Join(t.TempDir(), "keyring"), masking{id: "a"}
	r, err := Create(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.GetOrCreate(t.Context(), "ca", func() ([]byte, error) { return []byte("k"), nil }); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, masking{id: "b"})
	wantError(t, err, writ.KindUnavailable, "another key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), path, w)
		wantError(t, err, writ.KindUnavailable, "damaged")
	}
	for name, content := range map[string]string{
		"a later version":  strings.Replace(string(good), `"v":1`, `"v":2`, 1),
		"an unknown field": strings.Replace(string(good), `"v":1`, `"v":1,"x":1`, 1),
		"two values":       string(good) + string(good),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, w); writ.KindOf(err) != writ.KindUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key that could not be made durable is not handed out, and the ring stays
// what it was.
func TestRingHandsOutOnlyDurableKeys(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(folder, "keyring")
	r, err := Create(t.Context(), path, masking{id: "a"})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("k")
	generate := func() ([]byte, error) { return key, nil }
	failed := errors.New("generator failed")
	if _, err := r.GetOrCreate(t.Context(), "ca", func() ([]byte, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	// The folder becomes a file: no user can write into it.
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.GetOrCreate(t.Context(), "ca", generate)
	wantError(t, err, writ.KindUnavailable, "cannot be written")
	if _, ok := r.Get("ca"); ok || key[0] != 0 {
		t.Error("a key that is not durable is kept")
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder+"-away", folder); err != nil {
		t.Fatal(err)
	}
	r.wrapper = masking{id: "a", fail: errors.New("the KMS is away")}
	if _, err := r.GetOrCreate(t.Context(), "ca", func() ([]byte, error) { return []byte("k"), nil }); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("%v", err)
	}
	r.wrapper = masking{id: "a"}
	for _, name := range []string{"", "Ca", "a b", "ä", "a\x00", strings.Repeat("a", 101)} {
		if _, err := r.GetOrCreate(t.Context(), name, generate); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	for _, k := range [][]byte{nil, make([]byte, MaxKey+1)} {
		if _, err := r.GetOrCreate(t.Context(), "ca", func() ([]byte, error) { return k, nil }); err == nil {
			t.Errorf("a key of %d bytes was taken", len(k))
		}
	}
	if again, err := Open(t.Context(), path, masking{id: "a"}); err != nil || len(again.Names()) != 0 {
		t.Errorf("%v", err)
	}
}

func TestRingForManyAtOnce(t *testing.T) {
	path, w := filepath.Join(t.TempDir(), "keyring"), masking{id: "a"}
	r, err := Create(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			name := fmt.Sprintf("k%d", i%4)
			k, err := r.GetOrCreate(t.Context(), name, func() ([]byte, error) { return []byte(fmt.Sprint(name, i)), nil })
			if err != nil {
				t.Error(err)
			}
			if got, _ := r.Get(name); !bytes.Equal(got, k) {
				t.Error("one name, two keys")
			}
		})
	}
	wg.Wait()
	again, err := Open(t.Context(), path, w)
	if err != nil || len(again.Names()) != 4 {
		t.Fatal(err)
	}
	for _, n := range again.Names() {
		a, _ := r.Get(n)
		if b, _ := again.Get(n); !bytes.Equal(a, b) {
			t.Errorf("%s differs on disk", n)
		}
	}
}
