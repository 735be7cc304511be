package envoy_test

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/envoy"
)

// TestMetadata demands what a verdict tells Envoy, and nothing that is empty.
func TestMetadata(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	for _, tt := range []struct {
		name, token, path string
		want              map[string]string
		filter            bool
	}{
		{"granted", "office", "/api/3/merchant", map[string]string{"decision": "allow", "reason": "granted", "merchant_id": "m-1", "secret_id": w.idOf(t, "office"), "endpoint": "getMerchant"}, false},
		{"granted, to be filtered", "label", "/api/3/orders/PP1/label", map[string]string{"decision": "allow", "reason": "granted", "merchant_id": "m-1", "secret_id": w.idOf(t, "label"), "endpoint": "getOrderLabel", "filter": "required", "filter_safe": "yes"}, true},
		{"not granted", "office", "/api/3/orders/returns/label", map[string]string{"decision": "deny", "reason": "not_granted", "merchant_id": "m-1", "secret_id": w.idOf(t, "office"), "endpoint": "getReturn getOrderLabel"}, false},
		{"unknown", "mistyped", "/nowhere", map[string]string{"decision": "deny", "reason": "unknown"}, false},
		{"lost", "lost", "/api/3/merchant", map[string]string{"decision": "error", "reason": "record_missing", "secret_id": w.idOf(t, "lost"), "endpoint": "getMerchant"}, false},
	} {
		r := w.check(tt.path, w.tokens[tt.token])
		r.Attributes.ContextExtensions = map[string]string{"postern-filter": "v1"}
		response, err := gate.Check(t.Context(), r)
		must(t, err)
		got := map[string]string{}
		for name, value := range response.GetDynamicMetadata().GetFields() {
			if name != "filter_paths" {
				got[name] = value.GetStringValue()
			} else if !tt.filter || len(value.GetListValue().GetValues()) == 0 {
				t.Errorf("%s: filter_paths %v", tt.name, value)
			}
		}
		if !maps.Equal(got, tt.want) {
			t.Errorf("%s: metadata %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestForwardSecret covers the gate that lets the credential go on.
func TestForwardSecret(t *testing.T) {
	w := newWorld(t)
	secrets := cache.New(w.store, cache.Options{Timeout: 5 * time.Second})
	secrets.Look(t.Context())
	for forward, want := range map[bool][]string{true: nil, false: {"authorization"}} {
		gate := envoy.NewGate(envoy.Options{
			Secrets: secrets, Catalog: func() *authz.Catalog { return w.catalog }, Log: slog.New(slog.DiscardHandler), ForwardSecret: forward,
		})
		response, err := gate.Check(t.Context(), w.check("/api/3/merchant", w.tokens["office"]))
		must(t, err)
		if got := response.GetOkResponse().GetHeadersToRemove(); response.GetOkResponse() == nil || !slices.Equal(got, want) {
			t.Errorf("with ForwardSecret %v Envoy removes %q, want %q", forward, got, want)
		}
	}
}
