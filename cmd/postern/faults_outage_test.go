//go:build faults

package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postern/postern/authz"
)

// outage measures what a gate does at load while Redis refuses connections, and
// while it hangs; and that nothing of it is left after that.
func (m *measures) outage(t *testing.T) {
	s := newShell(t, "--appendonly", "yes", "--appendfsync", "always")
	p := s.start(shipped)
	cold := s.secrets(20)
	w := traffic{gate: &p.gate, warm: s.secrets(pick(1000, 30)),
		lasts: pick(60*time.Second, 1500*time.Millisecond), pause: pick(4*time.Millisecond, 20*time.Millisecond)}
	p.warm(w.warm...)
	healthy := w.run(nil)
	healthy.demand(t, 200)
	m.note("outage: healthy, warm p99", healthy.took.at(0.99))
	before := p.resources()
	for _, fault := range []struct {
		name       string
		begin, end func()
		within     time.Duration // of healthy
	}{
		{"refuses", s.redis.Stop, s.redis.Start, time.Millisecond},
		{"hangs", s.redis.Pause, s.redis.Resume, 60 * time.Millisecond},
	} {
		p.awaitFresh()
		fault.begin()
		during := w.run(cold)
		fault.end()
		during.demand(t, 503)
		name := fmt.Sprintf("outage of %v, Redis %s: ", w.lasts, fault.name)
		m.none(t, name+"warm, not allowed", during.failed, len(during.took))
		m.add(t, name+"warm p99, more than healthy", max(0, during.took.at(0.99)-healthy.took.at(0.99)), fault.within, 500*time.Millisecond)
		m.note(name+"warm max", during.took.at(1))
		m.add(t, name+"cold, p99 to 503", during.coldTook.at(0.99), 60*time.Millisecond, 200*time.Millisecond)
		m.note(name+"cold max", during.coldTook.at(1))
	}
	p.warm(cold...)
	after := w.run(nil)
	after.demand(t, 200)
	m.leftovers(t, p, before)
}

// traffic is a load of secrets that a gate knows.
type traffic struct {
	gate  *gate
	warm  []authz.Form
	lasts time.Duration
	pause time.Duration // of each of the clients after a check
}

// outcome is what became of traffic.
type outcome struct {
	took, coldTook times
	failed         int            // of the warm
	cold           map[string]int // by status and reason
	coldStatus     map[int]int
}

// run sends the traffic on eight connections, and a little of what the gate does
// not know on a ninth.
func (w traffic) run(cold []authz.Form) outcome {
	o := outcome{cold: map[string]int{}, coldStatus: map[int]int{}}
	end := time.Now().Add(w.lasts)
	var mu sync.Mutex
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			took, failed := w.client(client, end)
			mu.Lock()
			defer mu.Unlock()
			o.took, o.failed = append(o.took, took...), o.failed+failed
		})
	}
	g, hangUp := w.connection()
	defer hangUp()
	for i := 0; time.Now().Before(end) && len(cold) > 0; i++ {
		begun := time.Now()
		status, reason := g.verdict(cold[i%len(cold)].Secret)
		o.coldTook = append(o.coldTook, time.Since(begun))
		o.cold[fmt.Sprintf("%d (%s)", status, reason)]++
		o.coldStatus[status]++
		time.Sleep(20 * time.Millisecond)
	}
	clients.Wait()
	return o
}

// connection is the gate on a connection of its own, and what ends that.
func (w traffic) connection() (*gate, func() error) {
	g := *w.gate
	connection, err := grpc.NewClient("unix:"+g.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err) // only of a malformed target
	}
	g.checks = authv3.NewAuthorizationClient(connection)
	return &g, connection.Close
}

func (w traffic) client(n int, end time.Time) (took times, failed int) {
	g, hangUp := w.connection()
	defer hangUp()
	for i := n; time.Now().Before(end); i++ {
		begun := time.Now()
		status, reason := g.verdict(w.warm[i%len(w.warm)].Secret)
		took = append(took, time.Since(begun))
		if status != 200 {
			failed++
			g.s.t.Logf("a warm check = %d (%s) after %v", status, reason, took[len(took)-1])
		}
		time.Sleep(w.pause)
	}
	return took, failed
}

// demand demands that all that is warm was allowed, and one status of what was
// not.
func (o outcome) demand(t *testing.T, cold int) {
	t.Helper()
	if len(o.coldTook) != o.coldStatus[cold] {
		t.Errorf("cold checks = %v, want all %d", o.cold, cold)
	}
	if o.failed != 0 || len(o.took) == 0 {
		t.Errorf("of %d warm checks %d were not allowed, want none", len(o.took), o.failed)
	}
}

// resources is what a process has of the machine.
type resources struct{ goroutines, descriptors, memory float64 }

func (p *program) resources() resources {
	return resources{p.metric("go_goroutines"), p.metric("process_open_fds"), p.metric("process_resident_memory_bytes")}
}

// leftovers waits for a process to be back within a twentieth of what it had
// before, and a little beside it, for a minute at most. Eight descriptors are
// connections to Redis, which are kept once they were needed.
func (m *measures) leftovers(t *testing.T, p *program, before resources) {
	t.Helper()
	const mebi = 1 << 20
	most := resources{before.goroutines*1.05 + 4, before.descriptors*1.05 + 8, before.memory*1.05 + pick(4.0, 32.0)*mebi}
	after := p.resources()
	for end := time.Now().Add(pick(time.Minute, 10*time.Second)); !after.within(most) && time.Now().Before(end); after = p.resources() {
		time.Sleep(200 * time.Millisecond)
	}
	m.row(t, "after the faults: goroutines", after.goroutines, fmt.Sprintf("%v + 5 %% + 4", before.goroutines), after.goroutines <= most.goroutines)
	m.row(t, "after the faults: descriptors", after.descriptors, fmt.Sprintf("%v + 5 %% + 8", before.descriptors), after.descriptors <= most.descriptors)
	m.row(t, "after the faults: memory", fmt.Sprintf("%.1f MiB", after.memory/mebi), fmt.Sprintf("%.1f MiB + 5 %% + 4", before.memory/mebi), after.memory <= most.memory)
}

func (r resources) within(most resources) bool {
	return r.goroutines <= most.goroutines && r.descriptors <= most.descriptors && r.memory <= most.memory
}
