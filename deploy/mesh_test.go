package deploy

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/envoy/envoyproc"
)

// meshes are what control planes made of the manifests, for `make mesh-render`
// takes minutes.
var meshes = []string{"istio", "envoy-gateway", "istio-bare", "envoy-gateway-unpatched"}

func rendering(t *testing.T, mesh string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("check", "mesh", "testdata", mesh+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestMeshRendered demands that what is kept was made of the manifests as they
// are.
func TestMeshRendered(t *testing.T) {
	for _, mesh := range meshes {
		var from, want string
		for line := range strings.Lines(rendering(t, mesh)) {
			line = strings.TrimSpace(line)
			if files, ok := strings.CutPrefix(line, "# From: "); ok {
				from = files
			}
			if sum, ok := strings.CutPrefix(line, "# sha256 of these: "); ok {
				want = sum
			}
		}
		sum := sha256.New()
		for _, file := range strings.Fields(from) {
			data, err := os.ReadFile(filepath.Join("..", file))
			if err != nil {
				t.Fatal(err)
			}
			sum.Write(data)
		}
		if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want || from == "" {
			t.Errorf("%s: made of files with the sum %s, and they have %s: run make mesh-render", mesh, want, got)
		}
	}
}

// TestMeshMetrics demands that a Prometheus that is set up as alerts/README.md
// says finds by the rules' names what the meshes' Envoys count.
func TestMeshMetrics(t *testing.T) {
	_, block, found := strings.Cut(readText(t, "alerts/README.md"), "  ```yaml\n  metric_relabel_configs:")
	block, _, _ = strings.Cut(block, "```")
	var istio any
	if err := yaml.Unmarshal([]byte(block), &istio); err != nil || !found {
		t.Fatalf("alerts/README.md shows no metric_relabel_configs: %v", err)
	}
	s := newStack(t)
	s.serve()
	relabel := map[string]any{"istio": istio}
	var proxies []*envoyproc.Process
	var targets []target
	for _, mesh := range meshes[:2] {
		proxies = append(proxies, s.mesh(rendering(t, mesh)))
		targets = append(targets, target{mesh, proxies[len(proxies)-1].Admin, "/stats/prometheus", relabel[mesh]})
	}
	p, token := startPrometheus(t, append(targets, target{"istio as it comes", targets[0].address, targets[0].path, nil})), s.mint("m-1", "trackOrder")
	ask := func(token string, want int) {
		for _, proxy := range proxies {
			if r, body := get(t, proxy.Listen, track, token); r.StatusCode != want {
				t.Errorf("%d %s, want %d", r.StatusCode, body, want)
			}
		}
	}
	ask(token, 200)
	ask(foreign, 401)
	s.stop()
	ask(token, 503)
	for _, mesh := range meshes[:2] {
		for _, series := range []string{`ext_authz_ok{envoy_ext_authz_prefix="postern", job=%q} == 1`, `ext_authz_denied{envoy_ext_authz_prefix="postern", job=%q} == 1`,
			`ext_authz_error{envoy_ext_authz_prefix="postern", job=%q} == 1`, `ext_authz_failure_mode_allowed{envoy_ext_authz_prefix="postern", job=%q} == 0`,
			`ext_proc_postern_failure_mode_allowed{job=%q} == 0`} {
			query := "envoy_http_" + fmt.Sprintf(series, mesh)
			s.await(query, func() bool { got, err := p.query(query); return err == nil && len(got) == 1 })
		}
	}
	if got, err := p.query(`envoy_http_ext_authz_ok{job="istio as it comes"}`); err != nil || len(got) > 0 {
		t.Errorf("control: without relabelling, Istio's proxies have %v (%v), want none", got, err)
	}
}

// mesh starts an Envoy on a rendering, between the stack's gate and upstream.
func (s *stack) mesh(rendering string) *envoyproc.Process {
	s.t.Helper()
	_, port, _ := strings.Cut(s.upstream.address, ":")
	return s.envoy(func(string) string {
		return strings.NewReplacer("/run/postern/postern.sock", strings.TrimPrefix(s.socket, "unix:"), "port_value: 8080", "port_value: "+port).Replace(rendering)
	})
}

// checkEnforced checks that the gate is obeyed.
func (w would) checkEnforced(t *testing.T, s *stack, proxy *envoyproc.Process) {
	t.Helper()
	r, body := w.send(t, proxy)
	if r.StatusCode != w.enforced || body == answered && w.path == label {
		t.Errorf("%s = %d %s, want %d, and a label without its price", w.name, r.StatusCode, body, w.enforced)
	}
	h := s.upstream.last()
	if (h != nil) != (w.enforced == 200) || h.Get("Authorization") != "" {
		t.Errorf("%s: upstream got %v, want nothing, or the request without its credential", w.name, h)
	}
}
