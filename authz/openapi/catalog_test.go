package openapi

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// example is deploy/catalog.yaml: permission, endpoints, JSONPaths of the
// field group shipping_price.
const example = `
retrieveQuote [POST /api/3/quotes] [$.response[*].quotes[*].price $.response[*].quotes[*].customs_duty $.response[*].quotes[*].import_tax $.response[*].quotes[*].import_fee]
createOrder [POST /api/3/orders] [$.response.price]
getOrder [GET /api/3/orders/{tracking_number}] [$.response.price]
updateOrder [PUT /api/3/orders/{tracking_number}] [$.response.price]
cancelOrder [DELETE /api/3/orders/{tracking_number}] [$.response.price]
getOrderLabel [GET /api/3/orders/{tracking_number}/label] [$.response.order.price]
cancelLabel [DELETE /api/3/orders/{tracking_number}/label]
trackOrder [GET /api/3/orders/{tracking_number}/tracking]
bookOrders [POST /api/3/book]
getBookDocument [GET /api/3/book/{manifest_id}/document]
getMerchant [GET /api/3/merchant]
updateMerchant [PATCH /api/3/merchant PUT /api/3/merchant]
getOperatingHours [GET /api/3/merchants/settings/locations/operating_hours]
updateOperatingHours [PUT /api/3/merchants/settings/locations/operating_hours]
listWebhooks [GET /api/3/merchants/webhooks]
deleteWebhook [DELETE /api/3/merchants/webhooks/{publishable_id}]
searchOrders [GET /api/3/orders/search] [$.response[*].price]
getOrderDocument [GET /api/3/orders/{tracking_number}/{document_type}]
getReturn [GET /api/3/orders/returns/{return_id}] [$.response.price]
getLatestManifest [GET /api/3/book/latest/document]
`

func TestExampleCatalog(t *testing.T) {
	catalog := load(t, read(t, "../../deploy/catalog.yaml"))
	got := "\n"
	for _, p := range catalog.Permissions {
		got += p.ID + " " + endpoints(p)
		for _, g := range p.Fields {
			if g.ID != "shipping_price" || !strings.HasPrefix(g.Label, "Include shipping price") {
				t.Errorf("%s has the field group %s %q", p.ID, g.ID, g.Label)
			}
			got += " [" + strings.Join(g.Paths, " ") + "]"
		}
		got += "\n"
	}
	if got != example {
		t.Errorf("got %s\nwant %s", got, example)
	}
}

func endpoints(p authz.Permission) string {
	var all []string
	for _, e := range p.Endpoints {
		all = append(all, e.String())
	}
	return "[" + strings.Join(all, " ") + "]"
}

func TestExampleDecisions(t *testing.T) {
	catalog := load(t, read(t, "../../deploy/catalog.yaml"))
	tests := []struct {
		permission, method, path string
		want                     authz.Reason
	}{
		{"getOrder", "GET", "/api/3/orders/PPx", authz.Granted},
		{"getOrder", "GET", "/orders/PPx", authz.NotCatalogued},
		{"getOrder", "GET", "/api/3/orders/search", authz.NotGranted},
		{"searchOrders", "GET", "/api/3/orders/search", authz.Granted},
		{"cancelOrder", "DELETE", "/api/3/orders/search", authz.NotCatalogued},
		{"getOrderDocument", "GET", "/api/3/orders/PPx/label", authz.NotGranted},
		{"getOrderDocument", "GET", "/api/3/orders/PPx/invoice", authz.Granted},
		{"getOrderLabel", "GET", "/api/3/orders/search/label", authz.Granted},
		{"getOrderLabel", "GET", "/api/3/orders/returns/label", authz.NotGranted}, // ambiguous: both are needed
		{"getReturn", "GET", "/api/3/orders/returns/label", authz.NotGranted},
		{"getReturn", "GET", "/api/3/orders/returns/R1", authz.Granted},
		{"getBookDocument", "GET", "/api/3/book/latest/document", authz.NotGranted},
		{"updateMerchant", "PUT", "/api/3/merchant", authz.Granted},
		{"updateMerchant", "PATCH", "/api/3/merchant", authz.Granted},
		{"getMerchant", "PUT", "/api/3/merchant", authz.NotGranted},
		{"getMerchant", "GET", "/api/3/book/1/document", authz.NotGranted}, // security: [] is not public
		{"createOrder", "POST", "/api/3/webhook", authz.NotCatalogued},
		{"createOrder", "POST", "/api/3/returns/request", authz.NotCatalogued},
	}
	for _, tt := range tests {
		if got := decide(catalog, tt.permission, tt.method, tt.path); got != tt.want {
			t.Errorf("%s on %s %s = %v, want %v", tt.permission, tt.method, tt.path, got, tt.want)
		}
	}
}

// specs holds public documents that were written for other purposes: test data
// of another OpenAPI library, pinned.
const (
	specs    = "github.com/pb33f/libopenapi@v0.42.4"
	specsSum = "h1:PUEDCi0JMZFC1G+Yxej7d5OQEDLcszgRrSC4j8kzYIU="
)

func TestPublicDocuments(t *testing.T) {
	dir := download(t)
	tests := []struct {
		file       string
		operations int
	}{
		{"stripe.yaml", 494},       // OpenAPI 3.0, YAML
		{"docusignv3.1.json", 402}, // OpenAPI 3.1, JSON
		{"asana.yaml", 152},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			catalog := load(t, read(t, filepath.Join(dir, tt.file)))
			if got := len(catalog.All()); got != tt.operations {
				t.Errorf("got %d operations, want %d", got, tt.operations)
			}
			checkGrants(t, catalog)
		})
	}
}

// checkGrants sees every endpoint allowed for a secret with its grant alone,
// and denied for one with every other grant.
func checkGrants(t *testing.T, catalog *authz.Catalog) {
	var all []authz.Grant
	for _, p := range catalog.Permissions {
		all = append(all, authz.NewGrant(&p, nil))
	}
	for i, p := range catalog.Permissions {
		for _, e := range p.Endpoints {
			check := func(grants []authz.Grant, want authz.Reason) {
				secret := authz.NewSecret(authz.Secret{Grants: grants})
				got := secret.Authorize(catalog.Resolve(authz.Request{Method: e.Method, Path: fill(e.Path)}), time.Now())
				if got.Reason != want {
					t.Errorf("%v with %d grants: %v, want %v", e, len(grants), got.Reason, want)
				}
			}
			check(all[i:i+1], authz.Granted)
			check(slices.Delete(slices.Clone(all), i, i+1), authz.NotGranted)
		}
	}
}

// fill puts abc in the place of each parameter.
func fill(path string) string {
	before, rest, found := strings.Cut(path, "{")
	if !found {
		return path
	}
	_, after, _ := strings.Cut(rest, "}")
	return before + "abc" + fill(after)
}

// download gets the module of specs from the module proxy, or from the cache,
// and returns the folder of its documents.
func download(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", specs)
	cmd.Dir = t.TempDir() // outside our module, whose go.sum it might change
	out, err := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &module); err != nil || jsonErr != nil {
		t.Fatalf("go mod download %s: %v %s: the test needs the Go module proxy once, or its cache", specs, err, module.Error)
	}
	if module.Sum != specsSum {
		t.Fatalf("%s has sum %s, want %s", specs, module.Sum, specsSum)
	}
	return filepath.Join(module.Dir, "test_specs")
}
