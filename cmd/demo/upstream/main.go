// Upstream is the example API behind the gate. It answers every request with
// what it received, so that one sees what reaches an API and what does not; one
// for an order's label also with a label, whose price not every secret may see.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, *listen, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

// serve answers until ctx ends, then for as long as open requests take, up to
// two seconds. It says on log where it listens: addr may leave the port to be chosen.
func serve(ctx context.Context, addr string, log io.Writer) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintln(log, "listening on", lis.Addr())
	// No ServeMux: it redirects paths such as //a, and these are to be seen.
	server := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	if err := server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// received is a request as it arrived.
type received struct {
	Method    string              `json:"method"`
	Path      string              `json:"path"`  // byte for byte, nothing decoded
	Query     string              `json:"query"` // without the question mark
	Headers   map[string][]string `json:"headers"`
	BodyBytes int64               `json:"body_bytes"`

	Response json.RawMessage `json:"response,omitempty"` // of an order's label
}

// label is what GET /api/3/orders/{tracking_number}/label answers with, in the
// form that deploy/catalog.yaml describes.
const label = `{"order":{"tracking_number":"PP1","price":"15.95","products":[{"title":"Lamp","price":29.0}]},"qualified_url":"https://labels.example.com/PP1.pdf"}`

func echo(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, "the body did not arrive whole", http.StatusBadRequest)
		return
	}
	got := received{Method: r.Method, Headers: map[string][]string{"host": {r.Host}}, BodyBytes: n}
	got.Path, got.Query, _ = strings.Cut(r.RequestURI, "?")
	for name, values := range r.Header {
		got.Headers[strings.ToLower(name)] = values
	}
	if r.Method == http.MethodGet && strings.HasSuffix(got.Path, "/label") {
		got.Response = json.RawMessage(label)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(got) // an error is a client that has gone
}
