package deploy

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// meshes are what control planes made of the manifests, for `make mesh-render`
// takes minutes.
var meshes = []string{"istio", "envoy-gateway", "envoy-gateway-unpatched"}

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

// TestMesh runs real Envoy on what each mesh makes of its manifests.
func TestMesh(t *testing.T) {
	for _, mesh := range meshes {
		t.Run(mesh, func(t *testing.T) {
			s := newStack(t)
			s.serve()
			proxy := s.mesh(rendering(t, mesh))
			for _, w := range wouldBe(s) {
				w.checkEnforced(t, s, proxy)
			}
			checkHostile(t, s, proxy)
			s.stop()
			r, body := get(t, proxy.Listen, track, foreign)
			if r.StatusCode != 503 || !strings.Contains(body, "temporarily_unavailable") || s.upstream.last() != nil {
				t.Errorf("of a dead gate = %d %s, want 503 in our form, and nothing at the upstream", r.StatusCode, body)
			}
		})
	}
}

// TestMeshUnchecked demands that what skips the check is refused, as where a
// route or a rule has its own: postern.unchecked is the lock for that.
func TestMeshUnchecked(t *testing.T) {
	const checked = "                    check_settings:\n                      context_extensions:\n                        postern-filter: v1\n"
	for _, mesh := range meshes {
		s := newStack(t)
		s.serve()
		text := rendering(t, mesh)
		if strings.Count(text, checked) != 1 {
			t.Fatalf("%s has no settings of the check to take out", mesh)
		}
		proxy := s.mesh(strings.Replace(text, checked, "                    disabled: true\n", 1))
		if r, body := get(t, proxy.Listen, track, s.mint("m-1", "trackOrder")); r.StatusCode != 403 || s.upstream.last() != nil {
			t.Errorf("%s: a request that skips the check = %d %s, want 403, and nothing at the upstream", mesh, r.StatusCode, body)
		}
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

// checkHostile sends what a client may try beside the table of the gate: to say
// who it is, and paths that are read in two ways.
func checkHostile(t *testing.T, s *stack, proxy *envoyproc.Process) {
	t.Helper()
	token := s.mint("m-2", "trackOrder")
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+proxy.Listen+track, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "X-Merchant-Id": "m-1", "X-Api-Secret-Id": "none", "X-Http-Method-Override": "DELETE", "X-Original-Url": "/api/3/merchant",
	} {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	h := s.upstream.last()
	if response.StatusCode != 200 || h.Get("X-Merchant-Id") != "m-2" || h.Get("X-Api-Secret-Id") == "none" || h.Get("X-Http-Method-Override") != "" || h.Get("X-Original-Url") != "" {
		t.Errorf("a client that says who it is = %d, and the upstream got %v", response.StatusCode, h)
	}
	for _, path := range []string{"/api/3/orders/PP1/..%2f..%2fmerchant", "/api/3/orders/%2e%2e/merchant", "//api/3/merchant", "/api/3/orders/PP1/tracking;x=1", "/api/3/orders/PP1/tracking/", "/API/3/orders/PP1/tracking"} {
		r, _ := get(t, proxy.Listen, path, token)
		if h := s.upstream.last(); r.StatusCode < 300 || h != nil { // a redirect goes to what is refused
			t.Errorf("GET %s = %d, and the upstream got %v: want it refused", path, r.StatusCode, h)
		}
	}
}
