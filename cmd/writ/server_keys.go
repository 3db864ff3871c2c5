package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/internal/durable"
	"writ.dev/writ/internal/keyring"
	"writ.dev/writ/internal/localca"
	"writ.dev/writ/store"
	"writ.dev/writ/vault"
)

// serverKeys are Writ's own keys: the provider that wraps all others, and what
// the keyring holds. They leave here as signers and certificates only.
type serverKeys struct {
	provider vault.KeyProvider
	ring     *keyring.Ring
	root     *localca.Root
	anchor   fileAnchor
}

// openKeys opens the key provider and the keyring, and makes both where the
// data folder is new. A key that is missing beside data that exists is an
// error: a new one would lose every secret.
func openKeys(ctx context.Context, cfg *serverConfig, engine store.Engine, log *slog.Logger) (*serverKeys, error) {
	ringPath := filepath.Join(cfg.Data, "keyring")
	_, err := os.Stat(ringPath)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		used, err := store.Used(ctx, engine)
		if err != nil {
			return nil, err
		}
		if used {
			return nil, writ.Errorf(writ.KindUnavailable, "the keyring %s is missing, and the database is not new", ringPath).
				WithWhy("new keys would open none of its secrets and sign another log").
				WithFix("put back %s and the key that belong to this database, from its backup", ringPath)
		}
	}
	k := &serverKeys{}
	if k.provider, err = openProvider(cfg, fresh); err != nil {
		return nil, err
	}
	if fresh {
		k.ring, err = keyring.Create(ctx, ringPath, k.provider)
	} else {
		k.ring, err = keyring.Open(ctx, ringPath, k.provider)
	}
	if err != nil {
		return nil, err
	}
	k.anchor = fileAnchor{folder: anchorFolder(cfg), failing: new(atomic.Bool), log: log}
	if err := k.anchor.probe(); err != nil {
		return nil, err
	}
	k.root, err = openRoot(ctx, k.ring)
	return k, err
}

func openProvider(cfg *serverConfig, fresh bool) (vault.KeyProvider, error) {
	if cfg.Key.PassphraseFile == "" {
		if fresh {
			if err := vault.CreateKeyFile(cfg.Key.File); err != nil && writ.KindOf(err) != writ.KindConflict {
				return nil, err
			}
		}
		return vault.OpenKeyFile(cfg.Key.File)
	}
	passphrase, err := os.ReadFile(cfg.Key.PassphraseFile)
	if err != nil {
		return nil, writ.Invalid("key.passphrase_file", "the passphrase file "+cfg.Key.PassphraseFile+" cannot be read", "check the path and who may read it").WithCause(err)
	}
	defer clear(passphrase)
	parameters, passphrase := filepath.Join(cfg.Data, "passphrase"), bytes.TrimRight(passphrase, "\r\n")
	if fresh {
		if err := vault.CreatePassphrase(parameters, passphrase); err != nil && writ.KindOf(err) != writ.KindConflict {
			return nil, err
		}
	}
	return vault.OpenPassphrase(parameters, passphrase)
}

// openRoot gives the interception root, made once and kept in the keyring as
// its certificate and key in PEM.
func openRoot(ctx context.Context, ring *keyring.Ring) (*localca.Root, error) {
	stored, err := ring.GetOrCreate(ctx, "interception-root", func() ([]byte, error) {
		root, err := localca.NewRoot(time.Now(), "Writ interception root")
		if err != nil {
			return nil, err
		}
		key, err := root.MarshalPKCS8()
		if err != nil {
			return nil, err
		}
		defer clear(key)
		return append(root.PEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
	})
	if err != nil {
		return nil, err
	}
	defer clear(stored)
	certificate, rest := pem.Decode(stored)
	key, _ := pem.Decode(rest)
	if certificate == nil || key == nil {
		return nil, writ.Errorf(writ.KindInternal, "the interception root in the keyring is not one")
	}
	defer clear(key.Bytes)
	return localca.OpenRoot(certificate.Bytes, key.Bytes)
}

// checkpointKey is an organization's signing key and verifier key, in the
// encodings of signed notes.
func (k *serverKeys) checkpointKey(org writ.ID) (signer, verifier string, err error) {
	stored, err := k.ring.GetOrCreate(context.Background(), "checkpoint/"+string(org), func() ([]byte, error) {
		signer, verifier, err := note.GenerateKey(rand.Reader, origin(org))
		return []byte(signer + "\n" + verifier), err
	})
	if err != nil {
		return "", "", err
	}
	s, v, ok := bytes.Cut(stored, []byte("\n"))
	if !ok {
		return "", "", writ.Errorf(writ.KindInternal, "the checkpoint key in the keyring is not one")
	}
	return string(s), string(v), nil
}

func (k *serverKeys) signer(org writ.ID) (note.Signer, error) {
	s, _, err := k.checkpointKey(org)
	if err != nil {
		return nil, err
	}
	return note.NewSigner(s)
}

// verifierKeys are the keys that check the organization's checkpoints.
func (k *serverKeys) verifierKeys(org writ.ID) []string {
	_, v, err := k.checkpointKey(org)
	if err != nil {
		return nil
	}
	return []string{v}
}

// anchorFolder is where the newest checkpoints are kept: beside the key, so
// that whoever restores or rewrites the data folder does not rewrite them too.
func anchorFolder(cfg *serverConfig) string {
	if cfg.Key.File != "" {
		return cfg.Key.File + ".checkpoints"
	}
	return cfg.Key.PassphraseFile + ".checkpoints"
}

// fileAnchor keeps each organization's newest checkpoint in a file.
type fileAnchor struct {
	folder  string
	failing *atomic.Bool // the last Save failed
	log     *slog.Logger
}

// probe makes the folder and a file in it: a server that could not keep its
// checkpoints would go on without the protection that they give.
func (a fileAnchor) probe() error {
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return a.unkept(err)
	}
	f, err := os.CreateTemp(a.folder, ".probe-*")
	if err != nil {
		return a.unkept(err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (a fileAnchor) unkept(err error) error {
	return writ.Errorf(writ.KindUnavailable, "the ledger's newest checkpoint cannot be kept in %s", a.folder).
		WithWhy("without it, a database that is set back would not be noticed").
		WithFix("let the server's user write to %s, and see that its volume is not full", a.folder).WithCause(err)
}

func (a fileAnchor) path(org writ.ID) string { return filepath.Join(a.folder, string(org)) }

// Load gives the newest checkpoint, nil when there is none.
func (a fileAnchor) Load(org writ.ID) ([]byte, error) {
	b, err := os.ReadFile(a.path(org))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// logs lists the organizations whose logs have a checkpoint here.
func (a fileAnchor) logs() ([]writ.ID, error) {
	files, err := os.ReadDir(a.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []writ.ID
	for _, f := range files {
		if id := writ.ID(f.Name()); id.Is(writ.KindOrg) {
			all = append(all, id)
		}
	}
	return all, err
}

// Save replaces the newest checkpoint. The log tries again every second; what
// it cannot do is said once, and once when it can again.
func (a fileAnchor) Save(org writ.ID, signed []byte) error {
	err := durable.Replace(a.path(org), signed)
	if failed := err != nil; a.failing.Swap(failed) != failed {
		if failed {
			a.log.Error("the ledger's newest checkpoint cannot be kept outside the database", "folder", a.folder, "err", err)
		} else {
			a.log.Info("the ledger's checkpoints are kept again", "folder", a.folder)
		}
	}
	if err != nil {
		return a.unkept(err)
	}
	return nil
}
