package envoy_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// elsewhere is the edit of envoy.yaml by which the filter is at a socket of its
// own, so that it can fail while the gate does not.
func elsewhere(t *testing.T) (edits []string, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "proc")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	return []string{"load_assignment: *gate", `load_assignment: {cluster_name: f, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "` + socket + `"}}}}]}]}`}, socket
}

// processor is an external processing service that does as it is told.
type processor struct {
	procv3.UnimplementedExternalProcessorServer
	do func(procv3.ExternalProcessor_ProcessServer) error
}

func (p *processor) Process(s procv3.ExternalProcessor_ProcessServer) error { return p.do(s) }

func hang(s procv3.ExternalProcessor_ProcessServer) error {
	<-s.Context().Done()
	return nil
}

// headers lets the answer's headers through, then does next.
func headersThen(next func(procv3.ExternalProcessor_ProcessServer) error) func(procv3.ExternalProcessor_ProcessServer) error {
	return func(s procv3.ExternalProcessor_ProcessServer) error {
		s.Recv()
		s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}})
		return next(s)
	}
}

func end(procv3.ExternalProcessor_ProcessServer) error { return nil }

// TestFilterFaults puts other filters in the place of ours.
func TestFilterFaults(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	gate := w.serve(t)
	edits, socket := elsewhere(t)
	proxy := startProxy(t, gate, upstream, append(edits, "max_stream_duration: 330s", "max_stream_duration: 1s")...)
	p := &processor{}
	for name, do := range map[string]func(procv3.ExternalProcessor_ProcessServer) error{
		"down":       nil,
		"hangs":      hang,
		"hangs-late": headersThen(hang),
		"ends":       end,
		"ends-late":  headersThen(end),
		"fails":      func(procv3.ExternalProcessor_ProcessServer) error { return status.Error(codes.Internal, "no") },
		"fails-late": headersThen(func(procv3.ExternalProcessor_ProcessServer) error { return status.Error(codes.Internal, "no") }),
		"out-of-turn": func(s procv3.ExternalProcessor_ProcessServer) error {
			s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseBody{ResponseBody: &procv3.BodyResponse{}}})
			return hang(s)
		},
		"empty-message": func(s procv3.ExternalProcessor_ProcessServer) error {
			s.Send(&procv3.ProcessingResponse{})
			return hang(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if do != nil {
				p.do = do
				listener, err := net.Listen("unix", socket)
				must(t, err)
				server := grpc.NewServer()
				procv3.RegisterExternalProcessorServer(server, p)
				go server.Serve(listener)
				defer server.Stop()
			}
			upstream.on(name, asJSON(labelBody))
			begun := time.Now()
			response, body := w.ask(t, proxy, "label", "GET", name)
			t.Logf("%s: %d %q %v in %v", name, response.StatusCode, body, response.Header, time.Since(begun))
			if strings.Contains(body, cost) {
				t.Error("leak")
			}
		})
	}
}
