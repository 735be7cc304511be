package envoy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// What an update puts before the one route, and puts in the place of the check.
const (
	route    = "            - match: {prefix: /}\n"
	newRoute = "            - match: {path: /hello}\n              direct_response: {status: 200, body: {inline_string: hello}}\n"
)

// A picket is an upstream that reports what comes unchecked, and asks without
// end, by connections that live and by new ones.
type picket struct {
	address   string
	unchecked atomic.Int64
	answered  [2]atomic.Int64 // of bad secrets, and of good ones
	wrong     sync.Map        // what was answered and must not be
	stop      func()
}

func newPicket(t *testing.T) *picket {
	p := &picket{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Merchant-Id") != "m-1" {
			p.unchecked.Add(1)
		}
		io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	p.address = server.Listener.Addr().String()
	return p
}

// start asks for url with a bad and a good secret, which must get 401 and 200.
func (p *picket) start(t *testing.T, url, bad, good string) {
	done := make(chan struct{})
	var asking sync.WaitGroup
	for i, token := range []string{bad, good} {
		for _, fresh := range []bool{false, true} {
			transport := &http.Transport{DisableKeepAlives: fresh}
			asking.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						p.ask(t, transport, url, token, i)
					}
				}
			})
		}
	}
	p.stop = sync.OnceFunc(func() { close(done); asking.Wait() })
	t.Cleanup(p.stop)
}

func (p *picket) ask(t *testing.T, transport *http.Transport, url, token string, good int) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Merchant-Id", "evil")
	response, err := transport.RoundTrip(r)
	if err != nil {
		p.wrong.Store(err.Error(), true)
		return
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	p.answered[good].Add(1)
	if response.StatusCode != []int{401, 200}[good] {
		p.wrong.Store(fmt.Sprintf("%d, of a secret that is good: %v", response.StatusCode, good == 1), true)
	}
}

// check waits until all have asked again some times, and looks at what they saw.
func (p *picket) check(t *testing.T, when string) {
	t.Helper()
	bad, good := p.answered[0].Load(), p.answered[1].Load()
	await(t, "more answers", func() bool { return p.answered[0].Load() > bad+40 && p.answered[1].Load() > good+40 })
	if n := p.unchecked.Swap(0); n > 0 {
		t.Errorf("%s: %d requests came unchecked", when, n)
	}
	p.wrong.Range(func(what, _ any) bool { t.Errorf("%s: got %v", when, what); return true })
	p.wrong.Clear()
}

// counted waits for a statistic of the listener's updates to rise.
func counted(t *testing.T, proxy *envoyproc.Process, name string, move func()) {
	t.Helper()
	stat := func() string {
		response, err := http.Get("http://" + proxy.Admin + "/stats?filter=^listener_manager.lds." + name + "$")
		must(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		must(t, err)
		return string(body)
	}
	before := stat()
	if move(); !strings.Contains(before, name+": ") {
		t.Fatalf("Envoy has no statistic %s: %q", name, before)
	}
	await(t, name+" to rise", func() bool { return stat() != before })
}

// TestXDSUpdates updates a running Envoy, and asks all the while.
func TestXDSUpdates(t *testing.T) {
	w, p := newWorld(t), newPicket(t)
	gate := w.serve(t)
	x := newXDS(t, gate, p.address)
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Edit: func(string) string { return x.bootstrap }})
	must(t, err)
	t.Cleanup(func() { proxy.Stop() })
	p.start(t, "http://"+proxy.Listen+"/api/3/merchant", w.tokens["mistyped"], w.tokens["office"])
	p.check(t, "before any update")

	hello := func(secret string) int { r, _ := w.send(t, proxy, secret, "GET", "/hello"); return r.StatusCode }
	if got := hello("deleted"); got != 401 {
		t.Errorf("before it has a route: %d, want 401", got)
	}
	x.move(t, "lds.yaml", put(t, x.lds, route, newRoute+route))
	await(t, "the new route", func() bool { _, body := w.send(t, proxy, "legacy", "GET", "/hello"); return body == "hello" })
	if got := hello("deleted"); got != 401 {
		t.Errorf("the new route, with a deleted secret: %d, want 401", got)
	}
	p.check(t, "after a route came")

	counted(t, proxy, "update_failure", func() { x.move(t, "lds.yaml", "resources: [{") })
	counted(t, proxy, "update_rejected", func() { x.move(t, "lds.yaml", put(t, x.lds, "cluster: upstream\n", "cluster: nowhere\n")) })
	counted(t, proxy, "update_rejected", func() { x.move(t, "lds.yaml", put(t, x.lds, "validate_mutations: true", "validate_mutation: true")) })
	if got := hello("legacy"); got != 200 {
		t.Errorf("what was there before bad updates gives %d, want 200", got)
	}
	p.check(t, "after updates that are refused")
	for range 5 { // with new connections and old ones
		for _, lds := range []string{x.lds, put(t, x.lds, route, newRoute+route)} {
			counted(t, proxy, "update_success", func() { x.move(t, "lds.yaml", lds) })
		}
	}
	p.check(t, "after many updates")
	p.stop()
	testXDSWithout(t, w, p, x, proxy)
}

// testXDSWithout takes away what keeps others out. Envoy does as it is told.
func testXDSWithout(t *testing.T, w *world, p *picket, x *xds, proxy *envoyproc.Process) {
	ask := func() int { r, _ := w.send(t, proxy, "mistyped", "GET", "/api/3/merchant"); return r.StatusCode }
	x.move(t, "cds.yaml", put(t, x.cds, "\n  name: postern\n", "\n  name: other\n"))
	await(t, "503 without the gate's cluster", func() bool { return ask() == 503 })
	x.move(t, "cds.yaml", x.cds)
	await(t, "401 with it", func() bool { return ask() == 401 })

	before, check, _ := strings.Cut(x.lds, "        - name: envoy.filters.http.ext_authz #")
	_, after, found := strings.Cut(check, "        # The lock behind the response filter")
	if !found {
		t.Fatal("lds.yaml has no check before postern.unfiltered")
	}
	x.move(t, "lds.yaml", before+"        #"+after)
	await(t, "an Envoy that checks nothing", func() bool { return ask() == 200 })
	if p.unchecked.Load() == 0 {
		t.Error("control: the upstream does not notice what comes unchecked")
	}
	old, url := &http.Transport{}, "http://"+proxy.Listen+"/api/3/merchant"
	p.ask(t, old, url, w.tokens["mistyped"], 1) // 200
	x.move(t, "lds.yaml", x.lds)
	await(t, "401 with the check", func() bool { return ask() == 401 })
	p.ask(t, old, url, w.tokens["mistyped"], 1) // 200: a connection keeps the listener that it came by, until it is drained
	p.wrong.Range(func(what, _ any) bool {
		t.Errorf("by a connection from before the check: got %v, and README.md of deploy/envoy says otherwise", what)
		return true
	})

	x.move(t, "lds.yaml", "resources: []\n")
	await(t, "nobody to listen", func() bool { _, err := net.Dial("tcp", proxy.Listen); return err != nil })
}
