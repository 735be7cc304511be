package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// binaries are the gate, built here, and Envoy, in a folder that other users may enter.
type binaries struct{ postern, envoy string }

func findBinaries(t *testing.T, dir string) (b binaries) {
	t.Helper()
	b = binaries{postern: filepath.Join(dir, "postern.bin"), envoy: filepath.Join(dir, "envoy.bin")}
	buildGate(t, b.postern)
	from, err := os.Open(findEnvoy(t))
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(b.envoy, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	defer to.Close()
	_, err = io.Copy(to, from)
	must(t, err)
	return b
}

func buildGate(t *testing.T, file string) {
	t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-o", file, "./cmd/postern")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the gate: %v\n%s", err, out)
	}
	must(t, os.Chmod(file, 0o755))
}

// findEnvoy looks where the repository's other tests look.
func findEnvoy(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("ENVOY_BIN"), root + "/.tools/envoy", "envoy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Envoy: run `make envoy`, or set ENVOY_BIN")
	return ""
}

// TestBootstrapIsValid has Envoy look at what it would run with.
func TestBootstrapIsValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	for _, name := range []string{"sidecar", "everything"} {
		must(t, os.WriteFile(file, []byte(bootstrap(t, settings(t)[name])), 0o600))
		if out, err := exec.Command(findEnvoy(t), "--mode", "validate", "-c", file, "--log-level", "warn").CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	must(t, os.WriteFile(file, []byte(strings.Replace(bootstrap(t, settings(t)["sidecar"]), "failure_mode_allow", "failure_mode_allowed", 1)), 0o600))
	if exec.Command(findEnvoy(t), "--mode", "validate", "-c", file).Run() == nil {
		t.Error("Envoy takes a field that there is not")
	}
}

// TestPod runs all pods of a first try, with the management server: what the chart's README has one do, on this machine.
func TestPod(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) }))
	t.Cleanup(upstream.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(upstream.URL, "http://"), ":")
	inline, err := yaml.Marshal(map[string]any{"catalog": map[string]string{"inline": read(t, root+"/deploy/catalog.yaml")}})
	must(t, err)
	all := load(t, read(t, "testdata/values/trial.yaml"), string(inline), "{envoy: {upstream: {host: 127.0.0.1, port: "+port+"}, drainSeconds: 1}, "+
		"admin: {enabled: true, insecure: true, tokens: {secret: admin}}}")
	n := newNode(t, all, map[string]map[string]string{"postern": {"redis-password": "a1B2c3"}, "admin": {}})
	bin := findBinaries(t, n.dir)
	for secret, made := range map[string][]string{
		"postern": {"key", "new", "postern.json"},
		"admin":   {"admin", "token", "new", "--tokens", "tokens.json", "--name", "me", "--role", "operator"},
	} {
		cmd := exec.Command(bin.postern, made...)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", made, err, out)
		}
		for _, file := range []string{"postern.json", "tokens.json"} {
			if data, err := os.ReadFile(filepath.Join(cmd.Dir, file)); err == nil {
				n.secrets[secret][file] = string(data)
			}
		}
	}
	runPod(t, n, bin)
}

func runPod(t *testing.T, n *node, bin binaries) {
	pods := n.all.pods()
	pod, store, desk := pods["Deployment/shop-postern"].Spec, pods["StatefulSet/shop-postern-redis"].Spec, pods["Deployment/shop-postern-admin"].Spec
	for name, p := range map[string]core.PodSpec{"pod": pod, "store": store, "desk": desk} {
		n.mount(name, p)
	}
	gate, envoy, redis, admin := pod.InitContainers[0], pod.Containers[0], store.Containers[0], desk.Containers[0]

	// Without Redis the gate starts and lives, and is not ready.
	n.start("postern", n.command(pod, gate, bin.postern, gate.Args...))
	eventually(t, "startup of the gate", func() error { return n.probe(gate, gate.StartupProbe) })
	if err := n.probe(gate, gate.LivenessProbe); err != nil {
		t.Errorf("without Redis the gate would be restarted: %v", err)
	}
	if err := n.probe(gate, gate.ReadinessProbe); err == nil {
		t.Error("without Redis the gate is ready")
	}

	storing := n.startRedis(store, redis)
	eventually(t, "readiness of the gate", func() error { return n.probe(gate, gate.ReadinessProbe) })
	eventually(t, "the gate's word that Redis is set up well", func() error {
		_, body, err := ask("http", n.ports["9102"], "/readyz")
		if err == nil && !strings.Contains(body, `"problems":[]`) {
			err = errors.New(body)
		}
		return err
	})
	n.start("envoy", n.command(pod, envoy, bin.envoy, envoy.Args...))
	eventually(t, "startup of Envoy", func() error { return n.probe(envoy, envoy.StartupProbe) })
	n.start("admin", n.command(desk, admin, bin.postern, admin.Args...))
	for _, p := range []*core.Probe{admin.StartupProbe, admin.LivenessProbe, admin.ReadinessProbe} {
		eventually(t, "probes of the management server", func() error { return n.probe(admin, p) })
	}
	for _, p := range []*core.Probe{envoy.LivenessProbe, envoy.ReadinessProbe} {
		eventually(t, "probes of Envoy", func() error { return n.probe(envoy, p) })
	}

	token := n.mint(pod, gate, bin.postern)
	n.answers(token)
	n.opsListener()

	// Redis goes: nothing is restarted, and nothing taken out of the Service.
	storing.stop()
	for _, p := range []*core.Probe{gate.LivenessProbe, gate.ReadinessProbe} {
		if err := n.probe(gate, p); err != nil {
			t.Errorf("with Redis gone, the gate would be taken out: %v", err)
		}
	}
	n.expect(http.StatusOK, "/api/3/orders/PP1/tracking", token)
	if err := n.probe(admin, admin.LivenessProbe); err != nil {
		t.Errorf("with Redis gone, the management server would be restarted: %v", err)
	}
	n.end(pod, envoy, token)
}

// startRedis returns once it answers, by its own probe, whoever knows the password, and nobody else.
func (n *node) startRedis(pod core.PodSpec, c core.Container) *process {
	n.t.Helper()
	server, err := exec.LookPath(c.Args[0])
	must(n.t, err)
	p := n.start("redis", n.command(pod, c, server, append(c.Args[1:], "--port", n.ports["6379"], "--bind", "127.0.0.1")...))
	probe := func() *exec.Cmd {
		said := c.ReadinessProbe.Exec.Command
		return n.command(pod, c, said[0], append([]string{"-p", n.ports["6379"]}, said[1:]...)...)
	}
	eventually(n.t, "readiness of Redis", func() error { return probe().Run() })
	stranger := probe()
	stranger.Env = nil
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), "NOAUTH") {
		n.t.Errorf("Redis answers a stranger by %q (%v), want NOAUTH", out, err)
	}
	return p
}

// mint does what the notes say, by the commands that they give.
func (n *node) mint(pod core.PodSpec, gate core.Container, bin string) string {
	n.t.Helper()
	var out []byte
	for _, args := range [][]string{
		{"merchant", "create", "m-1"},
		{"secret", "create", "--merchant", "m-1", "--description", "Warehouse", "--permission", "trackOrder", "--json"},
	} {
		var said bytes.Buffer
		cmd := n.command(pod, gate, bin, args...)
		cmd.Stderr = &said
		var err error
		if out, err = cmd.Output(); err != nil {
			n.t.Fatalf("%v: %v\n%s", args, err, &said)
		}
	}
	var secret struct{ Secret string }
	must(n.t, json.Unmarshal(out, &secret))
	return secret.Secret
}

// answers asks for what is granted, what is not, and without a secret.
func (n *node) answers(token string) {
	n.t.Helper()
	if got := n.expect(http.StatusOK, "/api/3/orders/PP1/tracking", token); !strings.Contains(got, "X-Merchant-Id:[m-1]") || strings.Contains(got, token) {
		n.t.Errorf("the API received %s, want who asks and no secret", got)
	}
	n.expect(http.StatusForbidden, "/api/3/merchant", token)
	n.expect(http.StatusUnauthorized, "/api/3/merchant", "")
}

// expect asks through Envoy, again while the answer is that it may work later: on a busy machine the gate may be late.
func (n *node) expect(want int, path, token string) (body string) {
	n.t.Helper()
	eventually(n.t, "GET "+path, func() error {
		resp, err := n.get(path, token)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		body = string(data)
		if err == nil && resp.StatusCode != want {
			err = fmt.Errorf("%d %s, want %d", resp.StatusCode, body, want)
		}
		return err
	})
	return body
}

func (n *node) get(path, token string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://127.0.0.1:"+n.ports["10000"]+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultClient.Do(r)
}

// opsListener holds what Envoy shows of its own interface to what is needed.
func (n *node) opsListener() {
	n.t.Helper()
	port := n.ports["9903"]
	status, body, err := ask("http", port, "/stats/prometheus")
	if err != nil || status != http.StatusOK || !strings.Contains(body, "ext_authz") {
		n.t.Errorf("Envoy's metrics: %d %v", status, err)
	}
	for _, path := range []string{"/", "/config_dump", "/stats", "/quitquitquit", "/ready/../config_dump", "/stats/prometheus/"} {
		if status, _, err := ask("http", port, path); err != nil || status == http.StatusOK {
			n.t.Errorf("Envoy shows %s to all who read its metrics (%d, %v)", path, status, err)
		}
	}
	resp, err := http.Post("http://127.0.0.1:"+port+"/ready", "", nil)
	must(n.t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		n.t.Errorf("POST /ready: %d, want 404", resp.StatusCode)
	}
}

// end runs the preStop of Envoy: it is out of the Service, and still answers, asking clients to go.
func (n *node) end(pod core.PodSpec, envoy core.Container, token string) {
	n.t.Helper()
	hook := envoy.Lifecycle.PreStop.Exec.Command
	if out, err := n.command(pod, envoy, hook[0], hook[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("preStop: %v\n%s", err, out)
	}
	if err := n.probe(envoy, envoy.ReadinessProbe); err == nil {
		n.t.Error("Envoy is ready amid its end")
	}
	if err := n.probe(envoy, envoy.LivenessProbe); err != nil {
		n.t.Errorf("Envoy would be restarted amid its end: %v", err)
	}
	eventually(n.t, "an answer amid Envoy's end", func() error {
		resp, err := n.get("/api/3/orders/PP1/tracking", token)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !resp.Close {
			return errors.New("want 200 with connection: close, got " + resp.Status)
		}
		return nil
	})
}
