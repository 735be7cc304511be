package fields_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/postern/postern/authz/fields"
)

// labelAnswer is an answer to Get Label of about size bytes. What makes a
// label answer big is the label within.
func labelAnswer(size int) []byte {
	const head = `{"response":{"id":7,"order":{"tracking_number":"PPaBcDeFgHiJk","state":"despatch_in_progress","price":"15.95","invoice_number":null,` +
		`"courier_job_id":"J1","parcels":[{"weight":1.25,"length":0.4,"width":0.3,"depth":0.1,"label_number":"L1","courier_data":{"product_code":"X"}}],` +
		`"products":[{"title":"Tea \"Morgentau\" \u00e0 la carte, 500 g","sku":"S-1","price":29.0,"quantity":1,"tariff_code":"0902"}],` +
		`"documents":{"shipping_label":{"url":"https://labels.example/PPaBcDeFgHiJk.pdf","page_size":"a6","file_type":"pdf","encoded_label":"`
	const tail = `"},"customs_invoice":{"url":"https://labels.example/PPaBcDeFgHiJk-customs.pdf","page_size":"a3","file_type":"pdf"}}},` +
		`"qualified_url":"https://labels.example/signed?token=abcdef&expires=604800"}}`
	label := make([]byte, max(0, size-len(head)-len(tail))*3/4)
	for i := range label {
		label[i] = byte(rand.Uint32())
	}
	return []byte(head + base64.StdEncoding.EncodeToString(label) + tail)
}

// quotesAnswer is an answer to Get Quotes of about size bytes: many small
// members, and a price in each.
func quotesAnswer(size int) []byte {
	const quote = `{"courier_type":"CarrierA","service_level":"standard","success":true,"quotes":[{"price":11.25,"estimated_transit_time":"2 business days"},` +
		`{"delivery_date":"2030-01-02T00:00:00.000Z","delivery_window":"07:00-10:00","price":19.5}]}`
	return []byte(`{"response":[` + strings.Repeat(quote+",", size/len(quote)) + quote + `],"count":2}`)
}

var benchmarks = []struct {
	name, path string
	body       []byte
}{
	{"label-1KB", "$.response.order.price", labelAnswer(1 << 10)},
	{"label-100KB", "$.response.order.price", labelAnswer(100 << 10)},
	{"label-2MB", "$.response.order.price", labelAnswer(2 << 20)},
	{"quotes-1KB", "$.response[*].quotes[*].price", quotesAnswer(1 << 10)},
	{"quotes-100KB", "$.response[*].quotes[*].price", quotesAnswer(100 << 10)},
	{"quotes-2MB", "$.response[*].quotes[*].price", quotesAnswer(2 << 20)},
}

func BenchmarkRemove(b *testing.B) {
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			paths := parse(b, bb.path)
			b.SetBytes(int64(len(bb.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := fields.Remove(bb.body, paths); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodingJSON(b *testing.B) {
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			path := parse(b, bb.path)[0]
			b.SetBytes(int64(len(bb.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := recode(bb.body, path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// recode is what Remove is measured against: decode, delete, encode.
func recode(body []byte, path fields.Path) ([]byte, error) {
	var root any
	if err := json.Unmarshal(body, &root); err != nil {
		return nil, err
	}
	if err := deleteMember(root, path); err != nil {
		return nil, err
	}
	return json.Marshal(root)
}

// deleteMember knows paths of names and [*] that end in a name.
func deleteMember(value any, path fields.Path) error {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		if len(path) > 1 {
			return deleteMember(v[path[0].Name], path[1:])
		}
		delete(v, path[0].Name)
	case []any:
		for _, element := range v {
			if err := deleteMember(element, path[1:]); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%T on the path", value)
	}
	return nil
}
