package evidence_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
	"writ.dev/writ/ledger"
)

// FuzzVerify: nothing but the genuine bundle verifies with its log's key, and
// whatever comes, the answer is an error for people and no panic.
func FuzzVerify(f *testing.F) {
	genuine, keys := golden(f)
	f.Add(genuine)
	f.Add(genuine[:len(genuine)/2])
	f.Add([]byte("{}\n"))
	f.Add(bytes.Replace(genuine, []byte("refunds"), []byte("refundz"), 1))
	f.Add(bytes.ReplaceAll(genuine, []byte(`"proof":[`), []byte(`"proof":[],"x":[`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range [][]note.Verifier{keys, nil} {
			r, err := evidence.Verify(bytes.NewReader(b), k)
			if err == nil && !bytes.Equal(b, genuine) {
				t.Fatal("something else than the genuine bundle verifies")
			}
			if _, ok := err.(*writ.Error); err != nil && !ok {
				t.Fatalf("not an error for people: %#v", err)
			}
			if err == nil && r == nil || err != nil && k != nil && r != nil {
				t.Fatalf("report %v with error %v", r, err)
			}
		}
	})
}

// FuzzRecords puts other text into a part and has the whole signed: what an
// operator's own key vouches for must not bring the judgement down either.
func FuzzRecords(f *testing.F) {
	genuine, _ := golden(f)
	var d doc
	must(f, json.Unmarshal(genuine, &d))
	for i := range d.entries() {
		for j := range d.parts(i) {
			f.Add(i, j, d.part(i, j)["text"].(string))
		}
	}
	origin, _, _ := strings.Cut(d["checkpoint"].(string), "\n")
	private, public, err := note.GenerateKey(rand.Reader, origin)
	must(f, err)
	signer, err := note.NewSigner(private)
	must(f, err)
	verifier, err := note.NewVerifier(public)
	must(f, err)
	f.Fuzz(func(t *testing.T, i, j int, text string) {
		var d doc
		must(t, json.Unmarshal(genuine, &d))
		if i < 0 || i >= len(d.entries()) || j < 0 || j >= len(d.parts(i)) {
			return
		}
		was := d.part(i, j)["text"].(string)
		d.part(i, j)["text"] = text
		leaf, err := ledger.ParseLeaf([]byte(d.leaf(i)))
		must(t, err)
		_, err = evidence.Verify(bytes.NewReader(forge(t, d, signer)), []note.Verifier{verifier})
		if _, ok := err.(*writ.Error); err != nil && !ok {
			t.Fatalf("not an error for people: %#v", err)
		}
		if text == was && err != nil {
			t.Fatalf("entry %d, unchanged: %v", leaf.Seq, err)
		}
	})
}
