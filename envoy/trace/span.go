package trace

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Span is a check, for those who look at the trace that it belongs to.
type Span struct {
	Parent Parent
	Begun  time.Time
	Took   time.Duration
	Error  string      // why the gate could not know; "" where it could
	Facts  [][2]string // names and texts of what is told, without the prefix postern.
}

// What is the same in all spans, by OpenTelemetry's semantic conventions.
const (
	schema = "https://opentelemetry.io/schemas/1.43.0"
	scope  = "github.com/postern/postern/envoy"
	method = "envoy.service.auth.v3.Authorization/Check"

	// The parent was sampled, and is in another process.
	flags = 1 | uint32(tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK|tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
)

// message is the span as it is sent.
func (s Span) message() *tracev1.Span {
	m := &tracev1.Span{
		TraceId: s.Parent.TraceID[:], ParentSpanId: s.Parent.SpanID[:], SpanId: newSpanID(), Flags: flags,
		Name: method, Kind: tracev1.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(s.Begun.UnixNano()), EndTimeUnixNano: uint64(s.Begun.Add(s.Took).UnixNano()),
		Attributes: attributes([][2]string{{"rpc.system.name", "grpc"}, {"rpc.method", method}, {"rpc.response.status_code", "OK"}}),
	}
	for _, f := range s.Facts {
		m.Attributes = append(m.Attributes, attribute("postern."+f[0], f[1]))
	}
	if s.Error != "" {
		m.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR}
		m.Attributes = append(m.Attributes, attribute("error.type", s.Error))
	}
	return m
}

// newSpanID is random, and not all zero. It guards nothing.
func newSpanID() []byte { return binary.BigEndian.AppendUint64(nil, 1+rand.Uint64N(1<<64-1)) }

// request is a batch as it is sent: TracesData is, byte for byte, a collector's
// ExportTraceServiceRequest, whose package would bring gRPC's gateway along.
func (o Options) request(batch []Span) *tracev1.TracesData {
	spans := make([]*tracev1.Span, len(batch))
	for i, s := range batch {
		spans[i] = s.message()
	}
	return &tracev1.TracesData{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource: &resourcev1.Resource{Attributes: attributes([][2]string{
			{"service.name", "postern"}, {"service.version", o.Version}, {"service.instance.id", o.Name},
		})},
		SchemaUrl: schema,
		ScopeSpans: []*tracev1.ScopeSpans{{
			Scope: &commonv1.InstrumentationScope{Name: scope, Version: o.Version}, SchemaUrl: schema, Spans: spans,
		}},
	}}}
}

func attributes(pairs [][2]string) []*commonv1.KeyValue {
	var all []*commonv1.KeyValue
	for _, p := range pairs {
		all = append(all, attribute(p[0], p[1]))
	}
	return all
}

func attribute(name, text string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: name, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: text}}}
}
