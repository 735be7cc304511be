package envoyproc

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

func allow(set ...string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: headers(set...), HeadersToRemove: []string{"authorization"},
		}},
		DynamicMetadata: verdict("allow"),
	}
}

func deny(code typev3.StatusCode, decision, body string, set ...string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:          status.New(codes.PermissionDenied, "").Proto(),
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denial(code, body, set...)},
		DynamicMetadata: verdict(decision),
	}
}

// fail answers by the message's error_response instead of its denied_response.
func fail(code typev3.StatusCode, body string, set ...string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:          status.New(codes.Unavailable, "").Proto(),
		HttpResponse:    &authv3.CheckResponse_ErrorResponse{ErrorResponse: denial(code, body, set...)},
		DynamicMetadata: verdict("error"),
	}
}

func bare(r *authv3.CheckResponse) *authv3.CheckResponse {
	r.DynamicMetadata = nil
	return r
}

func hang(ctx context.Context, _ int) (*authv3.CheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// slow is in time for the timeout of the check, not for a fraction of it.
func slow(context.Context, int) (*authv3.CheckResponse, error) {
	time.Sleep(60 * time.Millisecond)
	return allow(), nil
}

func unavailableOnce(_ context.Context, try int) (*authv3.CheckResponse, error) {
	if try == 1 {
		return nil, status.Error(codes.Unavailable, "shutting down")
	}
	return allow(), nil
}

func denial(code typev3.StatusCode, body string, set ...string) *authv3.DeniedHttpResponse {
	return &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: code}, Body: body, Headers: headers(append(set, "content-type", "application/json")...),
	}
}

func verdict(decision string) *structpb.Struct {
	text := structpb.NewStringValue
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"decision": text(decision), "reason": text("for-" + decision),
		"merchant_id": text("m-1"), "secret_id": text("s-1"), "endpoint": text("orders.get"),
	}}
}

// headers takes names and values by turns.
func headers(set ...string) (list []*corev3.HeaderValueOption) {
	for i := 0; i < len(set); i += 2 {
		list = append(list, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: set[i], Value: set[i+1]}})
	}
	return list
}
