package envoy_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

// watch sees every check of a gate, and its answer.
type watch struct {
	mu     sync.Mutex // guards what follows
	checks []checked
}

// checked is one check: what Envoy asked, and what it was told.
type checked struct {
	method, path, reason string
	allowed              bool
}

func (w *watch) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method, path, ok := envoy.CheckOf(request)
	if !ok {
		return next(ctx, request)
	}
	c := checked{method: method, path: path}
	response, err := next(ctx, request)
	if answer, bad := envoy.ReadAnswer(response); bad == nil {
		c.reason, c.allowed = answerOf(answer).reason, answerOf(answer).status == "200"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks = append(w.checks, c)
	return response, err
}

// take is what was checked since the last call.
func (w *watch) take() []checked {
	w.mu.Lock()
	defer w.mu.Unlock()
	checks := w.checks
	w.checks = nil
	return checks
}

// serveWatched serves a gate of the world whose every check is watched.
func (w *world) serveWatched(t *testing.T, eye *watch) string {
	t.Helper()
	server, states := envoy.NewServer(w.newGate(t), grpc.UnaryInterceptor(eye.intercept))
	envoy.SetServing(states, true)
	return listen(t, server)
}

// newGate is a gate of the world that follows no log, and keeps what it has read
// for an hour.
func (w *world) newGate(t testing.TB) *envoy.Gate {
	t.Helper()
	secrets := cache.New(w.store, cache.Options{Timeout: 5 * time.Second, LagLimit: time.Hour})
	secrets.Look(t.Context())
	must(t, secrets.Begin(t.Context()))
	return envoy.NewGate(envoy.Options{
		Secrets: secrets, Catalog: func() *authz.Catalog { return w.catalog }, Log: slog.New(slog.DiscardHandler), Traces: w.traces,
	})
}

// fillAll puts tokens in the place of {name}, and leaves all other braces.
func (w *world) fillAll(text string) string {
	for name, token := range w.tokens {
		text = strings.ReplaceAll(text, "{"+name+"}", token)
	}
	return text
}

// startEnvoy starts the Envoy of one of the ways.
func startEnvoy(t *testing.T, way, gate, upstream string) *envoyproc.Process {
	t.Helper()
	var bootstrap []byte
	var err error
	if way == hardened {
		bootstrap, err = envoy.Bootstrap(envoy.Addresses{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Gate: gate, Upstream: upstream})
		must(t, err)
		text := strings.ReplaceAll(string(bootstrap), "0.25s", "5s") // machines that run tests are slow
		bootstrap = []byte(strings.Replace(text, "stat_prefix: public\n", "stat_prefix: public\n          delayed_close_timeout: 0.02s\n", 1))
	} else {
		bootstrap, err = os.ReadFile("testdata/default.yaml")
		must(t, err)
		_, port, _ := strings.Cut(upstream, ":")
		text := strings.NewReplacer("GATE", strings.TrimPrefix(gate, "unix:"), "UPSTREAM", port).Replace(string(bootstrap))
		if way == rawPlain {
			text = strings.Replace(text, "encode_raw_headers: false", "encode_raw_headers: true", 1)
		}
		bootstrap = []byte(text)
	}
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Edit: func(string) string { return string(bootstrap) }})
	must(t, err)
	t.Cleanup(func() { proxy.Stop() })
	return proxy
}

// check is the row as the gate is asked without an Envoy. Envoy joins fields
// of one name, and writes `!` for what is not UTF-8.
func (r row) check(raw bool) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{Headers: map[string]string{}, HeaderMap: &corev3.HeaderMap{}}
	attributes := &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}
	text := func(s string) string { return strings.ToValidUTF8(s, "!") }
	for _, f := range r.fields {
		name, value := f[0], f[1]
		switch name {
		case ":method", "method":
			http.Method = text(value)
		case ":path", "path":
			http.Path = text(value)
		case ":authority", "host":
			http.Host = text(join(http.Host, value))
		case "ip": // in the metadata
		case "ext:postern-filter":
			attributes.ContextExtensions = map[string]string{"postern-filter": value}
		case ":scheme":
			http.Scheme = text(value)
		default:
			if kept, ok := strings.CutPrefix(name, "map:"); ok || r.kind != "grpc" && raw {
				http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: text(kept), RawValue: []byte(value)})
			} else if kept, ok := strings.CutPrefix(name, "text:"); ok {
				http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: text(kept), Value: text(value)})
			} else {
				before, stands := http.Headers[text(name)]
				if stands {
					value = before + "," + value
				}
				http.Headers[text(name)] = text(value)
			}
		}
	}
	return &authv3.CheckRequest{Attributes: attributes}
}

// context holds the metadata that the row's Envoy sends.
func (r row) context(ctx context.Context) context.Context {
	for _, f := range r.fields {
		if f[0] == "ip" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-client-ip", f[1])
		}
	}
	return ctx
}

func join(before, value string) string {
	if before == "" {
		return value
	}
	return before + "," + value
}
