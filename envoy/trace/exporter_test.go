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
		if sent, failed := exportAtEnd(t, &url.URL{Scheme: "https", Host: host, Path: tracetest.Path}, 1); sent != sends || failed != 1-sends {
			t.Errorf("https://%s: %d spans sent, %d failed, want %d sent", host, sent, failed, sends)
		}
	}
}

// exportAtEnd has n spans wait when the end comes.
func exportAtEnd(t *testing.T, endpoint *url.URL, n int) (sent, failed int64) {
	t.Helper()
	e := trace.New(trace.Options{Endpoint: endpoint, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	for range n {
		e.Add(trace.Span{})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	e.Run(ended)
	return e.Stats.Sent.Load(), e.Stats.Failed.Load()
}

// What waits when the end comes is sent, all of it.
func TestEnd(t *testing.T) {
	const n = 1500 // three batches
	c := tracetest.Start(t)
	if sent, failed := exportAtEnd(t, &url.URL{Scheme: "http", Host: c.Address, Path: tracetest.Path}, n); sent != n || failed != 0 || len(c.Spans("postern")) != n {
		t.Errorf("%d spans sent, %d failed, %d taken, want %d sent", sent, failed, len(c.Spans("postern")), n)
	}
}
