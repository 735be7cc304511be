// Package otel tries the gate's spans on the OpenTelemetry collector's own
// receiver.
package otel

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/postern/postern/envoy/trace"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive starts the collector's receiver of OTLP over HTTP, and returns where
// it is and what it hands on.
func receive(t *testing.T) (endpoint *url.URL, taken *consumertest.TracesSink) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	factory, taken := otlpreceiver.NewFactory(), new(consumertest.TracesSink)
	config := factory.CreateDefaultConfig()
	must(t, confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": map[string]any{"endpoint": address}}}).Unmarshal(config))
	receiver, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), config, taken)
	must(t, err)
	must(t, receiver.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { must(t, receiver.Shutdown(context.Background())) })
	return &url.URL{Scheme: "http", Host: address, Path: "/v1/traces"}, taken
}

// export sends a span, and returns how many were sent and failed.
func export(t *testing.T, endpoint *url.URL, s trace.Span) (sent, failed int64) {
	t.Helper()
	e := trace.New(trace.Options{Endpoint: endpoint, Name: "gate-1", Version: "1.2.3", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	e.Add(s)
	ctx, end := context.WithCancel(t.Context())
	end() // it sends what it has
	e.Run(ctx)
	return e.Stats.Sent.Load(), e.Stats.Failed.Load()
}

// TestReceiver demands that the collector reads a span as it was meant.
func TestReceiver(t *testing.T) {
	endpoint, taken := receive(t)
	parent, ok := trace.ParseParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if !ok {
		t.Fatal("no traceparent")
	}
	begun := time.Now()
	told := trace.Span{Parent: parent, Begun: begun, Took: 20 * time.Microsecond, Error: "record_missing", Facts: [][2]string{{"decision", "error"}, {"reason", "record_missing"}}}
	if sent, failed := export(t, endpoint, told); sent != 1 || failed != 0 || taken.SpanCount() != 1 {
		t.Fatalf("%d spans sent, %d failed, %d taken, want one that is taken", sent, failed, taken.SpanCount())
	}
	resource := taken.AllTraces()[0].ResourceSpans().At(0)
	if got := resource.Resource().Attributes().AsRaw(); !maps.Equal(got, map[string]any{"service.name": "postern", "service.version": "1.2.3", "service.instance.id": "gate-1"}) {
		t.Errorf("the collector reads the resource %v", got)
	}
	span := resource.ScopeSpans().At(0).Spans().At(0)
	if span.TraceID() != pcommon.TraceID(parent.TraceID) || span.ParentSpanID() != pcommon.SpanID(parent.SpanID) || span.SpanID().IsEmpty() ||
		span.Kind() != ptrace.SpanKindServer || span.Flags() != 0x301 || span.Status().Code() != ptrace.StatusCodeError ||
		span.StartTimestamp() != pcommon.NewTimestampFromTime(begun) || span.EndTimestamp()-span.StartTimestamp() != 20_000 {
		t.Errorf("the collector reads %v, %v, %v, %v, flags %x, status %v, from %v to %v", span.TraceID(), span.ParentSpanID(), span.SpanID(), span.Kind(), span.Flags(),
			span.Status().Code(), span.StartTimestamp(), span.EndTimestamp())
	}
	want := map[string]any{
		string(semconv.RPCSystemNameKey): semconv.RPCSystemNameGRPC.Value.AsString(), string(semconv.RPCMethodKey): span.Name(), string(semconv.RPCResponseStatusCodeKey): "OK",
		string(semconv.ErrorTypeKey): "record_missing", "postern.decision": "error", "postern.reason": "record_missing",
	}
	if got := span.Attributes().AsRaw(); !maps.Equal(got, want) {
		t.Errorf("the collector reads %v, want %v", got, want)
	}
	if got := resource.ScopeSpans().At(0).SchemaUrl(); got != semconv.SchemaURL {
		t.Errorf("the names are said to be those of %s, and are those of %s", got, semconv.SchemaURL)
	}
}

// The control: the receiver takes spans at its path only.
func TestReceiverRefuses(t *testing.T) {
	endpoint, taken := receive(t)
	endpoint.Path = "/"
	if sent, failed := export(t, endpoint, trace.Span{}); sent != 0 || failed != 1 || taken.SpanCount() != 0 {
		t.Errorf("%d spans sent, %d failed, %d taken, want one that failed", sent, failed, taken.SpanCount())
	}
}
