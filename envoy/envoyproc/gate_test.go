package envoyproc

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// gate is a stock ext_authz server: what it answers is set by path, and what it
// was asked is kept by path.
type gate struct {
	authv3.UnimplementedAuthorizationServer
	answers map[string]answer

	mu    sync.Mutex // guards asked
	asked map[string]asked
}

// answer is told how often its path was asked for, from 1.
type answer func(ctx context.Context, try int) (*authv3.CheckResponse, error)

type asked struct {
	try  int
	http *authv3.AttributeContext_HttpRequest
	meta metadata.MD
	left time.Duration // until the deadline
}

func (g *gate) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	meta, _ := metadata.FromIncomingContext(ctx)
	deadline, _ := ctx.Deadline()
	http := r.GetAttributes().GetRequest().GetHttp()
	path, _, _ := strings.Cut(http.GetPath(), "?")
	g.mu.Lock()
	try := g.asked[path].try + 1
	g.asked[path] = asked{try, http, meta, time.Until(deadline)}
	g.mu.Unlock()
	answer, found := g.answers[path]
	if !found {
		return nil, status.Error(codes.Internal, "no answer for this path")
	}
	return answer(ctx, try)
}

func (g *gate) askedFor(path string) asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[path]
}

func always(r *authv3.CheckResponse) answer {
	return func(context.Context, int) (*authv3.CheckResponse, error) { return r, nil }
}

// startGate serves answers on a unix socket until the test ends.
func startGate(t *testing.T, answers map[string]answer) (g *gate, addr string) {
	t.Helper()
	socket := filepath.Join(socketDir(t), "gate.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g = &gate{answers: answers, asked: make(map[string]asked)}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, g)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return g, "unix:" + socket
}

// socketDir is short, as the path of a unix socket must be: t.TempDir holds the
// test's name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// received is what the upstream answers with: the request as it came.
type received struct {
	Path            string
	Header, Trailer http.Header
}

func startUpstream(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the trailers come after it
		json.NewEncoder(w).Encode(received{r.RequestURI, r.Header, r.Trailer})
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func startEnvoy(t *testing.T, opts Options) *Process {
	t.Helper()
	p, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}
