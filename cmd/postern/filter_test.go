package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// TestShippingPrice fetches the same label through real Envoy with a secret
// that includes its price and one that does not, and a label that is larger
// than the sidecar's limit.
func TestShippingPrice(t *testing.T) {
	const body, clean = `{"response":{"order":{"price":"15.95","state":"s"}}}`, `{"response":{"order":{"state":"s"}}}`
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
		if strings.Contains(r.URL.Path, "LARGE") {
			io.WriteString(w, strings.Repeat(" ", 2000))
		}
	}))
	t.Cleanup(upstream.Close)
	s := newShell(t)
	without, with := s.create("--permission getOrderLabel"), s.create("--permission getOrderLabel+shipping_price")
	g := s.serve("--filter-max-body 1KiB --filter-memory 2KiB")
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Gate: "unix:" + g.socket, Upstream: upstream.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Stop() })
	for _, tt := range []struct{ name, token, path, want string }{
		{"with the price", with.Secret, "PP1", "200 " + body},
		{"without", without.Secret, "PP1", "200 " + clean},
		{"without, and too large", without.Secret, "LARGE", `502 {"error":"response_withheld",`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+proxy.Listen+"/api/3/orders/"+tt.path+"/label", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+tt.token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if text := fmt.Sprintf("%d %s", response.StatusCode, got); err != nil || !strings.HasPrefix(text, tt.want) {
			t.Errorf("%s: got %s, %v, want %s", tt.name, text, err, tt.want)
		}
	}
	g.await("count what it withheld", func() bool {
		_, text := g.get("/metrics")
		return strings.Contains(text, `postern_filter_answers_total{result="too_large"} 1`)
	})
	g.showsMetric(`postern_filter_answers_total{result="filtered"} 1`)
	g.showsMetric("postern_filter_bytes 0")
	if !strings.Contains(g.log.String(), `"msg":"an answer was withheld","result":"too_large"`) {
		t.Errorf("the log does not tell of the answer that was withheld:\n%s", g.log)
	}
	if form := s.decides(without.Secret, "GET /api/3/orders/PP1/label", "allow", "granted"); len(form.Removed) != 1 || form.Removed[0] != "$.response.order.price" {
		t.Errorf("check names %q as removed, want the price", form.Removed)
	}
}
