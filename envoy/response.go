package envoy

import (
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern/postern/authz"
)

// The bodies of denials. They hold nothing of the request.
const (
	bodyNoSecret      = `{"error":"invalid_api_secret","error_description":"An API secret is needed: send the header Authorization: Bearer <API secret>"}`
	bodyInvalidSecret = `{"error":"invalid_api_secret","error_description":"The API secret is not valid"}`
	bodyNoPermission  = `{"error":"api_secret_no_permission","error_description":"User has no permission to execute this action"}`
	bodyUnavailable   = `{"error":"temporarily_unavailable","error_description":"The API secret cannot be checked right now: try again shortly"}`
)

// respond is the answer for a verdict. Envoy reads an answer without a status
// as an allow: so every answer is made here, and all but Allow deny.
func respond(v authz.Verdict, forwardSecret bool) *authv3.CheckResponse {
	var response *authv3.CheckResponse
	switch v.Reason.Decision() {
	case authz.Allow:
		response = allow(v, forwardSecret)
	case authz.Unauthenticated:
		response = unauthenticated(v.Reason)
	case authz.Forbidden:
		response = forbidden(v)
	default:
		response = deny(http.StatusServiceUnavailable, codes.Unavailable, bodyUnavailable, header("retry-after", "1"))
	}
	response.DynamicMetadata = dynamicMetadata(v)
	return response
}

func allow(v authz.Verdict, forwardSecret bool) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
		header("x-merchant-id", v.Merchant),
		header("x-api-secret-id", v.SecretID),
	}}
	if !forwardSecret {
		ok.HeadersToRemove = []string{"authorization"}
	}
	if len(v.Remove) > 0 {
		askWhole(ok, v)
	}
	return &authv3.CheckResponse{
		Status:       status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// askWhole makes the upstream answer with all of the body, as it is: of a part,
// a packed one or a "not modified", nothing can be removed. The preconditions
// of a request that changes something stay: they guard against lost updates,
// and their failure (412) tells no more than any error.
func askWhole(ok *authv3.OkHttpResponse, v authz.Verdict) {
	ok.Headers = append(ok.Headers, header("accept-encoding", "identity"))
	ok.HeadersToRemove = append(ok.HeadersToRemove, "range", "if-range")
	if safe(v) {
		ok.HeadersToRemove = append(ok.HeadersToRemove, "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
	}
}

// safe reports whether a request that was allowed changes nothing (RFC 9110
// section 9.2.1). All its endpoints have its method.
func safe(v authz.Verdict) bool {
	return len(v.Endpoints) > 0 && (v.Endpoints[0].Method == http.MethodGet || v.Endpoints[0].Method == http.MethodHead)
}

// unauthenticated challenges as RFC 6750 section 3 says. All secrets that are
// not good get one and the same answer.
func unauthenticated(reason authz.Reason) *authv3.CheckResponse {
	body, challenge := bodyInvalidSecret, `Bearer realm="api", error="invalid_token"`
	if reason == authz.NoSecret {
		body, challenge = bodyNoSecret, `Bearer realm="api"`
	}
	return deny(http.StatusUnauthorized, codes.Unauthenticated, body, header("www-authenticate", challenge))
}

// forbidden names the permission that is missing, where one would help.
func forbidden(v authz.Verdict) *authv3.CheckResponse {
	var headers []*corev3.HeaderValueOption
	if v.Reason == authz.NotGranted {
		scope := strings.Join(v.Permissions(), " ")
		headers = append(headers, header("www-authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`))
	}
	return deny(http.StatusForbidden, codes.PermissionDenied, bodyNoPermission, headers...)
}

func deny(httpStatus typev3.StatusCode, code codes.Code, body string, headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: status.New(code, "").Proto(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: httpStatus},
			Headers: append(headers, header("content-type", "application/json")),
			Body:    body,
		}},
	}
}

// header sets a field, whatever stood in it before.
func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// facts are what is told of a verdict: to Envoy, in the decision log and in
// spans. What is not known is left out.
func facts(v authz.Verdict) [][2]string {
	told := make([][2]string, 0, 5)
	for _, f := range [...][2]string{
		{"decision", v.Reason.Decision().String()}, {"reason", v.Reason.String()},
		{"merchant_id", v.Merchant}, {"secret_id", v.SecretID}, {"endpoint", strings.Join(v.Permissions(), " ")},
	} {
		if f[1] != "" {
			told = append(told, f)
		}
	}
	return told
}

// dynamicMetadata is what Envoy's access log, rate limits and response filter
// may read of a verdict.
func dynamicMetadata(v authz.Verdict) *structpb.Struct {
	fields := map[string]*structpb.Value{}
	set := func(name, value string) { fields[name] = structpb.NewStringValue(value) }
	for _, f := range facts(v) {
		set(f[0], f[1])
	}
	if v.Reason.Decision() == authz.Allow && len(v.Remove) > 0 {
		set("filter", "required")
		fields["filter_paths"] = textList(v.Remove)
		if len(v.Media) > 0 {
			fields["filter_media"] = textList(v.Media)
		}
		set("filter_safe", map[bool]string{true: "yes", false: "no"}[safe(v)])
	}
	return &structpb.Struct{Fields: fields}
}

func textList(texts []string) *structpb.Value {
	values := make([]*structpb.Value, len(texts))
	for i, text := range texts {
		values[i] = structpb.NewStringValue(text)
	}
	return structpb.NewListValue(&structpb.ListValue{Values: values})
}
