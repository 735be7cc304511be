package helm

import (
	"strings"
	"testing"
)

// Values that are refused, and what the refusal says.
func TestRefused(t *testing.T) {
	const good = "envoy: {upstream: {host: api}}\ncatalog: {configMap: api}\nredis: {secret: redis}\n"
	for _, tt := range []struct{ name, values, says string }{
		{"nothing set", "-", "envoy.upstream.host is missing"},
		{"no catalog", "catalog: {configMap: ''}", "catalog: set one of"},
		{"two catalogs", "catalog: {inline: x}", "catalog: set one of"},
		{"no redis", "redis: {secret: ''}", "redis: set one of"},
		{"two redis", "redis: {bundled: {enabled: true}}", "redis: set one of"},
		{"service without TLS", "mode: service", "service.tls.secret is missing"},
		{"service with TLS and without", "mode: service\nservice: {insecure: true, tls: {secret: a}}", "contradict"},
		{"admin without tokens", "admin: {enabled: true, insecure: true}", "admin.tokens.secret is missing"},
		{"admin without TLS", "admin: {enabled: true, tokens: {secret: a}}", "admin: set one of"},
		{"fewest more than most", "autoscaling: {enabled: true, minReplicas: 9, maxReplicas: 3}", "minReplicas is more"},

		{"unknown value", "replica: 3", "additional properties 'replica' not allowed"},
		{"unknown value within", "networkPolicy: {enable: true}", "'enable' not allowed"},
		{"unknown mode", "mode: daemon", "/mode"},
		{"text for a number", "replicas: two", "/replicas"},
		{"no port", "envoy: {upstream: {port: 0}}", "/envoy/upstream/port"},
		{"a URL for a host", "envoy: {upstream: {host: 'http://api'}}", "/envoy/upstream/host"},
		{"a line in a host", "envoy: {upstream: {host: \"api\\n\"}}", "/envoy/upstream/host"},
		{"a tag for a digest", "image: {digest: latest}", "/image/digest"},
		{"a password for a Secret's name", "redis: {secret: 'redis://:pw@host'}", "/redis/secret"},
		{"a URL in values", "redis: {url: 'redis://:pw@host'}", "'url' not allowed"},
		{"a flag without dashes", "postern: {extraArgs: [max-stale=1m]}", "/postern/extraArgs/0"},
		{"fewer than none", "postern: {drainSeconds: -1}", "/postern/drainSeconds"},
		{"memory of words", "postern: {resources: {limits: {memory: lots}}}", "/postern/resources/limits/memory"},
		{"all pods at once", "podDisruptionBudget: {maxUnavailable: 100%}", "/podDisruptionBudget/maxUnavailable"},
		{"a peer that is none", "networkPolicy: {clients: [{namespace: a}]}", "'namespace' not allowed"},
		{"a URL for a collector", "traces: {host: 'http://otel'}", "/traces/host"},
		{"more than all requests", "traces: {percent: 101}", "/traces/percent"},
		{"no key", "keys: {secret: ''}", "/keys/secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			values := []string{good, tt.values}
			if tt.values == "-" {
				values = nil
			}
			_, err := render(t, values...)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want a refusal with %q", err, tt.says)
			}
		})
	}
	if _, err := render(t, good); err != nil {
		t.Errorf("what all of these add to is refused itself: %v", err)
	}
}
