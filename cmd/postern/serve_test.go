package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestServe(t *testing.T) {
	s := newShell(t)
	legacy, granted := s.form("merchant create m1"), s.create("--permission getOrderLabel+shipping_price")
	deleted := s.create("--permission getOrder")
	s.ok("secret delete", deleted.ID)
	g := s.serve("")
	if got := g.servingState(); got != "SERVING" {
		t.Errorf("gRPC health of a gate that is ready = %s, want SERVING", got)
	}
	allowed := g.answers(granted.Secret, "GET /api/3/orders/1/label?secret=x", 200, "granted")
	if allowed.upstream["x-merchant-id"] != "m1" || allowed.upstream["x-api-secret-id"] != granted.ID || !slices.Equal(allowed.removed, []string{"authorization"}) {
		t.Errorf("allowed with headers %v less %v, want m1 and the id, less authorization", allowed.upstream, allowed.removed)
	}
	g.answers(legacy.Secret, "PATCH /any/where", 200, "unrestricted")
	g.answers(granted.Secret, "GET /api/3/orders/1", 403, "not_granted")
	g.answers(deleted.Secret, "GET /api/3/orders/1", 401, "deleted")
	g.answers("no-token", "GET /", 401, "malformed")
	g.answers("a.foreign.token.of.good.form", "GET /", 401, "unknown")
	r := g.readyz()
	if r.status != 200 || !r.Ready || len(r.Problems) != 0 || len(r.Keys) != 1 || r.Store != "the store is ready" {
		t.Errorf("readyz = %+v, want ready without problems", r)
	}
	for _, line := range []string{
		`postern_checks_total{decision="allow",reason="granted"} 1`, `postern_checks_total{decision="deny",reason="not_granted"} 1`,
		`postern_checks_total{decision="deny",reason="malformed"} 1`, `postern_check_duration_seconds_count 6`,
		"postern_ready 1", "postern_store_up 1", "postern_cache_entries 3", `postern_reload_refused{file="catalog"} 0`,
	} {
		g.showsMetric(line)
	}
	if status, body := g.get("/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("healthz = %d %q, want 200 ok", status, body)
	}
	if status, _ := g.get("/nothing"); status != 404 {
		t.Errorf("another path = %d, want 404", status)
	}
	if text := s.ok("health --json", g.ops); !strings.Contains(text, `"ready":true`) {
		t.Errorf("postern health = %s", text)
	}
	forwarding := s.serve("--forward-secret")
	if a := forwarding.answers(granted.Secret, "GET /api/3/orders/1/label", 200, "granted"); len(a.removed) != 0 {
		t.Errorf("with --forward-secret, %v are removed, want none", a.removed)
	}
}

// The log has no password, no path and no query in it.
func TestLogOfServe(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrder")
	s.env["POSTERN_REDIS"] = strings.Replace(s.redis.URL(), "redis://", "redis://default:hunter2@", 1)
	g := s.serve("")
	g.answers(granted.Secret, "GET /api/3/a-path?a-query", 403, "not_catalogued")
	g.ends()
	for _, never := range []string{"hunter2", "a-path", "a-query"} {
		if strings.Contains(g.log.String(), never) {
			t.Errorf("the log holds %q:\n%s", never, g.log)
		}
	}
}

// A check that is under way when the end comes is answered; health says first
// that the end has come.
func TestDrain(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrderLabel+shipping_price")
	g := s.serve("--redis-timeout 10s --drain-timeout 10s")
	watch, err := g.health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: authv3.Authorization_ServiceDesc.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	seen := func(want healthv1.HealthCheckResponse_ServingStatus) {
		if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("gRPC health = %v, %v, want %v", r.GetStatus(), err, want)
		}
	}
	seen(healthv1.HealthCheckResponse_SERVING)
	s.redis.Pause()
	defer s.redis.Resume()
	answered := g.asksSlowly(granted.Secret)
	g.stop()
	seen(healthv1.HealthCheckResponse_NOT_SERVING)
	select {
	case a := <-answered:
		t.Errorf("answer while Redis is paused = %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	s.redis.Resume()
	if a := <-answered; a.status != 200 {
		t.Errorf("answer of a check under way at the end = %+v, want 200", a)
	}
	if err := watch.CloseSend(); err != nil {
		t.Error(err)
	}
}

// asksSlowly sends a check and returns when the gate waits for Redis with it.
func (g *gate) asksSlowly(token string) <-chan answer {
	g.s.t.Helper()
	answered := make(chan answer, 1)
	go func() {
		a, err := g.ask(token, "GET /api/3/orders/1/label")
		if err != nil {
			a.reason = err.Error()
		}
		answered <- a
	}()
	g.await("read the store", func() bool {
		_, text := g.get("/metrics")
		return strings.Contains(text, "\npostern_store_reads_total 1\n")
	})
	return answered
}

// A check that does not end does not keep the process alive.
func TestDrainIsBounded(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrder")
	g := s.serve("--redis-timeout 30s --drain-timeout 100ms")
	s.redis.Pause()
	defer s.redis.Resume()
	answered := g.asksSlowly(granted.Secret)
	begun := time.Now()
	g.ends()
	if took := time.Since(begun); took < 100*time.Millisecond || took > 3*time.Second {
		t.Errorf("serve ended after %v, want 100 ms", took)
	}
	if log := g.log.String(); !strings.Contains(log, `"msg":"draining","timeout":"100ms"`) {
		t.Errorf("the log does not tell of the drain, and its bound as in the flag:\n%s", log)
	}
	if a := <-answered; a.status == 200 {
		t.Errorf("answer of a check that was cut off = %+v, want anything but 200", a)
	}
}

// A sidecar that is told to end before it serves ends, and takes no socket.
func TestEndBeforeServing(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrder")
	g := s.serve("")
	before, err := os.Stat(g.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	args := s.words("serve --listen unix:"+g.socket+" --ops "+g.ops, nil)
	if code := run(ended, args, process{Getenv: func(name string) string { return s.env[name] }, Stdout: g.log, Stderr: g.log}); code != exitDone {
		t.Errorf("serve = exit %d, want 0; its log:\n%s", code, g.log)
	}
	after, err := os.Stat(g.socket)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another one, or gone: %v", err)
	}
	g.answers(granted.Secret, "GET /api/3/nothing", 403, "not_catalogued")
	if files, err := os.ReadDir(strings.TrimSuffix(g.socket, "/gate.sock")); err != nil || len(files) != 2 {
		t.Errorf("files = %v, %v, want the two sockets of the one that runs", files, err)
	}
}

// Of what is not a check the gate makes nothing that allows.
func TestEmptyCheck(t *testing.T) {
	s := newShell(t)
	s.create("--permission getOrder")
	g := s.serve("")
	r, err := g.checks.Check(t.Context(), &authv3.CheckRequest{})
	if err != nil || r.GetStatus().GetCode() != int32(codes.Unauthenticated) || r.GetDeniedResponse().GetStatus().GetCode() != 401 {
		t.Errorf("an empty check = %v, %v, want 401", r, err)
	}
	_, err = g.health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "nothing"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("health of a service that is not there: %v, want NotFound", err)
	}
}
