package main

import (
	"fmt"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

type bootstrap = bootstrapv3.Bootstrap

const manager = "envoy.filters.network.http_connection_manager"

// static is c as a bootstrap file that needs no control plane. Addresses are
// others, and nothing is encrypted; all else is as it came.
func (c config) static() (*bootstrap, []string, error) {
	c.listener.Name = "public" // as the tests' Envoy expects
	c.listener.Address = socket("127.0.0.1", 0)
	c.listener.BindToPort, c.listener.AdditionalAddresses = nil, nil
	var removed []string
	chains := slices.Clone(c.listener.FilterChains)
	if c.listener.DefaultFilterChain != nil {
		chains = append(chains, c.listener.DefaultFilterChain)
	}
	if len(chains) != 1 {
		return nil, nil, fmt.Errorf("the listener has %d filter chains: want one", len(chains))
	}
	chains[0].TransportSocket = nil
	for _, filter := range chains[0].Filters {
		if filter.Name != manager {
			continue
		}
		gone, err := c.inline(filter)
		if err != nil {
			return nil, nil, err
		}
		removed = append(removed, gone...)
	}
	b := &bootstrap{
		Admin:           &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StatsConfig:     c.stats,
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: []*listenerv3.Listener{c.listener}},
	}
	for _, cluster := range c.clusters {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, here(cluster))
	}
	return b, removed, nil
}

// inline puts the routes into the connection manager, and takes out what plain
// Envoy does not have.
func (c config) inline(filter *listenerv3.Filter) (removed []string, err error) {
	var m hcmv3.HttpConnectionManager
	if err := filter.GetTypedConfig().UnmarshalTo(&m); err != nil {
		return nil, err
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: c.routes}
	m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		if !strings.HasPrefix(f.Name, "istio.") && !strings.Contains(f.Name, "peer_metadata") {
			return false
		}
		removed = append(removed, f.Name)
		return true
	})
	filter.ConfigType = &listenerv3.Filter_TypedConfig{}
	typed, err := anypb.New(&m)
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: typed}
	return removed, err
}

// here is the cluster with one endpoint on this machine: the gate's socket, or
// the port that stands for the upstream. The tests put in their own.
func here(c *clusterv3.Cluster) *clusterv3.Cluster {
	address := socket("127.0.0.1", 8080)
	if strings.Contains(c.Name, "postern") {
		address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/postern/postern.sock"}}}
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.EdsClusterConfig, c.TransportSocket, c.TransportSocketMatches, c.Filters = nil, nil, nil, nil // Istio's tell proxies of each other
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}}}},
	}}}
	return c
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
