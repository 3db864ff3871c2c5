package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
	"writ.dev/writ/ledger"
)

// Format names the format and its version: the first thing a verifier looks at.
const Format = "writ-evidence-v1"

// MaxBundle bounds a bundle, in bytes.
const MaxBundle = 64 << 20

// maxEntries bounds the entries of a bundle. A decision names its facts, and
// these are far fewer.
const maxEntries = 1 << 16

// Notice is what the promises rest on, in every bundle in these words. It is
// part of the format: another text is another format.
const Notice = "This file shows what one organization's Writ ledger records about one use of one credential. " +
	"It proves that the records lie in the log that the checkpoint covers, and, with the log's key from another source, who signed that checkpoint. " +
	"The log is tamper-evident against outsiders; until a witness outside the operator's reach cosigns its checkpoints, whoever holds the signing key could have written another history. " +
	"That the agent never held the secret, and that no software approved its own wish, holds where the agent could not act as the operating-system user that ran the server or hold an approver's key; " +
	"on one machine with one user these promises are cooperative, and the isolation that was in force is stated in the session. " +
	"The outcome is what the server saw, not what the other side says."

// bundle is the file: canonical JSON (RFC 8785 without floating point) and a
// final newline. The names of its members are in the order of the spelling.
type bundle struct {
	Checkpoint string  `json:"checkpoint"` // signed note
	Entries    []entry `json:"entries"`    // ascending by seq
	Format     string  `json:"format"`
	Notice     string  `json:"notice"`
	Use        writ.ID `json:"use"`
}

// entry is one entry of the ledger with its place in the tree.
type entry struct {
	Leaf   string   `json:"leaf"`             // the leaf's bytes
	Member *member  `json:"member,omitempty"` // of an outcomes entry
	Parts  []part   `json:"parts"`            // those that are open, in the leaf's order
	Proof  []string `json:"proof"`            // RFC 6962 audit path, standard base64
}

// part is one open part.
type part struct {
	Name string `json:"name"`
	Salt string `json:"salt"` // base64url without padding
	Text string `json:"text"` // the part's bytes
}

// member is one outcome among those of its batch, which stay closed.
type member struct {
	Index int64    `json:"index"`
	Proof []string `json:"proof"` // RFC 6962 audit path in the tree over the members
	Salt  string   `json:"salt"`
	Text  string   `json:"text"`
}

const reexport = "get the file again from whoever made it: writ evidence export"

func malformed(field, why string) *writ.Error {
	e := writ.Errorf(writ.KindInvalid, "this is not an evidence file, or it is damaged").WithWhy("%s", why).WithFix("%s", reexport)
	e.Field = field
	return e
}

func failed(field, message, why string) *writ.Error {
	e := writ.Errorf(writ.KindCheckFailed, "%s", message).WithWhy("%s", why).WithFix("do not rely on this file; %s", reexport)
	e.Field = field
	return e
}

// decode reads a bundle strictly. It has one spelling: whatever else would be
// read as the same bundle (white space, another order, a member twice, unknown
// or in another case) differs from what the bundle is spelled as, and is refused.
func decode(r io.Reader) (*bundle, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxBundle+1))
	if err != nil {
		return nil, writ.Invalid("", "the evidence file could not be read", "check the file's name and rights").WithCause(err)
	}
	if len(b) > MaxBundle {
		return nil, malformed("", "it is larger than 64 MiB")
	}
	var x bundle
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, malformed("", "it is not JSON of the shape that evidence has").WithCause(err)
	}
	if x.Format != Format {
		return nil, malformed("format", "its format is "+strconv.Quote(writ.Printable(x.Format, 40))+", and this program reads "+Format)
	}
	if err := x.whole(); err != nil {
		return nil, err
	}
	if !bytes.Equal(b, x.encode()) {
		return nil, malformed("", "it is not spelled as evidence files are: something was added, left away or written differently")
	}
	return &x, nil
}

// whole checks what the spelling alone does not: lists that are not there.
func (x *bundle) whole() error {
	switch {
	case x.Notice != Notice:
		return malformed("notice", "the statement of what evidence rests on is not that of this format")
	case !x.Use.Is(writ.KindUse):
		return malformed("use", "it names no use")
	case len(x.Entries) == 0 || len(x.Entries) > maxEntries:
		return malformed("entries", "it has no entries, or far too many")
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		if e.Parts == nil || e.Proof == nil || e.Member != nil && e.Member.Proof == nil {
			return malformed(at(i, ""), "a list is missing")
		}
	}
	return nil
}

// encode spells the bundle, member by member in the order of their names.
func (x *bundle) encode() []byte {
	b := canon.AppendString([]byte(`{"checkpoint":`), x.Checkpoint)
	b = append(b, `,"entries":[`...)
	for i := range x.Entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = x.Entries[i].append(b)
	}
	b = canon.AppendString(append(b, `],"format":`...), x.Format)
	b = canon.AppendString(append(b, `,"notice":`...), x.Notice)
	b = canon.AppendString(append(b, `,"use":`...), string(x.Use))
	return append(b, '}', '\n')
}

func (e *entry) append(b []byte) []byte {
	b = canon.AppendString(append(b, `{"leaf":`...), e.Leaf)
	if m := e.Member; m != nil {
		b = strconv.AppendInt(append(b, `,"member":{"index":`...), m.Index, 10)
		b = appendList(append(b, `,"proof":`...), m.Proof)
		b = canon.AppendString(append(b, `,"salt":`...), m.Salt)
		b = append(canon.AppendString(append(b, `,"text":`...), m.Text), '}')
	}
	b = append(b, `,"parts":[`...)
	for i, p := range e.Parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendString(append(b, `{"name":`...), p.Name)
		b = canon.AppendString(append(b, `,"salt":`...), p.Salt)
		b = append(canon.AppendString(append(b, `,"text":`...), p.Text), '}')
	}
	return append(appendList(append(b, `],"proof":`...), e.Proof), '}')
}

func appendList(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendString(b, s)
	}
	return append(b, ']')
}

// at is the path of an entry's field, for errors.
func at(i int, field string) string {
	s := "entries[" + strconv.Itoa(i) + "]"
	if field != "" {
		s += "." + field
	}
	return s
}

// hashes reads an audit path; each hash has one spelling.
func hashes(list []string) (tlog.RecordProof, bool) {
	p := make(tlog.RecordProof, len(list))
	for i, s := range list {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != tlog.HashSize || base64.StdEncoding.EncodeToString(b) != s {
			return nil, false
		}
		copy(p[i][:], b)
	}
	return p, true
}

func spell(p tlog.RecordProof) []string {
	list := make([]string, len(p))
	for i := range p {
		list[i] = base64.StdEncoding.EncodeToString(p[i][:])
	}
	return list
}

// entry is the ledger's entry with the open parts, and the others as the hashes
// that the leaf has for them, for the ledger's own decoders to check and read.
func (e *entry) entry() (ledger.Entry, ledger.Leaf, error) {
	leaf, err := ledger.ParseLeaf([]byte(e.Leaf))
	if err != nil {
		return ledger.Entry{}, leaf, err
	}
	parts := make([]packed, len(leaf.Parts))
	next := 0
	for i, ref := range leaf.Parts {
		parts[i] = packed{name: ref.Name, hash: ref.Hash}
		if next < len(e.Parts) && e.Parts[next].Name == ref.Name {
			if parts[i].salt, err = saltOf(e.Parts[next].Salt); err != nil {
				return ledger.Entry{}, leaf, err
			}
			parts[i].open, parts[i].content = true, []byte(e.Parts[next].Text)
			next++
		}
	}
	if next != len(e.Parts) {
		return ledger.Entry{}, leaf, errPack
	}
	return ledger.Entry{Seq: leaf.Seq, Leaf: []byte(e.Leaf), Pack: pack(parts)}, leaf, nil
}

func saltOf(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != saltSize || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, errPack
	}
	return b, nil
}
