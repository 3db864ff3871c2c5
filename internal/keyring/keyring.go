// Package keyring keeps Writ's own keys (the root of its certificate
// authority, the key that signs checkpoints) in one sealed file beside the
// data. Whoever starts the server opens it and hands the keys on as signers
// and closures; nothing else sees them.
package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"writ.dev/writ"
	"writ.dev/writ/internal/durable"
)

// Wrapper seals the ring; vault's key providers satisfy it.
type Wrapper interface {
	Wrap(ctx context.Context, plain, aad []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
	ID() string
}

// Ring is an open keyring. It is safe for concurrent use within one process;
// the server's lock on its data keeps a second process away.
type Ring struct {
	path    string
	wrapper Wrapper

	mu   sync.Mutex
	keys map[string][]byte // guarded by mu
}

// file is what lies on disk.
type file struct {
	V       int    `json:"v"`
	Wrapper string `json:"wrapper"` // the id of the key that seals it
	Sealed  []byte `json:"sealed"`  // contents, as JSON, wrapped
}

type contents struct {
	Keys map[string][]byte `json:"keys"`
}

const (
	// maxFile bounds the file, in bytes: far above any number of keys.
	maxFile = 4 << 20
	// MaxKey bounds one key, in bytes.
	MaxKey = 64 << 10
)

var aad = []byte("writ-keyring-v1")

// Create makes an empty ring in a new file. It fails with writ.KindConflict
// when the file is there: overwriting it would lose the keys in it.
func Create(ctx context.Context, path string, w Wrapper) (*Ring, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, writ.Errorf(writ.KindConflict, "the keyring %s is already there", shown(path)).WithFix("open it, or name another place; it is never overwritten")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(path, "looked at", err)
	}
	r := &Ring{path: path, wrapper: w, keys: map[string][]byte{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.saveLocked(ctx)
}

// Open reads a ring. A missing file is writ.KindNotFound and never an empty
// ring: new keys in place of lost ones would quietly break everything that was
// signed with them.
func Open(ctx context.Context, path string, w Wrapper) (*Ring, error) {
	b, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, writ.Errorf(writ.KindNotFound, "there is no keyring %s", shown(path)).WithFix("restore it from the backup of this data").WithCause(err)
	}
	if err != nil {
		return nil, unavailable(path, "read", err)
	}
	damaged := func(err error) error {
		return writ.Errorf(writ.KindUnavailable, "the keyring %s is damaged", shown(path)).WithFix("restore it from the backup of this data").WithCause(err)
	}
	var f file
	if err := decode(b, &f); err != nil || f.V != 1 {
		return nil, damaged(err)
	}
	if f.Wrapper != w.ID() {
		return nil, writ.Errorf(writ.KindUnavailable, "the keyring %s is sealed under another key", shown(path)).
			WithWhy("it needs %s, and this server has %s", writ.Printable(f.Wrapper, 60), w.ID()).
			WithFix("start the server with the key file or passphrase that this data was made with")
	}
	plain, err := w.Unwrap(ctx, f.Sealed, aad)
	if err != nil {
		return nil, damaged(err)
	}
	defer clear(plain)
	var c contents
	if err := decode(plain, &c); err != nil {
		return nil, damaged(errors.New("keyring: the contents are not what was written"))
	}
	if c.Keys == nil {
		c.Keys = map[string][]byte{}
	}
	return &Ring{path: path, wrapper: w, keys: c.Keys}, nil
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("keyring: more than one value")
	}
	return nil
}

// Get gives a copy of the named key.
func (r *Ring) Get(name string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[name]
	return slices.Clone(k), ok
}

// GetOrCreate gives a copy of the named key, made by generate when there is
// none. A new key is durable before anybody gets it.
func (r *Ring) GetOrCreate(ctx context.Context, name string, generate func() ([]byte, error)) ([]byte, error) {
	if !isName(name) {
		return nil, errors.New("keyring: a key's name has 1 to 100 of a-z, 0-9, '-', '_', '.' and '/'")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.keys[name]; ok {
		return slices.Clone(k), nil
	}
	k, err := generate()
	if err != nil {
		return nil, err
	}
	if len(k) == 0 || len(k) > MaxKey {
		return nil, errors.New("keyring: a key has 1 byte to 64 KiB")
	}
	r.keys[name] = k
	if err := r.saveLocked(ctx); err != nil {
		// Whether the file has it is not known; the next start tells. Nobody has
		// used the key, so losing it loses nothing.
		delete(r.keys, name)
		clear(k)
		return nil, err
	}
	return slices.Clone(k), nil
}

func isName(name string) bool {
	return name != "" && len(name) <= 100 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_./") == ""
}

// Names lists the keys, sorted.
func (r *Ring) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.keys))
	for n := range r.keys {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// String shows which keys there are and none of them.
func (r *Ring) String() string { return fmt.Sprint("keyring ", r.Names()) }

// GoString is String, so that no verb shows a key.
func (r *Ring) GoString() string { return r.String() }

// saveLocked replaces the file in one step: a crash leaves the old or the new.
func (r *Ring) saveLocked(ctx context.Context) error {
	plain, err := json.Marshal(contents{r.keys})
	if err != nil {
		return err
	}
	defer clear(plain)
	sealed, err := r.wrapper.Wrap(ctx, plain, aad)
	if err != nil {
		return writ.Errorf(writ.KindUnavailable, "the keyring cannot be sealed").WithCause(err)
	}
	b, err := json.Marshal(file{V: 1, Wrapper: r.wrapper.ID(), Sealed: sealed})
	if err != nil {
		return err
	}
	if err := durable.Replace(r.path, b); err != nil {
		return unavailable(r.path, "written", err)
	}
	return nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func unavailable(path, what string, err error) error {
	reason := err
	var p *fs.PathError
	if errors.As(err, &p) {
		reason = p.Err
	}
	return writ.Errorf(writ.KindUnavailable, "the keyring %s cannot be %s", shown(path), what).
		WithWhy("%s", writ.Printable(reason.Error(), 100)).WithFix("make its folder readable and writable for the user who runs the server").WithCause(err)
}

func shown(path string) string { return writ.Printable(path, 200) }
