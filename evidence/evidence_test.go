package evidence_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
	"writ.dev/writ/evidence"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/storetest"
)

var _ evidence.Source = (*store.Store)(nil)

func TestUseIsProven(t *testing.T) {
	s := tell(t)
	r := s.verify(s.bundle)
	if r.Use != s.use || r.Decision != writ.DecisionOf(s.use) || r.Org != s.Org || r.Identity != s.agent.ID || r.Session != s.session.ID || r.Grant != s.grant.ID ||
		r.Credential != s.cred.ID || r.Version != s.cred.Current || r.Application != s.app.ID || r.Basis != writ.BasisDelegatedHuman || !slices.Equal(r.Path, []writ.ID{s.Ana.ID, s.agent.ID}) {
		t.Errorf("the report is about another use: %+v", r)
	}
	if r.Request != "POST https://api.acme.test/v1/refunds/17" || len(r.Signers) != 1 || r.Checkpoint.Origin != storetest.Origin(s.Org) || r.Notice != evidence.Notice {
		t.Errorf("%+v", r)
	}
	if r.Outcome == nil || *r.Outcome != (writ.Outcome{Use: s.use, Kind: writ.Completed, Status: 201, Millis: 12, Sent: 40, Received: 200, Masked: 1}) {
		t.Errorf("outcome: %+v", r.Outcome)
	}
	for _, text := range []string{
		"is signed by " + r.Signers[0], "lie in the log", "agent:claude-pay acted in session", "ana@acme.dev → agent:claude-pay", "for the task: refund order 17",
		"ana@acme.dev answers for agent:claude-pay", "payments (" + string(s.cred.ID), "authorised by ben@acme.dev", "given by ana@acme.dev", "add-grant by ana@acme.dev", "within which it lies",
		"POST api.acme.test/v1/refunds/* where currency=\"EUR\" covers the request POST", "exactly the 1 policy shown", "completed with status 201",
	} {
		if !says(r.Proven, text) {
			t.Errorf("no proven statement says %q", text)
		}
	}
	for _, text := range []string{"No witness", "writ ledger verify", "writ why", "the outcome is what the server saw", "isolation", "server's clock"} {
		if !says(r.Unproven, text) {
			t.Errorf("no unproven statement says %q", text)
		}
	}
	for _, st := range slices.Concat(r.Proven, r.Unproven) {
		if len(st.Entries) == 0 && !strings.Contains(st.Text, "checkpoint") && !strings.Contains(st.Text, "times") {
			t.Errorf("a statement names no entry: %s", st.Text)
		}
	}
}

// TestOnlyTheUseIsShown looks for what is in the same log and is nobody's
// business here.
func TestOnlyTheUseIsShown(t *testing.T) {
	s := tell(t)
	for _, text := range []string{"reading the secret plans", "hush", "the upstream hung up", `\"millis\":99`, "api.other.test", "/v1/balance\\\",\\\"scheme"} {
		if bytes.Contains(s.bundle, []byte(text)) {
			t.Errorf("the bundle shows %q", text)
		}
	}
	var d doc
	must(t, json.Unmarshal(s.bundle, &d))
	uses := 0
	for i := range d.entries() {
		if strings.Contains(d.leaf(i), `"type":"allow"`) {
			uses++
		}
	}
	if uses != 1 {
		t.Errorf("it shows %d uses", uses)
	}
}

// TestFormatPageHasTheNotice keeps the page and the program in step.
func TestFormatPageHasTheNotice(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/evidence.md")
	must(t, err)
	for _, text := range []string{evidence.Notice, evidence.Format} {
		if !bytes.Contains(page, []byte(text)) {
			t.Errorf("the page lacks %q", text)
		}
	}
}

func TestNoOutcomeYet(t *testing.T) {
	s := tell(t)
	use := s.allow(s.ask(s.session, "GET", "api.acme.test", "/v1/balance"))
	r := s.verify(s.export(use))
	if r.Outcome != nil || !says(r.Unproven, "no outcome") || says(r.Proven, "outcome") {
		t.Errorf("%+v", r)
	}
}

func TestExportSaysWhatIsWrong(t *testing.T) {
	s := tell(t)
	other := s.in(s.Found("globex"))
	for _, c := range []struct {
		name string
		org  writ.ID
		use  writ.ID
		kind writ.ErrorKind
	}{
		{"not an id", s.Org, "use_", writ.KindInvalid},
		{"a decision", s.Org, writ.DecisionOf(s.use), writ.KindInvalid},
		{"nobody's", s.Org, writ.NewOrderedID(writ.KindUse, s.Clock.Now()), writ.KindNotFound},
		{"another organization's", other.Org, s.use, writ.KindNotFound}, // invariant 14
	} {
		var b bytes.Buffer
		err := evidence.Export(t.Context(), s.Store, c.org, c.use, &b)
		if writ.KindOf(err) != c.kind || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes", c.name, err, b.Len())
		}
	}
}

// doubted is a Source whose entries somebody changed.
type doubted struct {
	evidence.Source
	change func(ledger.Entry) ledger.Entry
}

func (d doubted) Entry(ctx context.Context, org writ.ID, seq int64) (ledger.Entry, error) {
	e, err := d.Source.Entry(ctx, org, seq)
	if err != nil {
		return e, err
	}
	return d.change(e), nil
}

// stale is a Source whose checkpoint is older than its entries.
type stale struct {
	evidence.Source
	note []byte
}

func (s stale) Checkpoint(context.Context, writ.ID) ([]byte, error) { return s.note, nil }

// TestExportWritesNothingThatDoesNotVerify has a database that was changed.
func TestExportWritesNothingThatDoesNotVerify(t *testing.T) {
	s := tell(t)
	v, err := s.log.Entry(t.Context(), 5)
	must(t, err)
	for name, src := range map[string]evidence.Source{
		"a part changed": doubted{s.Store, func(e ledger.Entry) ledger.Entry {
			e.Pack = bytes.Replace(e.Pack, []byte("api.acme.test"), []byte("api.evil.test"), 1)
			return e
		}},
		"a leaf and its part changed": doubted{s.Store, func(e ledger.Entry) ledger.Entry {
			if e.Seq == 6 {
				v.Seq = 6
				v.Leaf = bytes.Replace(v.Leaf, []byte(`"seq":5`), []byte(`"seq":6`), 1)
				return v
			}
			return e
		}},
		"a leaf's time changed": doubted{s.Store, func(e ledger.Entry) ledger.Entry {
			e.Leaf = bytes.Replace(e.Leaf, []byte(`"time":1`), []byte(`"time":2`), 1)
			return e
		}},
		"an old checkpoint": stale{s.Store, func() []byte {
			c, err := s.Store.Checkpoint(t.Context(), s.Org)
			must(t, err)
			return bytes.Replace(c, []byte("\n19\n"), []byte("\n3\n"), 1)
		}()},
	} {
		var b bytes.Buffer
		err := evidence.Export(t.Context(), src, s.Org, s.use, &b)
		if err == nil || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, b.Len())
		}
	}
}

// erasing is a Source in which personal data, or what was asked, was erased.
func erasing(s evidence.Source, part string, types ...string) evidence.Source {
	return doubted{s, func(e ledger.Entry) ledger.Entry {
		leaf, err := ledger.ParseLeaf(e.Leaf)
		if err != nil || !slices.Contains(types, leaf.Type) {
			return e
		}
		if gone, err := ledger.Erase(e, part); err == nil {
			return gone
		}
		return e // it has no such part
	}}
}

func TestErasedPeopleAreSaidToBeUnproven(t *testing.T) {
	s := tell(t)
	var b bytes.Buffer
	must(t, evidence.Export(t.Context(), erasing(s.Store, ledger.PartPersonal, ledger.TypeChange), s.Org, s.use, &b))
	if bytes.Contains(b.Bytes(), []byte("@acme.dev")) {
		t.Error("the bundle shows what was erased")
	}
	r := s.verify(b.Bytes())
	if !says(r.Unproven, "Who "+string(s.Ana.ID)+" is") || says(r.Proven, "ana@") || says(r.Proven, "answers for") {
		t.Errorf("%+v", r.Unproven)
	}
	// What is not personal may not be left out like that.
	d := s.doc()
	i := d.row(s.session.ID)
	d.entry(i)["parts"] = d.parts(i)[:1]
	refused(t, d.bytes(t), s.verifiers())
}

func TestErasedRequestIsSaidToBeUnproven(t *testing.T) {
	s := tell(t)
	var b bytes.Buffer
	must(t, evidence.Export(t.Context(), erasing(s.Store, ledger.PartDetail, ledger.TypeAllow), s.Org, s.use, &b))
	r := s.verify(b.Bytes())
	if r.Request != "" || !says(r.Unproven, "What was asked") || says(r.Proven, "covers the request") {
		t.Errorf("%+v", r)
	}
}

func TestErasedOutcomeIsLeftOut(t *testing.T) {
	s := tell(t)
	var b bytes.Buffer
	must(t, evidence.Export(t.Context(), erasing(s.Store, ledger.PartMembers, ledger.TypeOutcomes), s.Org, s.use, &b))
	if r := s.verify(b.Bytes()); r.Outcome != nil || !says(r.Unproven, "no outcome") {
		t.Errorf("%+v", r)
	}
}

// TestEvidenceOutlivesWhatItShows exports a use after everything it rested on
// was changed, revoked or ended: evidence is about then.
func TestEvidenceOutlivesWhatItShows(t *testing.T) {
	s := tell(t)
	s.Clock.Add(time.Minute)
	ctx, by := t.Context(), s.By
	_, _, err := s.Store.RevokeGrant(ctx, by, s.Ref(s.grant.ID), "over")
	must(t, err)
	_, _, err = s.Store.RevokeCredential(ctx, by, s.Ref(s.cred.ID), "over")
	must(t, err)
	_, _, err = s.Store.RevokeIdentity(ctx, by, s.Ref(s.cred.Authoriser), "ben left")
	must(t, err)
	s.Policy(`forbid (principal, action, resource);`)
	b := s.export(s.use)
	r := s.verify(b)
	if !says(r.Proven, "authorised by ben@acme.dev") || !says(r.Proven, "exactly the 1 policy shown") {
		t.Errorf("%+v", r.Proven)
	}
	// His name is from the act that revoked him, whose other parts stay closed.
	if !bytes.Contains(b, []byte("revoke-identity")) || bytes.Contains(b, []byte("ben left")) {
		t.Error("the bundle does not show who ben is, or shows why he left")
	}
}

// TestLongLog proves a use that lies behind full tiles.
func TestLongLog(t *testing.T) {
	s := tell(t)
	var uses []writ.ID
	for range 300 {
		uses = append(uses, s.allow(s.ask(s.session, "GET", "api.acme.test", "/v1/balance")))
	}
	outcomes := make([]writ.Outcome, len(uses))
	for i, use := range uses {
		outcomes[i] = writ.Outcome{Use: use, Kind: writ.Completed, Status: 200 + i, Millis: 1}
	}
	s.ended(outcomes...)
	for _, i := range []int{0, 1, 127, 128, 250, 299} {
		if r := s.verify(s.export(uses[i])); r.Use != uses[i] || r.Outcome == nil || r.Outcome.Status != 200+i {
			t.Errorf("use %d: %+v", i, r)
		}
	}
}

// growing is a Source whose log grows while it is read.
type growing struct {
	evidence.Source
	grow func()
}

func (g growing) Inclusion(ctx context.Context, org writ.ID, seq, size int64) (tlog.RecordProof, error) {
	g.grow()
	return g.Source.Inclusion(ctx, org, seq, size)
}

func TestLogGrowsMeanwhile(t *testing.T) {
	s := tell(t)
	var b bytes.Buffer
	must(t, evidence.Export(t.Context(), growing{s.Store, func() { s.allow(s.ask(s.session, "GET", "api.acme.test", "/v1/balance")) }}, s.Org, s.use, &b))
	s.verify(b.Bytes())
}
