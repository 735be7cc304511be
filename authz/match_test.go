package authz

import (
	"slices"
	"strings"
	"testing"
)

// compile compiles operations given as `METHOD /path`, each its own
// permission: its id is the method and the line.
func compile(t testing.TB, endpoints ...string) *Catalog {
	t.Helper()
	c, err := Compile(operations(endpoints...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func operations(endpoints ...string) []Operation {
	var all []Operation
	for i, e := range endpoints {
		method, path, _ := strings.Cut(e, " ")
		all = append(all, Operation{ID: strings.Map(idByte, e), Method: method, Path: path, Line: i + 1})
	}
	return all
}

// idByte makes an operation id of an endpoint.
func idByte(r rune) rune {
	if strings.ContainsRune(unreserved+"/:", r) {
		return r
	}
	return '_'
}

func TestResolve(t *testing.T) {
	c := compile(t,
		"GET /", "GET /orders", "POST /orders", "GET /orders/", "GET /orders/{n}", "DELETE /orders/{n}", "GET /orders/search",
		"GET /orders/{n}/label", "GET /orders/{n}/{document}", "GET /orders/returns/{id}", "GET /files/{name}.json", "GET /files/{name}",
		"GET /files/index.json", "POST /jobs/{id}:cancel", "GET /jobs/{id}", "GET /a/{x}/c/{y}", "GET /a/b/{z}/d", "GET /twice/a{x}a",
	)
	tests := []struct {
		method, path string
		want         []string
	}{
		{"GET", "/", []string{"/"}},
		{"GET", "", nil},
		{"GET", "orders", nil},
		{"GET", "/orders", []string{"/orders"}},
		{"GET", "/orders/", []string{"/orders/"}},
		{"GET", "/orders//", nil},
		{"GET", "//orders", nil},
		{"GET", "/orders/1", []string{"/orders/{n}"}},
		{"GET", "/orders/search", []string{"/orders/search"}},
		{"DELETE", "/orders/search", nil},
		{"DELETE", "/orders/1", []string{"/orders/{n}"}},
		{"PUT", "/orders/1", nil},
		{"GET", "/orders/1/label", []string{"/orders/{n}/label"}},
		{"GET", "/orders/1/invoice", []string{"/orders/{n}/{document}"}},
		{"GET", "/orders/search/label", []string{"/orders/{n}/label"}},
		{"GET", "/orders/returns/9", []string{"/orders/returns/{id}"}},
		{"GET", "/orders/returns/label", []string{"/orders/returns/{id}", "/orders/{n}/label"}},
		{"GET", "/files/index.json", []string{"/files/index.json"}},
		{"GET", "/files/a.json", []string{"/files/{name}.json", "/files/{name}"}},
		{"GET", "/files/.json", []string{"/files/{name}"}},
		{"GET", "/files/a.xml", []string{"/files/{name}"}},
		{"POST", "/jobs/1:cancel", []string{"/jobs/{id}:cancel"}},
		{"POST", "/jobs/:cancel", nil},
		{"GET", "/twice/a", nil},
		{"GET", "/twice/aa", nil},
		{"GET", "/twice/aaa", []string{"/twice/a{x}a"}},
		{"POST", "/jobs/1:stop", nil},
		{"GET", "/a/b/c/d", []string{"/a/b/{z}/d", "/a/{x}/c/{y}"}},
		{"GET", "/a/b/c/e", []string{"/a/{x}/c/{y}"}},
		{"GET", "/a/b/e/d", []string{"/a/b/{z}/d"}},
	}
	for _, tt := range tests {
		var got []string
		for _, e := range c.Resolve(Request{Method: tt.method, Path: tt.path}).Endpoints {
			got = append(got, e.Path)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s %q resolves to %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
}

// What some servers take for a literal needs that endpoint's grant too, and its
// method: servers that fold case, or drop dots or an extension at the end.
// What a caller says of the endpoints counts for nothing.
func TestResolveForgets(t *testing.T) {
	claimed := []*Endpoint{{Method: "GET", Permission: "all"}}
	for _, c := range []*Catalog{nil, new(Catalog)} {
		if got := c.Resolve(Request{Method: "GET", Path: "/a", Host: "h", Endpoints: claimed}); got.Endpoints != nil {
			t.Errorf("Resolve of a path in no catalog = %v, want no endpoints", got.Endpoints)
		}
	}
}

func TestMistakenLiterals(t *testing.T) {
	c := compile(t,
		"GET /orders/{n}", "DELETE /orders/{n}", "GET /orders/search", "GET /orders/{n}/label", "GET /orders/{n}/{document}",
		"GET /orders/returns/{id}", "GET /files/{name}", "GET /files/{name}.json", "GET /files/old-{name}", "GET /codes/{code}.txt",
		"GET /Mixed/Case", "GET /Mixed/{x}", "GET /mixed/case", "GET /zones/zZ", "GET /zones/{z}", "GET /docs/{d}", "GET /docs/{d}.txt",
		"GET /w/{x}", "GET /w/p-{x}", "GET /{x}.json/{y}", "GET /{x}/b",
	)
	tests := []struct {
		method, path string
		want         []string
	}{
		{"GET", "/orders/SEARCH", []string{"/orders/{n}", "/orders/search"}},
		{"DELETE", "/orders/SEARCH", nil},
		{"GET", "/orders/search.", []string{"/orders/{n}", "/orders/search"}},
		{"GET", "/orders/search...", []string{"/orders/{n}", "/orders/search"}},
		{"GET", "/orders/Search.json", []string{"/orders/{n}", "/orders/search"}},
		{"GET", "/orders/Search.json.", []string{"/orders/{n}", "/orders/search"}},
		{"GET", "/orders/.search", []string{"/orders/{n}"}},
		{"GET", "/orders/searching", []string{"/orders/{n}"}},
		{"GET", "/orders/a.b", []string{"/orders/{n}"}},
		{"GET", "/orders/1/LABEL", []string{"/orders/{n}/{document}", "/orders/{n}/label"}},
		{"GET", "/orders/RETURNS/label", []string{"/orders/{n}/label", "/orders/returns/{id}"}},
		{"GET", "/orders/Returns/LABEL", []string{"/orders/{n}/{document}", "/orders/{n}/label", "/orders/returns/{id}"}},
		{"GET", "/orders/returns/LABEL", []string{"/orders/returns/{id}", "/orders/{n}/label"}},
		{"GET", "/ORDERS/1", nil},
		{"GET", "/orders/1/LABEL/", nil},
		{"GET", "/files/a.JSON", []string{"/files/{name}", "/files/{name}.json"}},
		{"GET", "/files/a.json.gz", []string{"/files/{name}", "/files/{name}.json"}},
		{"GET", "/files/OLD-a", []string{"/files/{name}", "/files/old-{name}"}},
		{"GET", "/codes/a.TXT", nil},
		{"GET", "/Mixed/Case", []string{"/Mixed/Case"}},
		{"GET", "/Mixed/case", []string{"/Mixed/{x}", "/Mixed/Case"}},
		{"GET", "/mixed/case", []string{"/mixed/case"}},
		{"GET", "/mixed/Case", nil},
		{"GET", "/zones/ZZ", []string{"/zones/{z}", "/zones/zZ"}},
		{"GET", "/docs/a.TXT", []string{"/docs/{d}", "/docs/{d}.txt"}},
		{"GET", "/w/p-" + strings.Repeat("a", 126) + ".b", []string{"/w/p-{x}"}},
		{"GET", "/a.json/b", []string{"/{x}/b"}},
	}
	for _, tt := range tests {
		var got []string
		for _, e := range c.Resolve(Request{Method: tt.method, Path: tt.path}).Endpoints {
			got = append(got, e.Path)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s %q needs %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestValues(t *testing.T) {
	for value, want := range map[string]bool{
		"a": true, "A-Z_0.9~": true, strings.Repeat("a", 128): true, "...a": true, "a.": true,
		"": false, ".": false, "..": false, "...": false, strings.Repeat("a", 129): false, strings.Repeat(".", 128): false,
		"a/b": false, "a%2fb": false, "a;b": false, "a b": false, "a\x00": false, "é": false, "a\\b": false, "a:b": false, "a+b": false, "a#b": false, "a?b": false,
	} {
		if got := isValue(value, valueChars); got != want {
			t.Errorf("isValue(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestWidenedParameter(t *testing.T) {
	c, err := Compile([]Operation{{ID: "a", Method: "GET", Path: "/users/{email}", Chars: map[string]string{"email": "@+"}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/users/a+b@example.com": true, "/users/a:b": false, "/users/a%40b": false} {
		if got := len(c.Resolve(Request{Method: "GET", Path: path}).Endpoints) > 0; got != want {
			t.Errorf("%s matches: %v, want %v", path, got, want)
		}
	}
}

// FuzzResolve checks that what matches is a template filled with values: byte
// for byte, and nothing else.
func FuzzResolve(f *testing.F) {
	c := compile(f, "GET /a", "GET /a/{x}", "GET /a/b", "GET /a/{x}/{y}", "GET /a/{x}/c", "GET /a/{x}.json", "GET /a/p-{x}", "GET /{x}/")
	for _, seed := range []string{"/a", "/a/b", "/a/x.json", "/a/p-1", "/a/b/c", "/a/../b", "//a", "/a/", "/x/", "/a/%62", "/a;x/b", "a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		for i, r := range c.resolve(nil, path) {
			if i > 0 && !r.template.matches(path) {
				continue // what it may be mistaken for, beside what it is
			}
			if filled := fill(r.template, path); filled != path {
				t.Errorf("%q resolves to %s, which filled with its values is %q", path, r.text, filled)
			}
		}
	})
}

// fill fills a template with the values that path has in its places, refusing
// (as "refused") what no value may be. It is written apart from the matcher.
func fill(tmpl template, path string) string {
	parts := strings.Split(path, "/")
	var out []string
	for i, part := range strings.Split(tmpl.text, "/") {
		before, rest, ok := strings.Cut(part, "{")
		if !ok {
			out = append(out, part)
			continue
		}
		_, after, _ := strings.Cut(rest, "}")
		value := strings.TrimSuffix(strings.TrimPrefix(parts[i], before), after)
		if value == "" || len(value) > 128 || strings.Trim(value, ".") == "" || strings.Trim(value, unreserved) != "" {
			return "refused"
		}
		out = append(out, before+value+after)
	}
	return strings.Join(out, "/")
}
