//go:build hostile

package envoy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// mutation is one change to the code.
type mutation struct {
	id                   int
	room, file, function string
	original, changed    string
}

func (m mutation) String() string {
	return fmt.Sprintf("%s %s: `%s` as `%s`", m.file, m.function, oneLine(m.original), oneLine(m.changed))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// mutator puts every mutant of a file into it, each behind its number.
type mutator struct {
	file, room string
	next       int
	functions  []string
	found      []mutation

	source   string
	base     token.Pos
	function string
	sites    []site
	skip     []ast.Stmt // which stand where no block may
}

// site is a place in the source, and what may stand there instead.
type site struct {
	from, to int
	kind     string // the type of an expression; "" for a statement
	changed  []string
	function string
}

func (m *mutator) run(t *testing.T) string {
	t.Helper()
	path := filepath.Join("..", m.file)
	data, err := os.ReadFile(path)
	must(t, err)
	m.source = string(data)
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, data, parser.SkipObjectResolution)
	must(t, err)
	m.base = file.FileStart
	for _, d := range file.Decls {
		name := ""
		if f, ok := d.(*ast.FuncDecl); ok {
			name = f.Name.Name
		} else if g, ok := d.(*ast.GenDecl); !ok || g.Tok != token.VAR {
			continue
		}
		if slices.Contains(m.functions, name) {
			m.function = name
			ast.Inspect(d, m.visit)
		}
	}
	sort.SliceStable(m.sites, func(i, j int) bool {
		a, b := m.sites[i], m.sites[j]
		return a.from < b.from || a.from == b.from && a.to > b.to
	})
	out, _ := m.render(0, len(m.source), 0)
	return out
}

// render is the source from one byte to another, with the sites from index i
// on put in. It returns the index of the first one behind.
func (m *mutator) render(from, to, i int) (string, int) {
	var out strings.Builder
	for i < len(m.sites) && m.sites[i].from < to {
		s := m.sites[i]
		out.WriteString(m.source[from:s.from])
		inner, next := m.render(s.from, s.to, i+1)
		out.WriteString(m.put(s, inner))
		from, i = s.to, next
	}
	out.WriteString(m.source[from:to])
	return out.String(), i
}

func (m *mutator) put(s site, inner string) string {
	for _, changed := range s.changed {
		id := m.next
		m.next++
		m.found = append(m.found, mutation{
			id: id, room: m.room, file: m.file, function: s.function, original: m.source[s.from:s.to], changed: changed,
		})
		if s.kind == "" {
			inner = fmt.Sprintf("if mutantOn != %d { %s }", id, inner)
		} else {
			inner = fmt.Sprintf("mutant(%d, func() %s { return %s }, func() %s { return %s })", id, s.kind, inner, s.kind, changed)
		}
	}
	return inner
}

func (m *mutator) text(n ast.Node) string { return m.source[n.Pos()-m.base : n.End()-m.base] }

func (m *mutator) site(n ast.Node, kind string, changed ...string) {
	for i, s := range m.sites { // one site for an expression, whoever finds it
		if s.from == int(n.Pos()-m.base) && s.to == int(n.End()-m.base) && s.kind == kind {
			for _, c := range changed {
				if !slices.Contains(s.changed, c) {
					m.sites[i].changed = append(m.sites[i].changed, c)
				}
			}
			return
		}
	}
	m.sites = append(m.sites, site{int(n.Pos() - m.base), int(n.End() - m.base), kind, changed, m.function})
}

// swaps are what an operator may be taken for.
var swaps = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL}, token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS}, token.LAND: {token.LOR}, token.LOR: {token.LAND},
}

func (m *mutator) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		m.binary(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			m.site(n, "bool", m.text(n.X))
		}
	case *ast.ForStmt:
		m.skip = append(m.skip, n.Init, n.Post)
	case *ast.IfStmt:
		m.skip = append(m.skip, n.Init)
		m.site(n.Cond, "bool", "true", "false")
	case *ast.SwitchStmt:
		m.skip = append(m.skip, n.Init)
		for _, clause := range n.Body.List {
			for _, e := range clause.(*ast.CaseClause).List {
				if n.Tag == nil {
					m.site(e, "bool", "true", "false")
				}
			}
		}
	case *ast.ExprStmt:
		m.site(n, "", "")
	case *ast.AssignStmt:
		if n.Tok == token.ASSIGN && !slices.Contains(m.skip, ast.Stmt(n)) {
			m.site(n, "", "")
		}
		m.constants(n.Rhs...)
	case *ast.ReturnStmt:
		m.constants(n.Results...)
	case *ast.KeyValueExpr:
		m.constants(n.Value)
	case *ast.CompositeLit:
		m.constants(n.Elts...)
	}
	return true
}

func (m *mutator) binary(n *ast.BinaryExpr) {
	x, y := m.text(n.X), m.text(n.Y)
	for _, op := range swaps[n.Op] {
		m.site(n, "bool", x+" "+op.String()+" "+y)
	}
	switch n.Op {
	case token.LAND, token.LOR:
		m.site(n, "bool", x, y)
	case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		if lit, ok := n.Y.(*ast.BasicLit); ok && lit.Kind == token.INT {
			m.site(n, "bool", x+" "+n.Op.String()+" "+y+"+1")
		}
	}
}

// decisions and verdicts are the constants whose place another may take.
var (
	decisions = []string{"Fail", "Unauthenticated", "Forbidden", "Allow"}
	verdicts  = []string{
		"Undecided", "Granted", "Unrestricted", "NoSecret", "Malformed", "Unknown", "Deleted", "Expired", "NotGranted",
		"NotCatalogued", "IPNotAllowed", "AddressMissing", "FilterMissing", "Internal",
	}
)

func (m *mutator) constants(list ...ast.Expr) {
	for _, e := range list {
		text := m.text(e)
		name, qualifier := strings.TrimPrefix(text, "authz."), ""
		if name != text {
			qualifier = "authz."
		}
		switch {
		case name == "true" || name == "false":
			m.site(e, "bool", map[string]string{"true": "false", "false": "true"}[name])
		case name == "Allow":
			m.site(e, qualifier+"Decision", qualifier+"Fail")
		case slices.Contains(decisions, name):
			m.site(e, qualifier+"Decision", qualifier+"Allow")
		case name == "Granted":
			m.site(e, qualifier+"Reason", qualifier+"Undecided")
		case slices.Contains(verdicts, name):
			m.site(e, qualifier+"Reason", qualifier+"Granted")
		}
	}
}
