package authz

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCompileRefuses(t *testing.T) {
	op := func(id, path string) Operation { return Operation{ID: id, Method: "GET", Path: path, Line: 7} }
	tests := []struct {
		name string
		ops  []Operation
		want string // in the error
	}{
		{"nothing", nil, "no operations"},
		{"no id", []Operation{op("", "/a")}, "line 7: GET /a has no operationId"},
		{"same id twice", []Operation{op("a", "/a"), op("a", "/b")}, `operationId "a" is already used on line 7`},
		{"id with a space", []Operation{op("a b", "/a")}, `"a b" is no permission id`},
		{"permission with a plus", []Operation{{ID: "a", Permission: "a+b", Method: "GET", Path: "/a"}}, `"a+b" is no permission id`},
		{"same path, other names", []Operation{op("a", "/x/{a}"), op("b", "/x/{b}")}, "under other parameter names"},
		{"declared twice", []Operation{op("a", "/a"), op("b", "/a")}, "declared twice"},
		{"declared twice, once as a callback", []Operation{{ID: "a", Method: "GET", Path: "/a", NotGrantable: true}, op("b", "/a")}, "declared twice"},
		{"no slash in front", []Operation{op("a", "a")}, "does not start with /"},
		{"dot segment", []Operation{op("a", "/a/../b")}, "dot segment"},
		{"single dot", []Operation{op("a", "/a/./b")}, "dot segment"},
		{"percent", []Operation{op("a", "/a/%62")}, "percent sign"},
		{"wildcard", []Operation{op("a", "/a/*")}, "wildcard"},
		{"greedy parameter", []Operation{op("a", "/a/{rest+}")}, "no plain name"},
		{"starred parameter", []Operation{op("a", "/a/{rest*}")}, "no plain name"},
		{"operator", []Operation{op("a", "/a/{/rest}")}, "brace"},
		{"reserved expansion", []Operation{op("a", "/a/{+rest}")}, "no plain name"},
		{"empty name", []Operation{op("a", "/a/{}")}, "no plain name"},
		{"unmatched brace", []Operation{op("a", "/a/{b")}, "unmatched brace"},
		{"closing brace only", []Operation{op("a", "/a/b}")}, "unmatched brace"},
		{"two parameters in one segment", []Operation{op("a", "/a/{b}-{c}")}, "more than one parameter"},
		{"same parameter twice", []Operation{op("a", "/{a}/{a}")}, "stands twice"},
		{"empty segment", []Operation{op("a", "/a//b")}, "empty segment"},
		{"semicolon", []Operation{op("a", "/a;b")}, "no endpoint may have"},
		{"backslash", []Operation{op("a", `/a\b`)}, "no endpoint may have"},
		{"query", []Operation{op("a", "/a?b=c")}, "no endpoint may have"},
		{"fragment", []Operation{op("a", "/a#b")}, "no endpoint may have"},
		{"space", []Operation{op("a", "/a b")}, "no endpoint may have"},
		{"beyond ASCII", []Operation{op("a", "/é")}, "no endpoint may have"},
		{"chars of no parameter", []Operation{{ID: "a", Method: "GET", Path: "/a/{b}", Chars: map[string]string{"c": ":"}}}, "does not have"},
		{"chars with a slash", []Operation{{ID: "a", Method: "GET", Path: "/a/{b}", Chars: map[string]string{"b": "/"}}}, "may be added"},
		{"chars with a percent sign", []Operation{{ID: "a", Method: "GET", Path: "/a/{b}", Chars: map[string]string{"b": "%"}}}, "may be added"},
		{"chars with a semicolon", []Operation{{ID: "a", Method: "GET", Path: "/a/{b}", Chars: map[string]string{"b": ";"}}}, "may be added"},
		{"chars that differ", []Operation{{ID: "a", Method: "GET", Path: "/a/{b}", Chars: map[string]string{"b": ":"}}, {ID: "b", Method: "PUT", Path: "/a/{b}"}}, "other x-postern-chars"},
		{"path that is no JSONPath", []Operation{{ID: "a", Method: "GET", Path: "/a", Fields: []FieldGroup{{ID: "g", Paths: []string{"price"}}}}}, "does not start with $"},
		{"group without paths", []Operation{{ID: "a", Method: "GET", Path: "/a", Fields: []FieldGroup{{ID: "g"}}}}, "has no paths"},
		{"group twice", []Operation{{ID: "a", Method: "GET", Path: "/a", Fields: []FieldGroup{{ID: "g", Paths: []string{"$.a"}}, {ID: "g", Paths: []string{"$.b"}}}}}, "stands twice"},
	}
	for _, tt := range tests {
		c, err := Compile(tt.ops)
		var problems Problems
		if c != nil || !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Compile = %v, %v, want problems with %q", tt.name, c, err, tt.want)
			continue
		}
		for _, p := range problems {
			if p.Remedy == "" {
				t.Errorf("%s: %q has no remedy", tt.name, p.Text)
			}
		}
	}
}

func TestCompileTellsAllProblems(t *testing.T) {
	_, err := Compile(operations("GET /a/%62", "GET /b/*", "GET /c"))
	var problems Problems
	if errors.As(err, &problems); len(problems) != 2 {
		t.Errorf("Compile = %v, want two problems", err)
	}
}

func TestPermissions(t *testing.T) {
	c, err := Compile([]Operation{
		{ID: "b", Label: "The\n b\u202e", Method: "GET", Path: "/b"},
		{ID: "a.put", Permission: "a", Label: "Put a", Method: "PUT", Path: "/a", Fields: []FieldGroup{{ID: "g", Paths: []string{"$.x"}}}},
		{ID: "a", Label: "Change a", Method: "PATCH", Path: "/a", Fields: []FieldGroup{{ID: "g", Paths: []string{"$['y']"}}}},
		{ID: "old", Method: "GET", Path: "/old", Retired: true},
		{ID: "callback", Method: "POST", Path: "/hook", NotGrantable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Permissions {
		got = append(got, fmt.Sprintf("%s (%s) %v %v retired %v", p.ID, p.Label, p.Endpoints, p.Fields, p.Retired))
	}
	want := []string{
		"b (The b) [GET /b] [] retired false",
		"a (Change a) [PUT /a PATCH /a] [{g g [$.x $.y]}] retired false",
		"old (old) [GET /old] [] retired true",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("permissions:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestNotGrantableKeepsItsPath shows that a callback's path does not fall to a
// template that would match it otherwise.
func TestNotGrantableKeepsItsPath(t *testing.T) {
	c, err := Compile([]Operation{
		{ID: "any", Method: "POST", Path: "/{x}"}, {ID: "hook", Method: "POST", Path: "/hook", NotGrantable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Resolve(Request{Method: "POST", Path: "/hook"}).Endpoints; got != nil {
		t.Errorf("POST /hook resolves to %v, want nothing", got)
	}
	if got := c.Resolve(Request{Method: "POST", Path: "/other"}).Endpoints; len(got) != 1 {
		t.Errorf("POST /other resolves to %v, want POST /{x}", got)
	}
}

func TestHash(t *testing.T) {
	base := operations("GET /a", "GET /b/{x}")
	hash := func(change func([]Operation)) string {
		ops := append([]Operation{}, base...)
		change(ops)
		c, err := Compile(ops)
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash()
	}
	same := hash(func([]Operation) {})
	if got := hash(func(ops []Operation) { ops[0].Line = 99 }); got != same {
		t.Errorf("a line makes another hash")
	}
	for name, change := range map[string]func([]Operation){
		"method":     func(ops []Operation) { ops[0].Method = "PUT" },
		"path":       func(ops []Operation) { ops[0].Path = "/c" },
		"permission": func(ops []Operation) { ops[0].Permission = "p" },
		"retired":    func(ops []Operation) { ops[0].Retired = true },
		"grantable":  func(ops []Operation) { ops[0].NotGrantable = true },
		"chars":      func(ops []Operation) { ops[1].Chars = map[string]string{"x": ":"} },
		"fields":     func(ops []Operation) { ops[0].Fields = []FieldGroup{{ID: "g", Paths: []string{"$.a"}}} },
	} {
		if hash(change) == same {
			t.Errorf("another %s makes the same hash", name)
		}
	}
}

// TestLargeCatalog bounds what a catalog of 10,000 operations costs to compile.
func TestLargeCatalog(t *testing.T) {
	var endpoints []string
	for i := range 10_000 {
		endpoints = append(endpoints, fmt.Sprintf("GET /api/v%d/things%d/{id}/parts/{part}", i%7, i))
	}
	begun := time.Now()
	c := compile(t, endpoints...)
	c.Overlaps()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("10,000 operations took %v to compile and lint, want seconds", took)
	}
	if got := c.Resolve(Request{Method: "GET", Path: "/api/v4/things9999/1/parts/2"}).Endpoints; len(got) != 0 {
		t.Errorf("resolved %v, want nothing: 9999 is in v3", got)
	}
	if got := c.Resolve(Request{Method: "GET", Path: "/api/v3/things9999/1/parts/2"}).Endpoints; len(got) != 1 {
		t.Errorf("resolved %v, want one endpoint", got)
	}
}
