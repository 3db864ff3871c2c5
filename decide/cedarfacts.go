package decide

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"writ.dev/writ"
)

const (
	typePerson      types.EntityType = "Writ::Person"
	typeService     types.EntityType = "Writ::Service"
	typeAgent       types.EntityType = "Writ::Agent"
	typeApplication types.EntityType = "Writ::Application"
	typeCredential  types.EntityType = "Writ::Credential"
	typeAction      types.EntityType = "Writ::Action"
)

// entities shows one intended use to Cedar: the principal with the agents it
// belongs to, its owner, the credential and its application, and the context.
// All of it is made only when a policy asks for it.
type entities struct {
	ask       *writ.Ask
	facts     *Facts
	candidate *Candidate
	basis     writ.AuthorityBasis
	lineage   []types.EntityUID // the principal, then the agents it belongs to

	principal, credential, application *types.Entity // once asked for
}

func newEntities(ask *writ.Ask, f *Facts, c *Candidate, basis writ.AuthorityBasis) *entities {
	e := &entities{ask: ask, facts: f, candidate: c, basis: basis, lineage: make([]types.EntityUID, 0, 1+len(f.Parents))}
	e.lineage = append(e.lineage, uidOf(f.Identity))
	for _, p := range f.Parents {
		e.lineage = append(e.lineage, uidOf(p))
	}
	return e
}

func uidOf(i *writ.Identity) types.EntityUID {
	t := typeAgent
	switch i.Kind {
	case writ.Person:
		t = typePerson
	case writ.Service:
		t = typeService
	}
	return types.NewEntityUID(t, types.String(i.ID))
}

// actionClass is what a method does. Methods nobody listed count as writing:
// a guardrail against changes must not miss a new one.
func actionClass(method string) types.EntityUID {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return actionRead
	case "DELETE":
		return actionDelete
	}
	return actionWrite
}

var (
	actionRead   = types.NewEntityUID(typeAction, "read")
	actionWrite  = types.NewEntityUID(typeAction, "write")
	actionDelete = types.NewEntityUID(typeAction, "delete")
	inChange     = types.NewEntityUIDSet(types.NewEntityUID(typeAction, "change"))
)

// request states the use in Cedar's terms, with those attributes of the
// context that somebody reads.
func (e *entities) request(reads attributes) cedar.Request {
	return cedar.Request{
		Principal: e.lineage[0],
		Action:    actionClass(e.ask.Method),
		Resource:  types.NewEntityUID(typeCredential, types.String(e.candidate.Credential.ID)),
		Context:   e.context(reads),
	}
}

// attributes is a set of attributes of the context, a bit for each place in
// contextAttributes.
type attributes uint32

const allAttributes = ^attributes(0)

// contextAttributes are the attributes of the context as the schema lists
// them. A nil value is an attribute that this use does not have.
var contextAttributes = [...]struct {
	name  types.String
	value func(e *entities) types.Value
}{
	{"method", func(e *entities) types.Value { return types.String(e.ask.Method) }},
	{"scheme", func(e *entities) types.Value { return types.String(e.ask.Scheme) }},
	{"host", func(e *entities) types.Value { host, _ := writ.SplitHost(e.ask.Host); return types.String(host) }},
	{"port", func(e *entities) types.Value { _, port := writ.SplitHost(e.ask.Host); return types.Long(port) }},
	{"path", func(e *entities) types.Value { return types.String(e.path()) }},
	{"path_lower", func(e *entities) types.Value { return types.String(strings.ToLower(e.path())) }},
	{"segments", func(e *entities) types.Value { return setOf(e.ask.Target.Segments, func(s string) string { return s }) }},
	{"parameters", func(e *entities) types.Value {
		return setOf(e.ask.Target.Query, func(p writ.Param) string { return p.Name })
	}},
	{"now", func(e *entities) types.Value { return types.NewDatetime(e.ask.Time.Go()) }},
	{"hour", func(e *entities) types.Value { return types.Long(e.ask.Time.Go().Hour()) }},
	{"weekday", func(e *entities) types.Value { return types.Long(e.ask.Time.Go().Weekday()) }},
	{"basis", func(e *entities) types.Value { return types.String(e.basis) }},
	{"principal", func(e *entities) types.Value { return types.String(e.facts.Path[0].ID) }},
	{"delegation", func(e *entities) types.Value {
		return setOf(e.facts.Path, func(i *writ.Identity) string { return string(i.ID) })
	}},
	{"hops", func(e *entities) types.Value { return types.Long(len(e.facts.Path) - 1) }},
	{"grant", func(e *entities) types.Value { return types.String(e.candidate.Grant.ID) }},
	{"isolation", func(e *entities) types.Value { return types.String(e.facts.Session.Isolation) }},
	{"task", func(e *entities) types.Value { return optional(e.facts.Session.Task) }},
	{"device", func(e *entities) types.Value { return optional(string(e.facts.Session.Device)) }},
	{"program", func(e *entities) types.Value { return optional(e.ask.Runtime.Executable) }},
	{"network", func(e *entities) types.Value {
		a := e.ask.Source.Unmap().WithZone("")
		p, err := a.Prefix(a.BitLen())
		if err != nil || !a.IsValid() {
			return nil
		}
		return types.IPAddr(p)
	}},
}

// attributeNamed is the set of the one attribute, empty when the context never
// has it: reading it is an error either way.
func attributeNamed(name types.String) attributes {
	for i := range contextAttributes {
		if contextAttributes[i].name == name {
			return 1 << i
		}
	}
	return 0
}

func (e *entities) context(reads attributes) types.Record {
	m := make(types.RecordMap, 8)
	for i := range contextAttributes {
		if reads&(1<<i) == 0 {
			continue
		}
		if v := contextAttributes[i].value(e); v != nil {
			m[contextAttributes[i].name] = v
		}
	}
	return types.NewRecord(m)
}

// path is the decoded path. A segment with an encoded slash reads as two here,
// so a pattern matches rather more than less.
func (e *entities) path() string { return "/" + strings.Join(e.ask.Target.Segments, "/") }

func optional(s string) types.Value {
	if s == "" {
		return nil
	}
	return types.String(s)
}

func setOf[T any](items []T, text func(T) string) types.Set {
	values := make([]types.Value, len(items))
	for i, item := range items {
		values[i] = types.String(text(item))
	}
	return types.NewSet(values...)
}

// Get implements cedar.EntityGetter. An entity that it does not know makes
// reading its attributes an error, which denies.
func (e *entities) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid.Type {
	case typeAction:
		entity := types.Entity{UID: uid}
		if uid == actionWrite || uid == actionDelete {
			entity.Parents = inChange
		}
		return entity, true
	case typeCredential:
		if uid.ID != types.String(e.candidate.Credential.ID) {
			return types.Entity{}, false
		}
		return once(&e.credential, e.credentialEntity), true
	case typeApplication:
		if uid.ID != types.String(e.candidate.App.ID) {
			return types.Entity{}, false
		}
		return once(&e.application, e.applicationEntity), true
	}
	if uid == e.lineage[0] {
		return once(&e.principal, e.principalEntity), true
	}
	for _, owner := range [2]*writ.Identity{e.facts.Owner, e.candidate.Owner} {
		if owner != nil && uid == uidOf(owner) {
			return entityOf(uid, types.RecordMap{"name": types.String(owner.Name)}), true
		}
	}
	return types.Entity{}, false
}

func once(kept **types.Entity, make func() types.Entity) types.Entity {
	if *kept == nil {
		made := make()
		*kept = &made
	}
	return **kept
}

func entityOf(uid types.EntityUID, attributes types.RecordMap, parents ...types.EntityUID) types.Entity {
	return types.Entity{UID: uid, Attributes: types.NewRecord(attributes), Parents: types.NewEntityUIDSet(parents...)}
}

func (e *entities) principalEntity() types.Entity {
	f := e.facts
	attributes := types.RecordMap{"name": types.String(f.Identity.Name)}
	if f.Identity.Kind != writ.Person {
		attributes["owner"] = uidOf(f.Owner)
	}
	return entityOf(e.lineage[0], attributes, e.lineage[1:]...)
}

func (e *entities) credentialEntity() types.Entity {
	c, a := e.candidate.Credential, e.candidate.App
	attributes := types.RecordMap{
		"name": types.String(c.Name), "application": types.String(a.Name), "env": envOf(a), "ai_use": types.String(c.AIUse),
	}
	if o := e.candidate.Owner; o != nil {
		attributes["owner"] = uidOf(o)
	}
	return entityOf(types.NewEntityUID(typeCredential, types.String(c.ID)), attributes, types.NewEntityUID(typeApplication, types.String(a.ID)))
}

func (e *entities) applicationEntity() types.Entity {
	a := e.candidate.App
	return entityOf(types.NewEntityUID(typeApplication, types.String(a.ID)), types.RecordMap{"name": types.String(a.Name), "env": envOf(a)})
}

// envOf is the environment that a policy sees: one nobody knows is production.
func envOf(a *writ.Application) types.String {
	if isProduction(a) {
		return types.String(writ.Prod)
	}
	return types.String(a.Env)
}
