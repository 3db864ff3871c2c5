package vault

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

func newVault(t testing.TB, keys KeyProvider) (*Vault, *rows) {
	r := newRows()
	return New(Config{Keys: keys, Keysets: r, Versions: r}), r
}

// TestInvariant01OpenTakesAReceiptOnce goes the whole way: a decision, its
// durable entry, its receipt, the secret. The zero receipt and a spent one
// open nothing, and of many who use one receipt a single one gets the secret.
func TestInvariant01OpenTakesAReceiptOnce(t *testing.T) {
	v, r := newVault(t, provider(t))
	org := writ.NewID(writ.KindOrg)
	version := seal(t, v, r, org, canary)
	log := openLog(t, org)

	if s, err := v.Open(t.Context(), ledger.Receipt{}); !errors.Is(err, errReceipt) || s != nil {
		t.Fatalf("the zero receipt: %v", err)
	}
	paid := receipt(t, log, version)
	var wg sync.WaitGroup
	opened := make(chan *Secret, 8)
	for range cap(opened) {
		wg.Go(func() {
			if s, err := v.Open(t.Context(), paid); err == nil {
				opened <- s
			} else if !errors.Is(err, errReceipt) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(opened)
	if len(opened) != 1 {
		t.Fatalf("one receipt opened %d times", len(opened))
	}
	s := <-opened
	if got := reveal(t, s); got != canary {
		t.Fatal("the secret is not the one that was sealed")
	}

	// Another version of the organization needs its own receipt; a receipt is
	// spent even when the opening fails.
	delete(r.sealed, version.ID)
	v.sealed = map[sealedKey]sealedVersion{}
	failing := receipt(t, log, version)
	if _, err := v.Open(t.Context(), failing); writ.KindOf(err) != writ.KindNotFound {
		t.Errorf("%v", err)
	}
	if _, err := v.Open(t.Context(), failing); !errors.Is(err, errReceipt) {
		t.Errorf("a receipt whose use failed was taken again: %v", err)
	}
}

func TestOpenNothingForAUseThatWasCut(t *testing.T) {
	v, r := newVault(t, provider(t))
	org := writ.NewID(writ.KindOrg)
	paid := receipt(t, openLog(t, org), seal(t, v, r, org, canary))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Open(ctx, paid); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestInvariant12SealedBytesOpenOnlyAsWhatTheyAre: what a database can swap or
// change about a version opens nothing.
func TestInvariant12SealedBytesOpenOnlyAsWhatTheyAre(t *testing.T) {
	v, r := newVault(t, provider(t))
	org, other := writ.NewID(writ.KindOrg), writ.NewID(writ.KindOrg)
	mine, theirs, foreign := seal(t, v, r, org, canary), seal(t, v, r, org, "another"), seal(t, v, r, other, "foreign")
	if s, err := v.open(t.Context(), paidFor(mine)); err != nil || reveal(t, s) != canary {
		t.Fatal(err)
	}
	for name, change := range map[string]func(row *writ.Version, sealed *[]byte){
		"another version's bytes":        func(_ *writ.Version, s *[]byte) { *s = r.sealed[theirs.ID] },
		"another organization's bytes":   func(_ *writ.Version, s *[]byte) { *s = r.sealed[foreign.ID] },
		"another version, bytes, hash":   func(v *writ.Version, s *[]byte) { *s, v.SealedHash = r.sealed[theirs.ID], theirs.SealedHash },
		"another organization, and hash": func(v *writ.Version, s *[]byte) { *s, v.SealedHash = r.sealed[foreign.ID], foreign.SealedHash },
		"another credential":             func(v *writ.Version, _ *[]byte) { v.Credential = theirs.Credential },
		"another id":                     func(v *writ.Version, _ *[]byte) { v.ID = theirs.ID },
		"another organization":           func(v *writ.Version, _ *[]byte) { v.Org = other },
		"a host more":                    func(v *writ.Version, _ *[]byte) { v.Hosts = append(v.Hosts, "evil.test") },
		"a host less":                    func(v *writ.Version, _ *[]byte) { v.Hosts = v.Hosts[:1] },
		"another host":                   func(v *writ.Version, _ *[]byte) { v.Hosts = []string{"a.test", "evil.test"} },
		"hosts run together":             func(v *writ.Version, _ *[]byte) { v.Hosts = []string{"a.testb.test"} },
		"another place":                  func(v *writ.Version, _ *[]byte) { v.Placement.In = writ.InQuery },
		"another header":                 func(v *writ.Version, _ *[]byte) { v.Placement.Name = "X-Other" },
		"another template":               func(v *writ.Version, _ *[]byte) { v.Placement.Template = "{secret}" },
		"name and template shifted":      func(v *writ.Version, _ *[]byte) { v.Placement.Name, v.Placement.Template = "X-Keytoken {secret}", "" },
		"no bytes":                       func(_ *writ.Version, s *[]byte) { *s = nil },
		"another format":                 func(_ *writ.Version, s *[]byte) { (*s)[0] = 2 },
	} {
		row, sealed := *mine, bytes.Clone(r.sealed[mine.ID])
		row.Hosts = append([]string{}, mine.Hosts...)
		change(&row, &sealed)
		changed := newRows()
		changed.keysets, changed.versions[mine.ID], changed.sealed[mine.ID] = r.keysets, &row, sealed
		w := New(Config{Keys: v.cfg.Keys, Keysets: changed, Versions: changed})
		if s, err := w.open(t.Context(), paidFor(mine)); err == nil {
			t.Errorf("%s: opened %d bytes", name, len(reveal(t, s)))
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: the error shows the secret", name)
		}
		// The same with a hash that fits, as somebody who writes rows would have it.
		row.SealedHash = hashOf(sealed)
		if _, err := w.open(t.Context(), paidFor(mine)); err == nil {
			t.Errorf("%s, hash adapted: opened", name)
		}
	}
}

func hashOf(b []byte) string { return fmt.Sprintf("%x", sum256(b)) }

// TestTamperedByteOpensNothing flips every byte of the sealed bytes and of the
// wrapped data keys in turn.
func TestTamperedByteOpensNothing(t *testing.T) {
	keys := provider(t)
	v, r := newVault(t, keys)
	org := writ.NewID(writ.KindOrg)
	version := seal(t, v, r, org, canary)
	sealed := r.sealed[version.ID]
	for i := range sealed {
		tampered := bytes.Clone(sealed)
		tampered[i] ^= 1
		row := *version
		row.SealedHash = hashOf(tampered)
		v.sealed = map[sealedKey]sealedVersion{}
		r.versions[version.ID], r.sealed[version.ID] = &row, tampered
		if _, err := v.open(t.Context(), paidFor(version)); err == nil {
			t.Fatalf("byte %d of the sealed bytes can be changed", i)
		}
	}
	r.versions[version.ID], r.sealed[version.ID] = version, sealed
	wrapped := r.keysets[org]
	var same int
	for i := range wrapped {
		r.keysets[org] = bytes.Clone(wrapped)
		r.keysets[org][i] ^= 1
		w := New(Config{Keys: keys, Keysets: r, Versions: r})
		s, err := w.open(t.Context(), paidFor(version))
		if err == nil && reveal(t, s) != canary {
			t.Fatalf("byte %d of the data keys changes the secret", i)
		}
		if err == nil {
			same++ // JSON's own spelling: another case of a member's name
		}
	}
	if same > 20 {
		t.Errorf("%d bytes of the data keys can be changed unnoticed", same)
	}
}

// The data keys of one organization do not serve another, and a server with
// another key says so.
func TestDataKeysAreBoundToOrganizationAndProvider(t *testing.T) {
	keys := provider(t)
	v, r := newVault(t, keys)
	org, other := writ.NewID(writ.KindOrg), writ.NewID(writ.KindOrg)
	version := seal(t, v, r, org, canary)
	r.keysets[other] = r.keysets[org]
	if _, err := New(v.cfg).orgs.get(t.Context(), other, false); writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("another organization's keys: %v", err)
	}
	w := New(Config{Keys: provider(t), Keysets: r, Versions: r})
	_, err := w.open(t.Context(), paidFor(version))
	var e *writ.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "another key") || !strings.Contains(e.Why, keys.ID()) || e.Fix == "" {
		t.Errorf("another key file: %+v", err)
	}
	// Opening never makes keys: lost ones stay lost, visibly.
	delete(r.keysets, org)
	if _, err := New(v.cfg).open(t.Context(), paidFor(version)); writ.KindOf(err) != writ.KindNotFound || len(r.keysets) != 1 {
		t.Errorf("no keys: %v", err)
	}
}

// Whoever comes second to make an organization's keys takes the first's.
func TestOneSetOfDataKeysWhoeverIsFirst(t *testing.T) {
	keys, r := provider(t), newRows()
	org := writ.NewID(writ.KindOrg)
	vaults := []*Vault{New(Config{Keys: keys, Keysets: r, Versions: r}), New(Config{Keys: keys, Keysets: r, Versions: r})}
	versions := make([]*writ.Version, 16)
	var wg sync.WaitGroup
	for i := range versions {
		wg.Go(func() { versions[i] = seal(t, vaults[i%2], r, org, canary) })
	}
	wg.Wait()
	for i, version := range versions {
		if s, err := vaults[(i+1)%2].open(t.Context(), paidFor(version)); err != nil || reveal(t, s) != canary {
			t.Fatal(err)
		}
		if version.Fingerprint != versions[0].Fingerprint || version.KeyID != versions[0].KeyID {
			t.Error("equal values have two fingerprints")
		}
	}
	before := r.loads
	for range 10 {
		if _, err := vaults[0].open(t.Context(), paidFor(versions[0])); err != nil {
			t.Fatal(err)
		}
	}
	if r.loads != before {
		t.Error("a hot open asks for the data keys again")
	}
}

func TestFingerprintsTellNothingElsewhere(t *testing.T) {
	v, r := newVault(t, provider(t))
	a, b := writ.NewID(writ.KindOrg), writ.NewID(writ.KindOrg)
	one, two, other := seal(t, v, r, a, canary), seal(t, v, r, a, canary+"x"), seal(t, v, r, b, canary)
	if one.Fingerprint == two.Fingerprint || one.Fingerprint == other.Fingerprint || one.KeyID == other.KeyID || len(one.Fingerprint) != 64 {
		t.Error("fingerprints of different values or organizations meet")
	}
	fingerprint, keyID, err := v.Fingerprint(t.Context(), a, []byte(canary))
	if err != nil || fingerprint != one.Fingerprint || keyID != one.KeyID {
		t.Errorf("Fingerprint differs from Seal's: %v", err)
	}
	if bytes.Equal(r.sealed[one.ID], r.sealed[other.ID]) {
		t.Error("equal secrets have equal ciphertexts")
	}
}

func TestSealRefuses(t *testing.T) {
	v, _ := newVault(t, provider(t))
	whole := writ.Version{ID: writ.NewID(writ.KindVersion), Org: writ.NewID(writ.KindOrg), Credential: writ.NewID(writ.KindCredential), Hosts: []string{"a.test"}}
	for name, c := range map[string]struct {
		change func(v *writ.Version)
		secret []byte
	}{
		"empty":         {func(*writ.Version) {}, nil},
		"too large":     {func(*writ.Version) {}, make([]byte, MaxSecret+1)},
		"no id":         {func(v *writ.Version) { v.ID = "" }, []byte("x")},
		"no credential": {func(v *writ.Version) { v.Credential = "" }, []byte("x")},
		"no org":        {func(v *writ.Version) { v.Org = "" }, []byte("x")},
		"no hosts":      {func(v *writ.Version) { v.Hosts = nil }, []byte("x")},
	} {
		version := whole
		c.change(&version)
		if sealed, err := v.Seal(t.Context(), &version, c.secret); err == nil || sealed != nil || version.SealedHash != "" {
			t.Errorf("%s was sealed", name)
		}
	}
	if _, err := v.Seal(t.Context(), &whole, make([]byte, MaxSecret)); err != nil {
		t.Error(err)
	}
}

// TestInvariant10SecretShowsNothing: nothing that prints, logs or encodes a
// Secret shows it, wherever it stands (T54).
func TestInvariant10SecretShowsNothing(t *testing.T) {
	s := newSecret([]byte(canary))
	type holder struct {
		Public  *Secret
		Value   Secret
		private *Secret
		any     any
	}
	h := holder{s, *s, s, s}
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%U", "%c", "%t", "%e", "%p", "%w"} {
		for _, v := range []any{s, *s, h, &h, []any{s, *s}, map[string]*Secret{"k": s}, &s, h.private} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("secret", "s", s, "v", *s, "h", h, "group", slog.GroupValue(slog.Any("s", s)))
	}
	for _, v := range []any{s, *s, h, map[string]any{"s": s}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		b.Write(text)
	}
	text, _ := s.MarshalText()
	b.Write(text)
	b.WriteString(s.String() + s.GoString())
	_ = gob.NewEncoder(&b).Encode(s)
	fmt.Fprint(&b, errors.Join(fmt.Errorf("failed: %v", s)))
	for encoding, leak := range encodings(canary) {
		if strings.Contains(b.String(), leak) {
			t.Errorf("the secret shows as %s", encoding)
		}
	}
	if !strings.Contains(b.String(), hidden) {
		t.Error("nothing stands in the secret's place")
	}
	if got := reveal(t, s); got != canary {
		t.Error("Use does not lend the bytes")
	}
}

// encodings are spellings in which a printed secret would show.
func encodings(s string) map[string]string {
	var decimal []string
	for i := range len(s) {
		decimal = append(decimal, fmt.Sprint(s[i]))
	}
	return map[string]string{
		"itself": s, "hex": fmt.Sprintf("%x", s), "upper hex": fmt.Sprintf("%X", s), "decimal": strings.Join(decimal, " "),
		"list": strings.Join(decimal, ", "), "bytes": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(s)), "[]byte{"), "}"),
	}
}

func TestSecretIsClearedForGood(t *testing.T) {
	raw := []byte(canary)
	s := newSecret(raw)
	copied := *s
	called := errors.New("called")
	if err := s.Use(func([]byte) error { return called }); !errors.Is(err, called) {
		t.Errorf("Use does not return f's error: %v", err)
	}
	copied.Clear()
	if bytes.ContainsFunc(raw, func(r rune) bool { return r != 0 }) {
		t.Error("the bytes are still there")
	}
	for name, gone := range map[string]Secret{"cleared": *s, "copy": copied, "zero": {}} {
		if err := gone.Use(func([]byte) error { return called }); !errors.Is(err, errCleared) {
			t.Errorf("%s: %v", name, err)
		}
		gone.Clear()
	}
}

// Clear waits for whoever uses the bytes: they never change under a user.
func TestClearWaitsForUse(t *testing.T) {
	s := newSecret([]byte(canary))
	lent, done := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.Use(func(b []byte) error {
			close(lent)
			for range 1000 {
				if string(b) != canary {
					t.Error("the bytes changed while lent")
				}
			}
			close(done)
			return nil
		})
	})
	<-lent
	s.Clear()
	select {
	case <-done:
	default:
		t.Error("Clear did not wait")
	}
	wg.Wait()
}

func BenchmarkOpenHot(b *testing.B) {
	v, r := newVault(b, provider(b))
	version := seal(b, v, r, writ.NewID(writ.KindOrg), canary)
	b.ReportAllocs()
	for b.Loop() {
		s, err := v.open(b.Context(), paidFor(version))
		if err != nil {
			b.Fatal(err)
		}
		s.Clear()
	}
}
