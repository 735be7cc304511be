//go:build faults

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/envoy/envoyproc"
)

// restarts measures what requests through two Envoys see of a sidecar that is
// replaced again and again, and of one that is killed.
func (m *measures) restarts(t *testing.T) {
	s := newShell(t)
	secret := s.create(permission)
	p := s.start(shipped)
	o := newOnlookers(t, secret.Secret, p.socket)
	restarted := 0
	for restarted < pick(10, 2) || o.sent() < pick(20_000, 500) {
		next := s.startOn(p.socket, "unix:"+socketDir(t)+"/ops.sock", shipped)
		next.awaitServing()
		p.ends(syscall.SIGTERM)
		if !p.state.Success() {
			t.Errorf("a replaced sidecar ended with %v, want exit status 0; its log:\n%s", p.state, p.log)
		}
		p = next
		restarted++
	}
	seen := o.reset()
	m.none(t, fmt.Sprintf("%d restarts behind two Envoys: failed", restarted), seen.but(200), seen.but())
	o.explain(seen)
	p.ends(syscall.SIGKILL)
	killed := time.Now()
	time.Sleep(100 * time.Millisecond)
	p = s.startOn(p.socket, "unix:"+socketDir(t)+"/ops.sock", shipped)
	m.note("sidecar killed: to ready again, after 100 ms without one", time.Since(killed))
	p.await("answer through both Envoys", o.bothAnswer)
	m.add(t, "sidecar killed: to allowed again through both Envoys", time.Since(killed), time.Second, 5*time.Second)
	o.end()
	seen = o.reset()
	m.note("sidecar killed: 503 in the meantime", seen[503])
	m.none(t, "sidecar killed: answers other than 200 and 503", seen.but(200, 503), seen.but())
	if seen[503] == 0 {
		t.Error("no request failed while there was no sidecar: this test shows nothing")
	}
}

// counted is how many answers had each status.
type counted map[int]int

// but is how many answers have none of these statuses.
func (s counted) but(except ...int) (n int) {
	for status, count := range s {
		n += count
		for _, e := range except {
			if status == e {
				n -= count
			}
		}
	}
	return n
}

// onlookers send requests through two Envoys without a pause.
type onlookers struct {
	t       *testing.T
	token   string
	proxies [2]*envoyproc.Process
	end     func() // ends them, and waits for that

	mu    sync.Mutex // guards what follows
	seen  counted
	lasts [2]int // status through each Envoy
}

func newOnlookers(t *testing.T, token, socket string) *onlookers {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	t.Cleanup(upstream.Close)
	o := &onlookers{t: t, token: token, seen: counted{}}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	o.end = func() { cancel(); clients.Wait() }
	for i := range o.proxies {
		proxy, err := envoyproc.Start(context.Background(), envoyproc.Options{Gate: "unix:" + socket, Upstream: upstream.Listener.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		o.proxies[i] = proxy
		t.Cleanup(func() { proxy.Stop() })
		for range 2 {
			clients.Go(func() { o.look(ctx, i) })
		}
	}
	t.Cleanup(o.end) // before the Envoys stop
	return o
}

// look sends requests through Envoy i.
func (o *onlookers) look(ctx context.Context, i int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		status, body := o.send(client, i)
		if status != 200 && status != 503 {
			o.t.Logf("a request through Envoy = %d %s", status, body)
		}
		o.mu.Lock()
		o.seen[status]++
		o.lasts[i] = status
		o.mu.Unlock()
		if status != 200 {
			time.Sleep(time.Millisecond)
		}
	}
}

// send is the status of one request, 0 where there was no answer.
func (o *onlookers) send(client *http.Client, i int) (int, string) {
	r, err := http.NewRequest(http.MethodGet, "http://"+o.proxies[i].Listen+"/api/3/orders/1/label", nil)
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+o.token)
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (o *onlookers) sent() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen.but()
}

// explain logs what the Envoys say of requests that failed.
func (o *onlookers) explain(seen counted) {
	if seen.but(200) == 0 {
		return
	}
	for _, proxy := range o.proxies {
		for line := range strings.Lines(proxy.AccessLog()) {
			if !strings.Contains(line, `"status":200`) {
				o.t.Log(line)
			}
		}
	}
}

func (o *onlookers) bothAnswer() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lasts == [2]int{200, 200}
}

// reset begins to count anew, and returns what was counted.
func (o *onlookers) reset() counted {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen
	o.seen, o.lasts = counted{}, [2]int{}
	return seen
}
