package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/envoy/trace/tracetest"
)

// traceMetric is a value of postern_trace_spans_total.
func (g *gate) traceMetric(result string) (n int) {
	g.s.t.Helper()
	_, text := g.get("/metrics")
	_, after, _ := strings.Cut(text, "\npostern_trace_spans_total{result=\""+result+"\"} ")
	if _, err := fmt.Sscan(after, &n); err != nil {
		g.s.t.Errorf("metrics have no spans %s: %v", result, err)
	}
	return n
}

// A collector that takes a batch and never answers keeps no check waiting, and
// what is held for it has an end. Nor does it keep the process from ending.
func TestCollectorHangs(t *testing.T) {
	s := newShell(t)
	arrived, release := make(chan bool, 1), make(chan bool)
	c := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case arrived <- true:
		default:
		}
		<-release
	}))
	t.Cleanup(func() { close(release); c.Close() })
	g := s.serve("--trace-endpoint " + c.URL + "/v1/traces")
	g.traced("loud", "GET /a", sampled)
	<-arrived // and now it hangs, for 5 s; then it gets the next batch
	asked := 1
	for end := time.Now().Add(time.Minute); g.traceMetric("dropped") == 0 && time.Now().Before(end); asked += 640 {
		var asking sync.WaitGroup
		for range 32 {
			asking.Go(func() {
				for range 20 {
					g.traced("loud", "GET /a", sampled)
				}
			})
		}
		asking.Wait()
	}
	if sent, dropped, failed := g.traceMetric("sent"), g.traceMetric("dropped"), g.traceMetric("failed"); sent != 0 || dropped == 0 || asked-dropped-failed > 2048+512 {
		t.Errorf("%d spans sent, %d dropped, %d failed of %d, want all but what fits in the queue and a batch dropped", sent, dropped, failed, asked)
	}
	g.answers("loud", "GET /a", 401, "malformed")
	begun := time.Now()
	g.ends()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the gate took %v to end, want 2 s for its spans and little more", took)
	}
	g.logsOnce("spans of traces are lost", "")
}

// logsOnce demands one line of the log with this message, and that it holds a
// text.
func (g *gate) logsOnce(message, text string) {
	g.s.t.Helper()
	log := g.log.String()
	_, line, _ := strings.Cut(log, `"msg":"`+message+`"`)
	line, _, _ = strings.Cut(line, "\n")
	if strings.Count(log, `"msg":"`+message+`"`) != 1 || !strings.Contains(line, text) {
		g.s.t.Errorf("want one line %q with %q; the log:\n%s", message, text, log)
	}
}

// A collector that is away, or refuses, costs spans and nothing else, is
// told of once in a minute, and without the password that the URL may hold.
func TestCollectorRefuses(t *testing.T) {
	s, good := newShell(t), tracetest.Start(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(refusing.Close)
	moved := httptest.NewServer(http.RedirectHandler(good.URL(), http.StatusTemporaryRedirect))
	t.Cleanup(moved.Close)
	for address, says := range map[string]string{
		"127.0.0.1:1": "connection refused", refusing.Listener.Addr().String(): "429 Too Many Requests", moved.Listener.Addr().String(): "307 Temporary Redirect",
	} {
		g := s.serve("--trace-endpoint http://hunter1:hunter2@" + address + "/v1/traces?key=hunter3")
		for i := range 2 {
			g.traced("loud", "GET /a", sampled)
			g.await("lose the span", func() bool { return g.traceMetric("failed") == i+1 })
		}
		g.answers("loud", "GET /a", 401, "malformed")
		g.logsOnce("spans of traces are lost", says)
		g.logsOnce("spans of traces are lost", `"collector":"`+address+`"`)
		if strings.Contains(g.log.String(), "hunter") {
			t.Errorf("the log holds the URL's credentials:\n%s", g.log)
		}
		g.ends()
	}
	if spans := good.Spans(""); len(spans) > 0 {
		t.Errorf("%d spans went where the collector sent them: want none", len(spans))
	}
}

// Credentials in the URL go to the collector; and what is left at the end is
// sent, without waiting for more.
func TestTracesAtTheEnd(t *testing.T) {
	s, c := newShell(t), tracetest.Start(t)
	g := s.serve("--trace-endpoint http://me:hunter2@" + c.Address + tracetest.Path)
	const n = 700 // more than a batch
	for range n {
		g.traced("loud", "GET /a", sampled)
	}
	g.ends()
	if spans := c.Spans("postern"); len(spans) != n || spans[0].User != "me:hunter2" {
		t.Errorf("the collector has %d spans, want %d, by who is named in the URL", len(spans), n)
	}
}
