//go:build !race

package envoy_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
	"github.com/postern/postern/envoy/trace"
)

// TestCheckAllocates demands that the gate, from a check's bytes to its
// answer's, allocates nothing, and that the server with it allocates at most one
// time more than gRPC itself does for a check.
func TestCheckAllocates(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	server, _ := envoy.NewServer(gate)
	data, byDefault := w.sent(t), w.sent(t, asByDefault()...)
	for _, data := range [][]byte{data, sorted(t, byDefault)} {
		if n := testing.AllocsPerRun(1000, func() { gate.CheckBytes(t.Context(), data) }); n > 0 {
			t.Errorf("the gate allocates %v times for a check of %d bytes, want 0", n, len(data))
		}
	}
	untraced(t, w, gate, data)
	addresses := []string{listen(t, server), listen(t, newFloor()), listen(t, newStock())}
	for _, tt := range []struct {
		name    string
		data    []byte
		toStock float64
	}{{"as shipped", data, 0.5}, {"by Envoy's defaults", byDefault, 0.4}} {
		var all [3]float64
		for i, address := range addresses {
			all[i] = allocations(t, newAsker(t, address, tt.data))
		}
		t.Logf("a check %s: %d bytes; %.1f allocations; gRPC's own are %.1f, a stock server's %.1f", tt.name, len(tt.data), all[0], all[1], all[2])
		if math.Round(all[0]-all[1]) > 1 || all[0] > tt.toStock*all[2] {
			t.Errorf("a check %s: %.1f allocations, want gRPC's own %.1f and one more at most, and %.1f of a stock server's %.1f", tt.name, all[0], all[1], tt.toStock, all[2])
		}
	}
}

// sorted is a check with its header fields in the order of their names, so that
// some stand behind the credential. Envoy's order is by chance.
func sorted(t testing.TB, check []byte) []byte {
	t.Helper()
	var request authv3.CheckRequest
	must(t, proto.Unmarshal(check, &request))
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&request)
	must(t, err)
	return data
}

// sent is the check that Envoy sends, with these edits of envoy.yaml, about a
// browser's request that is granted.
func (w *world) sent(t testing.TB, edits ...string) (check []byte) {
	t.Helper()
	kept := make(chan []byte, 1)
	upstream := newAPI(t)
	upstream.on("PP1", asJSON("{}"))
	browse(t, startProxy(t, listen(t, newKeeper(func(data []byte) { kept <- data })), upstream, edits...), w.tokens["orders"])
	return <-kept
}

// browse sends a browser's request for something that the secret opens.
func browse(t testing.TB, proxy *envoyproc.Process, token string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+proxy.Listen+"/api/3/orders/PP1/tracking?page=1&order=created", nil)
	must(t, err)
	for name, value := range browser {
		r.Header.Set(name, value)
	}
	r.Header.Set("authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Fatalf("status %d, want 200", response.StatusCode)
	}
}

// untraced demands that a gate without an exporter reads no metadata: it would
// allocate.
func untraced(t testing.TB, w *world, gate *envoy.Gate, data []byte) {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	if n := testing.AllocsPerRun(1000, func() { gate.CheckBytes(ctx, data) }); n > 0 {
		t.Errorf("the gate allocates %v times for a check of a trace, want 0 without an exporter", n)
	}
	w.traces = trace.New(trace.Options{})
	traced := w.newGate(t)
	if n := testing.AllocsPerRun(1000, func() { traced.CheckBytes(ctx, data) }); n == 0 {
		t.Error("control: the gate allocates nothing for a span")
	}
}

// allocations is how often a server of this process allocates for a check.
func allocations(t testing.TB, a *asker) float64 {
	t.Helper()
	const n = 2000
	var before, after runtime.MemStats
	a.ask(t, n, 1)
	runtime.ReadMemStats(&before)
	a.ask(t, n, 1)
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n
}

// TestCheckCalls demands that a check costs three or four reads and writes, as
// some reads find nothing: were a bandwidth measured, as it is by default, it
// would be two more.
func TestCheckCalls(t *testing.T) {
	w := newWorld(t)
	check := w.sent(t)
	calls := func(p process) float64 {
		const n = 2000
		a := newAsker(t, p.address, check)
		a.ask(t, n, 1)
		before := p.calls(t)
		a.ask(t, n, 1)
		return float64(p.calls(t)-before) / n
	}
	own, stock := calls(w.ownProcess(t)), calls(otherProcess(t, stockSocket))
	t.Logf("a check: %.2f reads and writes, %.2f of a stock server", own, stock)
	if own > 4.5 {
		t.Errorf("a check: %.2f reads and writes, want 4.5 at most; a stock server's %.2f", own, stock)
	}
}

// TestCheckBytes demands that what Envoy sends to ask about a request of a
// browser is at most a quarter of what it sends by default.
func TestCheckBytes(t *testing.T) {
	w := newWorld(t)
	gate := w.serve(t)
	upstream := newAPI(t)
	upstream.on("PP1", asJSON("{}"))
	own, defaults := wireBytes(t, w, startProxy(t, gate, upstream)), wireBytes(t, w, startProxy(t, gate, upstream, asByDefault()...))
	t.Logf("a check: %.0f bytes sent, %.0f by default", own, defaults)
	if own > 0.25*defaults {
		t.Errorf("a check: %.0f bytes sent, want a quarter of the %.0f by default", own, defaults)
	}
}

// asByDefault is the edit of envoy.yaml that leaves to Envoy's defaults what
// is sent to the gate.
func asByDefault() []string {
	return []string{
		"              allowed_headers: {patterns: [{exact: authorization}]}\n", "",
		"{cluster_name: postern, skip_envoy_headers: true}", "{cluster_name: postern}",
	}
}

// wireBytes is what Envoy sends the gate for a check.
func wireBytes(t testing.TB, w *world, proxy *envoyproc.Process) float64 {
	t.Helper()
	const n = 200
	send := func() {
		for range n {
			browse(t, proxy, w.tokens["orders"])
		}
	}
	send() // fills the tables of headers
	before := stat(t, proxy, "cx_tx_bytes_total")
	send()
	return float64(stat(t, proxy, "cx_tx_bytes_total")-before) / n
}

// stat is a statistic of the cluster of the gate.
func stat(t testing.TB, proxy *envoyproc.Process, name string) (n int64) {
	t.Helper()
	response, err := http.Get("http://" + proxy.Admin + "/stats?filter=^cluster.postern.upstream_" + name + "$")
	must(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(t, err)
	_, value, _ := strings.Cut(string(data), ": ")
	_, err = fmt.Sscan(value, &n)
	must(t, err)
	return n
}

// browser is what a browser sends with each request, made up.
var browser = map[string]string{
	"user-agent":         "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
	"accept":             "application/json, text/plain, */*",
	"accept-language":    "en-GB,en;q=0.9,de;q=0.8",
	"accept-encoding":    "gzip, deflate, br, zstd",
	"sec-ch-ua":          `"Chromium";v="142", "Not)A;Brand";v="24"`,
	"sec-ch-ua-mobile":   "?0",
	"sec-ch-ua-platform": `"Linux"`,
	"sec-fetch-dest":     "empty", "sec-fetch-mode": "cors", "sec-fetch-site": "same-site",
	"origin": "https://shop.example.com", "referer": "https://shop.example.com/orders?page=1",
	"cookie": "session=" + strings.Repeat("8f3a", 60) + "; consent=" + strings.Repeat("01", 40) + "; _ga=GA1.2.1234567890.1234567890",
}
