package ledger

import (
	"errors"
	"net/netip"

	"writ.dev/writ"
	"writ.dev/writ/decide"
)

// The decoders check that an entry's parts are those its leaf commits to, and
// read them strictly: whatever they accept, the writer would have spelled with
// the same bytes. They do not check that the entry is in a log; proofs do.

var (
	errParts = errors.New("ledger: the parts are not those that the leaf commits to")
	errType  = errors.New("ledger: an entry of another type")
)

// open takes an entry apart and checks its parts against its leaf.
func (e Entry) open() (Leaf, []heldPart, error) {
	leaf, err := ParseLeaf(e.Leaf)
	if err != nil {
		return leaf, nil, err
	}
	parts, err := e.parts(&leaf)
	return leaf, parts, err
}

func (e Entry) parts(leaf *Leaf) ([]heldPart, error) {
	parts, err := parsePack(e.Pack)
	if err != nil {
		return nil, err
	}
	if leaf.Seq != e.Seq || len(parts) != len(leaf.Parts) {
		return nil, errParts
	}
	for i, p := range leaf.Parts {
		if parts[i].name != p.Name || parts[i].hash != p.Hash {
			return nil, errParts
		}
	}
	return parts, nil
}

// decoded opens an entry of one type and reads it.
func decoded[T any](e Entry, typ string, read func(Leaf, []heldPart) (T, error)) (none T, err error) {
	leaf, parts, err := e.open()
	if err != nil {
		return none, err
	}
	if leaf.Type != typ {
		return none, errType
	}
	return read(leaf, parts)
}

// named reports whether the parts are exactly those, and the core is there.
func named(parts []heldPart, names ...string) error {
	if len(parts) != len(names) {
		return errParts
	}
	for i, n := range names {
		if parts[i].name != n {
			return errParts
		}
	}
	if parts[0].held == heldWithheld {
		return ErrWithheld
	}
	return nil
}

// ErrWithheld says that the part a decoder needs is erased, or not shown.
var ErrWithheld = errors.New("ledger: the part is erased or not shown")

// Verdict is an allow or a single denial, read back.
type Verdict struct {
	Leaf
	Decision writ.Decision
	Records  []decide.Record // the facts it was decided on
	// Ask is what was asked; nil when the detail is withheld. Its target has the
	// path and the parameters but no segments: Replay makes those.
	Ask *writ.Ask
	// Hidden are the indexes of parameters whose values are not recorded.
	Hidden []int
}

// DecodeAllow reads an allow entry.
func DecodeAllow(e Entry) (*Verdict, error) { return decoded(e, TypeAllow, readAllow) }

func readAllow(leaf Leaf, parts []heldPart) (*Verdict, error) {
	return decodeVerdict(leaf, parts, true)
}

// Repeats is the summary of a denial that came again.
type Repeats struct {
	Leaf
	Decision writ.ID // of the first; "" when too many different ones were counted together
	Session  writ.ID
	Reason   writ.Reason
	Count    int64 // beside the first
	First    writ.Time
	Last     writ.Time
}

// Denied is what a denials entry says: one denial, or repeats of one.
type Denied struct {
	Verdict *Verdict
	Repeats *Repeats
}

// DecodeDenials reads a denials entry.
func DecodeDenials(e Entry) (*Denied, error) { return decoded(e, TypeDenials, readDenied) }

func readDenied(leaf Leaf, parts []heldPart) (*Denied, error) {
	if len(parts) == 2 {
		v, err := decodeVerdict(leaf, parts, false)
		return &Denied{Verdict: v}, err
	}
	if err := named(parts, PartCore); err != nil {
		return nil, err
	}
	r, err := readRepeats(parts[0].content)
	if err != nil {
		return nil, err
	}
	r.Leaf = leaf
	return &Denied{Repeats: r}, nil
}

func decodeVerdict(leaf Leaf, parts []heldPart, allow bool) (*Verdict, error) {
	if err := named(parts, PartCore, PartDetail); err != nil {
		return nil, err
	}
	v, err := readVerdict(parts[0].content, allow)
	if err != nil {
		return nil, err
	}
	v.Leaf = leaf
	if parts[1].held == heldWithheld {
		return v, nil
	}
	if err := v.readDetail(parts[1].content); err != nil {
		return nil, err
	}
	v.Ask.Org = leaf.Org
	return v, nil
}

func readVerdict(b []byte, allow bool) (*Verdict, error) {
	v := &Verdict{}
	d, c := &v.Decision, &cursor{b: b}
	d.Allow = allow
	c.lit(`{"application":`)
	d.Application = c.id()
	c.lit(`,"basis":`)
	d.Basis = writ.AuthorityBasis(c.str())
	c.lit(`,"credential":`)
	d.Credential = c.id()
	c.lit(`,"decision":`)
	d.ID = c.id()
	c.lit(`,"epoch":{"incarnation":`)
	d.Epoch.Incarnation = c.int()
	c.lit(`,"n":`)
	d.Epoch.N = c.int()
	c.lit(`},"grant":`)
	d.Grant = c.id()
	c.lit(`,"guardrails":`)
	d.Guardrails = strs[writ.ID](c)
	c.lit(`,"identity":`)
	d.Identity = c.id()
	c.lit(`,"path":`)
	d.Path = strs[writ.ID](c)
	c.lit(`,"policy":`)
	d.Policy = c.str()
	if !allow {
		c.lit(`,"reasons":`)
		d.Reasons = strs[writ.Reason](c)
	}
	c.lit(`,"records":`)
	v.Records = make([]decide.Record, 0, 12)
	c.list(func() {
		var r decide.Record
		c.lit("[")
		r.ID = c.id()
		c.lit(",")
		r.Seq = c.int()
		c.lit("]")
		v.Records = append(v.Records, r)
	})
	c.lit(`,"rests":`)
	d.Rests = strs[writ.ID](c)
	c.lit(`,"rule":`)
	d.Rule = int(c.int())
	c.lit(`,"session":`)
	d.Session = c.id()
	c.lit(`,"time":`)
	d.Time = writ.Time(c.int())
	c.lit(`,"version":`)
	d.Version = c.id()
	c.lit("}")
	return v, c.done()
}

// clipped reads a text that the writer bounds.
func (c *cursor) clipped() string {
	s := c.str()
	if len(s) > maxRecordedText {
		c.fail()
	}
	return s
}

// some is clipped for optional members, which are left out when they are empty.
func (c *cursor) some() string {
	s := c.clipped()
	if s == "" {
		c.fail()
	}
	return s
}

func (v *Verdict) readDetail(b []byte) error {
	d := &v.Decision
	a := &writ.Ask{ID: d.ID, Session: d.Session, Time: d.Time}
	v.Ask, v.Hidden = a, nil
	c := &cursor{b: b}
	c.lit("{")
	a.Info.Mode = writ.BodyNone
	if c.opt("body") {
		c.body(a)
	}
	if c.opt("hint") {
		a.Hint = c.some()
	}
	c.need("host")
	a.Host = c.clipped()
	c.need("method")
	a.Method = c.clipped()
	if c.opt("missing") {
		if d.Missing = strs[string](c); d.Missing == nil {
			c.fail()
		}
	}
	c.need("path")
	if a.Target.Raw = c.str(); pathOf(a.Target.Raw) != a.Target.Raw {
		c.fail()
	}
	if c.opt("query") {
		v.query(c)
	}
	if c.opt("refused") {
		a.Refused = writ.Reason(c.some())
	}
	if c.opt("refused_text") {
		a.RefusedText = c.some()
	}
	if c.opt("runtime") {
		c.runtime(&a.Runtime)
	}
	if c.opt("scheme") {
		a.Scheme = c.some()
	}
	if c.opt("source") {
		s := c.str()
		if addr, err := netip.ParseAddr(s); err != nil || addr.String() != s {
			c.fail()
		} else {
			a.Source = addr
		}
	}
	if c.opt("text") {
		d.Detail = c.some()
	}
	c.lit("}")
	return c.done()
}

// need is opt for a member that is always there.
func (c *cursor) need(name string) {
	if !c.opt(name) {
		c.fail()
	}
}

func (v *Verdict) query(c *cursor) {
	q := &v.Ask.Target.Query
	c.list(func() {
		var p writ.Param
		c.lit("[")
		p.Name = c.str()
		c.lit(",")
		if c.try("null") {
			v.Hidden = append(v.Hidden, len(*q))
		} else {
			p.Value = c.clipped()
		}
		c.lit("]")
		*q = append(*q, p)
	})
	if len(*q) == 0 {
		c.fail()
	}
}

func (c *cursor) body(a *writ.Ask) {
	c.lit("{")
	if c.opt("length") {
		a.Info.Length = c.someInt()
	}
	c.need("mode")
	if a.Info.Mode = writ.BodyMode(c.str()); a.Info.Mode == "" || a.Info.Mode == writ.BodyNone {
		c.fail()
	}
	if c.opt("sha256") {
		if a.Info.SHA256 = c.hash(); a.Info.SHA256 == ([32]byte{}) {
			c.fail()
		}
	}
	if c.opt("unreadable") {
		a.Info.Unreadable = c.some()
	}
	if c.opt("values") {
		a.Info.Values = writ.Values{}
		c.members(0, func(name string, raw []byte) {
			s := cursor{b: raw}
			a.Info.Values[name] = s.scalar()
			if s.done() != nil {
				c.fail()
			}
		})
		a.Body = a.Info.Values
	}
	c.lit("}")
}

// scalar reads a value that rules looked at. null is one that was too long to
// be recorded: a Scalar without a kind, which equals nothing.
func (c *cursor) scalar() writ.Scalar {
	switch b := c.peek(); {
	case b == '"':
		return writ.String(c.clipped())
	case c.try("null"):
		return writ.Scalar{}
	case c.try("true"):
		return writ.Bool(true)
	case c.try("false"):
		return writ.Bool(false)
	case c.try(`{"decimal":`):
		text := c.clipped()
		c.lit("}")
		if isSmallInteger(text) {
			c.fail()
		}
		return writ.Number(text)
	}
	start := c.i
	c.int()
	return writ.Number(string(c.b[start:c.i]))
}

func (c *cursor) runtime(r *writ.Runtime) {
	c.lit("{")
	if c.opt("directory") {
		r.Directory = c.some()
	}
	if c.opt("executable") {
		r.Executable = c.some()
	}
	if c.opt("git_commit") {
		r.GitCommit = c.some()
	}
	if c.opt("git_dirty") {
		c.lit("true")
		r.GitDirty = true
	}
	if c.opt("git_remote") {
		r.GitRemote = c.some()
	}
	if c.opt("isolation") {
		r.Isolation = c.some()
	}
	if c.opt("pid") {
		r.PID = int(c.someInt())
	}
	if c.opt("program") {
		r.Program = c.some()
	}
	c.lit("}")
	if *r == (writ.Runtime{}) {
		c.fail()
	}
}

// Replay is the Ask as it was, for deciding it again: the path parsed as an
// application with the given profile reads it. A request that was refused for
// its form stays unparsed.
func (v *Verdict) Replay(p writ.Profile) (*writ.Ask, error) {
	if v.Ask == nil {
		return nil, ErrWithheld
	}
	a := *v.Ask
	if a.Refused != "" {
		return &a, nil
	}
	t, err := writ.ParseTarget(a.Target.Raw, p)
	if err != nil {
		return nil, err
	}
	a.Target.Segments = t.Segments
	return &a, nil
}

func readRepeats(b []byte) (*Repeats, error) {
	r, c := &Repeats{}, &cursor{b: b}
	c.lit(`{"count":`)
	r.Count = c.int()
	c.lit(`,"decision":`)
	r.Decision = c.id()
	c.lit(`,"first":`)
	r.First = writ.Time(c.int())
	c.lit(`,"last":`)
	r.Last = writ.Time(c.int())
	c.lit(`,"reason":`)
	r.Reason = writ.Reason(c.str())
	c.lit(`,"session":`)
	r.Session = c.id()
	c.lit("}")
	return r, c.done()
}

// Changed is a change entry, read back.
type Changed struct {
	Leaf
	Change
	Epoch    int64     // after it
	Prev     int64     // seq of the change before, -1 for the first
	Refs     []writ.ID // every row it wrote, withheld ones too
	Inactive []writ.ID // those among Refs that it left other than active
	Withheld bool      // Rows lacks what is erased or not shown
}

// DecodeChange reads a change entry. Row bodies are parts of the entry's pack,
// not copies.
func DecodeChange(e Entry) (*Changed, error) { return decoded(e, TypeChange, readChanged) }

func readChanged(leaf Leaf, parts []heldPart) (*Changed, error) {
	names := []string{PartCore, PartDetail, PartPersonal}
	if err := named(parts, names[:max(2, min(3, len(parts)))]...); err != nil {
		return nil, err
	}
	ch, err := readChangeCore(parts[0].content)
	if err != nil {
		return nil, err
	}
	ch.Leaf = leaf
	for _, p := range parts[1:] {
		if p.held == heldWithheld {
			ch.Withheld = true
			continue
		}
		if err := ch.readRows(p.content, p.name == PartPersonal); err != nil {
			return nil, err
		}
	}
	return ch, ch.checkRows()
}

func readChangeCore(b []byte) (*Changed, error) {
	ch, c := &Changed{}, &cursor{b: b}
	c.lit(`{"act":`)
	ch.Act = c.str()
	c.lit(`,"by":{"identity":`)
	ch.By.Identity = c.id()
	c.lit(`,"via":`)
	ch.By.Via = c.id()
	c.lit(`},"epoch":`)
	ch.Epoch = c.int()
	c.lit(`,"inactive":`)
	ch.Inactive = strs[writ.ID](c)
	c.lit(`,"prev":`)
	ch.Prev = c.int()
	c.lit(`,"refs":`)
	ch.Refs = strs[writ.ID](c)
	c.lit("}")
	return ch, c.done()
}

func (ch *Changed) readRows(b []byte, personal bool) error {
	c := &cursor{b: b}
	c.lit("{")
	if !personal && c.opt("cause") {
		ch.Cause = c.some()
	}
	c.need("rows")
	found := 0
	c.list(func() {
		r := Row{Personal: personal}
		c.lit(`{"body":`)
		r.Body = c.value()
		c.lit(`,"id":`)
		r.ID = c.id()
		c.lit("}")
		ch.Rows = append(ch.Rows, r)
		found++
	})
	c.lit("}")
	if personal && found == 0 {
		c.fail()
	}
	return c.done()
}

// checkRows compares what the core says of the rows with the rows.
func (ch *Changed) checkRows() error {
	refs := make(map[writ.ID]bool, len(ch.Refs)) // whether it is inactive
	for _, id := range ch.Refs {
		if _, twice := refs[id]; twice || id == "" {
			return errParts
		}
		refs[id] = false
	}
	for _, id := range ch.Inactive {
		if inactive, ok := refs[id]; !ok || inactive {
			return errParts
		}
		refs[id] = true
	}
	if len(ch.Rows) > len(refs) || !ch.Withheld && len(ch.Rows) != len(refs) {
		return errParts
	}
	seen := make(map[writ.ID]bool, len(ch.Rows))
	for _, r := range ch.Rows {
		facts, err := readRow(r.Body)
		inactive, ok := refs[r.ID]
		if err != nil || !ok || seen[r.ID] || facts.ID != r.ID || inactive == facts.active() || facts.Org != "" && facts.Org != ch.Org {
			return errParts
		}
		seen[r.ID] = true
	}
	return nil
}

// Outcomes is an outcomes entry, read back.
type Outcomes struct {
	Leaf
	Count int
	// List has the members that are shown, Index where each stands among all.
	List  []writ.Outcome
	Index []int
}

// DecodeOutcomes reads an outcomes entry.
func DecodeOutcomes(e Entry) (*Outcomes, error) { return decoded(e, TypeOutcomes, readOutcomes) }

func readOutcomes(leaf Leaf, parts []heldPart) (*Outcomes, error) {
	if err := named(parts, PartCore, PartMembers); err != nil && !errors.Is(err, ErrWithheld) {
		return nil, err
	}
	o := &Outcomes{Leaf: leaf, Count: len(parts[1].members)}
	if parts[0].held == heldOpen {
		c := cursor{b: parts[0].content}
		c.lit(`{"count":`)
		n := c.int()
		c.lit("}")
		if err := c.done(); err != nil {
			return nil, err
		}
		if parts[1].held == heldMembers && n != int64(o.Count) {
			return nil, errParts
		}
		o.Count = int(n)
	}
	for i, m := range parts[1].members {
		if m.withheld {
			continue
		}
		out, err := readOutcome(m.content)
		if err != nil {
			return nil, err
		}
		o.List, o.Index = append(o.List, out), append(o.Index, i)
	}
	return o, nil
}

func readOutcome(b []byte) (writ.Outcome, error) {
	var o writ.Outcome
	c := &cursor{b: b}
	c.lit("{")
	if c.opt("error") {
		o.Error = c.some()
	}
	c.need("kind")
	o.Kind = writ.OutcomeKind(c.str())
	if c.opt("masked") {
		o.Masked = int(c.someInt())
	}
	c.need("millis")
	o.Millis = c.int()
	if c.opt("received") {
		o.Received = c.someInt()
	}
	if c.opt("sent") {
		o.Sent = c.someInt()
	}
	if c.opt("status") {
		o.Status = int(c.someInt())
	}
	c.need("use")
	o.Use = c.id()
	c.lit("}")
	return o, c.done()
}
