package fields

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in, want string // want "" means refused
	}{
		{"$.response.price", "$.response.price"},
		{"$['response']['price']", "$.response.price"},
		{`$["response"].price`, "$.response.price"},
		{"$.response[*].quotes[*].price", "$.response[*].quotes[*].price"},
		{"$.response[0].price", "$.response[0].price"},
		{"$[*]", "$[*]"},
		{"$['a b'].c", "$['a b'].c"},
		{`$['it\'s']`, `$['it\'s']`},
		{`$["it's"]`, `$['it\'s']`},
		{`$['back\\slash']`, `$['back\\slash']`},
		{"$.prïce", "$.prïce"},
		{"$['']", "$['']"},
		{"", ""},
		{"$", ""},
		{"response.price", ""},
		{"$..price", ""},
		{"$.*", ""},
		{"$.", ""},
		{"$.response[-1]", ""},
		{"$.response[01]", ""},
		{"$.response[+1]", ""},
		{"$.response[0:2]", ""},
		{"$.response[0,1]", ""},
		{"$.response[?@.price]", ""},
		{"$.response[ 0 ]", ""},
		{"$.response ", ""},
		{"$.9lives", ""},
		{"$['open", ""},
		{"$['open'", ""},
		{`$['\u0070rice']`, ""},
		{"$.response[99999999999999999999]", ""},
		{"$['\xff']", ""},
	}
	for _, tt := range tests {
		path, err := Parse(tt.in)
		if err != nil {
			if tt.want != "" {
				t.Errorf("Parse(%q): %v, want %q", tt.in, err, tt.want)
			}
			continue
		}
		if got := path.String(); got != tt.want {
			t.Errorf("Parse(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"$.a", "$['a'][0][*]", `$["\\"]`, "$.é", "$..a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(path.String())
		if err != nil || !slices.Equal(path, again) {
			t.Errorf("Parse(%q).String() = %q, which reads as %v, %v", text, path, again, err)
		}
	})
}
