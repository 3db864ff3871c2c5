package writ_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "writ.dev/writ"

// ranks places every folder that holds Go code. A package imports packages of
// this module from lower ranks only, so siblings never meet; leaves of rank 0
// may import package writ, which imports nothing.
var ranks = map[string]int{
	".":                  0,
	"internal/canon":     0,
	"internal/dialguard": 0,
	"internal/durable":   0,
	"internal/localca":   0,
	"internal/mask":      0,
	"internal/nodump":    0,
	"internal/problem":   0,
	"internal/proctree":  0,
	"internal/wire":      0,
	"internal/keyring":   1, // a leaf that stands on another, durable
	"decide":             1,
	"client":             1,
	"client/run":         2,
	"ledger":             2,
	"store":              3,
	"store/sqlite":       4,
	"store/postgres":     4,
	"store/storetest":    5,
	"authority":          3,
	"evidence":           3,
	"vault":              3,
	"broker":             4,
	"signin":             4,
	"broker/egress":      5,
	"api":                6,
	"cmd/writ":           8,
}

// only lists who may import a package beside its own tests, with the reason.
// Direction alone would let any higher package open secrets.
var only = map[string][]string{
	"vault":            {"broker", "cmd/writ"},          // one door: uses open secrets, cmd/writ wires
	"internal/keyring": {"cmd/writ"},                    // opened at start, handed on as signers and closures
	"internal/localca": {"broker/egress", "cmd/writ"},   // certificates are minted for the proxy alone
	"store/sqlite":     {"store/storetest", "cmd/writ"}, // engines are chosen where things are wired
	"store/postgres":   {"store/storetest", "cmd/writ"}, //
	"internal/wire":    {"broker/egress"},               // the strict codec belongs to the proxy
	"evidence":         {"api", "cmd/writ"},             // bundles are made by the API, checked by the CLI
	"store":            {"store/sqlite", "store/postgres", "store/storetest", "signin", "api", "broker", "cmd/writ"},
}

// doors lists method calls that only one package may make: the once-only
// objects are spent where the act they stand for is done, and nowhere else.
var doors = []struct {
	importing string   // a package that imports this one ...
	selector  string   // ... and calls a method of this name ...
	allowed   []string // ... must be one of these
	why       string
}{
	{"decide", "Spend", []string{"ledger"}, "an Allow is spent by the ledger entry that records it"},
	{"ledger", "Spend", []string{"vault"}, "a Receipt is spent by opening the secret it stands for"},
	{"decide", "Decide", []string{"broker"}, "only broker.Use may obtain an Allow; replay and simulation use Simulate"},
	{"vault", "Open", []string{"broker"}, "every use of a credential goes through broker.Use (invariant 2)"},
}

type source struct {
	folder  string
	path    string
	file    *ast.File
	imports []string // folders of this module
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		s := source{folder: filepath.ToSlash(filepath.Dir(path)), path: path, file: f}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if p == module {
				s.imports = append(s.imports, ".")
			} else if rest, ok := strings.CutPrefix(p, module+"/"); ok {
				s.imports = append(s.imports, rest)
			}
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImportsFollowTheRanks(t *testing.T) {
	present := map[string]bool{}
	for _, s := range sources(t) {
		present[s.folder] = true
		rank, placed := ranks[s.folder]
		if !placed {
			t.Errorf("%s: the folder %s has no rank; place it in the table", s.path, s.folder)
			continue
		}
		for _, i := range s.imports {
			r, ok := ranks[i]
			// Rank 0 may import package writ itself, which imports nothing of ours.
			if ok && (r < rank || (rank == 0 && i == "." && s.folder != ".")) {
				continue
			}
			t.Errorf("%s: %s (rank %d) imports %s (rank %d); only lower ranks may be imported", s.path, s.folder, rank, i, r)
		}
	}
	for folder := range ranks {
		if !present[folder] {
			t.Errorf("the table places %s, which holds no Go code; take the row out", folder)
		}
	}
}

func TestPackageWritImportsOnlyTheStandardLibrary(t *testing.T) {
	for _, s := range sources(t) {
		if s.folder != "." {
			continue
		}
		for _, i := range s.file.Imports {
			if p, _ := strconv.Unquote(i.Path.Value); strings.Contains(strings.SplitN(p, "/", 2)[0], ".") {
				t.Errorf("%s imports %s", s.path, p)
			}
		}
	}
}

// TestInvariant02OneDoor holds the doors: whoever else called these could use
// a credential without a record.
func TestInvariant02OneDoor(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.imports {
			if who, ok := only[i]; ok && !slices.Contains(who, s.folder) {
				t.Errorf("%s imports %s, which is for %v alone", s.path, i, who)
			}
		}
		for _, d := range doors {
			if !slices.Contains(s.imports, d.importing) || slices.Contains(d.allowed, s.folder) {
				continue
			}
			ast.Inspect(s.file, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == d.selector && qualifies(s.file, sel, d.importing, d.selector) {
					t.Errorf("%s refers to %s of %s: %s", s.path, d.selector, d.importing, d.why)
				}
				return true
			})
		}
	}
}

// qualifies sorts out names that other packages have too: a method's selector
// counts whatever it is called on, a function's only on its package.
func qualifies(f *ast.File, sel *ast.SelectorExpr, pkg, name string) bool {
	x, ok := sel.X.(*ast.Ident)
	isPackage := ok && slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool {
		p, _ := strconv.Unquote(i.Path.Value)
		alias := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			alias = i.Name.Name
		}
		return alias == x.Name
	})
	if !isPackage {
		// os.Open and the like are other packages' functions; a method Open or
		// Spend on a value is what the door is about.
		return name != "Decide"
	}
	return x.Name == pkg[strings.LastIndexByte(pkg, '/')+1:] && name == "Decide"
}

func TestSourceKeepsTheHouseNumbers(t *testing.T) {
	for _, s := range sources(t) {
		b, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > 700 {
			t.Errorf("%s has %d lines; 700 is the most", s.path, n)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.path)
			}
			return true
		})
	}
}
