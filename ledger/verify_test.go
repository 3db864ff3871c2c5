package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"writ.dev/writ"
)

// told is a log with an entry of every kind in it, closed.
func told(tb testing.TB) (*bench, *world) {
	tb.Helper()
	b, w := opened(tb)
	ctx := context.Background()
	var used [2]writ.ID
	for i := range used {
		id, a := w.allow(b.Epoch())
		_, err := b.Append(ctx, a, "limit")
		must(tb, err)
		used[i] = writ.UseOf(id)
	}
	for _, use := range used {
		b.Outcome(writ.Outcome{Use: use, Kind: writ.Completed, Status: 200, Received: 12, Millis: 3})
	}
	d := w.denial("/v2/refunds")
	b.Deny(d)
	b.Deny(d)
	grant := *w.grant
	grant.State = writ.Revoked
	mark := b.change(true, Change{Act: "revoke-grant", Cause: "no longer needed", By: writ.Actor{Identity: w.ana.ID}, Rows: []Row{row(tb, grant.ID, &grant, false)}}, nil)
	must(tb, b.Cut(ctx, CutReport{Change: mark.Seq, Targets: []writ.ID{grant.ID}, Decided: b.Head().Time, Grants: 1}))
	_, vkey, err := note.GenerateKey(rand.Reader, b.origin)
	must(tb, err)
	must(tb, b.Act(ctx, false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
		_, err := batch.Add(KeyDraft(writ.Actor{Identity: w.ana.ID}, vkey))
		return nil, err
	}))
	b.close()
	return b, w
}

// copyOf is a memory with the same content.
func (m *memory) copyOf() *memory {
	c := newMemory(m.head.Org)
	c.head, c.changes = m.copyHead(), slices.Clone(m.changes)
	for _, e := range m.entries {
		c.entries = append(c.entries, Entry{e.Seq, bytes.Clone(e.Leaf), bytes.Clone(e.Pack)})
	}
	for k, n := range m.nodes {
		c.nodes[k] = bytes.Clone(n)
	}
	return c
}

func (b *bench) check(m *memory, notes ...[]byte) *Report {
	b.tb.Helper()
	r, err := Verify(context.Background(), VerifyConfig{Reader: m, Org: b.org, Keys: b.keys(), Checkpoints: notes})
	must(b.tb, err)
	return r
}

func TestVerifyAcceptsAndCounts(t *testing.T) {
	b, _ := told(t)
	r := b.verify()
	if r.Size != int64(len(b.m.entries)) || r.Changes != 2 || r.Allows != 2 || r.Outcomes != 2 || r.Denials != 1 || r.Repeats != 1 || r.Cuts != 1 || r.Checkpoints != 1 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
	if c := r.Epoch; c != (writ.Epoch{Incarnation: 1, N: 2}) {
		t.Errorf("epoch %v", c)
	}
}

// Every bit that lies in the database is one that Verify looks at.
func TestVerifyNoticesEveryChangedByte(t *testing.T) {
	b, _ := told(t)
	for i := range b.m.entries {
		for _, part := range []string{"leaf", "pack"} {
			m := b.m.copyOf()
			bytes := m.entries[i].Leaf
			if part == "pack" {
				bytes = m.entries[i].Pack
			}
			for j := 0; j < len(bytes); j += stride {
				bytes[j] ^= 1 << (j % 8)
				// A leaf that is still a leaf is noticed by the tree, which cannot
				// say which one it was.
				if r := b.check(m); r.OK() || part == "pack" && r.Problems[0].Seq != int64(i) {
					t.Fatalf("byte %d of the %s of entry %d was changed: %+v", j, part, i, r.Problems)
				}
				bytes[j] ^= 1 << (j % 8)
			}
		}
	}
	m := b.m.copyOf()
	for j := range m.head.Frontier {
		m.head.Frontier[j] ^= 4
		if b.check(m).OK() {
			t.Errorf("byte %d of the frontier was changed", j)
		}
		m.head.Frontier[j] ^= 4
	}
	for name, change := range map[string]func(*memory){
		"epoch":             func(m *memory) { m.head.Epoch-- },
		"last change":       func(m *memory) { m.head.LastChange = 1 },
		"time":              func(m *memory) { m.head.Time++ },
		"incarnation":       func(m *memory) { m.head.Incarnation++ },
		"size down":         func(m *memory) { m.head.Size-- },
		"size up":           func(m *memory) { m.head.Size++ },
		"entry cut out":     func(m *memory) { m.entries = slices.Delete(m.entries, 3, 4) },
		"entries swapped":   func(m *memory) { m.entries[3], m.entries[4] = m.entries[4], m.entries[3] },
		"change unmarked":   func(m *memory) { m.changes = m.changes[:1] },
		"change made up":    func(m *memory) { m.changes = append(m.changes, 0) },
		"everything cut":    func(m *memory) { m.entries, m.head.Size = nil, 0 },
		"one entry cut off": func(m *memory) { m.entries = m.entries[:len(m.entries)-1] },
	} {
		m := b.m.copyOf()
		change(m)
		if b.check(m).OK() {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestVerifyNoticesChangedTiles(t *testing.T) {
	b, w := opened(t)
	for range 270 {
		b.change(false, Change{Act: "edit", By: writ.Actor{Identity: w.ana.ID}}, nil)
	}
	b.close()
	b.verify()
	for j := 0; j < tileSize; j += 97 * stride {
		m := b.m.copyOf()
		m.nodes[[2]int64{0, 0}][j] ^= 0x10
		if b.check(m).OK() {
			t.Errorf("byte %d of a tile was changed", j)
		}
	}
	m := b.m.copyOf()
	clear(m.nodes)
	if b.check(m).OK() {
		t.Error("a tile was taken away")
	}
}

// forge is a log written by somebody who knows the format but not the rules:
// consistent in itself, and wrong.
type forge struct {
	m *memory
	b *Batch
}

func (b *bench) forge() *forge {
	m := b.m.copyOf()
	return &forge{m: m, b: &Batch{head: m.copyHead()}}
}

func (f *forge) done(tb testing.TB) *memory {
	tb.Helper()
	t, err := rebuild(tb.Context(), f.m, f.m.head.Org, f.m.head.Size)
	must(tb, err)
	for i, e := range f.b.entries {
		t.append(f.b.hashes[i], nil)
		f.m.entries = append(f.m.entries, e)
	}
	f.m.changes = append(f.m.changes, f.b.changes...)
	f.b.head.Frontier = t.marshal()
	f.m.head = f.b.head
	return f.m
}

func (f *forge) allow(w *world, mod func(*writ.Decision)) {
	ask, facts := w.ask(), w.facts(f.b.Epoch())
	_, a := w.allow(f.b.Epoch())
	terms, _ := a.Spend()
	d := *terms.Decision
	if mod != nil {
		mod(&d)
	}
	p := &packer{}
	p.begin(PartCore)
	p.pack = appendVerdict(p.pack, &d, ask.Time, facts.Records)
	p.end()
	p.begin(PartDetail)
	p.pack = appendDetail(p.pack, ask, &d, shownValues(ask, nil))
	p.end()
	f.b.add(TypeAllow, p)
}

// TestInvariant06TheVerifierChecksTheLog: a log that a broken or hostile server
// wrote, with its own key, is still refused.
func TestInvariant06TheVerifierChecksTheLog(t *testing.T) {
	b, w := opened(t)
	b.close()
	revoked := *w.session
	revoked.State = writ.Ended
	end := Change{Act: "end-session", Rows: []Row{row(t, revoked.ID, &revoked, false)}}
	for name, c := range map[string]struct {
		write func(f *forge)
		want  string
	}{
		"nothing": {func(f *forge) { f.allow(w, nil) }, ""},
		"after the end of its session": {func(f *forge) {
			_, err := f.b.Change(end)
			must(t, err)
			f.allow(w, nil)
		}, "follows the end of " + string(w.session.ID)},
		"after an expiry": {func(f *forge) { f.b.head.Time = w.session.Expires; f.allow(w, nil) }, "follows the expiry"},
		"on nothing": {func(f *forge) {
			f.allow(w, func(d *writ.Decision) { d.Rests = append(d.Rests, "grt_made0up0000000000") })
		}, "never recorded"},
		"basis left out":  {func(f *forge) { f.allow(w, func(d *writ.Decision) { d.Rests = d.Rests[:1] }) }, "does not say that it rests on"},
		"from the future": {func(f *forge) { f.allow(w, func(d *writ.Decision) { d.Epoch.N += 5 }) }, "did not have yet"},
		"twice": {func(f *forge) {
			var id writ.ID
			f.allow(w, func(d *writ.Decision) { id = d.ID })
			f.allow(w, func(d *writ.Decision) { d.ID = id })
		}, "recorded twice"},
		"unused outcome": {func(f *forge) {
			f.b.add(TypeOutcomes, sealOutcomes([]writ.Outcome{{Use: "use_x", Kind: writ.Completed}}))
		}, "not allowed before"},
		"two outcomes": {func(f *forge) {
			var o writ.Outcome
			f.allow(w, func(d *writ.Decision) { o.Use = writ.UseOf(d.ID) })
			f.b.add(TypeOutcomes, sealOutcomes([]writ.Outcome{o, o}))
		}, "or had one"},
		"unknown type":      {func(f *forge) { p := &packer{}; p.part(PartCore, []byte("{}")); f.b.add("surprise", p) }, "type is not one"},
		"wrong parts":       {func(f *forge) { p := &packer{}; p.part(PartCore, []byte("{}")); f.b.add(TypeAllow, p) }, "do not say what"},
		"time backwards":    {func(f *forge) { f.b.head.Time -= 1; f.allow(w, nil) }, "older than the entry before"},
		"other incarnation": {func(f *forge) { f.b.head.Incarnation++; f.allow(w, nil) }, "incarnation"},
		"other org":         {func(f *forge) { f.b.head.Org = "org_other"; f.allow(w, nil); f.b.head.Org = w.org.ID }, "another organization"},
		"chain":             {func(f *forge) { f.b.head.LastChange = 0; _, err := f.b.Change(end); must(t, err) }, "does not follow the change before"},
		"revived": {func(f *forge) {
			_, err := f.b.Change(end)
			must(t, err)
			_, err = f.b.Change(Change{Act: "resume", Rows: []Row{row(t, w.session.ID, w.session, false)}})
			must(t, err)
		}, "revives"},
		"cut of nothing": {func(f *forge) {
			_, err := f.b.Add(Draft{Type: TypeCut, Core: (&CutReport{Change: 0}).append(nil)})
			must(t, err)
		}, "not in the log"},
		"key that is none": {func(f *forge) { _, err := f.b.Add(KeyDraft(writ.Actor{}, "x")); must(t, err) }, "is none"},
		"core erased": {func(f *forge) {
			d, err := ErasureDraft(writ.Actor{}, "", []Erased{{1, PartCore}})
			must(t, err)
			_, err = f.b.Add(d)
			must(t, err)
		}, "cannot be"},
		"facts that are not recorded": {func(f *forge) {
			ask := w.ask()
			_, a := w.allow(f.b.Epoch())
			terms, _ := a.Spend()
			records := slices.Clone(terms.Records)
			records[0].Seq = 0
			p := &packer{}
			p.begin(PartCore)
			p.pack = appendVerdict(p.pack, terms.Decision, ask.Time, records)
			p.end()
			p.begin(PartDetail)
			p.pack = appendDetail(p.pack, ask, terms.Decision, shownValues(ask, nil))
			p.end()
			f.b.add(TypeAllow, p)
		}, "does not have"},
	} {
		f := b.forge()
		c.write(f)
		r := b.check(f.done(t))
		switch {
		case c.want == "" && !r.OK():
			t.Errorf("%s: %+v", name, r.Problems)
		case c.want != "" && !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.What, c.want) }):
			t.Errorf("%s: %+v", name, r.Problems)
		}
	}
}

func TestVerifyCountsUsesAgainstTheGrant(t *testing.T) {
	b := newBench(t).open()
	w := newWorld(t, b.org)
	w.grant.Limits.Uses = 2
	b.record(w)
	b.close()
	f := b.forge()
	for range 2 {
		f.allow(w, nil)
	}
	if r := b.check(f.done(t)); !r.OK() {
		t.Errorf("%+v", r.Problems)
	}
	f = b.forge()
	for range 3 {
		f.allow(w, nil)
	}
	if r := b.check(f.done(t)); r.OK() || !strings.Contains(r.Problems[0].What, "exceeds") || r.Problems[0].Seq != 4 {
		t.Errorf("%+v", r.Problems)
	}
}

// An allow without an outcome is a crash or a hang: worth a look, not a reason
// to disbelieve the log.
func TestAnAllowWithoutOutcomeIsAFinding(t *testing.T) {
	b, w := opened(t)
	id, a := w.allow(b.Epoch())
	_, err := b.Append(t.Context(), a)
	must(t, err)
	if r := b.verify(); len(r.Findings) != 0 {
		t.Errorf("%+v", r.Findings)
	}
	b.clock.Add(defaultLate.Milliseconds())
	b.change(false, Change{Act: "edit"}, nil)
	b.close()
	if r := b.verify(); len(r.Findings) != 1 || r.Findings[0].ID != writ.UseOf(id) || r.Findings[0].Seq != 2 {
		t.Errorf("%+v", r.Findings)
	}
}

func TestVerifyHoldsTheLogToItsCheckpoints(t *testing.T) {
	b, w := opened(t)
	small, err := b.Checkpoint(t.Context())
	must(t, err)
	_, a := w.allow(b.Epoch())
	_, err = b.Append(t.Context(), a)
	must(t, err)
	b.close()
	large := b.notes()[0]
	if r := b.check(b.m, large, small); !r.OK() || r.Checkpoints != 2 {
		t.Errorf("%+v", r)
	}
	// A log that was cut back to the small checkpoint, head and all.
	m := b.m.copyOf()
	m.entries, m.head.Size = m.entries[:2], 2
	tr, err := rebuild(t.Context(), m, b.org, 2)
	must(t, err)
	m.head.Frontier = tr.marshal()
	if r := b.check(m, small); !r.OK() {
		t.Errorf("%+v", r.Problems)
	}
	if r := b.check(m, small, large); r.OK() {
		t.Error("a log that was cut off matches its newer checkpoint")
	}
	// A log that a thief of the database wrote anew.
	f := b.forge()
	f.m.entries, f.m.changes, f.m.head.Size = f.m.entries[:1], nil, 1
	f.b.head.Size, f.b.head.LastChange, f.b.head.Epoch = 1, -1, 0
	_, err = f.b.Change(Change{Act: "set-up", Rows: w.rows(t)})
	must(t, err)
	if r := b.check(f.done(t), small); r.OK() {
		t.Error("a rewritten log matches the checkpoint")
	}
	// Somebody else's signature, and none.
	skey, _, err := note.GenerateKey(rand.Reader, b.origin)
	must(t, err)
	stranger, err := note.NewSigner(skey)
	must(t, err)
	text, _, _ := strings.Cut(string(small), "\n\n")
	forged, err := note.Sign(&note.Note{Text: text + "\n"}, stranger)
	must(t, err)
	for _, n := range [][]byte{forged, []byte("x"), bytes.Replace(small, []byte("\n2\n"), []byte("\n3\n"), 1)} {
		_, err := Verify(t.Context(), VerifyConfig{Reader: b.m, Org: b.org, Keys: b.keys(), Checkpoints: [][]byte{n}})
		if writ.KindOf(err) != writ.KindCheckFailed {
			t.Errorf("Verify with %q = %v", n, err)
		}
	}
}

func TestVerifyRunsOverAnExport(t *testing.T) {
	b, _ := told(t)
	var file bytes.Buffer
	must(t, WriteExport(t.Context(), &file, b.m, b.org, b.Head().Size))
	var last [2]int64
	r, err := VerifyExport(t.Context(), bytes.NewReader(file.Bytes()), VerifyConfig{Keys: b.keys(), Checkpoints: b.notes(), Progress: func(done, total int64) { last = [2]int64{done, total} }})
	must(t, err)
	if !r.OK() || r.Checkpoints != 1 || r.Org != b.org || r.Size != b.Head().Size || last != [2]int64{r.Size, r.Size} {
		t.Errorf("%+v, progress %v", r, last)
	}
	// Cut short anywhere, it is refused, or seen to lack what the checkpoint covers.
	for n := 0; n < file.Len(); n += 13 {
		r, err := VerifyExport(t.Context(), bytes.NewReader(file.Bytes()[:n]), VerifyConfig{Keys: b.keys(), Checkpoints: b.notes()})
		if err == nil && r.OK() || err != nil && writ.KindOf(err) != writ.KindInvalid {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if err := WriteExport(t.Context(), &file, b.m, b.org, b.Head().Size+1); writ.KindOf(err) != writ.KindCheckFailed {
		t.Errorf("WriteExport beyond the end = %v", err)
	}
	if _, err := VerifyExport(t.Context(), bytes.NewReader(file.Bytes()), VerifyConfig{Org: "org_other"}); writ.KindOf(err) != writ.KindInvalid {
		t.Errorf("another organization's export = %v", err)
	}
}

// A part may be erased, by an entry that says so and not otherwise; the tree
// and all other parts still hold.
func TestErasureIsAnEntry(t *testing.T) {
	b, w := opened(t)
	erased, err := Erase(b.m.entries[1], PartPersonal)
	must(t, err)
	if bytes.Contains(erased.Pack, []byte("ana@acme.dev")) {
		t.Fatal("the personal part is still there")
	}
	m := b.m.copyOf()
	m.entries[1] = erased
	if r := b.check(m); r.OK() {
		t.Error("a part that vanished without an entry was accepted")
	}
	must(t, b.Act(t.Context(), false, func(_ context.Context, _ Tx, batch *Batch) (func(), error) {
		d, err := ErasureDraft(writ.Actor{Identity: w.ana.ID}, "asked for", []Erased{{1, PartPersonal}})
		if err != nil {
			return nil, err
		}
		_, err = batch.Add(d)
		return nil, err
	}))
	b.close()
	b.m.entries[1] = erased
	if r := b.verify(); r.Withheld != 1 {
		t.Errorf("%d parts withheld", r.Withheld)
	}
	ch, err := DecodeChange(erased)
	must(t, err)
	if !ch.Withheld || len(ch.Rows) != 6 || len(ch.Refs) != 7 {
		t.Errorf("%+v", ch)
	}
	if _, err := Erase(erased, PartCore); err == nil {
		t.Error("a core was erased")
	}
	if _, err := Erase(erased, "nothing"); writ.KindOf(err) != writ.KindNotFound {
		t.Errorf("Erase = %v", err)
	}
}

func TestDiscloseShowsOneUseAndNothingElse(t *testing.T) {
	b, w := told(t)
	var outcomes Entry
	for _, e := range b.m.entries {
		if l, _ := ParseLeaf(e.Leaf); l.Type == TypeOutcomes {
			outcomes = e
		}
	}
	all, err := DecodeOutcomes(outcomes)
	must(t, err)
	if all.Count != 2 {
		t.Fatalf("%d outcomes", all.Count)
	}
	one, err := Disclose(outcomes, func(o writ.Outcome) bool { return o.Use == all.List[1].Use }, PartCore, PartMembers)
	must(t, err)
	got, err := DecodeOutcomes(one)
	must(t, err)
	if got.Count != 2 || len(got.List) != 1 || got.List[0] != all.List[1] || got.Index[0] != 1 {
		t.Errorf("%+v", got)
	}
	if bytes.Contains(one.Pack, []byte(all.List[0].Use)) {
		t.Error("the other use is shown too")
	}
	change, err := Disclose(b.m.entries[1], nil, PartCore)
	must(t, err)
	if bytes.Contains(change.Pack, []byte(w.agent.Name)) {
		t.Error("the detail is shown too")
	}
	if _, err := DecodeChange(change); err != nil {
		t.Errorf("DecodeChange = %v", err)
	}
	m := b.m.copyOf()
	m.entries[1] = change
	r, err := Verify(t.Context(), VerifyConfig{Reader: m, Org: b.org, Partial: true})
	must(t, err)
	if !r.OK() || r.Withheld != 2 {
		t.Errorf("%+v", r)
	}
}

func TestProvenBindsRowsToTheNewestChange(t *testing.T) {
	b, w := told(t)
	rows, epoch, err := b.Proven(t.Context())
	must(t, err)
	if len(rows) != 7 || epoch.N != 2 {
		t.Fatalf("%d rows at %v", len(rows), epoch)
	}
	first := b.m.entries[1].Digest()
	agent := row(t, w.agent.ID, w.agent, false).Body
	if !rows[w.agent.ID].Matches(1, first, agent) {
		t.Error("a row is not proven")
	}
	changed := *w.agent
	changed.Owner = "idn_mallory00000000"
	grant := row(t, w.grant.ID, w.grant, false).Body // as it was before it was revoked
	for name, ok := range map[string]bool{
		"another body":  rows[w.agent.ID].Matches(1, first, row(t, changed.ID, &changed, false).Body),
		"another entry": rows[w.agent.ID].Matches(2, first, agent),
		"another leaf":  rows[w.agent.ID].Matches(1, [32]byte{}, agent),
		"an old body":   rows[w.grant.ID].Matches(1, first, grant),
		"nothing":       rows["grt_made0up0000000000"].Matches(0, [32]byte{}, nil),
	} {
		if ok {
			t.Errorf("%s is proven", name)
		}
	}
}

// TestInvariant12NoChangeCanBeHidden: whoever writes to the database cannot
// make a change disappear from the loader's view, nor put one in.
func TestInvariant12NoChangeCanBeHidden(t *testing.T) {
	b, _ := told(t)
	last := b.Head().LastChange
	for name, change := range map[string]func(*memory){
		"mark of the newest taken": func(m *memory) { m.changes = m.changes[:1] },
		"mark of the first taken":  func(m *memory) { m.changes = m.changes[1:] },
		"mark made up":             func(m *memory) { m.changes = append([]int64{0}, m.changes...) },
		"body changed":             func(m *memory) { m.entries[last].Pack[len(m.entries[last].Pack)-20] ^= 1 },
		"leaf changed":             func(m *memory) { m.entries[last].Leaf[20] ^= 1 },
		"entry removed":            func(m *memory) { m.entries = slices.Delete(m.entries, int(last), int(last)+1) },
	} {
		m := b.m.copyOf()
		change(m)
		if rows, err := Proven(t.Context(), m, b.Head()); writ.KindOf(err) != writ.KindCheckFailed {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
	// Behind full tiles, a leaf is checked through the tile above it.
	b2, w := opened(t)
	for range 300 {
		b2.change(false, Change{Act: "edit", By: writ.Actor{Identity: w.ana.ID}}, nil)
	}
	b2.close()
	rows, _, err := b2.Proven(t.Context())
	must(t, err)
	if len(rows) != 7 {
		t.Errorf("%d rows", len(rows))
	}
	m := b2.m.copyOf()
	h := tlog.RecordHash([]byte("another leaf"))
	copy(m.nodes[[2]int64{0, 0}][5*32:], h[:])
	if _, err := Proven(t.Context(), m, b2.Head()); writ.KindOf(err) != writ.KindCheckFailed {
		t.Errorf("a changed tile: %v", err)
	}
}
