package envoy_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

// An edge is a way by which Envoy comes to its configuration.
type edge struct {
	name string
	// bootstrap is for an Envoy between a gate and an upstream. Edits are texts,
	// each there once, and what stands in their place, in turn.
	bootstrap func(t *testing.T, gate, upstream string, edits ...string) string
	differs   map[string]string // headers that are not as through envoy.yaml, and why
}

var shipped = edge{name: "envoy.yaml", bootstrap: func(t *testing.T, gate, upstream string, edits ...string) string {
	text, err := envoy.Bootstrap(envoy.Addresses{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Gate: gate, Upstream: upstream})
	must(t, err)
	return put(t, string(text), append(slow, edits...)...)
}}

// slow lets checks take longer than as it ships: machines that run tests are slow.
var slow = []string{"timeout: 0.25s # all tries", "timeout: 5s # all tries", "max_interval: 0.25s", "max_interval: 5s"}

// edges are those beside envoy.yaml: what control planes make of deploy/istio
// and deploy/envoy-gateway, and xDS.
var edges = []edge{
	{"istio", rendered("istio"), map[string]string{
		"answer Server":                        "Istio says istio-envoy",
		"answer X-Envoy-Upstream-Service-Time": "Istio's router keeps it, and nothing of Istio's own takes it away",
		"upstream X-Envoy-Attempt-Count":       "Istio adds it, after the client's is removed",
		"upstream X-Envoy-Decorator-Operation": "Istio adds it to each request of a gateway, likewise",
	}},
	{"envoy-gateway", rendered("envoy-gateway"), map[string]string{
		"answer Server": "Envoy Gateway leaves the upstream's, and adds none to Envoy's own answers",
	}},
	{"xds", func(t *testing.T, gate, upstream string, edits ...string) string {
		return newXDS(t, gate, upstream, edits...).bootstrap
	}, nil},
}

func rendered(mesh string) func(t *testing.T, gate, upstream string, edits ...string) string {
	return func(t *testing.T, gate, upstream string, edits ...string) string {
		_, port, _ := strings.Cut(upstream, ":")
		text := put(t, readFile(t, "../deploy/check/mesh/testdata/"+mesh+".yaml"), append(edits, "port_value: 8080", "port_value: "+port)...)
		return strings.NewReplacer("/run/postern/postern.sock", strings.TrimPrefix(gate, "unix:"), "timeout: 0.250s", "timeout: 5s", "max_interval: 0.250s", "max_interval: 5s").Replace(text)
	}
}

// xds is a folder of files that an Envoy watches.
type xds struct {
	bootstrap, dir string
	lds, cds       string // the files, as they were at first
}

func newXDS(t *testing.T, gate, upstream string, edits ...string) *xds {
	t.Helper()
	_, port, _ := strings.Cut(upstream, ":")
	x := &xds{
		dir: t.TempDir(),
		lds: put(t, readFile(t, "../deploy/envoy/lds.yaml"), append(append(slow, edits...), "0.0.0.0, port_value: 10000", "127.0.0.1, port_value: 0")...),
		cds: put(t, readFile(t, "../deploy/envoy/cds.yaml"), "/run/postern/postern.sock", strings.TrimPrefix(gate, "unix:"),
			"address: upstream, port_value: 8080", "address: 127.0.0.1, port_value: "+port),
	}
	x.move(t, "lds.yaml", x.lds)
	x.move(t, "cds.yaml", x.cds)
	bootstrap := put(t, readFile(t, "../deploy/envoy/bootstrap.yaml"), "port_value: 9901", "port_value: 0")
	x.bootstrap = strings.ReplaceAll(bootstrap, "/etc/envoy/xds", x.dir)
	return x
}

// move puts a file into the folder at once, as mv does.
func (x *xds) move(t *testing.T, name, text string) {
	t.Helper()
	temporary := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(temporary, []byte(text), 0o600))
	must(t, os.Rename(temporary, filepath.Join(x.dir, name)))
}

// put puts texts in the place of others, in turn, each of which must be there once.
func put(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("Envoy's configuration holds %q %d times: want it once", pairs[i], n)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	return string(data)
}

// start starts Envoy.
func (e edge) start(t *testing.T, gate, upstream string, edits ...string) *envoyproc.Process {
	t.Helper()
	bootstrap := e.bootstrap(t, gate, upstream, edits...)
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Edit: func(string) string { return bootstrap }})
	must(t, err)
	t.Cleanup(func() { proxy.Stop() })
	return proxy
}

// TestEdges runs the table through each edge. Every answer, and what arrives at
// the upstream, is what the table says and what it is through envoy.yaml, but
// for the headers that differ by name.
func TestEdges(t *testing.T) {
	w, upstream := newWorld(t), newRecorder(t)
	gate, cases := w.serve(t), readCases(t, w)
	reference := shipped.start(t, gate, upstream.address)
	for _, e := range edges {
		t.Run(e.name, func(t *testing.T) {
			proxy, seen := e.start(t, gate, upstream.address), map[string]bool{}
			var sent []sentCase
			for _, c := range cases {
				if c.envoy == "n/a" {
					continue
				}
				wanted, wantedBody := c.send(t, reference.Listen)
				arrived := upstream.last()
				got, body := c.send(t, proxy.Listen)
				also := upstream.last()
				c.checkAnswer(t, got, body, also)
				if body != wantedBody {
					t.Errorf("%s: body %q, want that of envoy.yaml, %q", c.name, body, wantedBody)
				}
				e.compare(t, c.name, "answer", got.Header, wanted.Header, seen)
				if also != nil && arrived != nil { // else checkAnswer has said so
					e.compare(t, c.name, "upstream", also.Header, arrived.Header, seen)
				}
				sent = append(sent, sentCase{c, got.Header.Get("X-Request-Id")})
			}
			checkAccessLog(t, proxy, sent, w)
			for name := range e.differs {
				if !seen[name] {
					t.Errorf("%s does not differ: take it out", name)
				}
			}
		})
	}
}

// compare compares headers with those through envoy.yaml.
func (e edge) compare(t *testing.T, row, what string, got, want http.Header, seen map[string]bool) {
	t.Helper()
	for _, headers := range []http.Header{got, want} {
		for name := range headers {
			id := what + " " + name
			if name == "Date" || name == "X-Request-Id" || slices.Equal(got[name], want[name]) { // the first two are new each time
				continue
			}
			if seen[id] = true; e.differs[id] == "" {
				t.Errorf("%s: %s %q, through envoy.yaml %q", row, id, got[name], want[name])
			}
		}
	}
}
