package vault

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// Secret holds the bytes of one opened secret until it is cleared. They come
// out through Use alone: whatever prints, logs or encodes a Secret gets a fixed
// word (invariant 10, T54).
type Secret struct{ state *secretState }

// secretState is behind a pointer so that a copy of a Secret shares its
// clearing, and that printing a struct which holds one shows an address.
type secretState struct {
	mu    sync.RWMutex // held for reading while Use lends the bytes
	bytes []byte
}

// hidden is what is shown for a secret.
const hidden = "[secret]"

var errCleared = errors.New("vault: the secret was cleared")

func newSecret(b []byte) *Secret { return &Secret{&secretState{bytes: b}} }

// Use lends the bytes to f, which must not keep or change them, nor clear the
// Secret. After Clear it fails without calling f.
func (s Secret) Use(f func(secret []byte) error) error {
	if s.state == nil {
		return errCleared
	}
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	if s.state.bytes == nil {
		return errCleared
	}
	return f(s.state.bytes)
}

// Clear overwrites the bytes, after whoever is using them. Copies that f or
// the runtime made are beyond its reach: see docs/THREATS.md.
func (s Secret) Clear() {
	if s.state == nil {
		return
	}
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	wipe(s.state.bytes)
	s.state.bytes = nil
}

// String, Format, GoString, LogValue, MarshalJSON and MarshalText show a fixed
// word whatever is asked.
func (Secret) String() string { return hidden }

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
