package envoy_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
func serveProcessor(t testing.TB, socket string, do func(*grpc.Server, procStream) error) (stop func()) {
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
func elsewhere(t testing.TB) (socket string, edit []string) {
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
	if testing.Short() {
		t.Skip("long")
	}
	w, upstream := newWorld(t), newAPI(t)
	socket, edit := elsewhere(t)
	proxy := startProxy(t, w.serve(t), upstream, append(edit, "max_stream_duration: 330s", "max_stream_duration: 2s")...)
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
			changed, body := w.send(t, proxy, "cancel", "DELETE", "/api/3/orders/"+tt.name)
			if changed.StatusCode != 502 && changed.StatusCode != 504 || changed.Header.Get("Retry-After") != "" {
				t.Errorf("a request that changes something: got %d %v, want 502 or 504, and no word of trying again", changed.StatusCode, changed.Header)
			}
			checkOurs(t, changed, body)
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

// TestMisconfigured changes what envoy.yaml must have. No cost may pass, and the
// reason is counted where the filter is asked at all.
func TestMisconfigured(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	gate := w.serve(t)
	upstream.on("PP1", asJSON(labelBody))
	const letFail = "failure_mode_allow: false\n                  status_on_error"
	for name, tt := range map[string]struct {
		edits  []string
		status int
	}{
		"buffered":             {[]string{"response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: BUFFERED"}, 502},
		"streamed":             {[]string{"response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: STREAMED"}, 502},
		"no body":              {[]string{"response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: NONE"}, 502},
		"metadata stays there": {[]string{"forwarding_namespaces: {untyped: [envoy.filters.http.ext_authz]}", "forwarding_namespaces: {untyped: [other]}"}, 502},
		"no status":            {[]string{`- {exact: ":status"}`, `- {exact: "x"}`}, 502},
		"not heard":            {[]string{"receiving_namespaces: {untyped: [postern.filter]}", "receiving_namespaces: {untyped: [other]}"}, 503},
		"headers refused":      {[]string{"|etag|", "|"}, 503},
		"may fail, and does":   {[]string{letFail, strings.Replace(letFail, "false", "true", 1), "cluster_name: postern_filter, skip", "cluster_name: nowhere, skip", "  - name: postern_filter\n", "  - name: nowhere\n", "load_assignment: *gate", "load_assignment: {cluster_name: nowhere}"}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := startProxy(t, gate, upstream, tt.edits...)
			before := w.gate.Filter.Stats.Results[envoy.Unannounced].Load()
			response, body := w.ask(t, proxy, "label", "GET", "PP1")
			if checkOurs(t, response, body); response.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d; %s", response.StatusCode, body, tt.status, proxy.AccessLog())
			}
			if tt.status == 502 {
				await(t, "it to be counted", func() bool { return w.gate.Filter.Stats.Results[envoy.Unannounced].Load() == before+1 })
			}
		})
	}
}

// broken is a stream that panics, and keeps what is sent on it.
type broken struct {
	procStream
	sent *procv3.ProcessingResponse
}

func (b *broken) Context() context.Context                       { return context.Background() }
func (b *broken) Recv() (*procv3.ProcessingRequest, error)       { panic("for a test") }
func (b *broken) Send(response *procv3.ProcessingResponse) error { b.sent = response; return nil }

func TestFilterPanics(t *testing.T) {
	f, s := envoy.NewFilter(envoy.FilterOptions{Log: slog.New(slog.DiscardHandler)}), &broken{}
	if err := f.Process(s); err != nil || s.sent.GetImmediateResponse().GetStatus().GetCode() != 502 || f.Stats.Results[envoy.Broken].Load() != 1 {
		t.Errorf("got %v and %v, want a 502, as the request is not known, and one answer counted", err, s.sent)
	}
}
