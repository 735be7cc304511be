// Package sidecar runs the gate: its listeners, its reloads, what operators see
// of it, and its end.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/listen"
	"github.com/postern/postern/cmd/postern/reload"
	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/trace"
)

// How often the store is looked at.
const (
	lookUnready = 250 * time.Millisecond
	lookReady   = time.Second
)

// Options are what a sidecar runs with.
type Options struct {
	CatalogFile string                                    // Required.
	KeyFile     string                                    // Required.
	ReadCatalog func(file string) (*authz.Catalog, error) // Required.
	ReadKeyring func(file string) (*authz.Keyring, error) // Required.

	Store     *store.Store // with the keyring of KeyFile. Required. Run does not close it.
	StoreName string       // without credentials, for logs
	Cache     cache.Options

	Listen  []string // unix:/path or host:port. At least one.
	Ops     string   // likewise; "": no metrics, no probes
	Binding listen.Options

	ForwardSecret bool
	FilterMaxBody int64         // bytes of an answer, as in envoy.FilterOptions
	FilterMemory  int64         // of all answers held, likewise
	DrainTimeout  time.Duration // of checks under way at the end
	Log           *slog.Logger  // Required.
	DecisionLog   int           // decisions logged a second, of each kind; 0: none
	TraceEndpoint *url.URL      // of a collector, as in trace.Options; nil: no check is traced

	Version, Commit string // of the program, for its metrics
}

// sidecar is a run of Options.
type sidecar struct {
	Options
	catalog   atomic.Pointer[authz.Catalog]
	secrets   *cache.Secrets
	decisions *envoy.DecisionLog // or nil
	traces    *trace.Exporter    // or nil
	gate      *envoy.Gate
	server    *grpc.Server
	health    *health.Server
	files     []*reload.File
	hangUp    chan os.Signal
	ready     atomic.Bool // the store is trusted

	draining atomic.Bool   // the end has begun
	cut      chan struct{} // closed at the end of the drain's time: what is under way is not waited for

	// Of watchStore alone:
	logged   string        // the freshness and the unsafe settings that were logged last
	clockSet time.Duration // how far the clock had been set, as logged last
}

// Run serves until ctx ends, then lets checks under way finish. It fails where
// the catalog cannot be read or an address cannot be bound; a store out of
// reach is waited for.
func Run(ctx context.Context, o Options) error {
	s, err := newSidecar(o)
	if err != nil {
		return err
	}
	signal.Notify(s.hangUp, syscall.SIGHUP) // now: one that comes early must not end the process
	defer signal.Stop(s.hangUp)
	b, err := listen.NewBinder(o.Binding, o.Log)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := s.bind(b); err != nil {
		return err
	}
	s.look(ctx)
	if err := s.secrets.Begin(ctx); err != nil { // Follow does it when the store is there
		o.Log.Warn("the store's changes cannot be followed yet", slog.Any("error", err))
	}
	if ctx.Err() != nil { // told to end already: the sockets stay whose they are
		s.secrets.Leave(ctx)
		return nil
	}
	if err := b.Publish(); err != nil {
		s.secrets.Leave(ctx)
		return err
	}
	return s.serve(ctx, b)
}

// newSidecar reads the catalog and makes the parts; none of them runs.
func newSidecar(o Options) (*sidecar, error) {
	catalog, err := o.ReadCatalog(o.CatalogFile)
	if err != nil {
		return nil, err
	}
	s := &sidecar{Options: o, hangUp: make(chan os.Signal, 1), cut: make(chan struct{})}
	s.catalog.Store(catalog)
	s.files = []*reload.File{reload.NewFile("catalog", o.CatalogFile, s.loadCatalog), reload.NewFile("keys", o.KeyFile, s.loadKeys)}
	s.Cache.Catalog = func() string { return s.catalog.Load().Hash() }
	s.secrets = cache.New(s.Store, s.Cache)
	if o.DecisionLog > 0 {
		s.decisions = envoy.NewDecisionLog(o.Log, o.DecisionLog)
	}
	if o.TraceEndpoint != nil {
		s.traces = trace.New(trace.Options{Endpoint: o.TraceEndpoint, Name: o.Cache.Name, Version: o.Version, Log: o.Log})
	}
	s.gate = envoy.NewGate(envoy.Options{
		Secrets: s.secrets, Catalog: s.catalog.Load, Log: o.Log, ForwardSecret: o.ForwardSecret, Decisions: s.decisions, Traces: s.traces,
		Filter: envoy.FilterOptions{MaxBody: o.FilterMaxBody, Memory: o.FilterMemory},
	})
	s.server, s.health = envoy.NewServer(s.gate)
	return s, nil
}

// bind binds the operators' address first: a process that fails on a taken
// port must not have taken a socket from a healthy one.
func (s *sidecar) bind(b *listen.Binder) error {
	if err := b.BindOps(s.Ops); err != nil {
		return err
	}
	return b.Bind(s.Listen, listen.HTTP2)
}

// serve serves on all listeners until ctx ends or one of them fails.
func (s *sidecar) serve(ctx context.Context, b *listen.Binder) error {
	group, ctx := errgroup.WithContext(ctx)
	following, leave := context.WithCancel(context.WithoutCancel(ctx)) // to the end of the drain
	defer leave()
	opsServer := &http.Server{Handler: s.opsHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)}
	serve := func(l *listen.Listener) {
		accept := s.server.Serve
		if l.Protocol == listen.HTTP1 {
			accept = opsServer.Serve
		}
		served := make(chan error, 1)
		go func() { served <- ignoreClosed(accept(l)) }()
		group.Go(func() error {
			select {
			case err := <-served:
				return err
			case <-s.cut:
				return nil
			}
		})
	}
	for _, l := range b.Bound() {
		serve(l)
	}
	group.Go(func() error { b.Keep(ctx, s.Log, serve); return nil })
	group.Go(func() error {
		<-ctx.Done()
		s.drain()
		leave()
		return opsServer.Close()
	})
	group.Go(func() error { s.secrets.Follow(following); return nil })
	if s.decisions != nil {
		group.Go(func() error { s.decisions.Run(following); return nil })
	}
	if s.traces != nil {
		group.Go(func() error { s.traces.Run(following); return nil })
	}
	group.Go(func() error { s.watchStore(ctx); return nil })
	group.Go(func() error {
		reload.Watch{Files: s.files, HangUp: s.hangUp, Log: s.Log, InUse: s.inUse}.Run(ctx)
		return nil
	})
	s.Log.Info("serving", slog.Any("listen", s.Listen), slog.String("ops", s.Ops), slog.String("store", s.StoreName),
		slog.String("catalog", s.catalog.Load().Hash()), slog.Any("keys", s.Store.Keyring().KeyIDs()))
	return group.Wait()
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// drain ends the server: health first, then new checks, then those under way,
// or their time.
func (s *sidecar) drain() {
	s.draining.Store(true)
	s.health.Shutdown()
	s.Log.Info("draining", slog.Duration("timeout", s.DrainTimeout))
	stopped := make(chan struct{})
	go func() { s.server.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
		s.Log.Info("stopped")
	case <-time.After(s.DrainTimeout):
		close(s.cut)
		go s.server.Stop() // it waits for the handlers, and those may wait for the store
		s.Log.Warn("stopped: checks that were under way are cut off")
	}
}

// watchStore looks at the store until ctx ends.
func (s *sidecar) watchStore(ctx context.Context) {
	for {
		pause := lookUnready
		if s.ready.Load() {
			pause = lookReady
		}
		select {
		case <-time.After(pause):
			s.look(ctx)
			s.logFreshness()
			s.logClock()
		case <-ctx.Done():
			return
		}
	}
}

// look looks at the store once, and logs what changed. Readiness begins when
// the store is there. It ends only where that was empty and turns out to be
// another key file's: with the store out of reach, a sidecar is still better
// than none.
func (s *sidecar) look(ctx context.Context) {
	before, failed := s.secrets.State()
	s.secrets.Look(ctx)
	after, fails := s.secrets.State()
	switch {
	case fails != nil && (failed == nil || before != after):
		s.Log.Error("store in trouble", slog.String("store", s.StoreName), slog.Any("error", fails))
	case fails == nil && (failed != nil || before != after):
		s.Log.Info("store answers", slog.String("store", s.StoreName), slog.String("state", after.String()))
	}
	if trusted := s.secrets.Trusted(); s.ready.Swap(trusted) != trusted {
		envoy.SetServing(s.health, trusted)
		s.Log.Info("ready", slog.Bool("ready", trusted))
	}
}

// logFreshness logs when secrets begin or cease to be confirmed, when it is known
// why not, and when Redis's settings become unsafe.
func (s *sidecar) logFreshness() {
	f := s.secrets.Freshness()
	level, state := slog.LevelInfo, fmt.Sprint(f.Confirmed, f.Unsafe, f.Trouble != nil)
	if state == s.logged {
		return
	}
	s.logged = state
	if !f.Confirmed || len(f.Unsafe) > 0 {
		level = slog.LevelWarn
	}
	s.Log.Log(context.Background(), level, "freshness", slog.Bool("confirmed", f.Confirmed), slog.Any("unsafe", f.Unsafe), slog.Any("error", f.Trouble))
}

// logClock logs when the machine's clock was set: secrets with an expiry may
// expire at once, or be in doubt.
func (s *sidecar) logClock() {
	set := s.gate.ClockSet()
	if by := set - s.clockSet; by.Abs() > envoy.ClockTolerance {
		s.clockSet = set
		s.Log.Warn("the machine's clock was set", slog.Duration("by", by), slog.Duration("since_start", set))
	}
}
