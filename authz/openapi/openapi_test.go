package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// accepted is what testdata/accepted says: permission, label, endpoints and
// field groups, in the documents' order.
const accepted = `
retrieveQuote "Retrieve Quote 🚀" [POST /api/3/quotes] [{shipping_price Include shipping price [$.response[*].price $.response[*].tax]} {insurance insurance [$.insurance]}] retired=false
getOrder "getOrder" [GET /api/3/orders/{id}] [] retired=false
updateOrder "Update an Order" [PUT /api/3/orders/{id} PATCH /api/3/orders/{id}] [] retired=false
deleteOrder "deleteOrder" [DELETE /api/3/orders/{id}] [] retired=true
headOrder "headOrder" [HEAD /api/3/orders/{id}] [] retired=false
optionsOrder "optionsOrder" [OPTIONS /api/3/orders/{id}] [] retired=false
traceOrder "traceOrder" [TRACE /api/3/orders/{id}] [] retired=false
searchOrders "searchOrders" [GET /api/3/orders/search] [] retired=false
getStatus "getStatus" [GET /status/] [] retired=false
setStatus "setStatus" [POST /ops/status/] [] retired=false
`

func TestAcceptedInEveryForm(t *testing.T) {
	asYAML, asJSON := read(t, "testdata/accepted/orders.yaml"), read(t, "testdata/accepted/orders.json")
	var oneLine bytes.Buffer
	if err := json.Compact(&oneLine, asJSON); err != nil {
		t.Fatal(err)
	}
	newer := func(data []byte) []byte { return bytes.Replace(data, []byte("3.0.3"), []byte("3.1.1"), 1) }
	forms := map[string][]byte{
		"3.0 YAML":             asYAML,
		"3.1 YAML":             newer(asYAML),
		"3.0 JSON":             asJSON,
		"3.1 JSON":             newer(asJSON),
		"3.0 JSON on one line": oneLine.Bytes(),
		"3.1 JSON on one line": newer(oneLine.Bytes()),
		"byte order mark":      append([]byte("\ufeff"), asYAML...),
		"line ends of Windows": bytes.ReplaceAll(asYAML, []byte("\n"), []byte("\r\n")),
	}
	hash := load(t, asYAML).Hash()
	for name, data := range forms {
		t.Run(name, func(t *testing.T) {
			catalog := load(t, data)
			if got := describe(catalog); got != accepted {
				t.Errorf("got %s\nwant %s", got, accepted)
			}
			if catalog.Hash() != hash {
				t.Errorf("hash is %s, want %s as in YAML", catalog.Hash(), hash)
			}
			if got := decide(catalog, "getOrder", "GET", "/api/3/orders/a:b"); got != authz.Granted {
				t.Errorf("a value with a byte of x-postern-chars: %v, want %v", got, authz.Granted)
			}
			if got := decide(catalog, "getOrder", "GET", "/api/3/orders/a@b"); got != authz.NotCatalogued {
				t.Errorf("a value with another byte: %v, want %v", got, authz.NotCatalogued)
			}
		})
	}
}

func TestServers(t *testing.T) {
	tests := []struct{ name, servers, want string }{
		{"none", "", "/orders"},
		{"an empty list", "servers: []", "/orders"},
		{"a host", "servers: [{url: 'https://example.com'}]", "/orders"},
		{"a host and a slash", "servers: [{url: 'https://example.com/'}]", "/orders"},
		{"a host and a path", "servers: [{url: 'https://example.com:8443/api/3'}]", "/api/3/orders"},
		{"a slash at the end", "servers: [{url: 'https://example.com/api/3/'}]", "/api/3/orders"},
		{"a path", "servers: [{url: /api/3}]", "/api/3/orders"},
		{"a slash", "servers: [{url: /}]", "/orders"},
		{"no scheme", "servers: [{url: //example.com/api}]", "/api/orders"},
		{"a variable", "servers: [{url: '/{v}', variables: {v: {default: v3}}}]", "/v3/orders"},
		{"a variable for several segments", "servers: [{url: '/{v}', variables: {v: {default: a/b}}}]", "/a/b/orders"},
		{"the first counts", "servers: [{url: /a}, {url: /b}]", "/a/orders"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := "openapi: 3.1.0\n" + tt.servers + "\npaths: {/orders: {get: {operationId: listOrders}}}\n"
			if got := load(t, []byte(data)).All()[0].Path; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestReferences(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"to a path item of components", `
paths:
  /b: {$ref: '#/components/pathItems/b', summary: Beside it.}
  /a: {get: {operationId: getA}}
components: {pathItems: {b: {get: {operationId: getB}}}}`, "GET /b, GET /a"},
		{"over another reference", `
paths:
  /a: {$ref: '#/components/pathItems/a'}
components: {pathItems: {a: {$ref: '#/components/pathItems/b'}, b: {get: {operationId: getB}}}}`, "GET /a"},
		{"to an extension, with its own servers", `
paths:
  /a: {$ref: '#/x-items/0'}
x-items: [{servers: [{url: /x}], get: {operationId: getA}}]`, "GET /x/a"},
		{"to a webhook, escaped", `
paths:
  /a: {$ref: '#/webhooks/%7Ba~1b%7D'}
webhooks: {'{a/b}': {post: {operationId: postA}}}`, "POST /a"},
		{"by alias", `
paths:
  /a: {get: &get {operationId: getA, parameters: &shared [{name: page, in: query}]}}
  /b: {get: {operationId: getB, parameters: *shared}}`, "GET /a, GET /b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, e := range load(t, []byte("openapi: 3.1.0"+tt.document)).All() {
				got = append(got, e.String())
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

func load(t *testing.T, data []byte) *authz.Catalog {
	t.Helper()
	catalog, err := Load(data)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return catalog
}

// describe is a catalog as text, one line for each permission.
func describe(c *authz.Catalog) string {
	text := "\n"
	for _, p := range c.Permissions {
		text += fmt.Sprintf("%s %q %v %v retired=%t\n", p.ID, p.Label, p.Endpoints, p.Fields, p.Retired)
	}
	return text
}

// decide is what a secret with one permission and all its field groups gets.
func decide(c *authz.Catalog, permission, method, path string) authz.Reason {
	p := c.Permission(permission)
	var groups []string
	for _, g := range p.Fields {
		groups = append(groups, g.ID)
	}
	secret := authz.NewSecret(authz.Secret{Grants: []authz.Grant{authz.NewGrant(p, groups)}})
	return secret.Authorize(c.Resolve(authz.Request{Method: method, Path: path}), time.Now()).Reason
}
