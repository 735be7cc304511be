package openapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

func TestSoundsLikeCost(t *testing.T) {
	for name, want := range map[string]bool{
		"price": true, "shipping_price": true, "shippingPrice": true, "shipping-price": true, "ShippingPrice": true, "PRICE": true, "priceAUD": true,
		"import_tax": true, "TAXAmount": true, "import_fee2": true, "customs_duty": true, "duties": true, "receiver_freight_charge_amount": true, "fuel_surcharge": true, "totalCost": true,
		"priced_at": false, "pricing": false, "taxonomy": false, "syntax": false, "feed": false, "coffee": false, "costume": false, "charger": false,
		"tax_id": false, "taxIDType": false, "tax_number": false, "feeCode": false, "": false, "_": false,
	} {
		if got := soundsLikeCost(name); got != want {
			t.Errorf("%q, of the words %q: %v, want %v", name, split(name), got, want)
		}
	}
}

// linted is a document of one operation with these extensions and this schema.
func linted(extensions, schema string) []byte {
	return fmt.Appendf(nil, `openapi: 3.1.0
paths:
  /a:
    get:
      operationId: getA
%s
      responses:
        "200": {$ref: "#/components/responses/A"}
components:
  responses:
    A: {content: {application/json: {schema: %s}, application/pdf: {}, text/csv: {}, "*/*": {}}}
  schemas:
    Money: {properties: {price: {type: string}}}
    Loop: {properties: {next: {$ref: "#/components/schemas/Loop"}, fee: {}, all: {type: array, items: {$ref: "#/components/schemas/Loop"}}}}
    Self: {$ref: "#/components/schemas/Self"}
`, extensions, schema)
}

func TestLint(t *testing.T) {
	grouped := "      x-postern-fields: {g: {label: G, paths: [$.price, '$.list[*].fee', $.whole]}}"
	tests := []struct {
		name, extensions, schema string
		warnings, notes          []string // the paths named
	}{
		{"nothing", "", "{properties: {state: {}}}", nil, nil},
		{"a member", "", "{properties: {price: {type: number}}}", []string{"$.price"}, nil},
		{"by $ref, in lists and maps", "", "{properties: {a: {items: {$ref: '#/components/schemas/Money'}}, m: {additionalProperties: {$ref: '#/components/schemas/Money'}}}}", []string{"$.a[*].price", "$.m[*].price"}, nil},
		{"in parts of a whole", "", "{allOf: [{properties: {tax: {}}}], oneOf: [{properties: {fee: {}}}], anyOf: [{properties: {duty: {}}}]}", []string{"$.tax", "$.fee", "$.duty"}, nil},
		{"a schema that holds itself", "", "{$ref: '#/components/schemas/Loop'}", []string{"$.fee"}, nil},
		{"a $ref to itself", "", "{properties: {a: {$ref: '#/components/schemas/Self'}, cost: {}}}", []string{"$.cost"}, nil},
		{"a flag", "", "{properties: {tax_included: {type: boolean}}}", nil, nil},
		{"of an object, once", "", "{properties: {price: {properties: {cost: {}}}}}", []string{"$.price"}, nil},
		{"decided: there is none", "      x-postern-fields: {}", "{properties: {price: {}}}", nil, nil},
		{"in groups", grouped, "{properties: {price: {}, list: {items: {properties: {fee: {}}}}, whole: {properties: {tax: {}}}}}", nil, nil},
		{"beside groups", grouped, "{properties: {price: {}, products: {items: {properties: {price: {}}}}}}", nil, []string{"$.products[*].price"}},
		{"not grantable", "      x-postern-grantable: false", "{properties: {price: {}}}", nil, nil},
		{"no schema", "", "7", nil, nil},
	}
	for _, tt := range tests {
		r := Lint(linted(tt.extensions, tt.schema))
		var warned, noted string
		for _, p := range r.Warnings {
			if !strings.Contains(p.Text, "application/pdf") {
				warned += p.Text
			}
			if p.Line != 4 || p.Remedy == "" {
				t.Errorf("%s: %v, want line 4 and a remedy", tt.name, p)
			}
		}
		for _, p := range r.Notes {
			noted += p.Text
		}
		if (warned != "") != (tt.warnings != nil) || !strings.Contains(warned, strings.Join(tt.warnings, ", ")) ||
			(noted != "") != (tt.notes != nil) || !strings.Contains(noted, strings.Join(tt.notes, ", ")) {
			t.Errorf("%s: warned %q, noted %q, want %q and %q", tt.name, warned, noted, tt.warnings, tt.notes)
		}
		if printed := slices.ContainsFunc(r.Warnings, func(p authz.Problem) bool { return strings.Contains(p.Text, "application/pdf") }); printed != (tt.extensions == grouped) {
			t.Errorf("%s: warned of PDF: %v", tt.name, printed)
		}
	}
}

// What a $ref was to name that leads nowhere may show cost.
func TestLintWarnsOfRefs(t *testing.T) {
	for schema, want := range map[string]string{
		"{properties: {a: {$ref: '#/components/schemas/None'}}}":  `line 11: $ref "#/components/schemas/None" names nothing`,
		"{properties: {a: {$ref: '#/components/schemas/Money'}}}": "in $.a.price", // the control
		"{properties: {a: {$ref: '#anchor'}}}":                    "",             // of JSON Schema, which is not read
	} {
		var warned []string
		for _, p := range Lint(linted("", schema)).Warnings {
			warned = append(warned, p.String())
		}
		if got := strings.Join(warned, "\n"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: warned %q, want %q", schema, got, want)
		}
	}
}

// Some write all answers under a range of types.
func TestLintReadsRanges(t *testing.T) {
	for media, want := range map[string]bool{
		"application/json": true, "application/vnd.api+JSON": true, `"*/*"`: true, `"application/*"`: true, "text/csv": false, `"image/*"`: false,
	} {
		document := strings.Replace(string(linted("", "{properties: {price: {}}}")), "application/json: {schema", media+": {schema", 1)
		if got := len(Lint([]byte(strings.Replace(document, `, "*/*": {}`, "", 1))).Warnings) > 0; got != want {
			t.Errorf("%s: warned: %v, want %v", media, got, want)
		}
	}
}

// TestLintIsBounded walks schemas of which each holds the next one twice.
func TestLintIsBounded(t *testing.T) {
	var b strings.Builder
	b.Write(linted("", "{$ref: '#/components/schemas/S0'}"))
	for i := range 60 {
		fmt.Fprintf(&b, "    S%d: {properties: {a: {$ref: '#/components/schemas/S%d'}, b: {$ref: '#/components/schemas/S%d'}}}\n", i, i+1, i+1)
	}
	begun := time.Now()
	Lint([]byte(b.String()))
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestMedia(t *testing.T) {
	catalog := load(t, linted("", "{}"))
	if got, want := catalog.All()[0].Media, []string{"application/pdf"}; !slices.Equal(got, want) {
		t.Errorf("media = %q, want %q", got, want)
	}
	for media, want := range map[string]bool{
		"application/pdf": true, "image/png": true, "image/gif": true, "application/zpl": true,
		"image/svg+xml": false, "image/*": false, "*/*": false, "application/*": false, "text/csv": false, "application/xml": false,
		"application/octet-stream": false, "application/json": false, "text/html": false, "image/": false, "": false, "application/pdf; x=y": false,
	} {
		if got := isPrinted(media); got != want {
			t.Errorf("%q: %v, want %v", media, got, want)
		}
	}
}
