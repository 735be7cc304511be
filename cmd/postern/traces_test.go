package main

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"

	"github.com/postern/postern/envoy/trace/tracetest"
)

// What Envoy says of the trace that a check belongs to.
const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID = "00f067aa0ba902b7"
	sampled  = "00-" + traceID + "-" + parentID + "-01"
)

// traced asks the gate as ask does, with traceparents.
func (g *gate) traced(token, request string, parents ...string) {
	g.s.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, p := range parents {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", p)
	}
	_, err := g.checks.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: method, Path: path, Headers: map[string]string{"authorization": "Bearer " + token}},
	}}})
	if err != nil {
		g.s.t.Errorf("the gate on %s: %v", request, err)
	}
}

// A span tells what Envoy's access log may tell of a verdict, and of the
// request nothing else.
func TestTraces(t *testing.T) {
	s, c := newShell(t), tracetest.Start(t)
	granted, lost, legacy := s.create("--permission trackOrder"), s.create("--permission trackOrder"), s.form("merchant create m-9")
	s.ask("DEL", "postern:secret:"+lost.ID)
	begun := time.Now()
	g := s.serve("--name loud-enough --trace-endpoint " + c.URL())
	want := []map[string]string{
		{"postern.decision": "allow", "postern.reason": "granted", "postern.endpoint": "trackOrder", "postern.merchant_id": "m1", "postern.secret_id": granted.ID},
		{"postern.decision": "allow", "postern.reason": "unrestricted", "postern.merchant_id": "m-9", "postern.secret_id": legacy.ID},
		{"postern.decision": "deny", "postern.reason": "not_granted", "postern.endpoint": "getOrder", "postern.merchant_id": "m1", "postern.secret_id": granted.ID},
		{"postern.decision": "deny", "postern.reason": "unknown"},
		{"postern.decision": "error", "postern.reason": "record_missing", "postern.endpoint": "trackOrder", "postern.secret_id": lost.ID, "error.type": "record_missing"},
	}
	g.traced(granted.Secret, "GET /api/3/orders/loud-path/tracking?loud=query", sampled)
	g.traced(legacy.Secret, "GET /loud-path", sampled)
	g.traced(granted.Secret, "GET /api/3/orders/loud-path", sampled)
	g.traced("loud-token-of-nobody", "GET /loud-path", sampled)
	g.traced(lost.Secret, "GET /api/3/orders/PP1/tracking", sampled)
	g.await("send its spans", func() bool { return len(c.Spans("")) >= len(want) })
	ids := map[string]bool{}
	for i, span := range c.Spans("") {
		maps.Copy(want[i], map[string]string{"rpc.system.name": "grpc", "rpc.method": "envoy.service.auth.v3.Authorization/Check", "rpc.response.status_code": "OK"})
		if !maps.Equal(span.Told, want[i]) || len(span.Attributes) != len(want[i]) {
			t.Errorf("span %d tells %v, want %v", i, span.Told, want[i])
		}
		checkSpan(t, span, begun, want[i]["postern.decision"] == "error")
		ids[span.ID] = true
	}
	if len(ids) != len(want) {
		t.Errorf("%d spans have %d ids", len(want), len(ids))
	}
	if strings.Contains(strings.ReplaceAll(c.Bytes(), "loud-enough", ""), "loud") || len(leaks(c.Bytes(), granted.Secret)) > 0 {
		t.Errorf("spans hold what the requests said:\n%q", c.Bytes())
	}
	g.awaitMetric(`postern_trace_spans_total{result="sent"} 5`)
}

// checkSpan demands what all spans have.
func checkSpan(t *testing.T, s tracetest.Span, begun time.Time, failed bool) {
	t.Helper()
	if s.Trace != traceID || s.Parent != parentID || len(s.SpanId) != 8 || s.ID == parentID || s.Flags != 0x301 || s.Kind != tracev1.Span_SPAN_KIND_SERVER ||
		s.Name != "envoy.service.auth.v3.Authorization/Check" || len(s.Events)+len(s.Links) > 0 {
		t.Errorf("span %v, want Envoy's child", s)
	}
	if from, to := time.Unix(0, int64(s.StartTimeUnixNano)), time.Unix(0, int64(s.EndTimeUnixNano)); from.Before(begun) || !to.After(from) || to.After(time.Now()) {
		t.Errorf("span from %v to %v, want times of this test, from %v", from, to, begun)
	}
	if got := s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR; got != failed || s.GetStatus().GetMessage() != "" {
		t.Errorf("span of %s has the status %v", s.Told["postern.reason"], s.Status)
	}
	want := map[string]string{"service.name": "postern", "service.version": thisBuild().Version, "service.instance.id": "loud-enough"}
	if !maps.Equal(s.Resource, want) || s.Scope != "github.com/postern/postern/envoy" || s.Agent != "postern/"+thisBuild().Version {
		t.Errorf("span of %v, %s and %s, want %v", s.Resource, s.Scope, s.Agent, want)
	}
}

// awaitMetric waits for a line of /metrics.
func (g *gate) awaitMetric(line string) {
	g.s.t.Helper()
	g.await("show "+line, func() bool {
		_, text := g.get("/metrics")
		return strings.Contains(text, "\n"+line+"\n")
	})
}

// Sampling is Envoy's to decide: without its word there is no span.
func TestTracesNotAskedFor(t *testing.T) {
	s, c := newShell(t), tracetest.Start(t)
	g := s.serve("--trace-endpoint " + c.URL())
	for _, parents := range [][]string{
		{}, {strings.TrimSuffix(sampled, "1") + "0"}, {strings.ToUpper(sampled)}, {sampled, sampled}, {"00-" + traceID + "-0000000000000000-01"}, {sampled + "-x"}, {""},
	} {
		g.traced("loud", "GET /a", parents...)
	}
	g.traced("", "GET /a", sampled) // the control, and behind all others
	g.ends()
	if spans := c.Spans(""); len(spans) != 1 || spans[0].Told["postern.reason"] != "malformed" {
		t.Errorf("spans %v, want one, of the last check", spans)
	}
}

// Unless asked for, there are none.
func TestTracesAreOff(t *testing.T) {
	s := newShell(t)
	g := s.serve("")
	g.traced("loud", "GET /a", sampled)
	for _, result := range []string{"sent", "failed", "dropped"} {
		g.awaitMetric(`postern_trace_spans_total{result="` + result + `"} 0`)
	}
}
