package main

import (
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

func TestCatalogLint(t *testing.T) {
	s := newShell(t)
	s.write("bad.yaml", document("/a/*: {get: {operationId: a}}", "/b: {get: {}}"))
	s.write("priced.yaml", document("/a: {get: {operationId: a, responses: {'200': {content: {application/json: {schema: {properties: {shippingFee: {}}}}}}}}}"))
	s.write("ambiguous.yaml", document("/a/{x}: {get: {operationId: one}}", "/{y}/b: {get: {operationId: two}}", "/a/c: {get: {operationId: three}}"))
	tests := []struct {
		line  string
		code  int
		texts []string // of stdout
	}{
		{"catalog lint " + exampleCatalog, 0, []string{": warning: ", ": note: ", "errors: 0, warnings: 2", ", permissions: 20\n"}},
		{"catalog lint " + exampleCatalog, 0, []string{": note: getOrderLabel shows $.response.order.products[*].price to every secret that may call it: right for what goods are worth"}},
		{"catalog lint $DIR/priced.yaml", 0, []string{"priced.yaml:4: warning: a shows what sounds like cost to every secret that may call it, in $.shippingFee: ", "x-postern-fields: {} says so", "errors: 0, warnings: 1"}},
		{"catalog lint $DIR/bad.yaml", 1, []string{"bad.yaml:4: error: ", "bad.yaml:5: error: GET /b has no operationId: give it one: it names the permission\n", "errors: 2, warnings: 0"}},
		{"catalog lint $DIR/ambiguous.yaml", 0, []string{"ambiguous.yaml:5: warning: ", "it needs a grant for each", "note: /a/c wins over /a/{x} where both match", "errors: 0, warnings: 1, overlaps: 2, permissions: 3\n"}},
	}
	for _, tt := range tests {
		r := s.run(tt.line)
		s.ended(r, tt.code)
		for _, text := range tt.texts {
			if !strings.Contains(r.stdout, text) {
				t.Errorf("postern %s: stdout lacks %q:\n%s", r.line, text, r.stdout)
			}
		}
		var form lintForm
		if s.decode(s.run(tt.line+" --json").stdout, &form); (len(form.Errors) > 0) != (tt.code == exitRefused) {
			t.Errorf("postern %s --json: errors = %v with exit %d", r.line, form.Errors, tt.code)
		}
	}
	s.refused(s.run("catalog lint $DIR/none.yaml"), "none.yaml: no such file or directory", "name a file")
}

func TestCatalogDiff(t *testing.T) {
	s := newShell(t)
	s.write("old.yaml", document("/a/{id}: {get: {operationId: getA}}", "/a/fixed: {get: {operationId: getFixed}}"))
	s.write("new.yaml", document("/a/{id}: {get: {operationId: getA}, put: {operationId: putA, x-postern-permission: getA}}",
		"/a/other: {get: {operationId: getOther}}"))
	text := s.ok("catalog diff $DIR/old.yaml $DIR/new.yaml")
	for _, want := range []string{
		"added: getOther: no secret that exists has it\n", "removed: getFixed: secrets that have it are denied there\n",
		"changed: getA: + PUT /a/{}\n", "unsafe: /a/fixed is gone, and /a/{id} would catch its paths: a sidecar refuses this reload; keep /a/fixed, with x-postern-retired: true\n",
		"moved: paths of /a/{id} that match /a/other resolve to that, and need its grant\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("catalog diff lacks %q:\n%s", want, text)
		}
	}
	var change authz.Change
	if s.decode(s.ok("catalog diff --json $DIR/old.yaml $DIR/new.yaml"), &change); len(change.Added) != 1 || len(change.Removed) != 1 || len(change.Moved) != 2 {
		t.Errorf("catalog diff --json = %+v", change)
	}
	if got, want := s.ok("catalog diff $DIR/old.yaml $DIR/old.yaml"), "nothing changes\n"; got != want {
		t.Errorf("catalog diff of one and the same = %q, want %q", got, want)
	}
	s.refused(s.run("catalog diff $DIR/old.yaml $DIR/none.yaml"), "none.yaml: no such file")
}
