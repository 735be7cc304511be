//go:build compose

// Package deploy tests what is shipped around the programs, by running it. With
// the build tag compose it runs the real docker-compose.yml and Dockerfile:
//
//	go test -tags compose ./deploy
//
// It needs Linux, and either a Docker engine or root and dockerd. Images that
// the engine does not have are replaced by stand-ins made of this machine's
// programs, so it needs no registry.
package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCompose(t *testing.T) {
	p := newProject(t)
	legacy, deleted := followReadme(p)
	p.awaitHealthy()
	tracker := p.mint("trackOrder")

	t.Run("requests", func(t *testing.T) { testRequests(t, p.with(t), legacy, tracker) })
	t.Run("processes", func(t *testing.T) { testProcesses(t, p.with(t)) })
	t.Run("files", func(t *testing.T) { testFiles(t, p.with(t)) })
	t.Run("management", func(t *testing.T) { testManagement(t, p.with(t)) })
	t.Run("networks", func(t *testing.T) { testNetworks(t, p.with(t)) })
	t.Run("image", func(t *testing.T) { testImage(t, p.with(t)) })

	t.Run("the gate is killed", func(t *testing.T) {
		p := p.with(t)
		p.do("kill", "postern") // its socket file stays: Envoy still has the volume
		if a := p.await(503, "GET", tracking, legacy); !strings.Contains(a.body, "temporarily_unavailable") {
			t.Errorf("answer without a gate: %s, want it to say temporarily_unavailable", a.body)
		}
		p.do("up", "-d")
		p.awaitHealthy()
		p.await(200, "GET", tracking, tracker)
	})
	t.Run("logs", func(t *testing.T) { testLogs(t, p.with(t), legacy, tracker, deleted) })
	t.Run("everything is killed, removed and made anew", func(t *testing.T) {
		p := p.with(t)
		p.do("kill")
		p.do("down") // the volumes stay
		p.do("up", "-d")
		p.awaitHealthy()
		p.await(200, "GET", tracking, legacy)
		p.await(200, "GET", tracking, tracker)
		p.await(401, "GET", tracking, deleted)
	})
	t.Run("rate limits", func(t *testing.T) { testRateLimits(t, p.with(t), tracker) })
}

const tracking = "/api/3/orders/PPaBcDeFgHiJk/tracking"

func testRequests(t *testing.T, p *project, legacy, tracker string) {
	tests := []struct {
		name, method, path, token string
		status                    int
		code                      string // the answer's "error"
	}{
		{"legacy, in the catalog", "GET", tracking, legacy, 200, ""},
		{"legacy, not in the catalog", "POST", "/anything/else", legacy, 200, ""},
		{"granted", "GET", tracking, tracker, 200, ""},
		{"not granted", "GET", "/api/3/orders/PPaBcDeFgHiJk", tracker, 403, "api_secret_no_permission"},
		{"not in the catalog", "GET", "/anything/else", tracker, 403, "api_secret_no_permission"},
		{"no secret", "GET", tracking, "", 401, "invalid_api_secret"},
		{"no such secret", "GET", tracking, "bm8tc3VjaC1zZWNyZXQtYW55d2g", 401, "invalid_api_secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := p.with(t).settled(tt.method, tt.path, tt.token)
			if got.status != tt.status {
				t.Fatalf("%s %s = %d %s, want %d", tt.method, tt.path, got.status, got.body, tt.status)
			}
			if tt.status == http.StatusOK {
				checkUpstream(t, got.upstream)
				return
			}
			var refusal struct{ Error string }
			if err := json.Unmarshal([]byte(got.body), &refusal); err != nil || refusal.Error != tt.code {
				t.Errorf("body %s (%v), want error %s", got.body, err, tt.code)
			}
		})
	}
}

// checkUpstream checks what the upstream learns of the caller.
func checkUpstream(t *testing.T, header map[string][]string) {
	if got := header["x-merchant-id"]; !slices.Equal(got, []string{"m-1"}) {
		t.Errorf("the upstream got x-merchant-id %q, want m-1 alone", got)
	}
	if got := header["x-api-secret-id"]; len(got) != 1 || got[0] == "" {
		t.Errorf("the upstream got x-api-secret-id %q, want one", got)
	}
	if got, found := header["authorization"]; found {
		t.Errorf("the upstream got authorization, %d of them, want none", len(got))
	}
}

// testManagement asks the management server, as nobody and by a token.
func testManagement(t *testing.T, p *project) {
	token := strings.TrimSpace(p.do("run", "--rm", "-T", "admin", "admin", "token", "new", "--tokens", "/admin/tokens.json", "--name", "test", "--role", "viewer"))
	for token, want := range map[string]int{"": 401, token: 200} {
		p.eventually(func() error {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:"+os.Getenv("POSTERN_ADMIN_PORT")+"/v1/merchants/m-1/secrets", nil)
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", "Bearer "+token)
			response, err := p.client.Do(r)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != want {
				return fmt.Errorf("the management server answers %d, want %d", response.StatusCode, want)
			}
			return nil
		})
	}
}

var rootMount = regexp.MustCompile(`(?m)^\S+ / \S+ (\w+)`) // in /proc/1/mounts

// testProcesses reads what the kernel says of each service's process.
func testProcesses(t *testing.T, p *project) {
	tests := []struct{ service, user, uid, gid string }{
		{"envoy", "101:65532", "101", "65532"},
		{"postern", "65532:65532", "65532", "65532"},
		{"admin", "65532:65532", "65532", "65532"},
		{"redis", "999:999", "999", "999"},
		{"upstream", "65532:65532", "65532", "65532"},
	}
	for _, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			p := p.with(t)
			// As the process's own user: another may not read its mounts.
			flags := []string{"--pid", "container:" + p.container(tt.service), "--user", tt.user, "--cap-drop", "ALL"}
			out, err := p.probe(flags, "cat", "/proc/1/status", "/proc/1/mounts")
			if err != nil {
				t.Fatal(err)
			}
			ids := func(id string) string { return strings.Repeat("\t"+id, 4) } // real, effective, saved, for files
			for _, want := range []string{
				"Uid:" + ids(tt.uid), "Gid:" + ids(tt.gid), "NoNewPrivs:\t1",
				"CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2",
			} {
				name, _, _ := strings.Cut(want, "\t")
				if got := regexp.MustCompile(`(?m)^` + name + `.*`).FindString(out); got != want {
					t.Errorf("the kernel says %q of its process, want %q", got, want)
				}
			}
			if got := rootMount.FindStringSubmatch(out); got == nil || got[1] != "ro" {
				t.Errorf("its root is mounted %q, want read-only", got)
			}
		})
	}
}

// testFiles tries the key and the socket as other users of their volumes would.
func testFiles(t *testing.T, p *project) {
	const key, socket = "/keys/postern.json", "/run/postern/postern.sock"
	volumes := []string{"--volume", p.name() + "_keys:/keys:ro", "--volume", p.name() + "_socket:/run/postern"}
	stat := []string{"stat", "--format", "%n %u:%g %a"}
	read := []string{"cat", key}
	connect := []string{"redis-cli", "-s", socket, "ping"} // it is no Redis: who gets in gets no answer
	tests := []struct {
		name, user string
		command    []string
		want       string // in the output, or in the error
	}{
		{"the key file", "65532:65532", append(stat, key), key + " 65532:65532 600\n"},
		{"the socket", "65532:65532", append(stat, socket), socket + " 65532:65532 660\n"},
		{"the socket's folder", "65532:65532", append(stat, "/run/postern"), "/run/postern 65532:65532 750\n"},
		{"the gate reads the key", "65532:65532", read, `"keys"`},
		{"Envoy does not", "101:65532", read, "Permission denied"},
		{"nor does Redis", "999:999", read, "Permission denied"},
		{"nor does another user", "1234:1234", read, "Permission denied"},
		{"Envoy connects to the gate", "101:65532", connect, "Error: "},
		{"Redis does not", "999:999", connect, "Permission denied"},
		{"nor does Envoy's user without the group", "101:101", connect, "Permission denied"},
		{"nor does another user", "1234:1234", connect, "Permission denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags := append([]string{"--network", "none", "--user", tt.user, "--cap-drop", "ALL"}, volumes...)
			out, err := p.probe(flags, tt.command...)
			if err != nil {
				out = err.Error()
			}
			if !strings.Contains(out, tt.want) {
				t.Errorf("%v as %s: %s, want %q", tt.command, tt.user, out, tt.want)
			}
		})
	}
}

// testLogs looks for tokens in what all containers have said so far.
func testLogs(t *testing.T, p *project, tokens ...string) {
	var logs string
	p.eventually(func() error {
		if logs = p.do("logs", "--no-color"); !strings.Contains(logs, `"merchant_id":"m-1"`) {
			return fmt.Errorf("the logs do not name the merchant m-1:\n%s", logs)
		}
		return nil
	})
	for _, token := range tokens {
		if strings.Contains(logs, token) {
			t.Errorf("the logs hold a token")
		}
	}
}

// testNetworks asks for Redis, by its addresses, from each service's place.
func testNetworks(t *testing.T, p *project) {
	format := "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
	addresses := strings.Fields(run(t, "docker", "inspect", "--format", format, p.container("redis")))
	tests := []struct {
		service string
		reaches bool
	}{{"postern", true}, {"admin", true}, {"envoy", false}, {"upstream", false}}
	for _, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			p := p.with(t)
			network := []string{"--network", "container:" + p.container(tt.service)}
			reached := slices.ContainsFunc(addresses, func(address string) bool {
				out, err := p.probe(network, "timeout", "2", "redis-cli", "-h", address, "ping")
				return err == nil && out == "PONG\n"
			})
			if reached != tt.reaches {
				t.Errorf("redis at %v answers it: %t, want %t", addresses, reached, tt.reaches)
			}
		})
	}
}
