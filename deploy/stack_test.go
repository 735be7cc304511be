package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/cache/store/storetest"
	"github.com/postern/postern/envoy/envoyproc"
)

var buildOnce sync.Once

// A stack is a Redis, the gate's own program and an upstream, for an Envoy
// before them. The end of the test ends it.
type stack struct {
	t        *testing.T
	program  string
	redis    *storetest.Server
	env      []string
	socket   string // the gate's, as an address
	ops      string // the gate's, as an address
	dir      string // for files
	upstream *upstream
	process  *os.Process
}

// newStack starts a Redis, with these arguments, and an upstream.
func newStack(t *testing.T, redisArgs ...string) *stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "stack") // t.TempDir() may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	keys := filepath.Join(dir, "keys.json")
	redis := storetest.Redis(t, redisArgs...)
	s := &stack{
		t: t, redis: redis, program: filepath.Join("..", ".tools", "postern-test"), socket: "unix:" + filepath.Join(dir, "gate"), ops: freeAddress(t), dir: dir,
		env:      []string{"POSTERN_REDIS=" + redis.URL(), "POSTERN_KEY_FILE=" + keys, "POSTERN_CATALOG=catalog.yaml", "POSTERN_JSON=true"},
		upstream: startUpstream(t),
	}
	buildOnce.Do(func() { command(t, ".", "go", "build", "-buildvcs=false", "-o", s.program, "../cmd/postern") })
	s.postern("key", "new", keys)
	return s
}

// postern runs a command of the program and returns what it prints.
func (s *stack) postern(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.program, args...)
	cmd.Env = append(os.Environ(), s.env...)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// mint makes a secret for a merchant.
func (s *stack) mint(merchant string, permissions ...string) (token string) {
	s.t.Helper()
	token, _ = s.mintWithID(merchant, permissions...)
	return token
}

func (s *stack) mintWithID(merchant string, permissions ...string) (token, id string) {
	s.t.Helper()
	args := []string{"secret", "create", "--merchant", merchant, "--description", "for a test"}
	for _, p := range permissions {
		args = append(args, "--permission", p)
	}
	return s.minted(args...)
}

// minted is the secret that a command makes.
func (s *stack) minted(args ...string) (token, id string) {
	s.t.Helper()
	var minted struct{ Secret, ID string }
	if err := json.Unmarshal([]byte(s.postern(args...)), &minted); err != nil || minted.Secret == "" {
		s.t.Fatalf("postern %s: no secret (%v)", strings.Join(args, " "), err)
	}
	return minted.Secret, minted.ID
}

// serve starts the gate, in the place of one that runs, and returns when it is ready.
func (s *stack) serve(flags ...string) {
	s.t.Helper()
	s.start(flags...)
	s.await("the gate to be ready", func() bool {
		return exec.CommandContext(s.t.Context(), s.program, "health", s.ops).Run() == nil
	})
}

// start is serve without the wait.
func (s *stack) start(flags ...string) {
	s.t.Helper()
	s.stop()
	cmd := exec.Command(s.program, append([]string{"serve", "--listen", s.socket, "--ops", s.ops}, flags...)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stderr = s.t.Output()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd.Process
	s.t.Cleanup(s.stop)
}

func (s *stack) stop() {
	if s.process != nil {
		s.process.Signal(syscall.SIGTERM)
		s.process.Wait()
		s.process = nil
	}
}

// envoy starts an Envoy whose bootstrap is envoy.yaml as edit leaves it.
func (s *stack) envoy(edit func(string) string) *envoyproc.Process {
	s.t.Helper()
	p, err := envoyproc.Start(s.t.Context(), envoyproc.Options{Gate: s.socket, Upstream: s.upstream.address, Edit: edit})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

func (s *stack) await(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// freeAddress is one of 127.0.0.1 that nobody listens on, below the ports that
// outgoing connections take: a process that ends finds it free again.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if listener, err := net.Listen("tcp", addr); err == nil {
			listener.Close()
			return addr
		}
	}
	t.Fatal("find a free port of 127.0.0.1 from 10000 to 29999: none of 100 tried")
	return ""
}

// get asks for a path at addr, a host:port. Without a token no credential goes along.
func get(t *testing.T, addr, path, token string) (*http.Response, string) {
	t.Helper()
	response, body, err := ask(t.Context(), addr, path, token)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func ask(ctx context.Context, addr, path, token string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+path, nil)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// An upstream answers all requests with one body, and keeps the last one's headers.
type upstream struct {
	address string
	mu      sync.Mutex // guards what follows
	header  http.Header
	csv     bool // its answers are called so
}

// answered holds what a secret without its field group may not see of an order.
const answered = `{"response":{"order":{"price":"12.50","number":"PP1"}}}`

func startUpstream(t *testing.T) *upstream {
	u := &upstream{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.header = r.Header
		w.Header().Set("Content-Type", "application/json")
		if u.csv {
			w.Header().Set("Content-Type", "text/csv")
		}
		io.WriteString(w, answered)
	}))
	t.Cleanup(server.Close)
	u.address = server.Listener.Addr().String()
	return u
}

// last is what the last request's headers were; nil where none came since.
func (u *upstream) last() http.Header {
	u.mu.Lock()
	defer u.mu.Unlock()
	header := u.header
	u.header = nil
	return header
}
