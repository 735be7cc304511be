package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postern/postern/cmd/postern/sidecar"
)

// gate is a sidecar that runs, and a client of it.
type gate struct {
	s      *shell
	socket string // of the checks
	ops    string // address
	log    *buffer
	stop   context.CancelFunc
	exit   chan int // its exit code, once
	checks authv3.AuthorizationClient
	health healthv1.HealthClient
}

// buffer is written by one goroutine and read by another.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// socketDir is a directory whose name leaves room in a socket's path.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve starts a sidecar that is ready. flags come beside --listen and --ops.
func (s *shell) serve(flags string) *gate {
	s.t.Helper()
	g := s.launch(flags)
	g.awaitReady()
	return g
}

// launch starts a sidecar on unix sockets of its own, and returns when they are
// there.
func (s *shell) launch(flags string) *gate {
	s.t.Helper()
	dir := socketDir(s.t)
	g := s.launchOn(dir+"/gate.sock", "unix:"+dir+"/ops.sock", flags)
	g.await("listen", func() bool { return strings.Contains(g.log.String(), `"msg":"serving"`) })
	return g
}

// serveLine waits longer for Redis than a sidecar should: machines that run
// tests are slow.
const serveLine = "serve --redis-timeout 2s "

// launchOn starts a sidecar on a socket.
func (s *shell) launchOn(socket, ops, flags string) *gate {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	g := &gate{s: s, socket: socket, ops: ops, log: &buffer{}, stop: stop, exit: make(chan int, 1)}
	args := s.words(serveLine+"--listen unix:"+socket+" --ops "+ops+" "+flags, nil)
	env := s.env
	go func() {
		g.exit <- run(ctx, args, process{Getenv: func(name string) string { return env[name] }, Stdout: g.log, Stderr: g.log})
	}()
	g.dial("unix:"+socket, insecure.NewCredentials())
	s.t.Cleanup(func() {
		g.ends()
		g.heardLog()
	})
	return g
}

// heardLog keeps the log, and demands that it is one JSON object a line.
func (g *gate) heardLog() {
	g.s.t.Helper()
	g.s.heard(g.log.String())
	for line := range strings.Lines(g.log.String()) {
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Msg == "" {
			g.s.t.Errorf("log line %q: %v, want a JSON object with level and msg", line, err)
		}
	}
}

// ends stops the sidecar and demands that it ends well, and soon.
func (g *gate) ends() {
	g.s.t.Helper()
	g.stop()
	select {
	case code := <-g.exit:
		g.exit <- code
		if code != exitDone {
			g.s.t.Errorf("serve = exit %d, want 0; its log:\n%s", code, g.log)
		}
	case <-time.After(10 * time.Second):
		g.s.t.Errorf("serve does not end within 10 s; its log:\n%s", g.log)
	}
}

// dial has the gate's client speak to target.
func (g *gate) dial(target string, c credentials.TransportCredentials) {
	g.s.t.Helper()
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(c))
	if err != nil {
		g.s.t.Fatal(err)
	}
	g.s.t.Cleanup(func() { connection.Close() })
	g.checks, g.health = authv3.NewAuthorizationClient(connection), healthv1.NewHealthClient(connection)
}

// await waits until ok, and ends the test where that does not come.
func (g *gate) await(what string, ok func() bool) {
	g.s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.s.t.Fatalf("the gate does not %s; its log:\n%s", what, g.log)
		}
	}
}

// awaitReady waits until the gate serves, and knows its store.
func (g *gate) awaitReady() {
	g.s.t.Helper()
	g.await("be ready", func() bool {
		return strings.Contains(g.log.String(), `"msg":"serving"`) && strings.Contains(g.log.String(), `"msg":"ready"`)
	})
}

// answer is what the gate said of a request.
type answer struct {
	status                   int
	reason, merchant, secret string
	upstream                 map[string]string // headers for the upstream
	removed                  []string          // headers kept from it
}

// ask asks the gate about `METHOD PATH` with a token.
func (g *gate) ask(token, request string) (answer, error) {
	method, path, _ := strings.Cut(request, " ")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := g.checks.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: method, Path: path, Headers: map[string]string{"authorization": "Bearer " + token}},
	}}})
	if err != nil {
		return answer{}, err
	}
	g.s.heard(r.String())
	fields := r.GetDynamicMetadata().GetFields()
	a := answer{reason: fields["reason"].GetStringValue(), merchant: fields["merchant_id"].GetStringValue(), secret: fields["secret_id"].GetStringValue()}
	a.status = int(r.GetDeniedResponse().GetStatus().GetCode())
	if ok := r.GetOkResponse(); ok != nil && r.GetStatus().GetCode() == 0 {
		a.status, a.removed, a.upstream = 200, ok.GetHeadersToRemove(), map[string]string{}
		for _, h := range ok.GetHeaders() {
			a.upstream[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
	}
	return a, nil
}

// answers demands the gate's answer.
func (g *gate) answers(token, request string, status int, reason string) answer {
	g.s.t.Helper()
	a, err := g.ask(token, request)
	if err != nil || a.status != status || a.reason != reason {
		g.s.t.Errorf("the gate on %s = %d (%s), %v, want %d (%s)", request, a.status, a.reason, err, status, reason)
	}
	return a
}

// servingState is what gRPC health says, or why it says nothing.
func (g *gate) servingState() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, err := g.health.Check(ctx, &healthv1.HealthCheckRequest{Service: authv3.Authorization_ServiceDesc.ServiceName})
	if err != nil {
		return err.Error()
	}
	return r.GetStatus().String()
}

// get asks the operators' address.
func (g *gate) get(path string) (status int, body string) {
	g.s.t.Helper()
	response, err := sidecar.OpsClient(g.ops).Get("http://sidecar" + path)
	if err != nil {
		g.s.t.Errorf("get %s: %v", path, err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.s.t.Errorf("get %s: %v", path, err)
	}
	g.s.heard(string(text))
	return response.StatusCode, string(text)
}

// readiness is the body of /readyz.
type readiness struct {
	Ready          bool
	Store, Catalog string
	Keys, Problems []string
	status         int
}

func (g *gate) readyz() (r readiness) {
	g.s.t.Helper()
	status, body := g.get("/readyz")
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		g.s.t.Errorf("readyz = %q: %v", body, err)
	}
	r.status = status
	return r
}

// showsMetric demands a line of /metrics.
func (g *gate) showsMetric(line string) {
	g.s.t.Helper()
	name, _, _ := strings.Cut(line, " ")
	_, text := g.get("/metrics")
	_, after, _ := strings.Cut(text, "\n"+name+" ")
	if got, _, _ := strings.Cut(after, "\n"); name+" "+got != line {
		g.s.t.Errorf("metrics have %s %q, want %s", name, got, line)
	}
}

// replace puts a file in the place of another, as a deployment does.
func (s *shell) replace(file, text string) {
	s.t.Helper()
	next := s.write("."+filepath.Base(file)+".next", text)
	if err := os.Rename(next, file); err != nil {
		s.t.Fatal(err)
	}
}
