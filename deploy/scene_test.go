package deploy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postern/postern/envoy/envoyproc"
)

// safely are the settings that a Redis must have.
var safely = []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}

// A scene is a fault of real processes, and the alerts that tell of it. Before
// the fault, none may.
type scene struct {
	*stack
	name   string
	breaks func()
	mends  func()            // as the runbook's fix says
	firing []string          // under the fault
	after  []string          // when it was mended
	shows  map[string]string // by alert, what its runbook's check prints under the fault

	second  string             // the address of another gate's --ops, where there is one
	proxy   *envoyproc.Process // nil: none
	unasked bool               // it has no traffic but what breaks makes
	asking  context.CancelFunc // ends keepAsking
	conn    *grpc.ClientConn
	token   string // of a secret that traffic uses
	id      string // the secret's
}

// newScene has a gate that serves; flags are serve's.
func newScene(t *testing.T, name string, flags ...string) *scene {
	t.Helper()
	s := &scene{name: name, stack: newStack(t, safely...)}
	s.token, s.id = s.mintWithID("m-1", "trackOrder", "getOrderLabel")
	s.serve(flags...)
	conn, err := grpc.NewClient(s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.conn = conn
	return s
}

// targets are what Prometheus scrapes of the scene.
func (s *scene) targets() []target {
	all := []target{{s.name, s.ops, "/metrics", nil}}
	if s.second != "" {
		all = append(all, target{s.name, s.second, "/metrics", nil})
	}
	if s.proxy != nil {
		all = append(all, target{s.name, s.proxy.Admin, "/stats/prometheus", nil})
	}
	return all
}

// check asks the gate as Envoy does.
func (s *scene) check(token, path string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{"postern-filter": "v1"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api", Path: path, Headers: map[string]string{"authorization": "Bearer " + token},
		}},
	}}
	_, _ = authv3.NewAuthorizationClient(s.conn).Check(ctx, request) // whatever comes is counted there
}

// checks asks n times, some at once.
func (s *scene) checks(n int, token, path string) {
	var all sync.WaitGroup
	const atOnce = 16
	for range atOnce {
		all.Go(func() {
			for range n / atOnce {
				s.check(token, path)
			}
		})
	}
	all.Wait()
}

// keepAsking asks now and again, as a client does that is refused, until leave.
// It is too seldom to burn a budget.
func (s *scene) keepAsking(token, path string) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.asking = cancel
	go func() {
		for ctx.Err() == nil {
			s.ask(token, path)
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
		}
	}()
}

func (s *scene) leave() { s.asking() }

// ask asks through Envoy where there is one.
func (s *scene) ask(token, path string) {
	if s.proxy == nil {
		s.check(token, path)
		return
	}
	_, _, _ = ask(s.t.Context(), s.proxy.Listen, path, token)
}

// traffic asks ten times a second until the test ends.
func (s *scene) traffic() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		s.ask(s.token, []string{track, label}[i%2])
		select {
		case <-tick.C:
		case <-s.t.Context().Done():
			return
		}
	}
}

// ownCatalog lets the gate and commands use a copy of the catalog, which may be changed.
func (s *stack) ownCatalog() (file string) {
	s.t.Helper()
	file = filepath.Join(s.dir, "catalog.yaml")
	s.writeFile(file, readText(s.t, "catalog.yaml"))
	s.env = append(s.env, "POSTERN_CATALOG="+file)
	return file
}

func (s *stack) writeFile(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) copy(from, to string) {
	s.t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		s.t.Fatal(err)
	}
}

// wideCatalog has more operations than there is room for uses of one secret.
func wideCatalog(operations int) string {
	var b strings.Builder
	b.WriteString("openapi: 3.1.0\ninfo: {title: wide, version: '1'}\nservers: [{url: https://api.example.com}]\npaths:\n")
	for i := range operations {
		fmt.Fprintf(&b, "  /things%d:\n    get: {operationId: getThings%d, summary: Things %d, responses: {'200': {description: ok}}}\n", i, i, i)
	}
	return b.String()
}
