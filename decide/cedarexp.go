package decide

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"writ.dev/writ"
)

// This file alone uses the packages of cedar-go that stand outside its promise
// of compatibility (x/exp): the validator, and the syntax tree.

//go:embed schema.cedarschema
var schemaText []byte

// Schema is the Cedar schema that guardrails are checked against.
func Schema() string { return string(schemaText) }

var validator = sync.OnceValues(func() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, err
	}
	return validate.New(resolved, validate.WithStrict()), nil
})

// validatePolicy checks a policy against the schema, strictly: every attribute
// it reads exists, has the right type, and is guarded by `has` where it may be
// absent (T20).
func validatePolicy(p *cedar.Policy) error {
	v, err := validator()
	if err != nil {
		return err
	}
	tree := (*ast.Policy)(p.AST())
	if err := v.Policy("policy", tree); err != nil {
		return err
	}
	for _, c := range tree.Conditions {
		if err := readsLiteral(c.Body); err != nil {
			return err
		}
	}
	return nil
}

// readsLiteral finds attributes read from an entity that is spelled out. Only
// the entities of the request at hand are known when a policy is evaluated, so
// such a read would be an error there, and every error denies.
func readsLiteral(body ast.IsNode) error {
	var found error
	ast.Inspect(ast.NewNode(body), func(n ast.IsNode) bool {
		access, ok := n.(ast.NodeTypeAccess)
		if !ok {
			return true
		}
		root := access.Arg
		for {
			inner, ok := root.(ast.NodeTypeAccess)
			if !ok {
				break
			}
			root = inner.Arg
		}
		if v, ok := root.(ast.NodeValue); ok {
			if e, ok := v.Value.(types.EntityUID); ok {
				found = errors.New("it reads the attribute " + string(access.Value) + " of " + e.String() + "; only principal, resource and context are known")
			}
		}
		return found == nil
	})
	return found
}

// principalScope is what a policy's head says of the principal: an entity that
// the principal is or is in, or a type, or neither.
func principalScope(p *cedar.Policy) (entity types.EntityUID, kind types.EntityType) {
	switch s := (*ast.Policy)(p.AST()).Principal.(type) {
	case ast.ScopeTypeEq:
		return s.Entity, ""
	case ast.ScopeTypeIn:
		return s.Entity, ""
	case ast.ScopeTypeIsIn:
		return s.Entity, ""
	case ast.ScopeTypeIs:
		return entity, s.Type
	}
	return entity, "" // unconstrained, or a scope of a later Cedar: always looked at
}

// contextRead says which attributes of the context a policy can read: those it
// names, or all when it uses the context in any other way than by naming an
// attribute of it.
func contextRead(p *cedar.Policy) attributes {
	var named attributes
	var uses, reads int
	isContext := func(n ast.IsNode) bool {
		v, ok := n.(ast.NodeTypeVariable)
		return ok && v.Name == "context"
	}
	read := func(n ast.StrOpNode) {
		if isContext(n.Arg) {
			reads++
			named |= attributeNamed(n.Value)
		}
	}
	for _, c := range (*ast.Policy)(p.AST()).Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeAccess:
				read(n.StrOpNode)
			case ast.NodeTypeHas:
				read(n.StrOpNode)
			}
			if isContext(n) {
				uses++
			}
			return true
		})
	}
	if uses != reads {
		return allAttributes
	}
	return named
}

// CheckPolicy reports why text is not one guardrail, or nil: one Cedar policy,
// a forbid, valid against the schema.
func CheckPolicy(text string) error {
	const fix = "write one policy, as in: forbid(principal is Writ::Agent, action in Writ::Action::\"change\", resource) when { resource.env == \"prod\" };"
	if len(text) > writ.MaxPolicyText {
		return writ.Invalid("text", "the policy is longer than 16 KiB", fix)
	}
	list, err := cedar.NewPolicyListFromBytes("policy", []byte(text))
	if err != nil {
		return writ.Invalid("text", "the policy is not Cedar", fix).WithWhy("%s", oneLine(err))
	}
	switch {
	case len(list) != 1:
		return writ.Invalid("text", "a guardrail is exactly one policy", fix)
	case list[0].Effect() != cedar.Forbid:
		return writ.Invalid("text", "a guardrail can only forbid",
			"turn it round, as in: forbid(principal, action, resource) unless { ... }; what may be used is given by grants: writ grant add")
	}
	if err := validatePolicy(list[0]); err != nil {
		return writ.Invalid("text", "the policy does not fit the schema", "see docs/formats/policy.md for what a policy can read; guard what may be absent, as in: context has task && context.task == \"deploy\"").WithWhy("%s", oneLine(err))
	}
	return nil
}

func oneLine(err error) string {
	lines := slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
	return writ.Printable(strings.Join(lines, "; "), 400)
}
