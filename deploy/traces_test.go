package deploy

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/postern/postern/envoy/envoyproc"
	"github.com/postern/postern/envoy/trace/tracetest"
)

// A client's own trace, which it would have sampled.
const clientTrace, clientSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

// traced is a stack with an Envoy that traces as the page says.
type traced struct {
	*stack
	collector *tracetest.Collector
	proxy     *envoyproc.Process
}

// newTraced samples a percentage of requests. edits are of what the page makes
// of envoy.yaml.
func newTraced(t *testing.T, percent string, edits ...string) traced {
	t.Helper()
	s, c := newStack(t), tracetest.Start(t)
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	edit := edited(t, "traces/README.md")
	s.serve("--trace-endpoint", c.URL())
	edits = append(edits, "{value: 1}", "{value: "+percent+"}", "{address: collector, port_value: 4318}", "{address: "+host+", port_value: "+port+"}",
		"static_resources:\n", "layered_runtime: {layers: [{name: test, static_layer: {tracing.opentelemetry.flush_interval_ms: 100}}]}\nstatic_resources:\n") // 5 s by default
	proxy := s.envoy(func(bootstrap string) string {
		text := edit(bootstrap)
		for i := 0; i < len(edits); i += 2 {
			if strings.Count(text, edits[i]) != 1 {
				t.Fatalf("envoy.yaml as the page has it holds %q %d times, want it once", edits[i], strings.Count(text, edits[i]))
			}
			text = strings.Replace(text, edits[i], edits[i+1], 1)
		}
		return text
	})
	return traced{s, c, proxy}
}

// send asks as a client does that would be traced, in every way there is.
func (s traced) send(path, token string, status int) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", "http://"+s.proxy.Listen+path+"?loud=query", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range map[string]string{
		"authorization": "Bearer " + token, "traceparent": "00-" + clientTrace + "-" + clientSpan + "-01", "tracestate": "loud=state",
		"x-client-trace-id": "of-a-client", "x-envoy-force-trace": "1",
	} {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != status {
		s.t.Errorf("GET %s = %d, want %d", path, response.StatusCode, status)
	}
}

// spans waits for a span of the gate with this reason, and for Envoy's two
// above it.
func (s traced) spans(reason string) (gate, asked, request tracetest.Span) {
	s.t.Helper()
	s.await("the spans of a check that is "+reason, func() bool {
		for _, gate = range s.collector.Spans("postern") {
			if gate.Told["postern.reason"] == reason {
				asked = s.byID(gate.Parent)
				request = s.byID(asked.Parent)
				return asked.Span != nil && request.Span != nil
			}
		}
		return false
	})
	return gate, asked, request
}

func (s traced) byID(id string) tracetest.Span {
	for _, span := range s.collector.Spans("envoy") {
		if span.ID == id {
			return span
		}
	}
	return tracetest.Span{}
}

// The gate's span is the child of the one by which Envoy asked, in one trace
// with the request and the upstream.
func TestTraces(t *testing.T) {
	s := newTraced(t, "100")
	tracker, labels := s.mint("m-1", "trackOrder"), s.mint("m-1", "getOrderLabel")
	s.send(track, tracker, 200)
	s.send(label, tracker, 403)
	for reason, status := range map[string]string{"granted": "200", "not_granted": "403"} {
		gate, asked, request := s.spans(reason)
		if gate.Trace != asked.Trace || gate.Trace != request.Trace || gate.Trace == clientTrace || request.Parent != "" {
			t.Errorf("%s: traces %s, %s and %s below %q, want one that is not the client's", reason, gate.Trace, asked.Trace, request.Trace, request.Parent)
		}
		if asked.Name != "async envoy.service.auth.v3.Authorization.Check egress" || asked.Kind != tracev1.Span_SPAN_KIND_CLIENT || request.Name != "ingress" {
			t.Errorf("%s: the gate's span is below %s (%v), below %s", reason, asked.Name, asked.Kind, request.Name)
		}
		if asked.StartTimeUnixNano > gate.StartTimeUnixNano || gate.EndTimeUnixNano > asked.EndTimeUnixNano {
			t.Errorf("%s: the gate took from %d to %d, and Envoy asked from %d to %d", reason, gate.StartTimeUnixNano, gate.EndTimeUnixNano, asked.StartTimeUnixNano, asked.EndTimeUnixNano)
		}
		if url := request.Told["http.url"]; url != "http://"+s.proxy.Listen || request.Told["url.path"] == "" || request.Told["http.status_code"] != status {
			t.Errorf("%s: Envoy tells %v, want the path apart from the URL, and the status %s", reason, request.Told, status)
		}
	}
	s.send(label, labels, 200) // to be filtered
	s.awaitSpan("async envoy.service.ext_proc.v3.ExternalProcessor.Process egress")
	s.awaitSpan("router upstream egress")
	if all := s.collector.Bytes(); strings.Contains(all, "loud") || strings.Contains(all, tracker) || strings.Contains(all, labels) {
		t.Errorf("the spans hold a query or a token:\n%q", all)
	}
}

func (s traced) awaitSpan(name string) {
	s.t.Helper()
	s.await("a span "+name, func() bool {
		for _, span := range s.collector.Spans("envoy") {
			if span.Name == name {
				return true
			}
		}
		return false
	})
}

// What Envoy does not sample has no span, whatever a client says. Without the
// page's lines against that, it would, and join its own trace.
func TestTracesNotSampled(t *testing.T) {
	s := newTraced(t, "0")
	s.send(track, s.mint("m-1", "trackOrder"), 200)
	if got := s.upstream.last().Get("Traceparent"); !strings.HasSuffix(got, "-00") || strings.Contains(got, clientTrace) {
		t.Errorf("the upstream got the traceparent %q, want one of Envoy's that is not sampled", got)
	}
	time.Sleep(1500 * time.Millisecond)
	if spans := s.collector.Spans(""); len(spans) > 0 {
		t.Errorf("%d spans of a request that is not sampled", len(spans))
	}
	forced := newTraced(t, "0", "            client_sampling: {value: 0} # by default, a client has any request sampled by x-client-trace-id\n", "")
	forced.send(track, "malformed", 401)
	forced.spans("malformed")
	joined := newTraced(t, "100", "              - {remove: traceparent}\n", "")
	joined.send(track, "malformed", 401)
	if gate, _, request := joined.spans("malformed"); gate.Trace != clientTrace || request.Parent != clientSpan {
		t.Errorf("without the line that removes traceparent, the trace is %s below %q: want the client's", gate.Trace, request.Parent)
	}
}
