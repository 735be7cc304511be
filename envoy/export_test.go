package envoy

import (
	"context"
	"errors"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// Check asks the gate as Envoy does, without a connection. What cannot be
// encoded, as it is no UTF-8, is taken as if it could.
func (g *Gate) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	var response any
	data, err := proto.Marshal(r)
	if err == nil {
		response, err = g.CheckBytes(ctx, data)
	} else {
		response, err = g.check(ctx, readMessage(r))
	}
	if err != nil {
		return nil, err
	}
	return ReadAnswer(response)
}

// CheckBytes is what the gate does of its own to answer a check: from bytes to
// bytes.
func (g *Gate) CheckBytes(ctx context.Context, data []byte) (any, error) {
	c, err := decodeCheck(data)
	if err != nil {
		return nil, err
	}
	return g.check(ctx, c)
}

// CheckOf is what an interceptor of the gate's server sees of a check.
func CheckOf(request any) (method, path string, ok bool) {
	c, ok := request.(*check)
	if !ok {
		return "", "", false
	}
	return c.method, c.path, true
}

// ReadAnswer is an answer of the gate's server as its client sees it.
func ReadAnswer(response any) (*authv3.CheckResponse, error) {
	a, ok := response.(*answer)
	if !ok {
		return nil, errors.New("no answer to a check")
	}
	var r authv3.CheckResponse
	return &r, proto.Unmarshal(a.bytes.Materialize(), &r)
}
