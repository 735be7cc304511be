package envoy

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/envoy/trace"
)

// trace sends the span of a check, where Envoy says that the trace is kept:
// sampling is its to decide.
func (g *Gate) trace(ctx context.Context, v authz.Verdict, begun time.Time, took time.Duration) {
	parents := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if len(parents) != 1 {
		return
	}
	parent, ok := trace.ParseParent(parents[0])
	if !ok || !parent.Sampled {
		return
	}
	span := trace.Span{Parent: parent, Begun: begun, Took: took, Facts: facts(v)}
	if v.Reason.Decision() == authz.Fail {
		span.Error = v.Reason.String()
	}
	g.o.Traces.Add(span)
}
