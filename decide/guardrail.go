package decide

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"writ.dev/writ"
)

// Guardrails are an organization's policies, compiled and indexed by the
// principal that they are about. They can only take away (invariant 4). A
// Guardrails is never changed and safe for concurrent use; nil is a set that
// nobody could compile, and forbids everything.
type Guardrails struct {
	version  string
	enforced scopeIndex
	observed scopeIndex
	compiled map[compileKey]*cedar.Policy
}

type compileKey struct{ id, text string }

// CompileGuardrails compiles the policies that are in force. One that cannot
// be compiled, or is no forbid, fails the whole: leaving it out would allow
// what it forbids.
func CompileGuardrails(policies []*writ.Policy) (*Guardrails, error) {
	return (*Guardrails)(nil).With(policies)
}

// With compiles the policies as CompileGuardrails does and takes from g those
// that have not changed.
func (g *Guardrails) With(policies []*writ.Policy) (*Guardrails, error) {
	inForce := slices.DeleteFunc(slices.Clone(policies), func(p *writ.Policy) bool {
		// A state that nobody knows keeps its policy in force.
		return p.State.Final() || p.State == writ.Suspended
	})
	slices.SortFunc(inForce, func(a, b *writ.Policy) int { return strings.Compare(string(a.ID), string(b.ID)) })
	next := &Guardrails{version: version(inForce), compiled: make(map[compileKey]*cedar.Policy, len(inForce))}
	for _, p := range inForce {
		key := compileKey{string(p.ID), p.Text}
		var compiled *cedar.Policy
		if g != nil {
			compiled = g.compiled[key]
		}
		if compiled == nil {
			list, err := cedar.NewPolicyListFromBytes(string(p.ID), []byte(p.Text))
			if err != nil || len(list) != 1 || list[0].Effect() != cedar.Forbid {
				return nil, writ.Invalid("text", "the policy "+string(p.ID)+" is not one Cedar forbid", "edit or revoke it: writ policy edit "+string(p.ID)).WithCause(err)
			}
			compiled = list[0]
		}
		next.compiled[key] = compiled
		if p.Observe {
			next.observed.add(p.ID, compiled)
		} else {
			next.enforced.add(p.ID, compiled)
		}
	}
	return next, nil
}

// version is SHA-256, hex, over the policies in force, sorted by id, each part
// behind its length.
func version(sorted []*writ.Policy) string {
	b := []byte("writ-guardrails-v1\x00")
	for _, p := range sorted {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.ID)))
		b = append(b, p.ID...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Version))
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.Text)))
		b = append(b, p.Text...)
		if p.Observe {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Version names exactly this set of policies: SHA-256, hex. It is "" for nil.
func (g *Guardrails) Version() string {
	if g == nil {
		return ""
	}
	return g.version
}

// verdict is what the guardrails say. Without reasons they leave the use
// alone; policies then are those in observe mode that would have forbidden it,
// or could not be evaluated.
type verdict struct {
	reasons  []writ.Reason
	policies []writ.ID
	text     string
}

// judge evaluates what could concern the principal. Cedar skips a policy that
// meets an error, and a skipped forbid would allow: any error denies (T20).
func (g *Guardrails) judge(ask *writ.Ask, f *Facts, c *Candidate, b writ.AuthorityBasis) verdict {
	if g == nil {
		return verdict{reasons: []writ.Reason{writ.PolicyUnevaluable}, text: "the organization's guardrails could not be compiled"}
	}
	if g.enforced.empty() && g.observed.empty() {
		return verdict{}
	}
	e := newEntities(ask, f, c, b)
	forbids, errs := g.enforced.evaluate(e)
	switch {
	case len(forbids) > 0 && len(errs) > 0:
		return verdict{[]writ.Reason{writ.GuardrailForbid, writ.PolicyUnevaluable}, append(forbids, errs...), "the guardrail " + list(forbids) + " forbids it"}
	case len(forbids) > 0:
		return verdict{[]writ.Reason{writ.GuardrailForbid}, forbids, "the guardrail " + list(forbids) + " forbids it"}
	case len(errs) > 0:
		return verdict{[]writ.Reason{writ.PolicyUnevaluable}, errs, "the guardrail " + list(errs) + " met an error, and what cannot be evaluated is not allowed"}
	}
	forbids, errs = g.observed.evaluate(e)
	v := verdict{policies: append(forbids, errs...)}
	if len(forbids) > 0 {
		v.text = "; the guardrail " + list(forbids) + ", in observe mode, would forbid it"
	}
	if len(errs) > 0 {
		v.text += "; the guardrail " + list(errs) + ", in observe mode, met an error"
	}
	return v
}

// list names at most three policies.
func list(ids []writ.ID) string {
	var b strings.Builder
	for i, id := range ids {
		switch {
		case i == 3:
			b.WriteString(" and others")
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(id))
	}
	return b.String()
}

// scopeIndex finds the policies whose head could match a principal, so that
// ten thousand policies about others cost nothing. A policy whose head does
// not constrain the principal is always among them. That the slice gives the
// same answer as all policies together is a property test.
type scopeIndex struct {
	always   []scoped
	byType   map[types.EntityType][]scoped
	byEntity map[types.EntityUID][]scoped
}

type scoped struct {
	id     cedar.PolicyID
	policy *cedar.Policy
	reads  attributes // of the context
}

func (x *scopeIndex) empty() bool {
	return len(x.always) == 0 && len(x.byType) == 0 && len(x.byEntity) == 0
}

func (x *scopeIndex) add(id writ.ID, p *cedar.Policy) {
	s := scoped{cedar.PolicyID(id), p, contextRead(p)}
	entity, kind := principalScope(p)
	switch {
	case entity != types.EntityUID{}:
		if x.byEntity == nil {
			x.byEntity = map[types.EntityUID][]scoped{}
		}
		x.byEntity[entity] = append(x.byEntity[entity], s)
	case kind != "":
		if x.byType == nil {
			x.byType = map[types.EntityType][]scoped{}
		}
		x.byType[kind] = append(x.byType[kind], s)
	default:
		x.always = append(x.always, s)
	}
}

// slice is the part of an index that concerns one principal; it is a
// cedar.PolicyIterator.
type slice [][]scoped

// of gives the slice for a principal, named with all that it is in, and what
// of the context its policies read. A policy stands in exactly one bucket and
// the entities of a principal are distinct, so it is in the slice once.
func (x *scopeIndex) of(lineage []types.EntityUID) (s slice, reads attributes) {
	s = make(slice, 0, 2+len(lineage))
	s = append(s, x.always, x.byType[lineage[0].Type])
	for _, e := range lineage {
		s = append(s, x.byEntity[e])
	}
	for _, bucket := range s {
		for _, p := range bucket {
			reads |= p.reads
		}
	}
	return s, reads
}

// All implements cedar.PolicyIterator.
func (s slice) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, bucket := range s {
			for _, p := range bucket {
				if !yield(p.id, p.policy) {
					return
				}
			}
		}
	}
}

// evaluate gives the policies that forbid and those that met an error, sorted.
func (x *scopeIndex) evaluate(e *entities) (forbids, errs []writ.ID) {
	if x.empty() {
		return nil, nil
	}
	s, reads := x.of(e.lineage)
	_, diagnostic := cedar.Authorize(s, e, e.request(reads))
	for _, reason := range diagnostic.Reasons {
		forbids = append(forbids, writ.ID(reason.PolicyID))
	}
	for _, err := range diagnostic.Errors {
		errs = append(errs, writ.ID(err.PolicyID))
	}
	slices.Sort(forbids)
	slices.Sort(errs)
	return forbids, errs
}
