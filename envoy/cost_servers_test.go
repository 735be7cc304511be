//go:build !race

package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// In the environment these make this program a server to compare with, on the
// socket that they name.
const (
	stockSocket = "POSTERN_STOCK_SOCKET"
	floorSocket = "POSTERN_FLOOR_SOCKET"
)

func TestMain(m *testing.M) {
	for name, server := range map[string]func() *grpc.Server{stockSocket: newStock, floorSocket: newFloor} {
		if socket := os.Getenv(name); socket != "" {
			serveOther(socket, server())
			return
		}
	}
	os.Exit(m.Run())
}

// stock is what is measured against: the least that an authorization service
// can do with generated code and default options. It allows everything, with
// an answer like the gate's.
type stock struct {
	authv3.UnimplementedAuthorizationServer
}

var statusOK = status.New(codes.OK, "").Proto()

func (stock) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	text := structpb.NewStringValue
	return &authv3.CheckResponse{
		Status: statusOK,
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:         []*corev3.HeaderValueOption{set("x-merchant-id", "m-1"), set("x-api-secret-id", "00000000000000000000000000000000")},
			HeadersToRemove: []string{"authorization"},
		}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"decision": text("allow"), "merchant_id": text("m-1")}},
	}, nil
}

func newStock() *grpc.Server {
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, stock{})
	return server
}

// floor is what gRPC itself costs a check: a server with the gate's options that
// reads nothing of it, and answers with bytes that were made before.
type floor struct {
	encoding.CodecV2
	answer mem.BufferSlice
	keep   func([]byte) // is told each check; may be nil
}

func (f floor) Marshal(any) (mem.BufferSlice, error) { return f.answer, nil }

func (f floor) Unmarshal(check mem.BufferSlice, _ any) error {
	if f.keep != nil {
		f.keep(check.Materialize())
	}
	return nil
}

func newFloor() *grpc.Server { return newKeeper(nil) }

// newKeeper is the same, and hands on each check.
func newKeeper(keep func([]byte)) *grpc.Server {
	debug.SetGCPercent(400) // as the program has it
	response, _ := stock{}.Check(context.Background(), nil)
	data, err := proto.Marshal(response)
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(floor{encoding.GetCodecV2("proto"), mem.BufferSlice{mem.SliceBuffer(data)}, keep}),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(16<<20), grpc.NumStreamWorkers(64))
	service := authv3.Authorization_ServiceDesc
	service.HandlerType = (*any)(nil)
	service.Methods = []grpc.MethodDesc{{MethodName: "Check", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return nil, decode(nil)
	}}}
	server.RegisterService(&service, floor{})
	return server
}

func serveOther(socket string, server *grpc.Server) {
	listener, err := net.Listen("unix", socket)
	if err == nil {
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
}

// process is a server in a process of its own.
type process struct {
	address string
	pid     int
	ready   time.Duration // after its start
}

// otherProcess starts a server to compare with.
func otherProcess(t testing.TB, which string, environment ...string) process {
	t.Helper()
	socket := filepath.Join(shortDir(t), "other")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), which+"="+socket), environment...)
	return launch(t, cmd, socket)
}

// ownProcess starts the program as it ships, on the store of the world.
func (w *world) ownProcess(t testing.TB, environment ...string) process {
	t.Helper()
	dir := shortDir(t)
	program, keys, socket := filepath.Join(dir, "postern"), filepath.Join(dir, "keys.json"), filepath.Join(dir, "gate")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/postern").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	text, err := json.Marshal(w.keys)
	must(t, err)
	must(t, os.WriteFile(keys, text, 0o600))
	cmd := exec.CommandContext(t.Context(), program, "serve", "--key-file", keys, "--redis", w.redis.URL(),
		"--redis-timeout", "2s", "--listen", "unix:"+socket)
	cmd.Env = append(append(os.Environ(), "POSTERN_CATALOG=../deploy/catalog.yaml"), environment...)
	return launch(t, cmd, socket)
}

// launch starts a server, and waits for its socket. It ends with the test.
func launch(t testing.TB, cmd *exec.Cmd, socket string) process {
	t.Helper()
	var said strings.Builder
	cmd.Stderr = &said
	begun := time.Now()
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 10_000 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return process{address: "unix:" + socket, pid: cmd.Process.Pid, ready: time.Since(begun)}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s does not listen", cmd)
	return process{}
}

// shortDir is a folder whose name leaves room for a socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// cpu is the time that the process has had of processors.
func (p process) cpu(t testing.TB) time.Duration {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	must(t, err)
	total := int64(0)
	for _, file := range threads {
		total += number(t, file, 0)
	}
	return time.Duration(total)
}

// calls is how often the process has called read, write and their like.
func (p process) calls(t testing.TB) int64 {
	t.Helper()
	file := fmt.Sprintf("/proc/%d/io", p.pid)
	return number(t, file, 5) + number(t, file, 7)
}

// number is a word of a file.
func number(t testing.TB, file string, word int) (n int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	_, err = fmt.Sscan(strings.Fields(string(data))[word], &n)
	must(t, err)
	return n
}
