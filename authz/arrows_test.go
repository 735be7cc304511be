package authz_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postern/postern/"

// arrows are the rooms of the house, and what each may import of it and of
// others' modules. Imports go down only.
var arrows = map[string]struct{ ours, theirs []string }{
	"authz/fields":             {},
	"authz":                    {ours: []string{"authz/fields"}},
	"authz/openapi":            {ours: []string{"authz", "authz/fields"}, theirs: []string{"github.com/getkin/kin-openapi", "go.yaml.in/yaml"}},
	"cache/store":              {ours: []string{"authz"}, theirs: []string{"github.com/redis/go-redis"}},
	"cache":                    {ours: []string{"authz", "cache/store"}, theirs: []string{"github.com/hashicorp/golang-lru", "golang.org/x/time"}},
	"envoy/trace":              {theirs: []string{"go.opentelemetry.io/proto/otlp", "golang.org/x/time", "google.golang.org/protobuf"}},
	"envoy":                    {ours: []string{"authz", "authz/fields", "cache", "envoy/trace"}, theirs: []string{"github.com/envoyproxy/go-control-plane", "google.golang.org/", "golang.org/x/time"}},
	"cmd/postern/listen":       {},
	"cmd/postern/reload":       {ours: []string{"authz"}},
	"cmd/postern/sidecar":      {ours: []string{"authz", "cache", "cache/store", "envoy", "envoy/trace", "cmd/postern/listen", "cmd/postern/reload"}, theirs: []string{"github.com/prometheus/client_golang", "google.golang.org/grpc", "golang.org/x/sync"}},
	"cmd/postern/admin/access": {ours: []string{"authz"}, theirs: []string{"github.com/coreos/go-oidc", "golang.org/x/time"}},
	"cmd/postern/admin/audit":  {},
	"cmd/postern/admin/desk":   {ours: []string{"authz", "cache/store", "cmd/postern/admin/access", "cmd/postern/admin/audit"}},
	"cmd/postern/admin": {
		ours:   []string{"authz", "authz/openapi", "cache/store", "cmd/postern/admin/access", "cmd/postern/admin/audit", "cmd/postern/admin/desk", "cmd/postern/listen", "cmd/postern/reload"},
		theirs: []string{"go.yaml.in/yaml", "golang.org/x/sync", "golang.org/x/time"},
	},
	"cmd/postern": {
		ours:   []string{"authz", "authz/openapi", "cache", "cache/store", "cmd/postern/admin", "cmd/postern/admin/access", "cmd/postern/admin/audit", "cmd/postern/listen", "cmd/postern/sidecar"},
		theirs: []string{"github.com/redis/go-redis"},
	},
	"cmd/demo":              {ours: []string{"envoy/envoyproc"}, theirs: []string{"github.com/alicebob/miniredis"}},
	"cmd/demo/upstream":     {},
	"envoy/trace/tracetest": {theirs: []string{"go.opentelemetry.io/proto/otlp", "google.golang.org/protobuf"}}, // of tests
	"cache/store/storetest": {theirs: []string{"github.com/redis/go-redis"}},                                    // of tests
	"envoy/envoyproc":       {ours: []string{"envoy"}},                                                          // of tests and the demo
	"deploy":                {},                                                                                 // tests alone, of what is shipped around the programs
}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(strings.ReplaceAll(line, module, ""))
		room, imports := fields[0], fields[1:]
		may, ok := arrows[room]
		if !ok {
			t.Errorf("%s is no room of the house: tear it down, or draw it here and in ARCHITECTURE.md", room)
			continue
		}
		for _, i := range imports {
			first, _, _ := strings.Cut(i, "/")
			theirs := slices.ContainsFunc(may.theirs, func(m string) bool { return strings.HasPrefix(i, m) })
			if !slices.Contains(may.ours, i) && !theirs && (strings.Contains(first, ".") || isRoom(i)) {
				t.Errorf("%s imports %s: want only %v and %v", room, i, may.ours, may.theirs)
			}
		}
	}
}

func isRoom(path string) bool { _, ok := arrows[path]; return ok }
