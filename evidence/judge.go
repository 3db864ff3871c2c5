package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// judgement asks whether a decision follows from the rows it names, as far as
// rows can say: the rules of package decide, written down a second time from
// the design, without the guardrails, whose texts it compares and does not run.
type judgement struct {
	m        *material
	report   *Report
	d        *writ.Decision
	org      writ.ID
	settings *writ.Org
	erased   map[writ.ID]int64 // people whose rows are not shown

	sessions []*writ.Session  // own first, the outermost last
	path     []*writ.Identity // nil where somebody's row is not shown
	parents  []*writ.Identity
	app      *writ.Application
	cred     *writ.Credential
	version  *writ.Version
	grants   []*writ.Grant // own first, the root last
	policies int
	names    map[writ.ID]string
}

// judge makes the report, or says what does not fit.
func (m *material) judge(c *ledger.Checkpoint, signers []string, entries int) (*Report, error) {
	d := &m.verdict.Decision
	r := &Report{
		Use: writ.UseOf(d.ID), Decision: d.ID, Org: m.allow.leaf.Org, Time: m.allow.leaf.Time,
		Identity: d.Identity, Session: d.Session, Application: d.Application, Credential: d.Credential, Version: d.Version, Grant: d.Grant,
		Path: d.Path, Basis: d.Basis, Outcome: m.outcome, Signers: signers, Checkpoint: checkpointOf(c), Notice: Notice,
	}
	j := &judgement{m: m, report: r, d: d, org: m.allow.leaf.Org, erased: map[writ.ID]int64{}, names: map[writ.ID]string{}}
	if len(signers) > 0 {
		r.proven("The checkpoint over the first " + plural(int(c.Size), "entry", "entries") + " of the log " + r.Checkpoint.Origin + " is signed by " + strings.Join(signers, " and ") + ", which you gave.")
	} else {
		r.Signers = []string{}
		r.unproven("Who signed the checkpoint: no key was given.")
	}
	r.proven("All "+plural(entries, "entry", "entries")+" shown lie in the log that the checkpoint covers, unchanged and at these places.", m.all()...)
	for _, check := range []func() error{j.organization, j.session, j.people, j.accountable, j.credential, j.governed, j.grant, j.covered, j.guardrails, j.basis, j.ended} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	j.limits()
	return r, nil
}

// wrong says that the decision contradicts a record.
func (j *judgement) wrong(id writ.ID, message string) error {
	field, why := j.m.allow.field, "entry "+number(j.m.allow.leaf.Seq)+" has the decision"
	if c := j.m.changes[j.m.records[id]]; c != nil && j.m.records[id] != 0 {
		field, why = c.field, why+" and entry "+number(c.leaf.Seq)+" the record"
	}
	return failed(field, message, why)
}

// live asks whether something was in force when the use was decided and still
// when it was recorded.
func (j *judgement) live(id writ.ID, state writ.State, expires writ.Time) error {
	switch {
	case state != writ.Active:
		return j.wrong(id, string(id)+" was "+show(string(state))+" when it was used")
	case expires.Passed(j.d.Time) || expires.Passed(j.m.allow.leaf.Time):
		return j.wrong(id, string(id)+" had expired when it was used")
	}
	return nil
}

// own reads a row of the organization under its own id.
func own[T any](j *judgement, id writ.ID, of func(*T) (id, org writ.ID)) (*T, error) {
	n, seq, err := recorded[T](j.m, id)
	if err != nil {
		return nil, err
	}
	if i, o := of(n); i != id || o != j.org {
		return nil, failed(j.m.changes[seq].field, "the row of "+string(id)+" is another's", "its id or organization differs")
	}
	return n, nil
}

// seqs are the entries of the records of ids.
func (j *judgement) seqs(ids ...writ.ID) []int64 {
	var s []int64
	for _, id := range ids {
		if seq, ok := j.m.records[id]; ok {
			s = append(s, seq)
		}
	}
	return s
}

func (j *judgement) name(id writ.ID) string {
	if n := j.names[id]; n != "" {
		return n
	}
	return string(id)
}

func (j *judgement) organization() error {
	o, err := own(j, j.org, func(o *writ.Org) (writ.ID, writ.ID) { return o.ID, o.ID })
	if err != nil {
		return err
	}
	j.settings = o
	return j.live(o.ID, o.State, 0)
}

// maxChain bounds chains of sessions, agents and grants, as deciding does.
const maxChain = 32

// session follows the session to the one that a principal started.
func (j *judgement) session() error {
	for id := j.d.Session; id != ""; {
		if len(j.sessions) > maxChain {
			return j.wrong(id, "the chain of sessions has no end")
		}
		s, err := own(j, id, func(s *writ.Session) (writ.ID, writ.ID) { return s.ID, s.Org })
		if err != nil {
			return err
		}
		if err := j.live(id, s.State, s.Expires); err != nil {
			return err
		}
		j.sessions = append(j.sessions, s)
		id = s.Parent
	}
	if len(j.sessions) == 0 || j.sessions[0].Identity != j.d.Identity {
		return j.wrong(j.d.Session, "the session is another identity's than the use")
	}
	return nil
}

// people follows the delegation path from the principal to the actor, and the
// agents that a sub-agent belongs to.
func (j *judgement) people() error {
	var path []writ.ID
	for _, s := range slices.Backward(j.sessions) {
		path = append(path, s.Started, s.Identity)
	}
	n := len(j.d.Path)
	if n > 4*maxChain || !slices.Equal(firsts(path), firsts(j.d.Path)) || j.d.Path[0] != path[0] || j.d.Path[n-1] != j.d.Identity {
		return j.wrong(j.d.Session, "the delegation path is not the one that the sessions make")
	}
	for _, id := range j.d.Path {
		i, err := j.actor(id)
		if err != nil {
			return err
		}
		for _, s := range j.sessions {
			if i != nil && (s.Identity == id || s.Started == id) && s.Created < i.Cutoff {
				return j.wrong(id, "the session "+string(s.ID)+" began before access was withdrawn from "+string(id))
			}
		}
		j.path = append(j.path, i)
	}
	for at := j.path[len(j.path)-1]; at != nil && at.Parent != ""; {
		i, err := j.actor(at.Parent)
		switch {
		case err != nil:
			return err
		case i == nil || len(j.parents) > maxChain:
			return j.wrong(at.ID, "the agents that "+string(at.ID)+" belongs to are not shown")
		case j.sessions[0].Created < i.Cutoff:
			return j.wrong(i.ID, "the session began before access was withdrawn from "+string(i.ID))
		}
		j.parents = append(j.parents, i)
		at = i
	}
	return nil
}

// firsts drops whoever came before: a principal stands at the head of each
// session of a chain.
func firsts(ids []writ.ID) (list []writ.ID) {
	for _, id := range ids {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

// actor reads somebody who must have been able to act.
func (j *judgement) actor(id writ.ID) (*writ.Identity, error) {
	i, _, err := j.identity(id)
	if err != nil || i == nil {
		return nil, err
	}
	j.names[id] = show(i.Label())
	return i, j.live(id, i.State, i.Expires)
}

// accountable asks who answers for the actor (invariant 7).
func (j *judgement) accountable() error {
	actor := j.path[len(j.path)-1]
	names := make([]string, len(j.d.Path))
	for i, id := range j.d.Path {
		names[i] = j.name(id)
	}
	s := j.sessions[0]
	text := j.name(j.d.Identity) + " acted in session " + string(s.ID) + ", which " + j.name(s.Started) + " started on " + s.Created.String() + " with isolation " + show(s.Isolation)
	if s.Task != "" {
		text += ", for the task: " + show(s.Task)
	}
	if len(names) > 1 {
		text += "; delegated along " + strings.Join(names, " → ")
	}
	ids := slices.Clone(j.d.Path)
	for _, s := range j.sessions {
		ids = append(ids, s.ID)
	}
	for _, p := range j.parents {
		ids = append(ids, p.ID)
	}
	j.report.proven(text+". Whoever of them is shown could act then.", j.seqs(ids...)...)
	if actor == nil || actor.Kind == writ.Person {
		return nil // a person answers for herself
	}
	return j.answers(j.name(actor.ID), actor.ID, actor.Owner, actor.Backup)
}

// answers asks for a living person among owner and backup.
func (j *judgement) answers(what string, id, owner, backup writ.ID) error {
	hidden := false
	for _, p := range []writ.ID{owner, backup} {
		if _, known := j.m.records[p]; !known {
			continue
		}
		i, seq, err := j.identity(p)
		switch {
		case err != nil:
			return err
		case i == nil:
			hidden = true
		case i.Kind == writ.Person && j.live(p, i.State, i.Expires) == nil:
			j.names[p] = show(i.Label())
			j.report.proven(j.name(p)+" answers for "+what+" and was active.", append(j.seqs(id), seq)...)
			return nil
		}
	}
	if hidden {
		return nil // erase has said so
	}
	return j.wrong(id, "nobody living was accountable for "+what)
}

// basis asks whose authority it was, and what it rests on.
func (j *judgement) basis() error {
	principal, actor := j.path[0], j.path[len(j.path)-1]
	want := writ.BasisDirect
	switch {
	// Only people's rows can be missing.
	case (principal == nil || principal.Kind == writ.Person) && j.d.Path[0] != j.d.Identity:
		want = writ.BasisDelegatedHuman
	case actor != nil && actor.Kind == writ.Service && len(j.path) == 1:
		want = writ.BasisServiceAccount
	}
	if j.d.Basis != want {
		return j.wrong(j.d.Session, "the use claims the authority "+show(string(j.d.Basis))+", and the records make it "+string(want))
	}
	rests := slices.Clone(j.d.Path)
	for _, s := range j.sessions {
		rests = append(rests, s.ID)
	}
	for _, p := range j.parents {
		rests = append(rests, p.ID)
	}
	for _, g := range j.grants {
		rests = append(rests, g.ID)
	}
	rests = append(rests, j.cred.ID, j.version.ID, j.app.ID)
	for _, id := range rests {
		if !slices.Contains(j.d.Rests, id) {
			return j.wrong(id, "the use does not say that it rests on "+string(id))
		}
	}
	for _, id := range j.d.Rests {
		if !slices.Contains(rests, id) {
			return j.wrong(id, "the use says that it rests on "+show(string(id))+", and the records do not")
		}
	}
	j.report.proven("The use was made on the authority "+string(want)+", and says of everything above that it rests on it.", j.m.allow.leaf.Seq)
	return nil
}

// guardrails asks whether the policies shown are exactly those that the
// decision was made under (docs/formats/policy.md).
func (j *judgement) guardrails() error {
	var list []*writ.Policy
	var ids []writ.ID
	for id := range j.m.records {
		if !id.Is(writ.KindPolicy) {
			continue
		}
		p, err := own(j, id, func(p *writ.Policy) (writ.ID, writ.ID) { return p.ID, p.Org })
		if err != nil {
			return err
		}
		if p.State != writ.Suspended && !p.State.Final() {
			list, ids = append(list, p), append(ids, id)
		}
	}
	slices.SortFunc(list, func(a, b *writ.Policy) int { return cmp.Compare(a.ID, b.ID) })
	if v := guardrailVersion(list); v != j.d.Policy {
		return failed(j.m.allow.field, "the guardrails shown are not those that the decision was made under", "their version is "+v+", the decision's "+show(j.d.Policy))
	}
	for _, id := range j.d.Guardrails {
		if i := slices.IndexFunc(list, func(p *writ.Policy) bool { return p.ID == id }); i < 0 || !list[i].Observe {
			return j.wrong(id, "the guardrail "+show(string(id))+" spoke against the use, and is not one in observe mode")
		}
	}
	j.policies = len(list)
	text := "No guardrail was in force"
	if len(list) > 0 {
		text = "The guardrails in force were exactly the " + plural(len(list), "policy", "policies") + " shown"
	}
	j.report.proven(text+": version "+j.d.Policy+".", append(j.seqs(ids...), j.m.allow.leaf.Seq)...)
	return nil
}

// guardrailVersion is SHA-256, hex, over the policies in force, sorted by id.
func guardrailVersion(sorted []*writ.Policy) string {
	b := []byte("writ-guardrails-v1\x00")
	for _, p := range sorted {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p.ID))), p.ID...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Version))
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p.Text))), p.Text...)
		if p.Observe {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ended tells the outcome.
func (j *judgement) ended() error {
	o := j.m.outcome
	if o == nil {
		return nil
	}
	if !slices.Contains([]writ.OutcomeKind{writ.Completed, writ.Failed, writ.Cut, writ.Abandoned, writ.Suppressed}, o.Kind) {
		return failed(j.m.outcomes.field+".member", "the outcome is of a kind that this program does not know", show(string(o.Kind)))
	}
	text := "Its outcome: " + string(o.Kind)
	if o.Status != 0 {
		text += " with status " + number(int64(o.Status))
	}
	text += " after " + number(o.Millis) + " ms, " + number(o.Sent) + " bytes of body sent and " + number(o.Received) + " received"
	if o.Masked > 0 {
		text += ", the secret masked in " + plural(o.Masked, "place", "places")
	}
	if o.Error != "" {
		text += ": " + show(o.Error)
	}
	j.report.proven(text+". It was recorded after the use was allowed.", j.m.allow.leaf.Seq, j.m.outcomes.leaf.Seq)
	return nil
}
