package authz

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestOverlaps(t *testing.T) {
	c := compile(t, "GET /orders/{n}", "GET /orders/search", "GET /orders/{n}/label", "GET /orders/returns/{id}", "GET /files/{f}.json", "GET /files/{f}")
	var got []string
	for _, o := range c.Overlaps() {
		got = append(got, o.String())
	}
	want := []string{
		"/orders/search wins over /orders/{n} where both match",
		"/orders/{n}/label and /orders/returns/{id}: a path may match both, and neither is the more concrete; it needs a grant for each",
		"/files/{f}.json and /files/{f}: a path may match both, and neither is the more concrete; it needs a grant for each",
	}
	if !slices.Equal(got, want) {
		t.Errorf("overlaps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := len(c.Warnings()); got != 2 {
		t.Errorf("%d warnings, want 2", got)
	}
}

func TestCheckSuccessor(t *testing.T) {
	old := []string{"GET /orders/{n}", "GET /orders/search", "GET /book"}
	tests := []struct {
		name string
		next []string
		want string // in the error; "" accepts
	}{
		{"the same", old, ""},
		{"one more", append(slices.Clone(old), "GET /orders/latest"), ""},
		{"another name of a parameter", []string{"GET /orders/{number}", "GET /orders/search", "GET /book"}, ""},
		{"another method", []string{"GET /orders/{n}", "PUT /orders/search", "GET /book"}, ""},
		{"gone, and nobody catches it", []string{"GET /orders/{n}", "GET /orders/search"}, ""},
		{"gone, and the wider one catches it", []string{"GET /orders/{n}", "GET /book"}, "/orders/search is gone, and /orders/{n} would catch its paths"},
		{"gone, and a new one catches it", []string{"GET /orders/{n}", "GET /orders/search", "GET /{x}"}, "/book is gone, and /{x} would catch its paths"},
		{"the wider one gone, the concrete one kept", []string{"GET /orders/search", "GET /book"}, ""},
		{"the wider one gone, a new concrete one", []string{"GET /orders/search", "GET /orders/latest", "GET /book"}, "/orders/{n} is gone"},
		{"gone, but a part is matched by a mixed segment", []string{"GET /orders/search", "GET /orders/{n}.json", "GET /book"}, "/orders/{n} is gone"},
	}
	for _, tt := range tests {
		err := compile(t, old...).CheckSuccessor(compile(t, tt.next...))
		if got := fmt.Sprint(err); (tt.want == "") != (err == nil) || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && !strings.Contains(err.Error(), "x-postern-retired: true") {
			t.Errorf("%s: %v, want the remedy", tt.name, err)
		}
	}
}

func TestDiff(t *testing.T) {
	old := compile(t, "GET /orders/{n}", "GET /gone", "GET /orders/search")
	ops := operations("GET /orders/{n}", "GET /orders/search", "GET /orders/latest")
	ops[0].Label = "An order"
	next, err := Compile(ops)
	if err != nil {
		t.Fatal(err)
	}
	got := next.Diff(old)
	want := Change{
		Added: []string{"GET_/orders/latest"}, Removed: []string{"GET_/gone"},
		Changed: []string{"GET_/orders/_n_: + label An order, - label GET_/orders/_n_"},
		Moved:   []Movement{{From: "/orders/{n}", To: "/orders/latest"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Diff = %+v, want %+v", got, want)
	}
}

func TestDiffTellsWidenedParameters(t *testing.T) {
	old := compile(t, "GET /orders/{n}")
	ops := operations("GET /orders/{n}")
	ops[0].Chars = map[string]string{"n": ":"}
	next, err := Compile(ops)
	if err != nil {
		t.Fatal(err)
	}
	if got := next.Diff(old).Changed; len(got) != 1 {
		t.Errorf("changed = %q, want the permission whose parameter was widened", got)
	}
}
