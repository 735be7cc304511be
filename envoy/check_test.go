package envoy_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/postern/postern/envoy"
)

func dial(t testing.TB, address string) authv3.AuthorizationClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// checkRequest is a case as Envoy sends it: with raw headers, as with
// encode_raw_headers.
func (c testCase) checkRequest(raw bool) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{Method: c.method, Path: c.path, Host: c.host, Scheme: "https", Protocol: "HTTP/1.1"}
	switch {
	case c.none:
	case raw:
		http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte(c.authorization)}}}
	default:
		http.Headers = map[string]string{"authorization": c.authorization}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}
}

func (c testCase) context(ctx context.Context) context.Context {
	if c.client == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "x-client-ip", c.client)
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	for _, raw := range []bool{false, true} {
		for _, c := range readCases(t, w) {
			response, err := gate.Check(c.context(t.Context()), c.checkRequest(raw))
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if got := answerOf(response); got != c.want {
				t.Errorf("%s: raw %v: %s %s = %+v, want %+v", c.name, raw, c.method, c.path, got, c.want)
			}
			checkShape(t, c, response)
		}
	}
}

// answerOf reads an answer as Envoy would.
func answerOf(r *authv3.CheckResponse) answer {
	a := answer{status: "200", reason: r.GetDynamicMetadata().GetFields()["reason"].GetStringValue()}
	if r.GetStatus().GetCode() != 0 {
		a.status = strconv.Itoa(int(r.GetDeniedResponse().GetStatus().GetCode()))
		_, scope, _ := strings.Cut(headers(r.GetDeniedResponse().GetHeaders())["www-authenticate"], `scope="`)
		a.scope = strings.TrimSuffix(scope, `"`)
	}
	return a
}

func headers(options []*corev3.HeaderValueOption) map[string]string {
	all := map[string]string{}
	for _, o := range options {
		all[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
	}
	return all
}

// wire is what an answer of ours looks like, by status.
var wire = map[string]struct {
	body      string
	headers   []string
	challenge string
}{
	"401": {"invalid_api_secret", []string{"content-type", "www-authenticate"}, `Bearer realm="api", error="invalid_token"`},
	"403": {"api_secret_no_permission", []string{"content-type"}, ""},
	"503": {"temporarily_unavailable", []string{"content-type", "retry-after"}, ""},
}

// checkShape checks what the table does not say of each answer.
func checkShape(t *testing.T, c testCase, r *authv3.CheckResponse) {
	t.Helper()
	if c.want.status == "200" {
		ok := r.GetOkResponse()
		set := headers(ok.GetHeaders())
		if len(set) != 2 || set["x-merchant-id"] != "m-1" || len(set["x-api-secret-id"]) != 32 || !slices.Equal(ok.GetHeadersToRemove(), []string{"authorization"}) {
			t.Errorf("%s: upstream gets %v less %v, want the two ids, and no authorization", c.name, set, ok.GetHeadersToRemove())
		}
		return
	}
	want := wire[c.want.status]
	denied := r.GetDeniedResponse()
	got := headers(denied.GetHeaders())
	names := slices.Sorted(maps.Keys(got))
	switch {
	case c.want.reason == "no_secret":
		want.challenge = `Bearer realm="api"`
	case c.want.reason == "not_granted":
		want.headers = append(slices.Clone(want.headers), "www-authenticate")
		want.challenge = `Bearer error="insufficient_scope", scope="` + c.want.scope + `"`
	}
	if !slices.Equal(names, want.headers) || got["content-type"] != "application/json" || got["www-authenticate"] != want.challenge {
		t.Errorf("%s: headers %v, want %v with challenge %q", c.name, got, want.headers, want.challenge)
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(denied.GetBody()), &body); err != nil || body["error"] != want.body || body["error_description"] == "" || len(body) != 2 {
		t.Errorf("%s: body %s, want the error %q and its description", c.name, denied.GetBody(), want.body)
	}
}

func TestDenyBodyToTheLetter(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	c := newCase(t, []string{"not granted", "Bearer {office}", "127.0.0.1", "GET /api/3/orders/PP1/tracking", "403 not_granted trackOrder", ""}, w)
	response, err := gate.Check(c.context(t.Context()), c.checkRequest(false))
	must(t, err)
	want := `{"error":"api_secret_no_permission","error_description":"User has no permission to execute this action"}`
	if got := response.GetDeniedResponse().GetBody(); got != want {
		t.Errorf("body = %s, want %s", got, want)
	}
}

// TestCredentialFields covers what Envoy's HTTP codec would not let through as
// it stands here.
func TestCredentialFields(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	bearer := "Bearer " + w.tokens["office"]
	field := func(name, value string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: name, Value: value} }
	tests := []struct {
		name    string
		headers map[string]string
		raw     []*corev3.HeaderValue
		want    string
	}{
		{"one, in text", nil, []*corev3.HeaderValue{field("authorization", bearer)}, "granted"},
		{"two raw", nil, []*corev3.HeaderValue{field("authorization", bearer), field("authorization", bearer)}, "malformed"},
		{"two raw, in other case", nil, []*corev3.HeaderValue{field("authorization", bearer), field("Authorization", bearer)}, "malformed"},
		{"one in each place", map[string]string{"authorization": bearer}, []*corev3.HeaderValue{field("authorization", bearer)}, "malformed"},
		{"two, in other case", map[string]string{"authorization": bearer, "AUTHORIZATION": bearer}, nil, "malformed"},
		{"in another field", map[string]string{"x-api-key": w.tokens["office"], "cookie": bearer}, nil, "no_secret"},
	}
	for _, tt := range tests {
		r := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/api/3/merchant", Headers: tt.headers, HeaderMap: &corev3.HeaderMap{Headers: tt.raw}},
		}}}
		response, err := gate.Check(t.Context(), r)
		must(t, err)
		if got := answerOf(response).reason; got != tt.want {
			t.Errorf("%s: reason = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestEmptyMessagesDeny sends what no Envoy sends.
func TestEmptyMessagesDeny(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	for name, r := range map[string]*authv3.CheckRequest{
		"nothing":       {},
		"no request":    {Attributes: &authv3.AttributeContext{}},
		"no attributes": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
	} {
		response, err := gate.Check(t.Context(), r)
		must(t, err)
		if got := answerOf(response); got.status != "401" {
			t.Errorf("%s: %+v, want 401", name, got)
		}
	}
}

// TestPanicDenies lets the gate fall over what it was not given.
func TestPanicDenies(t *testing.T) {
	gate := envoy.NewGate(envoy.Options{Log: slog.New(slog.DiscardHandler)})
	response, err := gate.Check(t.Context(), &authv3.CheckRequest{})
	must(t, err)
	if got := answerOf(response); got.status != "503" || got.reason != "internal" {
		t.Errorf("a panic is answered by %+v, want 503, internal", got)
	}
}

// TestFilterAnnounced covers the route that says it has the response filter.
func TestFilterAnnounced(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	for extension, want := range map[string]string{"v1": "granted", "v2": "filter_missing", "": "filter_missing"} {
		c := newCase(t, []string{"label", "Bearer {label}", "127.0.0.1", "GET /api/3/orders/PP1/label", "200 granted", ""}, w)
		r := c.checkRequest(false)
		r.Attributes.ContextExtensions = map[string]string{"postern-filter": extension}
		response, err := gate.Check(t.Context(), r)
		must(t, err)
		fields := response.GetDynamicMetadata().GetFields()
		paths := fields["filter_paths"].GetListValue().GetValues()
		if got := answerOf(response).reason; got != want {
			t.Errorf("postern-filter %q: reason = %s, want %s", extension, got, want)
		}
		if required := fields["filter"].GetStringValue() == "required" && len(paths) == 1 && paths[0].GetStringValue() == "$.response.order.price"; required != (want == "granted") {
			t.Errorf("postern-filter %q: metadata = %v, want the filter required for allowed requests only", extension, fields)
		}
	}
}

// TestAskWhole covers what the upstream is asked for where data must go.
func TestAskWhole(t *testing.T) {
	w := newWorld(t)
	w.add(t, "cancel", w.draft(t, "cancelOrder"))
	gate := dial(t, w.serve(t))
	tests := []struct {
		secret, request string
		encoding        string
		removed         []string
	}{
		{"label", "GET /api/3/orders/PP1/label", "identity", []string{"authorization", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}},
		{"cancel", "DELETE /api/3/orders/PP1", "identity", []string{"authorization", "range", "if-range"}},
		{"both", "GET /api/3/orders/PP1/label", "", []string{"authorization"}},
		{"legacy", "GET /api/3/orders/PP1/label", "", []string{"authorization"}},
	}
	for _, tt := range tests {
		c := newCase(t, []string{tt.secret, "Bearer {" + tt.secret + "}", "127.0.0.1", tt.request, "200 granted", ""}, w)
		r := c.checkRequest(false)
		r.Attributes.ContextExtensions = map[string]string{"postern-filter": "v1"}
		response, err := gate.Check(t.Context(), r)
		must(t, err)
		ok := response.GetOkResponse()
		if got := headers(ok.GetHeaders())["accept-encoding"]; got != tt.encoding || !slices.Equal(ok.GetHeadersToRemove(), tt.removed) {
			t.Errorf("%s with %s: accept-encoding %q, less %q, want %q, less %q", tt.request, tt.secret, got, ok.GetHeadersToRemove(), tt.encoding, tt.removed)
		}
	}
}
