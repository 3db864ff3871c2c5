package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"

	"golang.org/x/crypto/argon2"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// stretching is how a passphrase becomes a key: Argon2id (RFC 9106) and its
// parameters, kept in a file beside the data. The file is not secret.
type stretching struct {
	V         int    `json:"v"`
	KDF       string `json:"kdf"` // "argon2id"
	Salt      []byte `json:"salt"`
	Passes    uint32 `json:"passes"`
	MemoryKiB uint32 `json:"memory_kib"`
	Lanes     uint8  `json:"lanes"`
	// Key is the id of the key that the right passphrase gives, so that a wrong
	// one is told apart from damaged data. It tells a thief no more than the
	// wrapped keys do.
	Key string `json:"key"`
}

// The second choice that RFC 9106, section 4, recommends, for machines where
// 2 GiB are too much.
const (
	passes    = 3
	memoryKiB = 64 << 10
	lanes     = 4
	saltSize  = 16

	// MinPassphrase is the shortest passphrase that is taken, in bytes.
	MinPassphrase = 12
	// maxStretching bounds the parameter file, in bytes.
	maxStretching = 4 << 10
)

// CreatePassphrase writes the parameters for a new passphrase to path, which
// is never overwritten. The caller clears the passphrase.
func CreatePassphrase(path string, passphrase []byte) error {
	if len(passphrase) < MinPassphrase {
		return writ.Invalid("passphrase", "the passphrase is shorter than 12 characters", "choose a longer one, such as five random words")
	}
	s := stretching{V: 1, KDF: "argon2id", Salt: make([]byte, saltSize), Passes: passes, MemoryKiB: memoryKiB, Lanes: lanes}
	_, _ = rand.Read(s.Salt) // never fails: crypto/rand ends the process instead
	root := s.stretch(passphrase)
	s.Key = rootID(root)
	wipe(root)
	content, err := canon.Marshal(s)
	if err != nil {
		return err
	}
	return createPrivate(path, content, "passphrase file")
}

// OpenPassphrase is the provider whose key the passphrase gives, with the
// parameters at path. The caller clears the passphrase.
func OpenPassphrase(path string, passphrase []byte) (KeyProvider, error) {
	content, err := readPrivate(path, maxStretching, "passphrase file")
	if err != nil {
		return nil, err
	}
	var s stretching
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || !s.sane() {
		return nil, writ.Errorf(writ.KindInvalid, "the passphrase file %s is damaged", shown(path)).
			WithFix("restore it from your backup; without it the secrets it protects cannot be opened").WithCause(err)
	}
	root := s.stretch(passphrase)
	if subtle.ConstantTimeCompare([]byte(rootID(root)), []byte(s.Key)) != 1 {
		wipe(root)
		return nil, writ.Errorf(writ.KindInvalid, "the passphrase is not the one that this data was made with").WithFix("try again")
	}
	return newLocalKey("passphrase", root)
}

// sane bounds what a damaged or planted file can make this process spend.
func (s *stretching) sane() bool {
	return s.V == 1 && s.KDF == "argon2id" && len(s.Salt) >= saltSize && len(s.Salt) <= 64 &&
		s.Passes >= 1 && s.Passes <= 16 && s.MemoryKiB >= 8<<10 && s.MemoryKiB <= 2<<20 && s.Lanes >= 1 && s.Lanes <= 16
}

func (s *stretching) stretch(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, s.Salt, s.Passes, s.MemoryKiB, s.Lanes, rootKeySize)
}
