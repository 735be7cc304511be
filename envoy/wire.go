package envoy

import (
	"context"
	"fmt"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec of all other messages
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/postern/postern/authz"
)

// authorization is the service envoy.service.auth.v3.Authorization with a
// handler of our own: it reads a check from its bytes, and answers with bytes.
var authorization = grpc.ServiceDesc{
	ServiceName: authv3.Authorization_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    authv3.Authorization_ServiceDesc.Metadata,
}

// checks are used again: one for each check would be garbage.
var checks = sync.Pool{New: func() any { return new(check) }}

func handleCheck(gate any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	c := checks.Get().(*check)
	defer func() { *c = check{}; checks.Put(c) }()
	if err := decode(c); err != nil {
		return nil, err
	}
	if intercept == nil {
		return gate.(*Gate).check(ctx, *c)
	}
	handle := func(ctx context.Context, c any) (any, error) { return gate.(*Gate).check(ctx, *c.(*check)) }
	return intercept(ctx, c, &grpc.UnaryServerInfo{Server: gate, FullMethod: authv3.Authorization_Check_FullMethodName}, handle)
}

// codec decodes checks and encodes their answers; other messages it leaves to
// protobuf's codec.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal implements encoding.CodecV2. A check refers to its message. That is
// freed behind it, but a SliceBuffer is nobody's to use again; what came in
// pieces, or is large, is copied.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*check)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	var message []byte
	if b, ok := one(data).(mem.SliceBuffer); ok {
		message = b
	} else {
		message = data.Materialize()
	}
	var err error
	*to, err = decodeCheck(message)
	return err
}

// one is the only buffer of some, or nil.
func one(data mem.BufferSlice) mem.Buffer {
	if len(data) == 1 {
		return data[0]
	}
	return nil
}

// Marshal implements encoding.CodecV2. An answer's bytes are shared by all
// who send it: they are only read.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		return a.bytes, nil
	}
	return c.CodecV2.Marshal(v)
}

// answer is a CheckResponse as bytes.
type answer struct{ bytes mem.BufferSlice }

// encode is the answer for a verdict. It fails where a text in it is no UTF-8.
func encode(v authz.Verdict, forwardSecret bool) (*answer, error) {
	bytes, err := proto.Marshal(respond(v, forwardSecret))
	if err != nil {
		return nil, fmt.Errorf("encode the answer for %s: %w", v.Reason, err)
	}
	return &answer{mem.BufferSlice{mem.SliceBuffer(bytes)}}, nil
}
