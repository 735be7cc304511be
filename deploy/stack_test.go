package deploy

import (
	"encoding/json"
	"io"
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

// A stack is a Redis, the gate's own program and an upstream, for an Envoy
// before them. The end of the test ends it.
type stack struct {
	t        *testing.T
	program  string
	redis    *storetest.Server
	env      []string
	socket   string // the gate's, as an address
	ops      string // the gate's, a path
	upstream *upstream
	process  *os.Process
}

func newStack(t *testing.T) *stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "stack") // t.TempDir() may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	keys := filepath.Join(dir, "keys.json")
	redis := storetest.Redis(t)
	s := &stack{
		t: t, redis: redis, program: filepath.Join("..", ".tools", "postern-test"), socket: "unix:" + filepath.Join(dir, "gate"), ops: filepath.Join(dir, "ops"),
		env:      []string{"POSTERN_REDIS=" + redis.URL(), "POSTERN_KEY_FILE=" + keys, "POSTERN_CATALOG=catalog.yaml", "POSTERN_JSON=true"},
		upstream: startUpstream(t),
	}
	command(t, ".", "go", "build", "-buildvcs=false", "-o", s.program, "../cmd/postern") // kept: the next test finds it as it must be
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
	var minted struct{ Secret, ID string }
	if err := json.Unmarshal([]byte(s.postern(args...)), &minted); err != nil || minted.Secret == "" {
		s.t.Fatalf("postern secret create: no secret (%v)", err)
	}
	return minted.Secret, minted.ID
}

// serve starts the gate, in the place of one that runs, and returns when it is ready.
func (s *stack) serve(flags ...string) {
	s.t.Helper()
	s.stop()
	cmd := exec.Command(s.program, append([]string{"serve", "--listen", s.socket, "--ops", "unix:" + s.ops}, flags...)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stderr = s.t.Output()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd.Process
	s.t.Cleanup(s.stop)
	s.await("the gate to be ready", func() bool {
		return exec.CommandContext(s.t.Context(), s.program, "health", "unix:"+s.ops).Run() == nil
	})
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

// get asks for a path at addr, a host:port. Without a token no credential goes along.
func get(t *testing.T, addr, path, token string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// An upstream answers all requests with one body, and keeps the last one's headers.
type upstream struct {
	address string
	mu      sync.Mutex // guards header
	header  http.Header
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
