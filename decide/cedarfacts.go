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

// entities shows the facts of one decision to Cedar: the principal with the
// agents it belongs to, its owner, the credential and its application. They
// are made when a policy asks for them, since few do.
type entities struct {
	facts     *Facts
	candidate *Candidate
	lineage   []types.EntityUID // the principal, then the agents it belongs to
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

// request states the use in Cedar's terms and sets the lineage.
func (e *entities) request(ask *writ.Ask, basis writ.AuthorityBasis) cedar.Request {
	f := e.facts
	e.lineage = make([]types.EntityUID, 0, 1+len(f.Parents))
	e.lineage = append(e.lineage, uidOf(f.Identity))
	for _, p := range f.Parents {
		e.lineage = append(e.lineage, uidOf(p))
	}
	host, port := writ.SplitHost(ask.Host)
	path := "/" + strings.Join(ask.Target.Segments, "/")
	now := ask.Time.Go()
	context := types.RecordMap{
		"method":     types.String(ask.Method),
		"scheme":     types.String(ask.Scheme),
		"host":       types.String(host),
		"port":       types.Long(port),
		"path":       types.String(path),
		"path_lower": types.String(strings.ToLower(path)),
		"segments":   setOf(ask.Target.Segments, func(s string) string { return s }),
		"parameters": setOf(ask.Target.Query, func(p writ.Param) string { return p.Name }),
		"now":        types.NewDatetime(now),
		"hour":       types.Long(now.Hour()),
		"weekday":    types.Long(now.Weekday()),
		"basis":      types.String(basis),
		"principal":  types.String(f.Path[0].ID),
		"delegation": setOf(f.Path, func(i *writ.Identity) string { return string(i.ID) }),
		"hops":       types.Long(len(f.Path) - 1),
		"grant":      types.String(e.candidate.Grant.ID),
		"isolation":  types.String(f.Session.Isolation),
	}
	optional := func(name types.String, value string) {
		if value != "" {
			context[name] = types.String(value)
		}
	}
	optional("task", f.Session.Task)
	optional("device", string(f.Session.Device))
	optional("program", ask.Runtime.Executable)
	if a := ask.Source.Unmap(); a.IsValid() {
		if p, err := a.WithZone("").Prefix(a.BitLen()); err == nil {
			context["network"] = types.IPAddr(p)
		}
	}
	return cedar.Request{
		Principal: e.lineage[0],
		Action:    actionClass(ask.Method),
		Resource:  types.NewEntityUID(typeCredential, types.String(e.candidate.Credential.ID)),
		Context:   types.NewRecord(context),
	}
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
		return e.credential(uid)
	case typeApplication:
		a := e.candidate.App
		return types.Entity{UID: uid, Attributes: types.NewRecord(types.RecordMap{"name": types.String(a.Name), "env": envOf(a)})}, uid.ID == types.String(a.ID)
	}
	return e.identity(uid)
}

func envOf(a *writ.Application) types.String {
	if isProduction(a) {
		return types.String(writ.Prod)
	}
	return types.String(a.Env)
}

func (e *entities) credential(uid types.EntityUID) (types.Entity, bool) {
	c, a := e.candidate.Credential, e.candidate.App
	if uid.ID != types.String(c.ID) {
		return types.Entity{}, false
	}
	attributes := types.RecordMap{
		"name": types.String(c.Name), "application": types.String(a.Name), "env": envOf(a), "ai_use": types.String(c.AIUse),
	}
	if o := e.candidate.Owner; o != nil {
		attributes["owner"] = uidOf(o)
	}
	return types.Entity{
		UID: uid, Attributes: types.NewRecord(attributes),
		Parents: types.NewEntityUIDSet(types.NewEntityUID(typeApplication, types.String(a.ID))),
	}, true
}

func (e *entities) identity(uid types.EntityUID) (types.Entity, bool) {
	f := e.facts
	switch {
	case uid == e.lineage[0]:
		attributes := types.RecordMap{"name": types.String(f.Identity.Name)}
		if f.Identity.Kind != writ.Person {
			attributes["owner"] = uidOf(f.Owner)
		}
		return types.Entity{UID: uid, Attributes: types.NewRecord(attributes), Parents: types.NewEntityUIDSet(e.lineage[1:]...)}, true
	case uid == uidOf(f.Owner):
		return types.Entity{UID: uid, Attributes: types.NewRecord(types.RecordMap{"name": types.String(f.Owner.Name)})}, true
	case e.candidate.Owner != nil && uid == uidOf(e.candidate.Owner):
		return types.Entity{UID: uid, Attributes: types.NewRecord(types.RecordMap{"name": types.String(e.candidate.Owner.Name)})}, true
	}
	return types.Entity{}, false
}
