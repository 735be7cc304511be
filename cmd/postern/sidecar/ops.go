package sidecar

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern/postern/cmd/postern/listen"
)

// opsHandler serves metrics and probes.
func (s *sidecar) opsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.serveReadyz)
	return mux
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool     `json:"ready"`
	Store    string   `json:"store"`
	Catalog  string   `json:"catalog"` // hash
	Keys     []string `json:"keys"`    // ids, the minting one first
	Fresh    bool     `json:"fresh"`   // secrets in memory are used without asking the store
	Problems []string `json:"problems"`
}

func (s *sidecar) serveReadyz(w http.ResponseWriter, _ *http.Request) {
	state, trouble := s.secrets.State()
	fresh := s.secrets.Freshness()
	body := readiness{
		Ready: s.secrets.Trusted() && !s.draining.Load(), Store: state.String(), Catalog: s.catalog.Load().Hash(), Keys: s.Store.Keyring().KeyIDs(), Problems: []string{},
	}
	if trouble != nil {
		body.Problems = append(body.Problems, trouble.Error())
	}
	if fresh.Trouble != nil {
		body.Problems = append(body.Problems, fresh.Trouble.Error())
	}
	body.Fresh, body.Problems = fresh.Confirmed, append(body.Problems, fresh.Unsafe...)
	for _, f := range s.files {
		if why := f.Refused(); why != "" {
			body.Problems = append(body.Problems, why)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if !body.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(body)
}

// OpsClient is a client of an --ops address, whatever host its requests name.
func OpsClient(address string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		if path, ok := strings.CutPrefix(address, listen.UnixPrefix); ok {
			return d.DialContext(ctx, "unix", path)
		}
		return d.DialContext(ctx, "tcp", address)
	}
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}
