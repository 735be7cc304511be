package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/time/rate"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
)

// Options are what a gate works with.
type Options struct {
	Secrets *cache.Secrets        // Required.
	Catalog func() *authz.Catalog // the catalog of this moment. Required.
	Log     *slog.Logger          // Required.

	// ForwardSecret lets the credential go on to the upstream.
	ForwardSecret bool

	Filter FilterOptions // its Log is that of the gate
}

// Gate answers Envoy's external authorization checks. It is safe for
// concurrent use.
type Gate struct {
	authv3.UnimplementedAuthorizationServer
	Stats  Stats
	Filter *Filter // of the answers to requests that the gate allowed

	o      Options
	begun  time.Time
	logged rate.Sometimes // a secret in trouble comes with every request of its owner
}

// NewGate is a gate that works with o.
func NewGate(o Options) *Gate {
	o.Filter.Log = o.Log
	return &Gate{Filter: NewFilter(o.Filter), o: o, begun: time.Now(), logged: rate.Sometimes{First: 10, Interval: time.Second}}
}

// Check decides on one request. It always answers: what goes wrong is a
// verdict, never a gRPC error.
func (g *Gate) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	begun := time.Now()
	v := g.decide(ctx, r)
	g.Stats.count(v.Reason, time.Since(begun))
	return respond(v, g.o.ForwardSecret), nil
}

// decide is the way of one request.
func (g *Gate) decide(ctx context.Context, r *authv3.CheckRequest) (v authz.Verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = authz.Verdict{Reason: g.explain(fmt.Errorf("%w: panic: %v\n%s", authz.Internal, p, debug.Stack()))}
		}
	}()
	if !g.o.Secrets.Trusted() {
		return authz.Verdict{Reason: authz.StoreUnavailable}
	}
	in, reason := parse(ctx, r)
	v.Endpoints = g.o.Catalog().Endpoints(in.Request)
	if v.Reason = reason; reason != authz.Undecided {
		return v
	}
	lookup, reason := g.o.Secrets.Keyring().Lookup(in.token)
	if v.Reason = reason; reason != authz.Undecided {
		return v
	}
	secret, err := g.o.Secrets.Find(ctx, lookup, in.Address)
	if err != nil {
		v.Reason, v.SecretID = g.explain(err), lookup.ID()
		return v
	}
	now := time.Now()
	v = secret.Authorize(g.o.Catalog(), in.Request, now)
	if v.Reason.Decision() == authz.Allow && g.revived(secret, now) {
		v.Reason = g.explain(fmt.Errorf("secret %s: %w: %w", secret.ID, authz.Internal, errClock))
	}
	g.o.Secrets.Used(secret, v, now)
	return v
}

// explain logs what an operator must know of an error, and is its reason.
func (g *Gate) explain(err error) authz.Reason {
	reason := authz.ReasonOf(err)
	switch reason {
	case authz.RecordMissing, authz.RecordInvalid, authz.Internal:
		g.logged.Do(func() {
			g.o.Log.Error("a secret cannot be used", slog.String("reason", reason.String()), slog.Any("error", err))
		})
	}
	return reason
}
