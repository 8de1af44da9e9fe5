package audit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// namesInSource returns every string constant of names.go, sorted.
func namesInSource(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if _, ok := n.(*ast.ImportSpec); ok {
			return false
		}
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, s)
		}
		return true
	})
	slices.Sort(names)
	return names
}

var firstCell = regexp.MustCompile("^\\| `([^`]+)` ")

// namesInTable returns the first cell of every row of AUDIT.md, sorted. A
// prefix is documented as kms.<Operation>.
func namesInTable(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("AUDIT.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if m := firstCell.FindStringSubmatch(line); m != nil {
			name, _, _ := strings.Cut(m[1], "<")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
