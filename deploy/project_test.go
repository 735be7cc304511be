//go:build compose

package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for the running project.
const patience = 40 * time.Second

// A project is the compose file's.
type project struct {
	t       *testing.T
	compose []string // docker compose, or docker-compose
	redis   string   // the image; it has a shell, so the test looks around with it
	url     string
	client  *http.Client
}

// newProject has all that the project needs to come up. The end of the test takes it down.
func newProject(t *testing.T) *project {
	engine := startEngine(t)
	port := freePort(t)
	p := &project{
		t:       t,
		compose: []string{"docker", "compose"},
		url:     "http://127.0.0.1:" + port,
		client:  &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: engine.DialContext}},
	}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		p.compose = []string{"docker-compose"}
	}
	t.Setenv("COMPOSE_FILE", "../docker-compose.yml")
	t.Setenv("COMPOSE_PROJECT_NAME", p.name())
	t.Setenv("POSTERN_PORT", port)
	t.Setenv("POSTERN_ADMIN_PORT", freePort(t))
	t.Setenv("COMPOSE_PROFILES", "admin") // so that what takes the project down knows of it
	for _, image := range images(t) {
		makeStandIn(t, image)
		if strings.HasPrefix(image, "redis:") {
			p.redis = image
		}
	}
	t.Cleanup(p.down)
	return p
}

// with is the project in a subtest.
func (p project) with(t *testing.T) *project {
	p.t = t
	return &p
}

// name is the project's, and begins the names of its volumes.
func (p *project) name() string { return fmt.Sprintf("postern-test-%d", os.Getpid()) }

// do runs a compose command.
func (p *project) do(args ...string) string {
	p.t.Helper()
	return run(p.t, p.compose[0], append(p.compose[1:], args...)...)
}

// down removes all that the project made, and after a failure shows what it said.
func (p *project) down() {
	// The test's own context has ended.
	command := func(args ...string) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, p.compose[0], append(p.compose[1:], args...)...).CombinedOutput()
		if err != nil || args[0] == "logs" {
			p.t.Errorf("compose %s: %v\n%s", args[0], err, out)
		}
	}
	if p.t.Failed() {
		command("logs", "--no-color", "--tail", "50")
	}
	command("down", "--volumes", "--rmi", "local", "--timeout", "3")
}

func freePort(t *testing.T) string {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	return port
}

var imageName = regexp.MustCompile(`(?m)^(?:FROM|\s+image:) (\S+[:/]\S+)`) // scratch and stages have no tag

// images are the images that the compose file and the Dockerfile take from registries.
func images(t *testing.T) []string {
	var names []string
	for _, file := range []string{"../docker-compose.yml", "Dockerfile"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range imageName.FindAllSubmatch(data, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// container is the id of a service's container.
func (p *project) container(service string) string {
	p.t.Helper()
	label := "label=com.docker.compose."
	id := strings.TrimSpace(run(p.t, "docker", "ps", "-q", "--filter", label+"project="+p.name(), "--filter", label+"service="+service))
	if id == "" {
		p.t.Fatalf("service %s is not running", service)
	}
	return id
}

// awaitHealthy returns once every service that can be is healthy, by its own health check.
func (p *project) awaitHealthy() {
	p.t.Helper()
	for _, service := range []string{"redis", "postern", "envoy", "admin"} {
		format := "{{.State.Status}} {{.State.Health.Status}}"
		container := p.container(service)
		p.eventually(func() error {
			got := strings.TrimSpace(run(p.t, "docker", "inspect", "--format", format, container))
			if got != "running healthy" {
				return fmt.Errorf("service %s is %q, want running healthy", service, got)
			}
			return nil
		})
	}
}

// eventually calls f until it returns nil, and ends the test with its error when that takes too long.
func (p *project) eventually(f func() error) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(250 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("after %v: %v", patience, err)
		}
	}
}

// mint makes a secret for m-1, by the command line in the gate's container.
func (p *project) mint(permission string) (token string) {
	p.t.Helper()
	return p.mintFor("m-1", permission)
}

func (p *project) mintFor(merchant, permission string) (token string) {
	p.t.Helper()
	out := p.do("exec", "-T", "postern", "/postern", "secret", "create",
		"--merchant", merchant, "--description", "Tracking page", "--permission", permission, "--json")
	var minted struct{ Secret string }
	if err := json.Unmarshal([]byte(out), &minted); err != nil || minted.Secret == "" {
		p.t.Fatalf("postern secret create printed %q (%v), want a secret", out, err)
	}
	return minted.Secret
}

// probe runs a command in a container of the redis image. Flags are docker run's.
func (p *project) probe(flags []string, command ...string) (string, error) {
	args := append([]string{"run", "--rm", "--entrypoint", command[0]}, flags...)
	return try(p.t, "docker", append(append(args, p.redis), command[1:]...)...)
}

// answer is what came back through Envoy.
type answer struct {
	status   int
	body     string
	upstream map[string][]string // the headers that the upstream received, where it was asked
}

// ask sends a request through Envoy, with a client's attempt to say who it is.
func (p *project) ask(method, path, token string) (answer, error) {
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("X-Merchant-Id", "another")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, body: string(body)}
	if a.status == http.StatusOK {
		var echo struct{ Headers map[string][]string }
		if err := json.Unmarshal(body, &echo); err != nil {
			return a, fmt.Errorf("read the upstream's answer %q: %w", body, err)
		}
		a.upstream = echo.Headers
	}
	return a, nil
}

// await asks until the answer has the wanted status.
func (p *project) await(want int, method, path, token string) answer {
	p.t.Helper()
	return p.askUntil(func(status int) bool { return status == want }, method, path, token)
}

// settled asks until the answer is not 503, which says to try again: on a loaded
// machine the gate may be late.
func (p *project) settled(method, path, token string) answer {
	p.t.Helper()
	return p.askUntil(func(status int) bool { return status != http.StatusServiceUnavailable }, method, path, token)
}

func (p *project) askUntil(good func(status int) bool, method, path, token string) (a answer) {
	p.t.Helper()
	p.eventually(func() (err error) {
		a, err = p.ask(method, path, token)
		if err == nil && !good(a.status) {
			err = fmt.Errorf("%s %s is still answered by %d %s", method, path, a.status, a.body)
		}
		return err
	})
	return a
}
