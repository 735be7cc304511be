// Package admin serves the management API and the Integrations page, which
// make and delete secrets. Requests are authenticated, all of them, and each
// change is in the audit log before it is answered.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
	"github.com/postern/postern/cmd/postern/admin/desk"
	"github.com/postern/postern/cmd/postern/listen"
	"github.com/postern/postern/cmd/postern/reload"
)

// Options are what the server runs with.
type Options struct {
	CatalogFile string                                    // Required.
	KeyFile     string                                    // Required.
	ReadCatalog func(file string) (*authz.Catalog, error) // Required.
	ReadKeyring func(file string) (*authz.Keyring, error) // Required.

	Store *store.Store // with the keyring of KeyFile. Required. Run does not close it.
	Guard access.Guard // of one field at least
	Audit *audit.Log   // Required. Run does not close it.

	Listen  []string // unix:/path or host:port. At least one.
	Binding listen.Options
	Hosts   []string // names beyond loopback that requests may be for

	DrainTimeout time.Duration // of requests under way at the end
	Log          *slog.Logger  // Required.
}

// Bounds of a connection, so that a slow one does not hold the server.
const (
	headerWithin = 5 * time.Second
	readWithin   = 15 * time.Second
	writeWithin  = 40 * time.Second // a deletion waits for replicas and sidecars
	idleWithin   = time.Minute
	maxHeader    = 16 << 10
)

// unixPeer is where requests over a unix socket come from.
const unixPeer = "unix"

// Run serves until ctx ends, then lets requests under way finish. It fails
// where it could not tell who asks, and where an address cannot be bound.
func Run(ctx context.Context, o Options) error {
	if o.Guard.Tokens == nil && o.Guard.Issuer == nil {
		return errors.New("nobody could be told from anybody: name a token file or an issuer")
	}
	catalog, err := o.ReadCatalog(o.CatalogFile)
	if err != nil {
		return err
	}
	var current atomic.Pointer[authz.Catalog]
	current.Store(catalog)
	s, err := newServer(o, current.Load)
	if err != nil {
		return err
	}
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	watch := reload.Watch{HangUp: hangUp, Log: o.Log, Files: o.files(&current), InUse: func() []slog.Attr {
		return []slog.Attr{slog.String("catalog", current.Load().Hash()), slog.Any("keys", o.Store.Keyring().KeyIDs())}
	}}
	b, err := listen.NewBinder(o.Binding, o.Log)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Bind(o.Listen, listen.HTTP1); err != nil {
		return err
	}
	if err := b.Publish(); err != nil {
		return err
	}
	o.Log.Info("serving", slog.Any("listen", addresses(b.Bound())), slog.String("catalog", catalog.Hash()))
	return o.serve(ctx, s, watch, b)
}

// addresses are what listeners are bound to: --listen may have left the port
// to the system.
func addresses(listeners []*listen.Listener) (all []string) {
	for _, l := range listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

// files are those that are read again when they change.
func (o Options) files(current *atomic.Pointer[authz.Catalog]) []*reload.File {
	loadCatalog := func(context.Context) error {
		next, err := o.ReadCatalog(o.CatalogFile)
		if err == nil {
			current.Store(next)
		}
		return err
	}
	loadKeys := func(ctx context.Context) error {
		next, err := o.ReadKeyring(o.KeyFile)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := o.Store.Verifies(ctx, next); err != nil {
			return fmt.Errorf("key file %s: %w", o.KeyFile, err)
		}
		o.Store.SetKeyring(next)
		return nil
	}
	return []*reload.File{reload.NewFile("catalog", o.CatalogFile, loadCatalog), reload.NewFile("keys", o.KeyFile, loadKeys)}
}

// serve serves on all listeners until ctx ends or one of them fails.
func (o Options) serve(ctx context.Context, handler http.Handler, watch reload.Watch, b *listen.Binder) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerWithin, ReadTimeout: readWithin, WriteTimeout: writeWithin, IdleTimeout: idleWithin,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	group, ctx := errgroup.WithContext(ctx)
	serve := func(l *listen.Listener) {
		group.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	for _, l := range b.Bound() {
		serve(l)
	}
	group.Go(func() error { b.Keep(ctx, o.Log, serve); return nil })
	group.Go(func() error { watch.Run(ctx); return nil })
	group.Go(func() error {
		<-ctx.Done()
		o.Log.Info("draining", slog.Duration("timeout", o.DrainTimeout))
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.DrainTimeout)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
		o.Log.Info("stopped")
		return nil
	})
	return group.Wait()
}

// newServer is the handler of Options. catalog is the one in use.
func newServer(o Options, catalog func() *authz.Catalog) (*server, error) {
	contract, document, err := readContract()
	if err != nil {
		return nil, err
	}
	s := &server{
		desk:  desk.Desk{Store: o.Store, Catalog: catalog, Audit: o.Audit, Log: o.Log},
		guard: o.Guard, sessions: access.NewSessions(o.Guard), contract: contract, document: document,
		hosts: hostNames(o), log: o.Log, limits: newLimits(),
	}
	s.mux = http.NewServeMux()
	for _, r := range s.routes() {
		s.mux.Handle(r.pattern, s.enter(r))
	}
	return s, nil
}

// hostNames are the names that requests may be for: loopback's, that of each
// address, and those that the operator gave.
func hostNames(o Options) map[string]bool {
	names := map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}
	for _, address := range o.Listen {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
			names[host] = true
		}
	}
	for _, host := range o.Hosts {
		names[host] = true
	}
	return names
}
