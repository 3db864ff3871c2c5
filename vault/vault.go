// Package vault keeps secrets sealed and opens each only against a receipt:
// proof that its use is recorded. A secret is encrypted under its
// organization's data keys, those under a key provider's key, and both bind
// what they are for, so that a ciphertext moved to another place opens nothing
// (invariants 1, 10, 12).
package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"sync"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// KeyProvider wraps the organizations' data keys under a key that it keeps: a
// key file, a passphrase, a KMS. Implementations are safe for concurrent use.
// What was wrapped with one aad MUST NOT unwrap with another.
type KeyProvider interface {
	Wrap(ctx context.Context, plain, aad []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
	// ID names the key without telling anything of it, so that a server which
	// was started with another key can say so.
	ID() string
}

// KeysetStore keeps the wrapped data keys of organizations.
type KeysetStore interface {
	// Load gives an organization's wrapped keys, or writ.KindNotFound.
	Load(ctx context.Context, org writ.ID) ([]byte, error)
	// Create stores them, durably on return, and fails with writ.KindConflict
	// when the organization has some: they are never replaced.
	Create(ctx context.Context, org writ.ID, wrapped []byte) error
}

// Versions gives what lies sealed.
type Versions interface {
	Version(ctx context.Context, org writ.ID, ref string) (*writ.Version, error)
	Sealed(ctx context.Context, org, version writ.ID) ([]byte, error)
}

// Config is what a Vault is made of.
type Config struct {
	Keys     KeyProvider
	Keysets  KeysetStore
	Versions Versions
}

// Vault seals and opens secrets. It is safe for concurrent use.
type Vault struct {
	cfg  Config
	orgs orgs

	mu     sync.RWMutex
	sealed map[sealedKey]sealedVersion // guarded by mu; at most keptSealed
}

// sealedKey has the organization in it, like every key of a cache (T4).
type sealedKey struct{ org, version writ.ID }

// sealedVersion is a version and its ciphertext. Both are immutable, and the
// receipt says anew for each use that it may be opened, so keeping them
// outlives no revocation (T2).
type sealedVersion struct {
	version *writ.Version
	bytes   []byte
}

// keptSealed bounds how many ciphertexts are kept in memory.
const keptSealed = 10_000

// MaxSecret bounds a secret, in bytes.
const MaxSecret = 64 << 10

// formatSecret is the first byte of sealed bytes: the format.
const formatSecret = 1

// New makes a Vault.
func New(c Config) *Vault {
	return &Vault{cfg: c, orgs: orgs{keys: c.Keys, store: c.Keysets}, sealed: map[sealedKey]sealedVersion{}}
}

// Seal encrypts secret as the value of v, whose organization, credential, id,
// hosts and placement are bound into it, and fills in the version's
// fingerprint, key id and hash of the ciphertext. The first secret of an
// organization makes its data keys. The caller clears secret.
func (v *Vault) Seal(ctx context.Context, version *writ.Version, secret []byte) (sealed []byte, err error) {
	switch {
	case len(secret) == 0:
		return nil, writ.Invalid("secret", "the secret is empty", "give it on standard input, in a file or at the prompt")
	case len(secret) > MaxSecret:
		return nil, writ.Invalid("secret", "the secret is larger than 64 KiB", "store a shorter one")
	case !version.Org.Is(writ.KindOrg) || !version.Credential.Is(writ.KindCredential) || !version.ID.Is(writ.KindVersion) || len(version.Hosts) == 0:
		return nil, errors.New("vault: a version to be sealed lacks its organization, credential, id or hosts")
	}
	keys, err := v.orgs.get(ctx, version.Org, true)
	if err != nil {
		return nil, err
	}
	box, err := keys.aead.Encrypt(secret, aadOf(version))
	if err != nil {
		return nil, err
	}
	sealed = append([]byte{formatSecret}, box...)
	sum := sha256.Sum256(sealed)
	version.SealedHash = hex.EncodeToString(sum[:])
	version.Fingerprint, version.KeyID = keys.fingerprint(secret)
	return sealed, nil
}

// Fingerprint gives the keyed fingerprint of a value in an organization, as
// Seal does, so that a leaked or reused value can be recognised without
// keeping it.
func (v *Vault) Fingerprint(ctx context.Context, org writ.ID, secret []byte) (fingerprint, keyID string, err error) {
	keys, err := v.orgs.get(ctx, org, true)
	if err != nil {
		return "", "", err
	}
	fingerprint, keyID = keys.fingerprint(secret)
	return fingerprint, keyID, nil
}

var (
	errReceipt = errors.New("vault: a receipt was spent before, or is none")
	errVersion = errors.New("vault: the stored version is not the one the receipt is for")
	errSealed  = errors.New("vault: the sealed bytes do not open as what they are stored as")
)

// Open decrypts the one credential version that the receipt is for. The
// receipt is spent whatever happens: a use that failed needs a new one. The
// caller clears the Secret.
func (v *Vault) Open(ctx context.Context, r ledger.Receipt) (*Secret, error) {
	paid, ok := r.Spend()
	if !ok {
		return nil, errReceipt
	}
	return v.open(ctx, paid)
}

func (v *Vault) open(ctx context.Context, paid ledger.Paid) (*Secret, error) {
	s, err := v.load(ctx, paid)
	if err != nil {
		return nil, err
	}
	keys, err := v.orgs.get(ctx, paid.Org, false)
	if err != nil {
		return nil, err
	}
	// Whoever cut this use while its record was written wants nothing opened.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plain, err := keys.aead.Decrypt(s.bytes[1:], aadOf(s.version))
	if err != nil {
		return nil, errSealed
	}
	return newSecret(plain), nil
}

// load gives the version that was paid for and its ciphertext, checked against
// each other. The row by itself is not believed: hosts and placement are bound
// into the ciphertext, so a changed row opens nothing.
func (v *Vault) load(ctx context.Context, paid ledger.Paid) (sealedVersion, error) {
	key := sealedKey{paid.Org, paid.Version}
	v.mu.RLock()
	s, ok := v.sealed[key]
	v.mu.RUnlock()
	if !ok {
		version, err := v.cfg.Versions.Version(ctx, paid.Org, string(paid.Version))
		if err != nil {
			return s, err
		}
		bytes, err := v.cfg.Versions.Sealed(ctx, paid.Org, paid.Version)
		if err != nil {
			return s, err
		}
		s = sealedVersion{version, bytes}
	}
	sum := sha256.Sum256(s.bytes)
	switch {
	case s.version.Org != paid.Org || s.version.ID != paid.Version || s.version.Credential != paid.Credential:
		return s, errVersion
	case len(s.bytes) == 0 || s.bytes[0] != formatSecret || s.version.SealedHash != hex.EncodeToString(sum[:]):
		return s, errSealed
	}
	if !ok {
		v.keep(key, s)
	}
	return s, nil
}

func (v *Vault) keep(key sealedKey, s sealedVersion) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.sealed) >= keptSealed {
		clear(v.sealed) // rare, and what is used soon comes back by itself
	}
	v.sealed[key] = s
}

// aadOf is what a secret is bound to: organization, credential, version, hosts
// and placement. Each part stands behind its length, so that no two versions
// have one spelling.
func aadOf(v *writ.Version) []byte {
	b := make([]byte, 0, 256)
	b = append(b, "writ-secret-v1\x00"...)
	part := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	part(string(v.Org))
	part(string(v.Credential))
	part(string(v.ID))
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Hosts)))
	for _, h := range v.Hosts {
		part(h)
	}
	part(string(v.Placement.In))
	part(v.Placement.Name)
	part(v.Placement.Template)
	return b
}

// fingerprint is HMAC-SHA-256 of the value under the organization's key, hex:
// equal values show as equal to this organization, and to nobody else as
// anything.
func (k *orgKeys) fingerprint(secret []byte) (fingerprint, keyID string) {
	m := hmac.New(sha256.New, k.fingerprintKey)
	m.Write([]byte("writ-fingerprint-v1\x00"))
	m.Write(secret)
	return hex.EncodeToString(m.Sum(nil)), k.fingerprintID
}

// wipe overwrites buffers of ours that held key material.
func wipe(buffers ...[]byte) {
	for _, b := range buffers {
		clear(b[:cap(b)])
	}
}

// concat joins parts into an aad behind a domain, each behind its length.
func concat(domain string, parts ...string) []byte {
	b := append([]byte(domain), 0)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return slices.Clip(b)
}
