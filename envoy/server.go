// Package envoy is all that speaks to Envoy: the external authorization and
// external processing services, and envoy.yaml, the bootstrap that must agree
// with them.
package envoy

import (
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// NewServer is a gRPC server with the gate and its filter, health and reflection
// on it. Health is NOT_SERVING until the caller says otherwise. further are options
// such as credentials.
func NewServer(g *Gate, further ...grpc.ServerOption) (*grpc.Server, *health.Server) {
	options := append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		// Windows of a fixed size: otherwise every check costs a PING and a
		// WINDOW_UPDATE to measure a bandwidth that never matters.
		grpc.InitialWindowSize(1 << 20),
		grpc.InitialConnWindowSize(16 << 20),
		// A check is a few hundred bytes, a piece of a body as large as Envoy's buffer: 32 KiB in envoy.yaml, 1 MiB by default.
		grpc.MaxRecvMsgSize(2 << 20),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		// Envoy may ping idle connections. grpc-go's default hangs up on it.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// A check finds a goroutine whose stack has grown already: a tenth less processor time. Where all are busy, it gets its own.
		grpc.NumStreamWorkers(64),
		grpc.WaitForHandlers(true),
	}, further...)
	server := grpc.NewServer(options...)
	states := health.NewServer()
	SetServing(states, false)
	server.RegisterService(&authorization, g)
	procv3.RegisterExternalProcessorServer(server, g.Filter)
	healthv1.RegisterHealthServer(server, states)
	reflection.Register(server)
	return server, states
}

// SetServing makes health SERVING on a server of NewServer, or NOT_SERVING.
func SetServing(states *health.Server, serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	states.SetServingStatus("", state)
	states.SetServingStatus(authorization.ServiceName, state)
	states.SetServingStatus(procv3.ExternalProcessor_ServiceDesc.ServiceName, state)
}
