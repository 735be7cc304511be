package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/envoy/trace"
)

// Options are what a gate works with.
type Options struct {
	Secrets *cache.Secrets        // Required.
	Catalog func() *authz.Catalog // the catalog of this moment. Required.
	Log     *slog.Logger          // Required.

	// ForwardSecret lets the credential go on to the upstream.
	ForwardSecret bool

	Decisions *DecisionLog    // nil: no decision is logged
	Traces    *trace.Exporter // nil: no check is traced

	Filter FilterOptions // its Log is that of the gate
}

// Gate answers Envoy's external authorization checks. It is safe for
// concurrent use.
type Gate struct {
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

// check decides on one request. What goes wrong in that is a verdict, and never
// a gRPC error.
func (g *Gate) check(ctx context.Context, c check) (*answer, error) {
	begun := time.Now()
	v, pair := g.decide(ctx, c)
	took := time.Since(begun)
	g.Stats.count(v.Reason, took)
	if g.o.Decisions != nil {
		g.o.Decisions.add(v, begun, took)
	}
	if g.o.Traces != nil { // reading metadata costs more than all else here
		g.trace(ctx, v, begun, took)
	}
	return g.answer(v, pair)
}

// decide is the way of one request. The pair is not nil where it was allowed.
func (g *Gate) decide(ctx context.Context, c check) (v authz.Verdict, pair *cache.Pair) {
	defer func() {
		if p := recover(); p != nil {
			v, pair = authz.Verdict{Reason: g.explain(fmt.Errorf("%w: panic: %v\n%s", authz.Internal, p, debug.Stack()))}, nil
		}
	}()
	if !g.o.Secrets.Trusted() {
		return authz.Verdict{Reason: authz.StoreUnavailable}, nil
	}
	request, token, reason := parse(c)
	request = g.o.Catalog().Resolve(request)
	v.Endpoints = request.Endpoints
	if v.Reason = reason; reason != authz.Undecided {
		return v, nil
	}
	lookup, reason := g.o.Secrets.Keyring().Lookup(token)
	if v.Reason = reason; reason != authz.Undecided {
		return v, nil
	}
	if !lookup.Minted { // anyone may have invented it: a flood is held against where it comes from
		request.Address = clientAddress(ctx)
	}
	secret, err := g.o.Secrets.Find(ctx, lookup, request.Address)
	if err != nil {
		v.Reason, v.SecretID = g.explain(err), lookup.ID()
		return v, nil
	}
	if len(secret.AllowIPs) > 0 {
		request.Address = clientAddress(ctx)
	}
	now := time.Now()
	v = secret.Authorize(request, now)
	if v.Reason.Decision() == authz.Allow && g.revived(secret, now) {
		v.Reason = g.explain(fmt.Errorf("secret %s: %w: %w", secret.ID, authz.Internal, errClock))
	}
	return v, g.o.Secrets.Used(secret, v, now)
}

// answer is the answer for a verdict. That of a pair is made once, and kept
// with it, unless data must go from the upstream's: which may depend on more.
func (g *Gate) answer(v authz.Verdict, pair *cache.Pair) (*answer, error) {
	if pair == nil || len(v.Remove) > 0 {
		return encode(v, g.o.ForwardSecret)
	}
	if kept, ok := pair.Answer.Load().(*answer); ok {
		return kept, nil
	}
	a, err := encode(v, g.o.ForwardSecret)
	if err == nil {
		pair.Answer.Store(a)
	}
	return a, err
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
