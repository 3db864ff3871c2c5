package evidence

import (
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// Verify checks a bundle offline: that it is whole and spelled as bundles are,
// that every entry lies in the log that the checkpoint covers, that every open
// part is the one that its leaf commits to, that the rows are those that the
// decision names, and that the decision follows from them as far as rows can
// say. The checkpoint must be signed by one of the keys, which come from
// somewhere else than the file.
//
// Without keys a bundle at its best is consistent: Verify then gives the report
// and an error that says that the signer is unproven. With any other error the
// report is nil. An error is always a *writ.Error, of kind invalid when this is
// no bundle, else check_failed, and its Field says where.
func Verify(r io.Reader, keys []note.Verifier) (*Report, error) {
	x, err := decode(r)
	if err != nil {
		return nil, err
	}
	c, signers, err := openCheckpoint(x.Checkpoint, keys)
	if err != nil {
		return nil, err
	}
	report, err := x.judge(&c, signers)
	if err != nil {
		return nil, err
	}
	if len(signers) == 0 {
		return report, writ.Errorf(writ.KindCheckFailed, "the evidence is consistent, but who signed it is unproven").
			WithWhy("no key was given; anybody could have made a file that fits together").
			WithFix("get the log's key from its owner, not with this file, and give it with --key")
	}
	return report, nil
}

// judge opens the entries and judges what they say.
func (x *bundle) judge(c *ledger.Checkpoint, signers []string) (*Report, error) {
	m, err := x.open(c)
	if err != nil {
		return nil, err
	}
	if err := m.link(); err != nil {
		return nil, err
	}
	report, err := m.judge(c, signers, len(x.Entries))
	if err != nil {
		return nil, err
	}
	if s := m.spare(); s != nil {
		return nil, failed(s.field, "entry "+number(s.leaf.Seq)+" has nothing to do with this use", "a file of evidence is about one use only")
	}
	return report, nil
}

// openCheckpoint checks the signed note and gives the keys that signed it.
func openCheckpoint(signed string, keys []note.Verifier) (c ledger.Checkpoint, signers []string, err error) {
	n, err := note.Open([]byte(signed), note.VerifierList(keys...))
	var unknown *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unknown) && len(keys) == 0:
		n = unknown.Note
	case errors.As(err, &unknown):
		return c, nil, failed("checkpoint", "none of the keys given signed the checkpoint", "it is signed by "+signatures(unknown.Note.UnverifiedSigs)).
			WithFix("compare the key with what the log's owner published; if it is right, the file is a forgery")
	case err != nil && len(keys) > 0 && isAmbiguous(keys):
		return c, nil, writ.Invalid("key", "a key is given twice", "give each key once")
	case err != nil:
		return c, nil, failed("checkpoint", "the checkpoint is damaged or was changed after it was signed", "its signature does not hold").WithCause(err)
	}
	if !spelledStrictly(signed) {
		return c, nil, failed("checkpoint", "the checkpoint is damaged or was changed after it was signed", "a signature is not spelled as signatures are")
	}
	if c, err = ledger.ParseCheckpoint(n.Text); err != nil {
		return c, nil, failed("checkpoint", "what is signed is not a checkpoint of a ledger", "its text has another form").WithCause(err)
	}
	own := len(keys) == 0
	for _, s := range n.Sigs {
		signers = append(signers, keyName(s))
		own = own || s.Name == c.Origin
	}
	// A key speaks for the log that it is named after. Another one's signature
	// says at most that its owner saw the checkpoint.
	if !own {
		return c, nil, failed("checkpoint", "the checkpoint is not signed by its own log's key", "it is of the log "+writ.Printable(c.Origin, 100)+" and signed by "+strings.Join(signers, ", "))
	}
	return c, signers, nil
}

func isAmbiguous(keys []note.Verifier) bool {
	seen := map[note.Signature]bool{}
	for _, k := range keys {
		s := note.Signature{Name: k.Name(), Hash: k.KeyHash()}
		if seen[s] {
			return true
		}
		seen[s] = true
	}
	return false
}

// spelledStrictly reports that the signature lines of a note have their one
// spelling and that none stands there twice: note.Open takes base64 with loose
// final bits and drops repeated lines.
func spelledStrictly(signed string) bool {
	i := strings.LastIndex(signed, "\n\n")
	if i < 0 {
		return false
	}
	seen := map[string]bool{}
	for line := range strings.Lines(signed[i+2:]) {
		_, b64, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		b, err := base64.StdEncoding.DecodeString(b64)
		if err != nil || base64.StdEncoding.EncodeToString(b) != b64 || seen[line] {
			return false
		}
		seen[line] = true
	}
	return true
}

func keyName(s note.Signature) string {
	return writ.Printable(s.Name, 100) + "+" + hex8(s.Hash)
}

func hex8(n uint32) string {
	s := strconv.FormatUint(uint64(n), 16)
	return "00000000"[len(s):] + s
}

func signatures(list []note.Signature) string {
	var names []string
	for _, s := range list[:min(len(list), 5)] {
		names = append(names, keyName(s))
	}
	return strings.Join(names, ", ")
}

// open checks every entry against the checkpoint and its parts against its
// leaf, and sorts them by what they are.
func (x *bundle) open(c *ledger.Checkpoint) (*material, error) {
	m := &material{changes: map[int64]*opened{}}
	before := ledger.Leaf{Seq: -1}
	for i := range x.Entries {
		o, err := x.openEntry(i, c)
		if err != nil {
			return nil, err
		}
		switch {
		case o.leaf.Seq <= before.Seq:
			return nil, malformed(o.field, "entry "+number(o.leaf.Seq)+" is repeated or out of order")
		case o.leaf.Time < before.Time || o.leaf.Incarnation < before.Incarnation:
			return nil, failed(o.field, "entry "+number(o.leaf.Seq)+" is older than the one before it", "time never runs backwards in a log")
		case before.Seq >= 0 && o.leaf.Org != before.Org || !o.leaf.Org.Is(writ.KindOrg):
			return nil, failed(o.field, "entry "+number(o.leaf.Seq)+" belongs to another organization", "a ledger is of one organization, and so is evidence")
		}
		before = o.leaf
		if err := m.sort(o, x.Entries[i].Member); err != nil {
			return nil, err
		}
	}
	switch {
	case m.allow == nil:
		return nil, failed("entries", "the file does not show the decision that allowed the use", "the entry was left out")
	case writ.UseOf(m.verdict.Decision.ID) != x.Use || !m.verdict.Decision.ID.Is(writ.KindDecision):
		return nil, failed("use", "the file names another use than it shows", "it names "+string(x.Use)+" and shows the decision "+show(string(m.verdict.Decision.ID)))
	case m.outcome != nil && m.outcome.Use != x.Use:
		return nil, failed(m.outcomes.field+".member", "the outcome is another use's", "it is of "+show(string(m.outcome.Use)))
	case m.outcomes != nil && m.outcomes.leaf.Seq < m.allow.leaf.Seq:
		return nil, failed(m.outcomes.field, "the outcome is older than the decision that allowed the use", "entries "+number(m.outcomes.leaf.Seq)+" and "+number(m.allow.leaf.Seq))
	}
	return m, nil
}

func (x *bundle) openEntry(i int, c *ledger.Checkpoint) (*opened, error) {
	e := &x.Entries[i]
	o := &opened{field: at(i, "")}
	var err error
	if o.entry, o.leaf, err = e.entry(); err != nil {
		return nil, malformed(o.field, "an entry is not spelled as entries are").WithCause(err)
	}
	path, ok := hashes(e.Proof)
	if !ok {
		return nil, malformed(at(i, "proof"), "a proof is not spelled as proofs are")
	}
	if err := tlog.CheckRecord(path, c.Size, c.Root, o.leaf.Seq, tlog.RecordHash([]byte(e.Leaf))); err != nil {
		return nil, failed(at(i, "proof"), "entry "+number(o.leaf.Seq)+" is not in the log that the checkpoint covers", "the entry or its proof was changed, or is another log's").WithCause(err)
	}
	return o, nil
}

// sort decodes an entry by its type.
func (m *material) sort(o *opened, shown *member) (err error) {
	broken := func(err error) error {
		return failed(o.field+".parts", "the parts of entry "+number(o.leaf.Seq)+" are not those that were recorded", "they do not hash to what the entry commits to, or are not what an entry of its type has").WithCause(err)
	}
	if (shown != nil) != (o.leaf.Type == ledger.TypeOutcomes) {
		return malformed(o.field+".member", "an outcome belongs to an entry of outcomes, and to nothing else")
	}
	switch o.leaf.Type {
	case ledger.TypeAllow:
		if m.allow != nil {
			return malformed(o.field, "it shows two uses")
		}
		m.allow = o
		if m.verdict, err = ledger.DecodeAllow(o.entry); err != nil {
			return broken(err)
		}
	case ledger.TypeOutcomes:
		if m.outcomes != nil {
			return malformed(o.field, "it shows two outcomes")
		}
		m.outcomes = o
		all, err := ledger.DecodeOutcomes(o.entry)
		if err != nil || closed(o, ledger.PartCore) {
			return broken(err)
		}
		out, err := readMember(shown, &o.leaf, int64(all.Count))
		if err != nil {
			return failed(o.field+".member", "the outcome is not among those of entry "+number(o.leaf.Seq), "the outcome or its proof was changed").WithCause(err)
		}
		m.outcome = &out
	case ledger.TypeChange:
		if o.changed, err = ledger.DecodeChange(o.entry); err != nil {
			return broken(err)
		}
		m.changes[o.leaf.Seq] = o
	default:
		return malformed(o.field, "an entry of type "+strconv.Quote(show(o.leaf.Type))+" has no place in evidence of a use")
	}
	return nil
}

// all lists the seqs of the entries.
func (m *material) all() []int64 {
	seqs := []int64{m.allow.leaf.Seq}
	if m.outcomes != nil {
		seqs = append(seqs, m.outcomes.leaf.Seq)
	}
	for seq := range m.changes {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return seqs
}
