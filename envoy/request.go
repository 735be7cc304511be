package envoy

import (
	"context"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/metadata"

	"github.com/postern/postern/authz"
)

const (
	// clientIP is the gRPC metadata that envoy.yaml sets to the client's
	// address, by Envoy's own rules for trusted hops.
	clientIP = "x-client-ip"

	// filterKey and filterVersion are the context extension by which a route
	// says that it has the response filter.
	filterKey, filterVersion = "postern-filter", "v1"
)

// incoming is what a check says of a request.
type incoming struct {
	authz.Request
	token authz.Token
}

// parse reads a check. The reason is Undecided where there is one credential.
// The query is cut off and not read.
func parse(ctx context.Context, r *authv3.CheckRequest) (incoming, authz.Reason) {
	attributes := r.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	path, _, _ := strings.Cut(http.GetPath(), "?")
	in := incoming{Request: authz.Request{
		Method:  http.GetMethod(),
		Path:    path,
		Host:    http.GetHost(),
		Address: clientAddress(ctx),
		Filter:  attributes.GetContextExtensions()[filterKey] == filterVersion,
	}}
	field, reason := authorization(http)
	if reason != authz.Undecided {
		return in, reason
	}
	in.token, reason = authz.ParseBearer(field)
	return in, reason
}

// authorization finds the one Authorization field. Envoy fills headers, or
// header_map where encode_raw_headers is on: both are read, and two fields are
// Malformed wherever they stand.
func authorization(http *authv3.AttributeContext_HttpRequest) (string, authz.Reason) {
	var field string
	count := 0
	for name, value := range http.GetHeaders() {
		if strings.EqualFold(name, "authorization") {
			field = value
			count++
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if strings.EqualFold(h.GetKey(), "authorization") {
			field = headerValue(h)
			count++
		}
	}
	switch count {
	case 0:
		return "", authz.NoSecret
	case 1:
		return field, authz.Undecided
	}
	return "", authz.Malformed
}

// headerValue is the value of a field, which stands in one of two places.
func headerValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// clientAddress is the address of the client, or the invalid address where
// Envoy did not say it once and plainly.
func clientAddress(ctx context.Context) netip.Addr {
	values := metadata.ValueFromIncomingContext(ctx, clientIP)
	if len(values) != 1 {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(values[0])
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
