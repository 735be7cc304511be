package deploy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	longestFile     = 300 // lines
	longestFunction = 60
	mostModules     = 12 // that the program is made of, beside its own
)

// yetLong are files that are to be mended.
var yetLong = []string{
	"cmd/postern/admin/audit_test.go", "cmd/postern/admin/body_test.go", "cmd/postern/admin/forgery_test.go", "cmd/postern/browser_life_test.go",
}

// long names what is longer than it may be in a file of Go.
func long(file, text string) (faults []string, err error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, text, parser.ParseComments)
	if err != nil || ast.IsGenerated(parsed) {
		return nil, err
	}
	if n := strings.Count(text, "\n"); n > longestFile {
		faults = append(faults, fmt.Sprintf("%s has %d lines, want %d at most", file, n, longestFile))
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		switch node.(type) {
		case *ast.FuncDecl, *ast.FuncLit:
			begin, end := files.Position(node.Pos()), files.Position(node.End())
			if n := end.Line - begin.Line + 1; n > longestFunction {
				faults = append(faults, fmt.Sprintf("%s: a function of %d lines, want %d at most", begin, n, longestFunction))
			}
		}
		return true
	})
	return faults, nil
}

// Files and functions are short, those of tests and of other modules too.
func TestShort(t *testing.T) {
	files := sources(t, ".go")
	if len(files) < 200 {
		t.Fatalf("the repository has %d files of Go, want the 200 or more there are", len(files))
	}
	for file, text := range files {
		faults, err := long(file, text)
		if err != nil {
			t.Error(err)
		}
		if slices.Contains(yetLong, file) {
			if len(faults) == 0 {
				t.Errorf("%s is short now: take it out of yetLong", file)
			}
			continue
		}
		for _, fault := range faults {
			t.Error(fault)
		}
	}
	for text, want := range map[string]int{ // the controls
		"package p\nfunc f() {" + strings.Repeat("\n", 59) + "}\n":       0,
		"package p\nfunc f() {" + strings.Repeat("\n", 60) + "}\n":       1,
		"package p\nvar f = func() {" + strings.Repeat("\n", 60) + "}\n": 1,
		"package p\n" + strings.Repeat("//\n", 299):                      0,
		"package p\n" + strings.Repeat("//\n", 300):                      1,
	} {
		if faults, err := long("x.go", text); err != nil || len(faults) != want {
			t.Errorf("control: %q gives %q, %v, want %d faults", text[:20], faults, err, want)
		}
	}
}

var (
	directModule = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
)

// README.md has a line for each module that go.mod requires, says of those that
// the program's own code does without what they are there for, and has no other.
func TestDependencies(t *testing.T) {
	var modules, own []string
	imports := "\n" + command(t, "..", "go", "list", "-deps", "-f", `{{if not .Standard}}{{if .Module.Main}}{{join .Imports "\n"}}{{end}}{{end}}`, "./cmd/postern")
	linked := command(t, "..", "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/postern")
	for _, m := range directModule.FindAllStringSubmatch(readText(t, "../go.mod"), -1) {
		switch name := m[1]; {
		case strings.Contains(imports, "\n"+name):
			own, modules = append(own, name), append(modules, name)
		case strings.Contains(linked, name+"\n"):
			modules = append(modules, name+through)
		default:
			modules = append(modules, name+absent)
		}
	}
	if len(own) > mostModules {
		t.Errorf("the program's own code imports %d modules, want %d at most: %v", len(own), mostModules, own)
	}
	slices.Sort(modules)
	readme := readText(t, "../README.md")
	if got := dependencies(readme); !slices.Equal(got, modules) {
		t.Errorf("README.md lists the modules\n%s\nwant those of go.mod\n%s", strings.Join(got, "\n"), strings.Join(modules, "\n"))
	}
	for _, plant := range []string{"`golang.org/x/sync` | ", absent, through, "`, `google.golang.org/protobuf"} {
		if slices.Equal(dependencies(strings.Replace(readme, plant, "", 1)), modules) {
			t.Errorf("control: nothing is said of README.md without %q", plant)
		}
	}
}

// What README.md says of modules that the program's own code does not import.
const (
	absent  = "; not in the product"
	through = "; in the product through others alone"
)

// dependencies are the modules of README.md's table.
func dependencies(readme string) (all []string) {
	for line := range strings.Lines(section(readme, "Dependencies")) {
		names, what, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), " |"), " | ")
		for _, m := range codeSpan.FindAllStringSubmatch(names, -1) {
			for _, said := range []string{absent, through} {
				if strings.HasSuffix(what, said) {
					m[1] += said
				}
			}
			all = append(all, m[1])
		}
	}
	slices.Sort(all)
	return all
}
