package evidence_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store/storetest"
)

// forge makes a bundle consistent again after somebody changed it: hashes of
// parts, leaves, a tree over them with filler where the bundle shows nothing,
// proofs, and a checkpoint signed with a key. It is what a liar with a key of
// their own can do, or the operator with the log's.
func forge(t testing.TB, d doc, signer note.Signer) []byte {
	t.Helper()
	old, err := ledger.ParseCheckpoint(d["checkpoint"].(string)[:strings.Index(d["checkpoint"].(string), "\n\n")+1])
	must(t, err)
	leaves := make([]string, old.Size)
	seqs := make([]int64, len(d.entries()))
	for i := range d.entries() {
		leaf, err := ledger.ParseLeaf([]byte(d.leaf(i)))
		must(t, err)
		text := d.leaf(i)
		for j := range d.parts(i) {
			p := d.part(i, j)
			salt, err := base64.RawURLEncoding.DecodeString(p["salt"].(string))
			must(t, err)
			h := sha256.Sum256([]byte("writ-part-v1\x00" + p["name"].(string) + "\x00" + string(salt) + p["text"].(string)))
			for _, ref := range leaf.Parts {
				if ref.Name == p["name"] {
					text = strings.Replace(text, base64.RawURLEncoding.EncodeToString(ref.Hash[:]), base64.RawURLEncoding.EncodeToString(h[:]), 1)
				}
			}
		}
		d.entry(i)["leaf"] = text
		leaves[leaf.Seq], seqs[i] = text, leaf.Seq
	}
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n, leaf := range leaves {
		more, err := tlog.StoredHashes(int64(n), []byte(leaf), read)
		must(t, err)
		stored = append(stored, more...)
	}
	for i, seq := range seqs {
		path, err := tlog.ProveRecord(old.Size, seq, read)
		must(t, err)
		list := []any{}
		for _, h := range path {
			list = append(list, base64.StdEncoding.EncodeToString(h[:]))
		}
		d.entry(i)["proof"] = list
	}
	root, err := tlog.TreeHash(old.Size, read)
	must(t, err)
	old.Root = root
	signed, err := note.Sign(&note.Note{Text: old.Text()}, signer)
	must(t, err)
	d["checkpoint"] = string(signed)
	return d.bytes(t)
}

func (w *world) signer() note.Signer {
	w.T.Helper()
	s, err := w.keys.signer(w.Org)
	must(w.T, err)
	return s
}

// edit replaces text in the open parts of an entry, everywhere.
func (d doc) edit(i int, old, with string) {
	found := false
	for j := range d.parts(i) {
		p := d.part(i, j)
		text := p["text"].(string)
		found = found || strings.Contains(text, old)
		p["text"] = strings.ReplaceAll(text, old, with)
	}
	if !found {
		panic(fmt.Sprintf("entry %d has no %q", i, old))
	}
}

// row is the entry with the row of an id that the decision names.
func (d doc) row(id writ.ID) int { return d.holding(`"id":"` + string(id) + `","`) }

// TestForgerySignedByAnother is a wholly consistent forgery: only the key tells.
func TestForgerySignedByAnother(t *testing.T) {
	s := tell(t)
	private, public, err := note.GenerateKey(rand.Reader, storetest.Origin(s.Org))
	must(t, err)
	liar, err := note.NewSigner(private)
	must(t, err)
	d := s.doc()
	d.edit(d.of("allow"), "/v1/refunds/17", "/v1/refunds/99")
	b := forge(t, d, liar)
	if e := refused(t, b, s.verifiers()); e.Kind != writ.KindCheckFailed || !strings.Contains(e.Message, "none of the keys") {
		t.Errorf("%v: %s", e.Kind, e.Message)
	}
	// Without a key it fits together, and says that this is all it does.
	r, err := evidence.Verify(bytes.NewReader(b), nil)
	if writ.KindOf(err) != writ.KindCheckFailed || r == nil || len(r.Signers) != 0 || !says(r.Unproven, "Who signed") || says(r.Proven, "is signed by") {
		t.Errorf("without keys: %v %+v", err, r)
	}
	// By the liar's own key it is the liar's own log.
	own, err := note.NewVerifier(public)
	must(t, err)
	if _, err := evidence.Verify(bytes.NewReader(b), []note.Verifier{own}); err != nil {
		t.Errorf("with the forger's key: %v", err)
	}
	// A key that is trusted for another log does not speak for this one.
	elsewhere := newWorld(t)
	b = forge(t, d, elsewhere.signer())
	if e := refused(t, b, append(s.verifiers(), elsewhere.verifiers()...)); !strings.Contains(e.Message, "own log's key") {
		t.Errorf("%s", e.Message)
	}
}

// TestSignaturesBesideTheLogs lets others sign too, as when a key is changed.
func TestSignaturesBesideTheLogs(t *testing.T) {
	s := tell(t)
	elsewhere := newWorld(t)
	n, err := note.Open([]byte(s.doc()["checkpoint"].(string)), note.VerifierList(s.verifiers()...))
	must(t, err)
	both, err := note.Sign(n, elsewhere.signer())
	must(t, err)
	d := s.doc()
	d["checkpoint"] = string(both)
	for _, keys := range [][]note.Verifier{s.verifiers(), append(elsewhere.verifiers(), s.verifiers()...)} {
		r, err := evidence.Verify(bytes.NewReader(d.bytes(t)), keys)
		must(t, err)
		if len(r.Signers) != len(keys) {
			t.Errorf("%d keys, signers %v", len(keys), r.Signers)
		}
	}
	if e := refused2(t, d.bytes(t), append(s.verifiers(), s.verifiers()...)); e.Kind != writ.KindInvalid {
		t.Errorf("the same key twice: %s", e.Message)
	}
}

// refused2 is refused for errors about the caller's keys, which need no why.
func refused2(t *testing.T, b []byte, keys []note.Verifier) *writ.Error {
	t.Helper()
	_, err := evidence.Verify(bytes.NewReader(b), keys)
	e, ok := err.(*writ.Error)
	if !ok || e.Fix == "" {
		t.Fatalf("%v", err)
	}
	return e
}

// TestDecisionMustFollowFromTheRecords lets the log's own key sign records that
// contradict the use: each is found, and blamed on the entry.
func TestDecisionMustFollowFromTheRecords(t *testing.T) {
	s := tell(t)
	if r, err := evidence.Verify(bytes.NewReader(forge(t, s.doc(), s.signer())), s.verifiers()); err != nil {
		t.Fatalf("the forger changes what is not to be changed: %v %+v", err, r)
	}
	expired := `"expires":"2026-11-24T09:00:00.001Z"`
	end := func(d doc, id writ.ID, state string) {
		i := d.row(id)
		d.edit(i, `"inactive":[]`, `"inactive":["`+string(id)+`"]`)
		d.edit(i, `"state":"active"`, `"state":"`+state+`"`)
	}
	allow := func(d doc) int { return d.of("allow") }
	for _, c := range []struct {
		name, says string
		make       func(d doc)
	}{
		{"a revoked grant", "was revoked", func(d doc) { end(d, s.grant.ID, "revoked") }},
		{"a suspended ancestor", "was suspended", func(d doc) { end(d, s.root.ID, "suspended") }},
		{"an ended session", "was ended", func(d doc) { end(d, s.session.ID, "ended") }},
		{"a suspended agent", "was suspended", func(d doc) { end(d, s.agent.ID, "suspended") }},
		{"an application that is gone", "was revoked", func(d doc) { end(d, s.app.ID, "revoked") }},
		{"a grant that expired between decision and record", "had expired", func(d doc) {
			d.edit(d.row(s.grant.ID), `"expires":"`+s.grant.Expires.String()+`"`, expired)
		}},
		{"a session that expired", "had expired", func(d doc) {
			d.edit(d.row(s.session.ID), `"expires":"`+s.session.Expires.String()+`"`, expired)
		}},
		{"a child that outlives its parent", "not narrower", func(d doc) {
			d.edit(d.row(s.grant.ID), `"expires":"`+s.grant.Expires.String()+`"`, `"expires":"2027-11-24T10:00:00.000Z"`)
		}},
		{"a grant of another identity", "another identity's", func(d doc) {
			d.edit(d.row(s.grant.ID), `"identity":"`+string(s.agent.ID)+`"`, `"identity":"`+string(s.Ana.ID)+`"`)
		}},
		{"a grant for another credential", "another credential", func(d doc) {
			for _, g := range []writ.ID{s.grant.ID, s.root.ID} {
				d.edit(d.row(g), string(s.cred.ID), string(s.cred.ID)+"0")
			}
		}},
		{"another path", "does not cover", func(d doc) { d.edit(allow(d), "/v1/refunds/17", "/v1/payouts/17") }},
		{"another method", "does not cover", func(d doc) { d.edit(allow(d), `"method":"POST"`, `"method":"DELETE"`) }},
		{"another rule", "does not cover", func(d doc) { d.edit(allow(d), `"rule":1`, `"rule":0`) }},
		{"a rule that is not there", "does not cover", func(d doc) { d.edit(allow(d), `"rule":1`, `"rule":7`) }},
		{"another query", "does not cover", func(d doc) { d.edit(allow(d), `["currency","EUR"]`, `["currency","USD"]`) }},
		{"another host", "host of the request", func(d doc) { d.edit(allow(d), `"host":"api.acme.test"`, `"host":"evil.test"`) }},
		{"cleartext", "to the network", func(d doc) { d.edit(allow(d), `"scheme":"https"`, `"scheme":"http"`) }},
		{"two readings", "single reading", func(d doc) { d.edit(allow(d), "/v1/refunds/17", "/v1/refunds/%2e%2e") }},
		{"another basis", "authority", func(d doc) { d.edit(allow(d), `"basis":"delegated-human"`, `"basis":"direct"`) }},
		{"a shorter path", "delegation path", func(d doc) {
			d.edit(allow(d), `"path":["`+string(s.Ana.ID)+`","`+string(s.agent.ID)+`"]`, `"path":["`+string(s.agent.ID)+`"]`)
		}},
		{"fewer rests", "does not say that it rests", func(d doc) { d.edit(allow(d), `","`+string(s.app.ID)+`"],"rule"`, `"],"rule"`) }},
		{"more rests", "and the records do not", func(d doc) { d.edit(allow(d), `],"rule"`, `,"`+string(writ.NewID(writ.KindGrant))+`"],"rule"`) }},
		{"another policy version", "guardrails", func(d doc) { d.edit(allow(d), `"policy":"`, `"policy":"0`) }},
		{"another policy text", "guardrails", func(d doc) { d.edit(d.holding("forbid ("), "prod", "none") }},
		{"a guardrail that forbade", "observe", func(d doc) {
			d.edit(allow(d), `"guardrails":[]`, `"guardrails":["`+string(writ.NewID(writ.KindPolicy))+`"]`)
		}},
		{"a version that is not current", "current", func(d doc) { d.edit(d.row(s.cred.ID), `"current":"cver_`, `"current":"cver_0`) }},
		{"a version without its value", "name its value", func(d doc) { d.edit(d.row(s.cred.ID), `"sealed_hash":"`, `"sealed_hash":"0`) }},
		{"a credential without an owner", "nobody living", func(d doc) {
			d.edit(d.row(s.cred.ID), `"owner":"`+string(s.Ana.ID)+`"`, `"owner":"`+string(s.cred.Authoriser)+`"`)
		}},
		{"a credential without an issuer", "outside governance", func(d doc) { d.edit(d.row(s.cred.ID), `"issuer":"the test",`, ``) }},
		{"a credential that agents may not use", "agents", func(d doc) { d.edit(d.row(s.cred.ID), `"ai_use":"allowed"`, `"ai_use":"forbidden"`) }},
		{"a session before the cut-off", "access was withdrawn", func(d doc) {
			d.edit(d.row(s.agent.ID), `"created":"`+s.agent.Created.String()+`",`, `"created":"`+s.agent.Created.String()+`","cutoff":"2026-11-24T09:00:00.001Z",`)
		}},
		{"a row of a newer version", "does not know", func(d doc) { d.edit(d.row(s.grant.ID), `,"org":`, `,"mission":"m","org":`) }},
		{"a record newer than the decision", "newer than the view", func(d doc) { d.edit(allow(d), `"epoch":{"incarnation":1`, `"epoch":{"incarnation":0`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.doc()
			c.make(d)
			b := forge(t, d, s.signer())
			e := refused(t, b, s.verifiers())
			if !strings.Contains(e.Message+" "+e.Why, c.says) {
				t.Errorf("%s: %s; %s", e.Field, e.Message, e.Why)
			}
		})
	}
}
