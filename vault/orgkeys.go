package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// orgKeys are one organization's keys, unwrapped: a hot open is one AES-GCM.
type orgKeys struct {
	aead           tink.AEAD
	fingerprintKey []byte
	fingerprintID  string
}

// orgs holds the unwrapped keys of the organizations that were needed so far.
type orgs struct {
	keys  KeyProvider
	store KeysetStore

	mu    sync.Mutex
	slots map[writ.ID]*orgSlot // guarded by mu; never removed
}

// orgSlot is one organization's place. Its mutex is held while the keys are
// fetched, so that many who need them at once ask the provider once, and
// organizations do not wait for each other.
type orgSlot struct {
	mu   sync.RWMutex
	keys *orgKeys // guarded by mu; never changed once set
}

func (o *orgs) slot(org writ.ID) *orgSlot {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.slots == nil {
		o.slots = map[writ.ID]*orgSlot{}
	}
	if o.slots[org] == nil {
		o.slots[org] = &orgSlot{}
	}
	return o.slots[org]
}

// get gives the organization's keys, and with making makes them when there are
// none. A failure is not remembered.
func (o *orgs) get(ctx context.Context, org writ.ID, making bool) (*orgKeys, error) {
	s := o.slot(org)
	s.mu.RLock()
	keys := s.keys
	s.mu.RUnlock()
	if keys != nil {
		return keys, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil {
		return s.keys, nil
	}
	wrapped, err := o.store.Load(ctx, org)
	if writ.KindOf(err) == writ.KindNotFound && making {
		wrapped, err = o.create(ctx, org)
	}
	if err != nil {
		return nil, err
	}
	s.keys, err = o.unwrap(ctx, org, wrapped)
	return s.keys, err
}

// wrappedKeys is what a KeysetStore keeps, as canonical JSON.
type wrappedKeys struct {
	V        int    `json:"v"`
	Provider string `json:"provider"` // the id of the key that wraps
	Keyset   []byte `json:"keyset"`   // Tink keyset of AES-256-GCM keys, encrypted
	// The key of fingerprints is apart: rotating data keys must not change them.
	Fingerprint   []byte `json:"fingerprint"`
	FingerprintID string `json:"fingerprint_id"`
}

// create makes an organization's keys and stores them. When somebody else was
// first, theirs are the organization's.
func (o *orgs) create(ctx context.Context, org writ.ID) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	var encrypted bytes.Buffer
	if err := handle.WriteWithContext(ctx, keyset.NewBinaryWriter(&encrypted), wrapping{o.keys}, concat("writ-keyset-v1", string(org))); err != nil {
		return nil, err
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	defer wipe(key)
	id := fingerprintID(key)
	w := wrappedKeys{V: 1, Provider: o.keys.ID(), Keyset: encrypted.Bytes(), FingerprintID: id}
	if w.Fingerprint, err = o.keys.Wrap(ctx, key, concat("writ-fingerprint-key-v1", string(org), id)); err != nil {
		return nil, err
	}
	wrapped, err := canon.Marshal(w)
	if err != nil {
		return nil, err
	}
	if err := o.store.Create(ctx, org, wrapped); err != nil {
		if writ.KindOf(err) == writ.KindConflict {
			return o.store.Load(ctx, org)
		}
		return nil, err
	}
	return wrapped, nil
}

// fingerprintID names a fingerprint key by a one-way function of it.
func fingerprintID(key []byte) string {
	sum := sha256.Sum256(append([]byte("writ-fingerprint-key-id-v1\x00"), key...))
	return "fpk_" + hex.EncodeToString(sum[:8])
}

func (o *orgs) unwrap(ctx context.Context, org writ.ID, wrapped []byte) (*orgKeys, error) {
	var w wrappedKeys
	d := json.NewDecoder(bytes.NewReader(wrapped))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil || w.V != 1 {
		return nil, writ.Errorf(writ.KindUnavailable, "the data keys of %s cannot be read", org).WithFix("restore them from a backup of the database").WithCause(err)
	}
	if w.Provider != o.keys.ID() {
		return nil, writ.Errorf(writ.KindUnavailable, "the data keys of %s are wrapped under another key", org).
			WithWhy("they need %s, and this server has %s", writ.Printable(w.Provider, 60), o.keys.ID()).
			WithFix("start the server with the key file or passphrase that this data was made with")
	}
	broken := func(err error) (*orgKeys, error) {
		return nil, writ.Errorf(writ.KindUnavailable, "the data keys of %s do not open", org).
			WithWhy("they were changed after they were written, or belong to another organization").
			WithFix("restore them from a backup of the database").WithCause(err)
	}
	handle, err := keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(w.Keyset)), wrapping{o.keys}, concat("writ-keyset-v1", string(org)))
	if err != nil {
		return broken(err)
	}
	k := &orgKeys{fingerprintID: w.FingerprintID}
	if k.aead, err = aead.New(handle); err != nil {
		return broken(err)
	}
	if k.fingerprintKey, err = o.keys.Unwrap(ctx, w.Fingerprint, concat("writ-fingerprint-key-v1", string(org), w.FingerprintID)); err != nil {
		return broken(err)
	}
	return k, nil
}

// wrapping shows a KeyProvider to Tink, which keeps the keyset encrypted under
// it and never writes it otherwise.
type wrapping struct{ keys KeyProvider }

func (w wrapping) EncryptWithContext(ctx context.Context, plain, aad []byte) ([]byte, error) {
	return w.keys.Wrap(ctx, plain, aad)
}

func (w wrapping) DecryptWithContext(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	return w.keys.Unwrap(ctx, wrapped, aad)
}
