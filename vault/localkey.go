package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// rootKeySize is the size of the key that a provider on this machine has.
const rootKeySize = 32

// formatWrapped is the first byte of what a localKey wraps: the format.
const formatWrapped = 1

var errWrapped = errors.New("vault: the wrapped bytes do not open with this key for this purpose")

// localKey is a key provider whose key is in this process: what a key file or
// passphrase gives. Wrapping is AES-256-GCM with a random nonce under a key
// derived for wrapping alone; it is done a few times an organization, far from
// the 2^32 messages that random nonces bound (NIST SP 800-38D, section 8.3).
type localKey struct {
	id   string
	aead cipher.AEAD
}

// newLocalKey takes over root and clears it.
func newLocalKey(kind string, root []byte) (*localKey, error) {
	defer wipe(root)
	if len(root) != rootKeySize {
		return nil, errors.New("vault: a root key has 32 bytes")
	}
	key, err := hkdf.Key(sha256.New, root, nil, "writ-wrap-v1", 32)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &localKey{id: kind + ":" + rootID(root), aead: a}, nil
}

// rootID names a root key by a one-way function of it.
func rootID(root []byte) string {
	m := hmac.New(sha256.New, root)
	m.Write([]byte("writ-root-key-id-v1"))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// ID implements KeyProvider.
func (k *localKey) ID() string { return k.id }

// Wrap implements KeyProvider.
func (k *localKey) Wrap(_ context.Context, plain, aad []byte) ([]byte, error) {
	return k.aead.Seal([]byte{formatWrapped}, nil, plain, concat("writ-wrapped-v1", string(aad))), nil
}

// Unwrap implements KeyProvider.
func (k *localKey) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) == 0 || wrapped[0] != formatWrapped {
		return nil, errWrapped
	}
	plain, err := k.aead.Open(nil, nil, wrapped[1:], concat("writ-wrapped-v1", string(aad)))
	if err != nil {
		return nil, errWrapped
	}
	return plain, nil
}

// String keeps the key out of anything that prints a provider.
func (k *localKey) String() string { return k.id }
