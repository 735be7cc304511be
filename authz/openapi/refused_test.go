package openapi

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

type problem struct {
	line         int
	text, remedy string // parts of them
}

// refused holds every file of testdata/refused, with all its problems.
var refused = map[string][]problem{
	// The document.
	"alias-unknown.yaml":   {{7, "unknown anchor 'shared'", "correct the syntax"}},
	"empty.yaml":           {{1, "the document is empty", "one OpenAPI document"}},
	"list.yaml":            {{1, "the document is no object", "OpenAPI 3.0 or 3.1"}},
	"no-operations.yaml":   {{1, "no operations", "lists the API's paths"}},
	"not-utf8.yaml":        {{4, "not UTF-8", "save it as UTF-8"}},
	"swagger.yaml":         {{1, "Swagger 2.0", "OpenAPI 3.0 or 3.1"}},
	"syntax.json":          {{4, "did not find expected ',' or '}'", "correct the syntax"}},
	"syntax.yaml":          {{4, "did not find expected node content", "correct the syntax"}},
	"two-documents.yaml":   {{7, "a second document begins", "one OpenAPI document"}},
	"version-missing.yaml": {{1, "no openapi field", "OpenAPI 3.0 or 3.1"}},
	"version-new.yaml":     {{1, `openapi is "3.2.0"`, "OpenAPI 3.0 or 3.1"}},
	"version-number.yaml":  {{1, `openapi is "3.1"`, "OpenAPI 3.0 or 3.1"}},

	// Keys.
	"duplicate-method.json": {{6, `"get" stands twice, first on line 5`, "keep one"}},
	"duplicate-method.yaml": {{7, `"get" stands twice, first on line 5`, "keep one"}},
	"duplicate-path.json":   {{5, `"/orders" stands twice, first on line 4`, "keep one"}},
	"duplicate-path.yaml":   {{7, `"/orders" stands twice, first on line 4`, "keep one"}},
	"duplicate-unread.yaml": {{9, `"type" stands twice`, "keep one"}},
	"list-key.yaml":         {{7, "a key is not plain text", "as JSON could"}},
	"merge-key.yaml":        {{7, "<< merges keys", "write the keys out"}},
	"tagged-key.yaml":       {{7, "a key is not plain text", "as JSON could"}},

	// References.
	"ref-cycle.yaml": {
		{5, "path /orders: $ref leads back to itself", "at the object itself"},
		{7, "path /quotes: $ref leads back to itself", "at the object itself"},
	},
	"ref-file.yaml":            {{8, `$ref "shared.yaml#/id" leads out of the document`, "bundle the document into one file"}},
	"ref-no-text.yaml":         {{5, "names nothing", "point it at an object"}},
	"ref-nowhere.yaml":         {{5, `"#/components/pathItems/orders" names nothing`, "point it at an object"}},
	"ref-parameter-cycle.yaml": {{8, "$ref leads back to itself", "at the object itself"}},
	"ref-shared.yaml":          {{6, "path /quotes is the path item of line 4 again", "a path item for each path"}},
	"ref-siblings.yaml":        {{6, "path /orders has both $ref and get", "move it"}},
	"ref-unread.yaml":          {{8, `$ref "/etc/passwd" leads out of the document`, "bundle the document into one file"}},
	"ref-url.json":             {{5, `$ref "https://example.com/orders.json" leads out of the document`, "bundle the document into one file"}},

	// Paths.
	"method-new.yaml":           {{7, `path /orders has an unknown key "query"`, "get, put, post"}},
	"method-upper.yaml":         {{5, `path /orders has an unknown key "GET"`, "get, put, post"}},
	"operation-id-missing.yaml": {{5, "GET /orders has no operationId", "give it one"}},
	"operation-id-number.yaml":  {{6, `GET /orders: cannot unmarshal !!int into string field "operationId"`, "as the OpenAPI Specification says"}},
	"operation-id-twice.yaml":   {{8, `"listOrders" is already used on line 5`, "its own"}},
	"operation-null.yaml":       {{5, "GET /orders is no object", "leave it out"}},
	"parameter-text.yaml":       {{7, "a parameter is no object", "leave it out"}},
	"parameters-object.yaml":    {{7, "parameters is no list", "list the parameters"}},
	"path-dots.yaml":            {{5, "dot segment", ""}},
	"path-null.yaml":            {{4, "path /orders is no object", "leave it out"}},
	"path-operator.yaml":        {{5, "{rest*} is no plain name", ""}},
	"path-percent.yaml":         {{5, "percent sign", ""}},
	"path-relative.yaml":        {{6, `path "orders" does not start with /`, "write the slash"}},
	"path-same-template.yaml":   {{8, "/orders/{number} is the path /orders/{id} of line 5", "use one name"}},
	"path-wildcard.yaml":        {{5, "wildcard", ""}},
	"paths-list.yaml":           {{3, "paths is no object", "under it"}},

	// Servers.
	"server-dots.yaml":         {{7, "dot segment", ""}},
	"server-empty.yaml":        {{4, "it has no url", "/PATH"}},
	"server-fragment.yaml":     {{4, `"/api#3" holds '#'`, "/PATH"}},
	"server-host.yaml":         {{4, `"example.com:443" has no host`, "/PATH"}},
	"server-null.yaml":         {{4, "it has no url", "/PATH"}},
	"server-of-operation.yaml": {{7, `"/%61pi" holds '%'`, "/PATH"}},
	"server-percent.yaml":      {{4, "holds '%'", "/PATH"}},
	"server-query.yaml":        {{4, "holds '?'", "/PATH"}},
	"server-relative.yaml":     {{4, `"api/3" has no host, and does not start with /`, "/PATH"}},
	"server-text.yaml":         {{3, "the document: cannot construct", "as the OpenAPI Specification says"}},
	"server-variable.yaml":     {{4, "holds '{'", "/PATH"}},

	// Extensions of a wrong type.
	"chars-differ.yaml":            {{9, "other x-postern-chars than on line 7", "once"}},
	"chars-number.yaml":            {{8, "x-postern-chars is no text", "in quotes"}},
	"chars-other-parameter.yaml":   {{5, "a parameter that the path does not have", ""}},
	"chars-slash.yaml":             {{5, "may be added", ""}},
	"fields-group-text.yaml":       {{8, `"shipping_price" is no object`, "{label: TEXT"}},
	"fields-label-number.yaml":     {{8, "label is no text", "in quotes"}},
	"fields-list.yaml":             {{7, "x-postern-fields is no object", "{GROUP:"}},
	"fields-no-paths.yaml":         {{5, "no paths", "list what it holds"}},
	"fields-path-filter.yaml":      {{5, `"$..price"`, "only names, indexes"}},
	"fields-path-number.yaml":      {{8, "a JSONPath is no text", "quote it"}},
	"fields-paths-text.yaml":       {{8, `paths of field group "shipping_price" is no list`, "[JSONPATH"}},
	"fields-unknown-key.yaml":      {{8, `unknown key "path"`, "label and paths"}},
	"grantable-no.yaml":            {{7, "x-postern-grantable is neither true nor false", "without quotes"}},
	"grantable-text.yaml":          {{7, "x-postern-grantable is neither true nor false", "without quotes"}},
	"permission-empty.yaml":        {{7, "x-postern-permission is no text, or empty", "write text"}},
	"permission-empty-unused.yaml": {{12, "x-postern-permission is no text, or empty", "write text"}},
	"permission-null.json":         {{7, "x-postern-permission is no text", "write text"}},
	"permission-number.yaml":       {{7, "x-postern-permission is no text", "in quotes"}},
	"retired-number.yaml":          {{7, "x-postern-retired is neither true nor false", "without quotes"}},

	// Extensions that are unknown, or stand where nothing reads them.
	"chars-on-header-unused.yaml": {{9, "x-postern-chars has no meaning here", "in: path"}},
	"chars-on-operation.yaml":     {{7, "x-postern-chars has no meaning here", "in: path"}},
	"chars-on-query.yaml":         {{8, "x-postern-chars has no meaning here", "in: path"}},
	"fields-on-response.yaml":     {{9, "x-postern-fields has no meaning here", "an operation under paths"}},
	"grantable-in-callback.yaml":  {{11, "x-postern-grantable has no meaning here", "an operation under paths"}},
	"grantable-in-webhook.yaml":   {{11, "x-postern-grantable has no meaning here", "an operation under paths"}},
	"permission-beside-ref.yaml":  {{6, "x-postern-permission has no meaning here", "an operation under paths"}},
	"permission-on-path.yaml":     {{5, "x-postern-permission has no meaning here", "an operation under paths"}},
	"unknown-case.yaml":           {{7, `unknown extension "X-Postern-Grantable"`, "x-postern-grantable"}},
	"unknown-in-group.yaml":       {{8, `unknown key "x-postern-public"`, "label and paths"}},
	"unknown-in-info.yaml":        {{2, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-in-schema.json":      {{2, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-on-operation.yaml":   {{7, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-on-parameter.yaml":   {{8, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-on-path.yaml":        {{5, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-on-root.yaml":        {{1, `unknown extension "x-postern-public"`, "x-postern-chars"}},
	"unknown-typo.yaml":           {{7, `unknown extension "x-posternpermission"`, "x-postern-permission"}},

	"many.yaml": {
		{1, `unknown extension "x-postern-public"`, "x-postern-chars"},
		{5, "holds '?'", "/PATH"},
		{10, "x-postern-retired is neither true nor false", "without quotes"},
		{12, "GET /quotes has no operationId", "give it one"},
		{14, `path "quotes" does not start with /`, "write the slash"},
	},
}

func TestRefused(t *testing.T) {
	for _, name := range files(t, "testdata/refused") {
		t.Run(name, func(t *testing.T) {
			want, listed := refused[name]
			if !listed {
				t.Fatal("the table does not say what is wrong with it")
			}
			catalog, err := Load(read(t, "testdata/refused/"+name))
			got, ok := errors.AsType[authz.Problems](err)
			if catalog != nil || !ok {
				t.Fatalf("Load = %v, %v, want problems", catalog, err)
			}
			if len(got) != len(want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(got), len(want), err)
			}
			for i, w := range want {
				g := got[i]
				if g.Line != w.line || !strings.Contains(g.Text, w.text) || g.Remedy == "" || !strings.Contains(g.Remedy, w.remedy) {
					t.Errorf("got  %v\nwant line %d: …%s…: …%s…", g, w.line, w.text, w.remedy)
				}
			}
		})
	}
}

func TestRefusedTableNamesFiles(t *testing.T) {
	for name := range refused {
		if _, err := os.Stat("testdata/refused/" + name); err != nil {
			t.Error(err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(dir + "/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s holds no files: %v", dir, err)
	}
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
