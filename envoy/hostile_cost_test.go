package envoy_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// costly are checks that are made to cost much.
func (w *world) costly() map[string]*authv3.CheckRequest {
	office, legacy := w.tokens["office"], w.tokens["legacy"]
	all := map[string]*authv3.CheckRequest{
		"a path of 60 KB":                w.check("/api/3/orders/"+strings.Repeat("a", 60_000), office),
		"a path of 60 KB, legacy":        w.check("/"+strings.Repeat("a", 60_000), legacy),
		"30,000 segments":                w.check(strings.Repeat("/a", 30_000), office),
		"30,000 segments, legacy":        w.check(strings.Repeat("/a", 30_000), legacy),
		"60,000 slashes":                 w.check(strings.Repeat("/", 60_000), legacy),
		"60,000 dots":                    w.check("/api/3/orders/"+strings.Repeat(".", 60_000), office),
		"a value of 128 dots and a name": w.check("/api/3/orders/S"+strings.Repeat(".", 127), w.tokens["orders"]),
		"20,000 escapes":                 w.check("/api/3/"+strings.Repeat("%2e", 20_000), office),
		"a query of 400 KB":              w.check("/api/3/merchant?"+strings.Repeat("?", 400_000), office),
		"a token of 400 KB":              w.check("/api/3/merchant", strings.Repeat("a", 400_000)),
		"a token after 400 KB of blanks": w.check("/api/3/merchant", strings.Repeat(" ", 400_000)+office),
		"a scheme of 400 KB":             w.check("/api/3/merchant", office),
		"2,000 credentials":              w.check("/api/3/merchant", office),
		"2,000 fields":                   w.check("/api/3/merchant", office),
		"a host of 400 KB":               w.check("/api/3/merchant", office),
		"a method of 400 KB":             w.check("/api/3/merchant", legacy),
		"mistyped":                       w.check("/api/3/merchant", w.tokens["mistyped"]),
	}
	http := func(name string) *authv3.AttributeContext_HttpRequest { return all[name].Attributes.Request.Http }
	http("a scheme of 400 KB").Headers["authorization"] = strings.Repeat("B", 400_000)
	http("a host of 400 KB").Host = strings.Repeat("a", 400_000)
	http("a method of 400 KB").Method = strings.Repeat("A", 400_000)
	for i := range 2000 {
		http("2,000 fields").Headers[fmt.Sprint("x-", i)] = "y"
		name := "2,000 credentials"
		http(name).HeaderMap = &corev3.HeaderMap{Headers: append(http(name).GetHeaderMap().GetHeaders(), &corev3.HeaderValue{Key: "authorization", Value: "Bearer " + office})}
	}
	return all
}

// TestCostOfHostility demands that no check costs more than a millisecond, nor
// twice the memory of a plain denial.
func TestCostOfHostility(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	cost := func(r *authv3.CheckRequest) (time.Duration, uint64) {
		const times = 40
		var took []time.Duration
		var before, after runtime.MemStats
		data, err := proto.Marshal(r)
		must(t, err)
		gate.CheckBytes(t.Context(), data) // reads what it needs of the store
		runtime.ReadMemStats(&before)
		for range times {
			begun := time.Now()
			gate.CheckBytes(t.Context(), data)
			took = append(took, time.Since(begun))
		}
		runtime.ReadMemStats(&after)
		slices.Sort(took)
		return took[times/4], (after.TotalAlloc - before.TotalAlloc) / times // a loaded machine makes any one of them slow
	}
	normalTime, normalBytes := cost(w.check("/api/3/orders/PP1/label", w.tokens["office"]))
	slowest := ""
	var slowestTime time.Duration
	for name, r := range w.costly() {
		took, bytes := cost(r)
		if bound := time.Millisecond * slowdown; took > bound {
			t.Errorf("%s: %v, want %v at most", name, took, bound)
		}
		if bytes > 2*normalBytes {
			t.Errorf("%s: %d bytes, want twice %d at most", name, bytes, normalBytes)
		}
		if took > slowestTime {
			slowest, slowestTime = name, took
		}
	}
	t.Logf("a plain denial: %v and %d bytes; the slowest of %d hostile ones, %s: %v", normalTime, normalBytes, len(w.costly()), slowest, slowestTime)
}

// TestMistypedCostsNoRead counts what Redis was asked for.
func TestMistypedCostsNoRead(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	commands := func() int {
		total := 0
		for line := range strings.Lines(w.redis.Do("INFO", "commandstats").(string)) {
			name, rest, _ := strings.Cut(line, ":calls=")
			n := 0
			if fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n); name != "cmdstat_info" && !strings.Contains(name, "hello") && !strings.Contains(name, "client") {
				total += n
			}
		}
		return total
	}
	ask := func(token string) int {
		before := commands()
		for range 100 {
			gate.Check(t.Context(), w.check("/api/3/merchant", token))
		}
		return commands() - before
	}
	for name, token := range map[string]string{
		"mistyped": w.tokens["mistyped"], "invented": "pt_AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "malformed": "Bearer", "too long": strings.Repeat("a", 129),
	} {
		if got := ask(token); got != 0 {
			t.Errorf("%s: Redis carried out %d commands, want none", name, got)
		}
	}
	if got := ask("some-partner-token-of-theirs"); got == 0 {
		t.Errorf("control: a token of another form cost no command: this test shows nothing")
	}
}
