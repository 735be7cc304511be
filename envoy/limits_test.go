package envoy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

// stalled is an answer that stops amid its body until release is closed.
func stalled(release <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, labelBody[:60])
		w.(http.Flusher).Flush()
		select {
		case <-release:
			io.WriteString(w, labelBody[60:])
		case <-r.Context().Done():
		}
	}
}

// A limited is a gate whose filter holds little, and an Envoy before it.
type limited struct {
	*world
	upstream *api
	address  string // the gate's
	proxy    *envoyproc.Process
}

// count is how many answers had this result.
func (l *limited) count(r envoy.Result) int64 { return l.world.gate.Filter.Stats.Results[r].Load() }

// bodyOf has n bytes.
func bodyOf(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }

// TestFilterLimits covers what ends an answer of our own accord, and what ends
// it for us.
func TestFilterLimits(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	w.filter = envoy.FilterOptions{MaxBody: 64 << 10, Memory: 128 << 10}
	gate := w.serve(t)
	l := &limited{w, upstream, gate, startProxy(t, gate, upstream)}
	t.Run("a body at the limit, and beyond", l.testBodyAtLimit)
	t.Run("too much at one time", l.testTooMuchHeld)
	t.Run("an upstream that breaks off", l.testUpstreamBreaks)
	t.Run("a client that leaves", l.testClientLeaves)
	t.Run("an upstream that is gone", l.testUpstreamGone)
	await(t, "all to be let go", func() bool { return w.gate.Filter.InFlight() == 0 })
	t.Run("an upstream that stalls", l.testUpstreamStalls)
}

func (l *limited) testBodyAtLimit(t *testing.T) {
	l.upstream.on("fits", asJSON(bodyOf(64<<10)))
	if response, got := l.ask(t, l.proxy, "label", "GET", "fits"); response.StatusCode != 200 || got != bodyOf(64<<10) {
		t.Errorf("got %d with %d bytes, want 200 with all", response.StatusCode, len(got))
	}
	l.upstream.on("over", asJSON(bodyOf(64<<10+1)))
	response, got := l.ask(t, l.proxy, "label", "GET", "over")
	checkWithheld(t, response, got)
	l.upstream.on("over-in-chunks", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.(http.Flusher).Flush()
		io.WriteString(rw, bodyOf(64<<10+1))
	})
	response, got = l.ask(t, l.proxy, "label", "GET", "over-in-chunks")
	checkWithheld(t, response, got)
	await(t, "two answers to be counted as too large", func() bool { return l.count(envoy.TooLarge) == 2 })
}

func (l *limited) testTooMuchHeld(t *testing.T) {
	release, done := make(chan struct{}), make(chan struct{})
	l.upstream.on("holds", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "65536")
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, bodyOf(64 << 10)[:100])
		rw.(http.Flusher).Flush()
		<-release
		io.WriteString(rw, bodyOf(64 << 10)[100:])
	})
	go func() { defer close(done); l.ask(t, l.proxy, "label", "GET", "holds") }()
	await(t, "the first answer to be held", func() bool { return l.world.gate.Filter.InFlight() >= 64<<10 })
	response, got := l.ask(t, l.proxy, "label", "GET", "fits") // needs twice what is left
	if checkWithheld(t, response, got); response.StatusCode != 503 {
		t.Errorf("got %d, want 503", response.StatusCode)
	}
	response, got = l.send(t, l.proxy, "cancel", "DELETE", "/api/3/orders/fits") // which must not be sent again
	if checkWithheld(t, response, got); response.StatusCode != 502 {
		t.Errorf("a request that changes something: got %d, want 502", response.StatusCode)
	}
	await(t, "them to be counted", func() bool { return l.count(envoy.Memory) == 2 })
	close(release)
	<-done
	if response, _ := l.ask(t, l.proxy, "label", "GET", "fits"); response.StatusCode != 200 {
		t.Errorf("when the other was gone: got %d, want 200", response.StatusCode)
	}
}

func (l *limited) testUpstreamBreaks(t *testing.T) {
	l.upstream.on("breaks", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, labelBody[:60])
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	response, got := l.ask(t, l.proxy, "label", "GET", "breaks")
	checkOurs(t, response, got)
	await(t, "the answer to be given up", func() bool { return l.count(envoy.Left) == 1 })
}

func (l *limited) testClientLeaves(t *testing.T) {
	l.upstream.on("left", stalled(nil))
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.proxy.Listen+"/api/3/orders/left/label", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+l.tokens["label"])
	go http.DefaultClient.Do(r)
	await(t, "the answer to be held", func() bool { return l.world.gate.Filter.InFlight() > 0 })
	leave()
	await(t, "it to be let go", func() bool { return l.world.gate.Filter.InFlight() == 0 && l.count(envoy.Left) >= 2 })
}

func (l *limited) testUpstreamGone(t *testing.T) {
	nobody := startProxy(t, l.address, &api{address: "127.0.0.1:1"})
	response, got := l.ask(t, nobody, "label", "GET", "gone")
	if checkOurs(t, response, got); response.StatusCode != 503 || response.Header.Get("Retry-After") != "1" {
		t.Errorf("got %d %v, want Envoy's own 503", response.StatusCode, response.Header)
	}
	await(t, "it to be counted", func() bool { return l.count(envoy.Passed)+l.count(envoy.Filtered) >= 3 })
}

func (l *limited) testUpstreamStalls(t *testing.T) {
	l.upstream.on("stalls", stalled(nil))
	l.filter.Lifetime = 300 * time.Millisecond
	impatient := startProxy(t, l.serve(t), l.upstream)
	response, got := l.ask(t, impatient, "label", "GET", "stalls")
	if checkOurs(t, response, got); response.StatusCode != 503 {
		t.Errorf("got %d, want 503", response.StatusCode)
	}
	await(t, "it to be counted", func() bool { return l.count(envoy.Late) == 1 })
	await(t, "it to be let go", func() bool { return l.world.gate.Filter.InFlight() == 0 })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
