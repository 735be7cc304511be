package fields_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/postern/postern/authz/fields"
)

// parse reads JSONPaths that a space parts.
func parse(t testing.TB, texts string) []fields.Path {
	t.Helper()
	var paths []fields.Path
	for _, text := range strings.Fields(texts) {
		path, err := fields.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// removed is what remains of bodies; in that of duplicates, it is refused.
var removed = []struct{ name, paths, in, want string }{
	{"only member", "$.a", `{"a":1}`, `{}`},
	{"first member", "$.a", `{"a":1,"b":2}`, `{"b":2}`},
	{"middle member", "$.b", `{"a":1,"b":2,"c":3}`, `{"a":1,"c":3}`},
	{"last member", "$.b", `{"a":1,"b":2}`, `{"a":1}`},
	{"first two", "$.a $.b", `{"a":1,"b":2,"c":3}`, `{"c":3}`},
	{"last two", "$.b $.c", `{"a":1,"b":2,"c":3}`, `{"a":1}`},
	{"first and last", "$.a $.c", `{"a":1,"b":2,"c":3}`, `{"b":2}`},
	{"all but two apart", "$.a $.c $.e", `{"a":1,"b":2,"c":3,"d":4,"e":5}`, `{"b":2,"d":4}`},
	{"all", "$.a $.b $.c", `{"c":1,"a":2,"b":3}`, `{}`},
	{"only element", "$[0]", `[1]`, `[]`},
	{"first element", "$[0]", `[1,2,3]`, `[2,3]`},
	{"middle element", "$[1]", `[1,2,3]`, `[1,3]`},
	{"last element", "$[2]", `[1,2,3]`, `[1,2]`},
	{"all elements", "$[*]", `[1,2,3]`, `[]`},
	{"an element and all", "$[1] $[*]", `[1,2,3]`, `[]`},
	{"no such element", "$[3]", `[1,2,3]`, `[1,2,3]`},
	{"below all elements", "$[*].a", `[{"a":1},{"b":2},{"a":3,"b":4}]`, `[{},{"b":2},{"b":4}]`},
	{"below one and below all", "$[*].a $[1].b", `[{"a":1,"b":2},{"a":3,"b":4,"c":5}]`, `[{"b":2},{"c":5}]`},
	{"arrays of arrays", "$[*][0]", `[[1,2],[3],[]]`, `[[2],[],[]]`},

	{"a path within another", "$.a.b $.a", `{"a":{"b":1,"c":2},"d":3}`, `{"d":3}`},
	{"a path within another, of any type", "$.a.b $.a", `{"a":5,"d":3}`, `{"d":3}`},
	{"duplicates within what goes", "$.a", `{"a":{"a":1,"a":2},"d":3}`, `{"d":3}`},
	{"the same path twice", "$.a.b $.a.b", `{"a":{"b":1,"c":2}}`, `{"a":{"c":2}}`},
	{"two below one name", "$.a.b $.a.c", `{"a":{"b":1,"c":2}}`, `{"a":{}}`},
	{"the name elsewhere stays", "$.a.price", `{"price":1,"a":{"price":2,"x":{"price":3}}}`, `{"price":1,"a":{"x":{"price":3}}}`},
	{"a prefix of the name stays", "$.price", `{"pric":1,"price":2,"prices":3,"Price":4}`, `{"pric":1,"prices":3,"Price":4}`},
	{"a member that is an object", "$.a", `{"a":{"b":[1,{"c":"}],"}]},"d":3}`, `{"d":3}`},
	{"a member that is null", "$.a", `{"a":null,"b":1}`, `{"b":1}`},

	{"absent", "$.x", `{"a":1}`, `{"a":1}`},
	{"absent on the way", "$.x.y", `{"a":1}`, `{"a":1}`},
	{"null on the way", "$.x.y $.x[0].z", `{"x":null}`, `{"x":null}`},
	{"null at the root", "$.x $[0]", `null`, `null`},
	{"no paths", "", ` {"a" : [1 , 2]} `, ` {"a" : [1 , 2]} `},
	{"no paths, duplicates", "", `{"a":1,"a":2}`, `{"a":1,"a":2}`},
	{"duplicates of another name", "$.a", `{"b":1,"a":2,"b":3}`, `{"b":1,"b":3}`},
	{"duplicates off the path", "$.a.b", `{"c":{"b":1,"b":2},"a":{}}`, `{"c":{"b":1,"b":2},"a":{}}`},

	{"escaped name", "$.price", `{"\u0070rice":1,"b":2}`, `{"b":2}`},
	{"name all in escapes", "$.price", `{"\u0070\u0072\u0069\u0063\u0065":1}`, `{}`},
	{"name with short escapes", `$['a/b']`, `{"a\/b":1,"c":2}`, `{"c":2}`},
	{"name of quote and backslash", `$["\"\\"]`, `{"\"\\":1,"\u0022\u005C":2}`, "duplicate"},
	{"name raw, path raw", "$.prïce", `{"prïce":1}`, `{}`},
	{"name escaped, path raw", "$.prïce", `{"pr\u00EFce":1}`, `{}`},
	{"name in a surrogate pair", "$['😀']", `{"\ud83d\uDE00":1}`, `{}`},
	{"name beyond the BMP, raw", "$['😀']", `{"😀":1}`, `{}`},
	{"empty name", "$['']", `{"":1,"a":2}`, `{"a":2}`},
	{"another normal form stays", "$['é']", "{\"e\u0301\":1}", "{\"e\u0301\":1}"},

	{"whitespace, first", "$.a", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"b\": 2\n}\n"},
	{"whitespace, middle", "$.b", "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}", "{\n  \"a\": 1,\n  \"c\": 3\n}"},
	{"whitespace, last", "$.b", "{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n  \"a\": 1\n}"},
	{"whitespace, only", "$.a", "{\n  \"a\": 1\n}", "{\n  \n}"},
	{"whitespace before commas", "$.b", "{ \"a\":1 ,\t\"b\" : 2 ,\r\n\"c\":3 }", "{ \"a\":1 ,\r\n\"c\":3 }"},
	{"all else as it was", "$.a.price", `{"big":9007199254740993.10,"e":1E+2,"z":-0.0,"a":{"s":"\u0041\/\ud800","price":"0.0"},"é":"é"}`,
		`{"big":9007199254740993.10,"e":1E+2,"z":-0.0,"a":{"s":"\u0041\/\ud800"},"é":"é"}`},

	{"quote", "$.response[*].quotes[*].price $.response[*].quotes[*].import_tax",
		`{"response":[{"success":true,"quotes":[{"price":11.25,"days":2},{"days":1,"price":9,"import_tax":1}]},{"success":false}],"count":2}`,
		`{"response":[{"success":true,"quotes":[{"days":2},{"days":1}]},{"success":false}],"count":2}`},
	{"label", "$.response.order.price",
		`{"response":{"id":7,"order":{"state":"done","price":"15.95","products":[{"price":29.0}]},"url":"https://x"}}`,
		`{"response":{"id":7,"order":{"state":"done","products":[{"price":29.0}]},"url":"https://x"}}`},
}

func TestRemove(t *testing.T) {
	for _, tt := range removed {
		in := []byte(tt.in)
		got, err := fields.Remove(in, parse(t, tt.paths))
		if tt.want == "duplicate" && errors.Is(err, fields.ErrDuplicate) {
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: Remove(%q, %s) = %q, %v, want %q", tt.name, tt.in, tt.paths, got, err, tt.want)
		}
		if string(in) != tt.in {
			t.Errorf("%s: Remove wrote to the body: %q, was %q", tt.name, in, tt.in)
		}
	}
}

// Without a match there is no copy.
func TestRemoveNothing(t *testing.T) {
	body := []byte(`{"a":1}`)
	got, err := fields.Remove(body, parse(t, "$.b"))
	if err != nil || &got[0] != &body[0] {
		t.Errorf("Remove = %q, %v, want the body itself", got, err)
	}
}

// refused is bodies that nothing is removed from, and where in each it is.
var refused = []struct {
	name, paths, in string
	want            error
	offset          int
}{
	{"duplicate end", "$.a", `{"a":1,"b":2,"a":3}`, fields.ErrDuplicate, 13},
	{"duplicate on the way", "$.a.b", `{"a":null,"a":{"b":1}}`, fields.ErrDuplicate, 10},
	{"duplicate by escape", "$.price", `{"price":1, "\u0070rice":2}`, fields.ErrDuplicate, 12},
	{"duplicate by surrogates", "$['😀']", `{"😀":1,"\ud83d\ude00":2}`, fields.ErrDuplicate, 10},
	{"duplicate in an element", "$[*].a", `[{"a":1},{"a":1,"a":2}]`, fields.ErrDuplicate, 16},

	{"NUL in a name", "$.price", `{"price\u0000x":1}`, fields.ErrName, 1},
	{"half a pair in a name", "$.price", `{"a":1,"\ud800":1}`, fields.ErrName, 7},
	{"two halves that are no pair", "$.price", `{"\ude00\ud83d":1}`, fields.ErrName, 1},
	{"two high halves", "$.price", `{"\ud83d\ud83d":1}`, fields.ErrName, 1},

	{"string for an object", "$.a.b", `{"a": "x"}`, fields.ErrType, 6},
	{"false for an object", "$.a.b", `{"a":false}`, fields.ErrType, 5},
	{"array for an object", "$.a.b", `{"a":[{"b":1}]}`, fields.ErrType, 5},
	{"object for an array", "$.a[*].b", `{"a":{"0":{"b":1}}}`, fields.ErrType, 5},
	{"number for an array", "$.a[0]", `{"a":0}`, fields.ErrType, 5},
	{"scalar element", "$[*].a", `[null,{"a":1},2]`, fields.ErrType, 14},
	{"scalar root", "$.a", `"a"`, fields.ErrType, 0},
	{"array root", "$.a", `[]`, fields.ErrType, 0},
	{"object and array wanted", "$.a[0] $.a.b", `{"a":{"b":1}}`, fields.ErrType, 5},

	{"empty", "$.a", ``, fields.ErrSyntax, 0},
	{"space only", "$.a", ` `, fields.ErrSyntax, 1},
	{"byte order mark", "$.a", "\xef\xbb\xbf{}", fields.ErrSyntax, 0},
	{"UTF-16", "$.a", "{\x00}\x00", fields.ErrSyntax, 1},
	{"trailing value", "$.a", `{"a":1} {"a":2}`, fields.ErrSyntax, 8},
	{"trailing NUL", "$.a", "{}\x00", fields.ErrSyntax, 2},
	{"cut off", "$.a", `{"a":1`, fields.ErrSyntax, 6},
	{"cut off in a name", "$.a", `{"a`, fields.ErrSyntax, 3},
	{"cut off in an escape", "$.a", `{"a":"\u00`, fields.ErrSyntax, 6},
	{"cut off after a backslash", "$.a", `{"a":"\`, fields.ErrSyntax, 6},
	{"trailing comma", "$.a", `{"a":1,}`, fields.ErrSyntax, 7},
	{"trailing comma of an array", "$.a", `{"b":[1,]}`, fields.ErrSyntax, 8},
	{"comma only", "$[0]", `[,]`, fields.ErrSyntax, 1},
	{"no comma", "$.a", `{"a":1 "b":2}`, fields.ErrSyntax, 7},
	{"no colon", "$.a", `{"a" 1}`, fields.ErrSyntax, 5},
	{"no value", "$.a", `{"a":}`, fields.ErrSyntax, 5},
	{"wrong bracket", "$.a", `{"a":1]`, fields.ErrSyntax, 6},
	{"bare name", "$.a", `{a:1}`, fields.ErrSyntax, 1},
	{"single quotes", "$.a", `{'a':1}`, fields.ErrSyntax, 1},
	{"comment", "$.a", `{/**/"a":1}`, fields.ErrSyntax, 1},
	{"NaN", "$.a", `{"a":NaN}`, fields.ErrSyntax, 5},
	{"long literal", "$.b", `{"a":nulll}`, fields.ErrSyntax, 9},
	{"capital literal", "$.b", `{"a":True}`, fields.ErrSyntax, 5},
	{"leading zero", "$.b", `{"a":01}`, fields.ErrSyntax, 6},
	{"plus", "$.b", `{"a":+1}`, fields.ErrSyntax, 5},
	{"no digits", "$.b", `{"a":-}`, fields.ErrSyntax, 6},
	{"no fraction", "$.b", `{"a":1.}`, fields.ErrSyntax, 7},
	{"no integer", "$.b", `{"a":.5}`, fields.ErrSyntax, 5},
	{"no exponent", "$.b", `{"a":1e+}`, fields.ErrSyntax, 8},
	{"hexadecimal", "$.b", `{"a":0x1}`, fields.ErrSyntax, 6},
	{"unknown escape", "$.b", `{"a":"x\x41"}`, fields.ErrSyntax, 7},
	{"short escape", "$.b", `{"a":"\u00g0"}`, fields.ErrSyntax, 6},
	{"signed escape", "$.b", `{"a":"\u+123"}`, fields.ErrSyntax, 6},
	{"newline in a string", "$.b", "{\"a\":\"x\n\"}", fields.ErrSyntax, 7},
	{"bad UTF-8 in a string", "$.b", "{\"a\":\"\xff\"}", fields.ErrSyntax, 6},
	{"surrogate as UTF-8", "$.b", "{\"a\":\"\xed\xa0\x80\"}", fields.ErrSyntax, 6},
	{"overlong UTF-8", "$.a", "{\"\xc1\xa1\":1}", fields.ErrSyntax, 2},
	{"bad JSON within what goes", "$.a", `{"a":{"x":01}}`, fields.ErrSyntax, 11},
	{"bad JSON behind what goes", "$.a", `{"a":1,"b":tru}`, fields.ErrSyntax, 11},
	{"other space", "$.a", "{\u00a0\"a\":1}", fields.ErrSyntax, 1},

	{"deep", "$.a", `{"a":` + strings.Repeat("[", 600), fields.ErrDepth, 516},
}

func TestRemoveRefuses(t *testing.T) {
	for _, tt := range refused {
		got, err := fields.Remove([]byte(tt.in), parse(t, tt.paths))
		var refused *fields.Error
		if !errors.As(err, &refused) || !errors.Is(err, tt.want) || refused.Offset != tt.offset || got != nil {
			t.Errorf("%s: Remove(%q, %s) = %q, %v, want byte %d: %v", tt.name, tt.in, tt.paths, got, err, tt.offset, tt.want)
		}
	}
}

func TestRemoveDepth(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(strings.Repeat(`{"a":[`, depth/2) + strings.Repeat("]}", depth/2))
	}
	paths := parse(t, "$.a[*].a[0].b")
	if got, err := fields.Remove(nested(512), paths); err != nil || !bytes.Equal(got, nested(512)) {
		t.Errorf("512 deep: %q, %v, want it as it is", got, err)
	}
	if _, err := fields.Remove(nested(514), paths); !errors.Is(err, fields.ErrDepth) {
		t.Errorf("514 deep: %v, want %v", err, fields.ErrDepth)
	}
}

// The paths of a hand-made mistake do not pass for paths without a match.
func TestRemoveRefusesPath(t *testing.T) {
	for _, path := range []fields.Path{nil, {}, {{Name: "a"}}, {{Kind: fields.Element, Index: -1}}, {{Kind: fields.Elements + 1}}} {
		if got, err := fields.Remove([]byte(`null`), []fields.Path{path}); !errors.Is(err, fields.ErrPath) {
			t.Errorf("Remove by %#v = %q, %v, want %v", path, got, err, fields.ErrPath)
		}
	}
}

// An error can be logged: it says where, on which path, and nothing of the body.
func TestRemoveError(t *testing.T) {
	_, err := fields.Remove([]byte(`{"secret":"15.95","response":"15.95"}`), parse(t, "$.response.price"))
	const want = "remove fields: at byte 29, on path $.response.price: a path goes on through a value that is neither null nor of the kind it names"
	if err == nil || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}
