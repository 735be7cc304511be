package trace_test

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern/postern/envoy/trace"
	"github.com/postern/postern/envoy/trace/tracetest"
)

// TestHTTPS demands that a collector is believed by the system's certificates,
// and by its name.
func TestHTTPS(t *testing.T) {
	c, authority := tracetest.StartTLS(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file) // read once in a process: no other test here needs certificates
	_, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	for host, sends := range map[string]int64{"127.0.0.1:" + port: 1, "localhost:" + port: 0} {
		e := trace.New(trace.Options{Endpoint: &url.URL{Scheme: "https", Host: host, Path: tracetest.Path}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		e.Add(trace.Span{})
		ended, end := context.WithCancel(t.Context())
		end()
		e.Run(ended) // sends what it has
		if sent, failed := e.Stats.Sent.Load(), e.Stats.Failed.Load(); sent != sends || failed != 1-sends {
			t.Errorf("https://%s: %d spans sent, %d failed, want %d sent", host, sent, failed, sends)
		}
	}
}
