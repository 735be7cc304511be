package envoy

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/postern/postern/authz"
)

// readPlainly reads a check as the rule says: the path up to the first `?`, the
// one field called authorization in any letters, in either place.
func readPlainly(r *authv3.CheckRequest) (path string, token string, reason authz.Reason) {
	http := r.GetAttributes().GetRequest().GetHttp()
	path = http.GetPath()
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	var values []string
	for name, value := range http.GetHeaders() {
		if strings.ToLower(name) == "authorization" {
			values = append(values, value)
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if strings.ToLower(h.GetKey()) == "authorization" {
			if len(h.GetRawValue()) > 0 {
				values = append(values, string(h.GetRawValue()))
			} else {
				values = append(values, h.GetValue())
			}
		}
	}
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return path, "", authz.NoSecret
	}
	token = strings.TrimLeft(values[0][min(len(values[0]), len("bearer ")):], " ")
	if len(values) > 1 || !strings.HasPrefix(strings.ToLower(values[0]), "bearer ") || len(token) < 16 || len(token) > 128 {
		return path, "", authz.Malformed
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-"
	for i := range len(token) {
		if strings.IndexByte(alphabet, token[i]) < 0 {
			return path, "", authz.Malformed
		}
	}
	return path, token, authz.Undecided
}

// FuzzParse demands that a check says what a plain reading of it says, and
// nothing else.
func FuzzParse(f *testing.F) {
	header := func(name, value string, raw bool) *corev3.HeaderValue {
		if raw {
			return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
		}
		return &corev3.HeaderValue{Key: name, Value: value}
	}
	const bearer = "Bearer abcdefghijklmnop"
	for _, seed := range []*authv3.AttributeContext_HttpRequest{
		{}, {Method: "GET", Path: "/a?b", Host: "a,b", Headers: map[string]string{"authorization": bearer}},
		{Path: "?", Headers: map[string]string{"authorization": "", "Authorization": bearer}},
		{Path: "/\x00", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{header("authorization", bearer, true)}}},
		{HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{header("AUTHORIZATION", bearer, false), header("authorization", "", true)}}},
		{Headers: map[string]string{"authorization": "bearer   " + strings.Repeat("a", 129)}},
		{Headers: map[string]string{"authorization": "Basic abcdefghijklmnop"}},
	} {
		data, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: map[string]string{filterKey: seed.Host + filterVersion},
			Request:           &authv3.AttributeContext_Request{Http: seed},
		}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "192.0.2.1")
		f.Add(append(data, data...), "::ffff:192.0.2.1%eth0") // fields that stand twice
	}
	f.Fuzz(checkParse)
}

func checkParse(t *testing.T, data []byte, address string) {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(clientIP, address))
	c, err := decodeCheck(data)
	var r authv3.CheckRequest
	if bad := proto.Unmarshal(data, &r); bad != nil { // it may be wrong where decodeCheck does not look
		return
	}
	if err != nil {
		t.Fatalf("decodeCheck = %v, want %v", err, &r)
	}
	in, read, reason := parse(c)
	in.Address = clientAddress(ctx)
	http := r.GetAttributes().GetRequest().GetHttp()
	path, token, want := readPlainly(&r)
	if reason != want || in.Path != path || in.Method != http.GetMethod() || in.Host != http.GetHost() || read.Reveal() != token {
		t.Errorf("decodeCheck = %+v, %v, want %q, %q, %v", in, reason, path, token, want)
	}
	if in.Filter != (r.GetAttributes().GetContextExtensions()["postern-filter"] == "v1") {
		t.Errorf("decodeCheck: filter %v", in.Filter)
	}
	told, err := netip.ParseAddr(address)
	if in.Address.IsValid() != (err == nil) || in.Address.Zone() != "" || in.Address.Is4In6() || err == nil && told.Unmap().WithZone("") != in.Address {
		t.Errorf("decodeCheck: address %v of %q", in.Address, address)
	}
}
