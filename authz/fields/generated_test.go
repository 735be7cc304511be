package fields_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/postern/postern/authz/fields"
)

// operations have the shapes of real answers, and two field groups each.
var operations = []struct {
	body   string
	groups [2]string
}{
	{`{"response":{"id":7,"order":{"tracking_number":"PPa","price":"15.95","invoice_number":null,"parcels":[{"weight":1.25}],
		"products":[{"title":"T","price":29.0}],"documents":{"shipping_label":{"url":"https://x/y","file_type":"pdf"},
		"customs_invoice":{"url":"https://x/z"}}},"qualified_url":"https://x"}}`,
		[2]string{"$.response.order.price", "$.response.order.invoice_number $.response.order.documents.customs_invoice"}},
	{`{"response":[{"success":true,"quotes":[{"price":11.25,"days":"2","customs_duty":3.1,"import_fee":0.9},{"price":19.5}]},
		{"success":true,"quotes":[]},{"success":false,"error":"no"},{"quotes":[{"import_fee":1,"price":42.0,"incoterm":"DDP"}]}],"count":4}`,
		[2]string{"$.response[*].quotes[*].price", "$.response[*].quotes[*].customs_duty $.response[*].quotes[*].import_fee"}},
	{`{"response":{"id":101,"state":"processing","price":"0.0","invoice_number":null,"products":[{"title":"T","price":29.0}],
		"user_attributes":{"email":"a@example.com"}}}`,
		[2]string{"$.response.price", "$.response.invoice_number"}},
	{`{"prïce":{"😀":[1,2,3]},"":{"a/b":{"q\"\\":4,"":5}},"lines":[[6,1],[7],[]]}`,
		[2]string{`$.prïce['😀'][0] $['']['a/b']['q"\\']`, `$.prïce['😀'][1] $['']['a/b'][''] $.lines[*][0]`}},
}

// costs mark what the groups name: no part of any other value looks like them.
var costs = [2]string{"~COST1~", "~COST2~"}

// No cost leaks, and nothing else changes: of one group or of both, in bodies
// that are what an upstream might send at its worst.
func TestRemoveGenerated(t *testing.T) {
	results := map[error]int{}
	for seed := range uint64(10_000) {
		g := generator{rand.New(rand.NewPCG(seed, 5))}
		op := operations[g.IntN(len(operations))]
		root := readTree(op.body)
		g.mutate(root)
		for i, group := range op.groups {
			for _, path := range parse(t, group) {
				g.mark(root, path, costs[i])
			}
		}
		body, whole := g.spell(root)
		texts, hidden := op.groups[0], costs[:1]
		switch g.IntN(3) {
		case 1:
			texts, hidden = op.groups[1], costs[1:]
		case 2:
			texts, hidden = op.groups[0]+" "+op.groups[1], costs[:]
		}
		paths := parse(t, texts)
		got, err := fields.Remove(body, paths)
		if complaint := judge(body, paths, got, err); complaint != "" {
			t.Fatalf("body %d: Remove(%q, %s): %s", seed, body, texts, complaint)
		}
		for _, cost := range hidden {
			if whole && bytes.Contains(got, []byte(cost)) {
				t.Fatalf("body %d: Remove(%q, %s) = %q: %s leaks", seed, body, texts, got, cost)
			}
		}
		results[errors.Unwrap(err)]++
		if err == nil && len(got) < len(body) {
			results[errRemoved]++
		}
	}
	for reason, least := range atLeast {
		if results[reason] < least {
			t.Errorf("%d bodies had the result %v, want at least %d: the generator has lost its bite", results[reason], reason, least)
		}
	}
}

var errRemoved = errors.New("something was removed")

// atLeast so many of the bodies come to each end.
var atLeast = map[error]int{
	nil: 5000, errRemoved: 4500, fields.ErrSyntax: 500, fields.ErrDuplicate: 100,
	fields.ErrType: 100, fields.ErrName: 50, fields.ErrDepth: 20,
}
