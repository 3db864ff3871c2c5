package writ

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every reason that is declared has its page, and every page its reason, so
// that no denial is without an explanation.
func TestEveryReasonIsExplained(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, Reason(s))
		}
		return true
	})
	if len(declared) < 28 {
		t.Fatalf("only %d reasons found", len(declared))
	}
	for _, r := range declared {
		e, ok := Explain(r)
		if !ok || e.Reason != r {
			t.Errorf("%s has no page", r)
			continue
		}
		for part, text := range map[string]string{"title": e.Title, "cause": e.Cause, "who": e.Who, "command": e.Command} {
			if text == "" || CheckText("", text) != nil {
				t.Errorf("%s: the %s is %q", r, part, text)
			}
		}
		if !strings.HasPrefix(e.Command, "writ ") {
			t.Errorf("%s: the command is %q", r, e.Command)
		}
	}
	var explained []Reason
	for _, e := range Explanations() {
		explained = append(explained, e.Reason)
	}
	slices.Sort(declared)
	slices.Sort(explained)
	if !slices.Equal(declared, explained) {
		t.Errorf("declared %v\nexplained %v", declared, explained)
	}
	if _, ok := Explain("no_such_reason"); ok {
		t.Error("a reason that nobody declared has a page")
	}
	Explanations()[0].Title = "changed"
	if Explanations()[0].Title == "changed" {
		t.Error("a caller can change the pages")
	}
}
