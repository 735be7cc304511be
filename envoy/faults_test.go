package envoy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postern/postern/envoy"
)

type procStream = procv3.ExternalProcessor_ProcessServer

// processor is an external processing service that does as it is told.
type processor struct {
	procv3.UnimplementedExternalProcessorServer
	do func(*grpc.Server, procStream) error
	on *grpc.Server
}

func (p *processor) Process(s procStream) error { return p.do(p.on, s) }

// serveProcessor serves a processor on a unix socket until stop.
func serveProcessor(t *testing.T, socket string, do func(*grpc.Server, procStream) error) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := grpc.NewServer()
	procv3.RegisterExternalProcessorServer(server, &processor{do: do, on: server})
	go server.Serve(listener)
	return server.Stop
}

// elsewhere is the edit of envoy.yaml by which the filter has a socket of its
// own, so that it can fail while the gate does not.
func elsewhere(t *testing.T) (socket string, edit []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "filter") // t.TempDir() may be too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	return socket, []string{"load_assignment: *gate",
		`load_assignment: {cluster_name: f, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "` + socket + `"}}}}]}]}`}
}

func hang(_ *grpc.Server, s procStream) error { <-s.Context().Done(); return nil }

func end(*grpc.Server, procStream) error { return nil }

func fail(*grpc.Server, procStream) error { return status.Error(codes.Internal, "broken") }

func die(server *grpc.Server, s procStream) error { go server.Stop(); return hang(server, s) }

func garbage(server *grpc.Server, s procStream) error {
	s.Send(&procv3.ProcessingResponse{})
	return hang(server, s)
}

func outOfTurn(server *grpc.Server, s procStream) error {
	s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestBody{RequestBody: &procv3.BodyResponse{}}})
	return hang(server, s)
}

// headersThen lets the headers go, then does next.
func headersThen(next func(*grpc.Server, procStream) error) func(*grpc.Server, procStream) error {
	return func(server *grpc.Server, s procStream) error {
		s.Recv()
		s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}})
		return next(server, s)
	}
}

// TestBrokenFilter puts filters that fail in the place of ours. The control of
// each is the same request with a secret that needs no filter.
func TestBrokenFilter(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	socket, edit := elsewhere(t)
	proxy := startProxy(t, w.serve(t), upstream, append(edit, "max_stream_duration: 330s", "max_stream_duration: 0.5s")...)
	for _, tt := range []struct {
		name   string
		do     func(*grpc.Server, procStream) error // nil: nobody listens
		status int
	}{
		{"down", nil, 503},
		{"hangs", hang, 504},
		{"hangs-after-headers", headersThen(hang), 504},
		{"ends", end, 503},
		{"ends-after-headers", headersThen(end), 503},
		{"fails", fail, 503},
		{"fails-after-headers", headersThen(fail), 503},
		{"dies", die, 503},
		{"says-nothing", garbage, 503},
		{"out-of-turn", outOfTurn, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.do != nil {
				defer serveProcessor(t, socket, tt.do)()
			}
			upstream.on(tt.name, asJSON(labelBody))
			response, body := w.ask(t, proxy, "label", "GET", tt.name)
			if response.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d", response.StatusCode, body, tt.status)
			}
			checkOurs(t, response, body)
			if response, body := w.ask(t, proxy, "both", "GET", tt.name); response.StatusCode != 200 || body != labelBody {
				t.Errorf("unfiltered: got %d %s, want the upstream's", response.StatusCode, body)
			}
		})
	}
}

// TestFilterOff shows what the tests above would see without the filter, and
// that the lock behind it holds by itself.
func TestFilterOff(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	gate := w.serve(t)
	upstream.on("PP1", asJSON(labelBody))
	const skipAlways = `{matcher_list: {matchers: [{predicate: {not_matcher: {single_predicate: {value_match: {exact: never}, input: {name: input,
                typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: never}}}}},
                on_match: {action: {name: skip, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter}}}}]}}`
	noFilter := []string{"xds_matcher: *where_required", "xds_matcher: " + skipAlways}
	neither := []string{"value: {string_match: {exact: required}}", "value: {string_match: {exact: never}}"}
	if response, body := w.ask(t, startProxy(t, gate, upstream, noFilter...), "label", "GET", "PP1"); response.StatusCode != 503 {
		t.Errorf("without the filter: got %d %s, want the lock's 503", response.StatusCode, body)
	} else {
		checkOurs(t, response, body)
	}
	if response, body := w.ask(t, startProxy(t, gate, upstream, neither...), "label", "GET", "PP1"); body != labelBody {
		t.Errorf("without filter and lock: got %d %s, want to see the cost", response.StatusCode, body)
	}
}

// stalled is an answer that stops amid its body until release is closed.
func stalled(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, labelBody[:60])
		w.(http.Flusher).Flush()
		select {
		case <-release:
			io.WriteString(w, labelBody[60:])
		case <-r.Context().Done():
		}
	}
}

// TestFilterLimits covers what ends an answer of our own accord, and what ends
// it for us.
func TestFilterLimits(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	w.filter = envoy.FilterOptions{MaxBody: 64 << 10, Memory: 128 << 10, Lifetime: 2 * time.Second}
	proxy := startProxy(t, w.serve(t), upstream)
	count := func(r envoy.Result) int64 { return w.gate.Filter.Stats.Results[r].Load() }
	body := func(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }

	t.Run("a body at the limit, and beyond", func(t *testing.T) {
		upstream.on("fits", asJSON(body(64<<10)))
		if response, got := w.ask(t, proxy, "label", "GET", "fits"); response.StatusCode != 200 || got != body(64<<10) {
			t.Errorf("got %d with %d bytes, want 200 with all", response.StatusCode, len(got))
		}
		upstream.on("over", asJSON(body(64<<10+1)))
		response, got := w.ask(t, proxy, "label", "GET", "over")
		checkWithheld(t, response, got)
		upstream.on("over-in-chunks", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.(http.Flusher).Flush()
			io.WriteString(rw, body(64<<10+1))
		})
		response, got = w.ask(t, proxy, "label", "GET", "over-in-chunks")
		checkWithheld(t, response, got)
		if n := count(envoy.TooLarge); n != 2 {
			t.Errorf("%d answers counted as too large, want 2", n)
		}
	})
	t.Run("too much at one time", func(t *testing.T) {
		release, done := make(chan struct{}), make(chan struct{})
		upstream.on("holds", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "65536")
			rw.Header().Set("Content-Type", "application/json")
			io.WriteString(rw, body(64 << 10)[:100])
			rw.(http.Flusher).Flush()
			<-release
			io.WriteString(rw, body(64 << 10)[100:])
		})
		go func() { defer close(done); w.ask(t, proxy, "label", "GET", "holds") }()
		await(t, "the first answer to be held", func() bool { return w.gate.Filter.InFlight() >= 64<<10 })
		response, got := w.ask(t, proxy, "label", "GET", "fits") // needs twice what is left
		if checkWithheld(t, response, got); response.StatusCode != 503 || count(envoy.Memory) != 1 {
			t.Errorf("got %d, and %d counted as memory, want 503 and 1", response.StatusCode, count(envoy.Memory))
		}
		close(release)
		<-done
		if response, _ := w.ask(t, proxy, "label", "GET", "fits"); response.StatusCode != 200 {
			t.Errorf("when the other was gone: got %d, want 200", response.StatusCode)
		}
	})
	t.Run("an upstream that stalls", func(t *testing.T) {
		upstream.on("stalls", stalled(nil))
		response, got := w.ask(t, proxy, "label", "GET", "stalls")
		if checkOurs(t, response, got); response.StatusCode != 503 || count(envoy.Late) != 1 {
			t.Errorf("got %d, and %d counted as late, want 503 and 1", response.StatusCode, count(envoy.Late))
		}
	})
	t.Run("an upstream that breaks off", func(t *testing.T) {
		upstream.on("breaks", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			io.WriteString(rw, labelBody[:60])
			rw.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		response, got := w.ask(t, proxy, "label", "GET", "breaks")
		t.Logf("got %d %s", response.StatusCode, got)
		checkOurs(t, response, got)
	})
	t.Run("a client that leaves", func(t *testing.T) {
		upstream.on("left", stalled(nil))
		before := count(envoy.Left)
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+proxy.Listen+"/api/3/orders/left/label", nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+w.tokens["label"])
		go http.DefaultClient.Do(r)
		await(t, "the answer to be held", func() bool { return w.gate.Filter.InFlight() > 0 })
		leave()
		await(t, "it to be let go", func() bool { return w.gate.Filter.InFlight() == 0 && count(envoy.Left) == before+1 })
	})
	await(t, "all to be let go", func() bool { return w.gate.Filter.InFlight() == 0 })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
