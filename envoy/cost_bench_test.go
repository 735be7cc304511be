//go:build !race

package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

// BenchmarkCost measures what a check of a browser's request costs the program
// as it ships, against a stock server and against gRPC itself, by the
// configuration that ships and by Envoy's defaults: through real Envoys, and
// directly, 32 at once, on all cores and on one. They take turns, so that what
// else the machine does falls on all; the figures are medians of the turns. The
// hostile corpus passes before and after.
func BenchmarkCost(b *testing.B) {
	w := newWorld(b)
	own := w.ownProcess(b)
	w.hostileAlone(b, own.address)
	all := []process{own, otherProcess(b, stockSocket), otherProcess(b, floorSocket)}
	const one = "GOMAXPROCS=1"
	single := []process{w.ownProcess(b, one), otherProcess(b, stockSocket, one), otherProcess(b, floorSocket, one)}
	for name, edits := range map[string][]string{"shipped": nil, "defaults": asByDefault()} {
		b.Run(name, func(b *testing.B) { w.compare(b, all, single, edits) })
	}
	w.hostileAlone(b, own.address)
}

// compare measures the program, the stock server and gRPC alone, with these
// edits of envoy.yaml.
func (w *world) compare(b *testing.B, all, single []process, edits []string) {
	upstream := newAPI(b)
	upstream.on("PP1", asJSON("{}"))
	check := w.sent(b, edits...)
	var ways [3]way
	for i, p := range all {
		ways[i] = way{
			name: []string{"own", "stock", "grpc"}[i], process: p, proxy: startProxy(b, p.address, upstream, edits...), token: w.tokens["orders"],
			asker: newAsker(b, p.address, check), single: newAsker(b, single[i].address, check),
		}
	}
	bare := way{name: "bare", proxy: startProxy(b, all[0].address, upstream, withoutGate(b)...), token: w.tokens["orders"]}
	b.ReportMetric(0, "ns/op") // of all turns: it says nothing
	const turns = 5
	for turn := range turns + 1 {
		for i := range ways {
			ways[i].turn(b, turn > 0)
		}
		bare.alone(b, turn > 0)
	}
	for _, x := range ways {
		b.ReportMetric(median(x.cpu), x.name+"-cpu-µs/check")
		b.ReportMetric(median(x.direct), x.name+"-direct-cpu-µs/check")
		b.ReportMetric(median(x.p50)-median(bare.p50), x.name+"-adds-p50-µs")
		b.ReportMetric(median(x.rate), x.name+"-checks/s-of-one-core")
	}
	ratio := func(name string, of func(way) []float64, base float64) {
		own := median(of(ways[0])) - base
		b.ReportMetric(own/(median(of(ways[1]))-base), name+"-ratio")
		b.ReportMetric(own/(median(of(ways[2]))-base), name+"-to-grpc-ratio")
	}
	ratio("cpu", func(x way) []float64 { return x.cpu }, 0)
	ratio("direct-cpu", func(x way) []float64 { return x.direct }, 0)
	ratio("p50-added", func(x way) []float64 { return x.p50 }, median(bare.p50))
	ratio("checks/s-of-one-core", func(x way) []float64 { return x.rate }, 0)
}

// BenchmarkDecision measures the gate alone, from a check's bytes to its
// answer's. A quarter of it is what keyed digests cost.
func BenchmarkDecision(b *testing.B) {
	w := newWorld(b)
	gate := w.newGate(b)
	data := w.sent(b)
	b.ReportAllocs()
	for b.Loop() {
		gate.CheckBytes(b.Context(), data)
	}
}

// way is one of the servers that are compared, and what was measured of it, in
// microseconds.
type way struct {
	process
	name, token      string
	proxy            *envoyproc.Process
	asker, single    *asker // of the process, and of one that has one core
	cpu, direct, p50 []float64
	rate             []float64 // checks a second, on one core
}

func (x *way) turn(b *testing.B, counts bool) {
	const through, direct = 4000, 20000
	before := x.process.cpu(b)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { x.send(b, through/8) })
	}
	group.Wait()
	cpu := x.process.cpu(b) - before
	before = x.process.cpu(b)
	x.asker.ask(b, direct, 32)
	alone := x.process.cpu(b) - before
	begun := time.Now()
	x.single.ask(b, direct, 32)
	if rate := direct / time.Since(begun).Seconds(); counts {
		x.rate = append(x.rate, rate)
		x.cpu = append(x.cpu, float64(cpu.Nanoseconds())/1e3/through)
		x.direct = append(x.direct, float64(alone.Nanoseconds())/1e3/direct)
	}
	x.alone(b, counts)
}

// alone measures the time that one request after the other takes.
func (x *way) alone(b *testing.B, counts bool) {
	took := x.send(b, 1500)
	if slices.Sort(took); counts {
		x.p50 = append(x.p50, float64(took[len(took)/2].Nanoseconds())/1e3)
	}
}

// send sends requests on a connection of their own, and tells how long each
// took.
func (x *way) send(b *testing.B, n int) (took []time.Duration) {
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range n {
		r, err := http.NewRequest("GET", "http://"+x.proxy.Listen+"/api/3/orders/PP1/tracking", nil)
		must(b, err)
		for name, value := range browser {
			r.Header.Set(name, value)
		}
		r.Header.Set("Authorization", "Bearer "+x.token)
		begun := time.Now()
		response, err := client.Do(r)
		must(b, err)
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if took = append(took, time.Since(begun)); response.StatusCode != 200 {
			panic(fmt.Sprintf("status %d of %s", response.StatusCode, x.name))
		}
	}
	return took
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// withoutGate is the edit of envoy.yaml by which no request is checked.
func withoutGate(t testing.TB) []string {
	data, err := envoy.Bootstrap(envoy.Addresses{})
	must(t, err)
	begin, end := strings.Index(string(data), "                    check_settings:\n"), strings.Index(string(data), "          http_filters:\n")
	return []string{string(data)[begin:end], "                    disabled: true\n"}
}
