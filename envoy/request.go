package envoy

import (
	"context"
	"net/netip"
	"strings"

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

// parse reads a check. The reason is Undecided where there is one credential.
// The query is cut off and not read; the client's address is left to
// clientAddress.
func parse(c check) (authz.Request, authz.Token, authz.Reason) {
	path, _, _ := strings.Cut(c.path, "?")
	request := authz.Request{Method: c.method, Path: path, Host: c.host, Filter: c.filter}
	switch c.credentials {
	case 0:
		return request, authz.Token{}, authz.NoSecret
	case 1:
		token, reason := authz.ParseBearer(c.authorization)
		return request, token, reason
	}
	return request, authz.Token{}, authz.Malformed
}

// clientAddress is the address of the client, or the invalid address where
// Envoy did not say it once and plainly. It copies metadata: it is called where
// the address decides.
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
