//go:build faults

package main

import (
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A sidecar that is stopped over a revocation must not allow what was deleted
// once it goes on, not even what waited for it.
func TestFaultsStoppedSidecar(t *testing.T) {
	s := newShell(t)
	all := s.secrets(pick(200, 20))
	p, other := s.start(shipped), s.start(shipped)
	p.warm(all...)
	other.warm(all...)
	p.signal(syscall.SIGSTOP)
	stopped := time.Now()
	for i, f := range all {
		r := s.run("secret delete --wait 10ms", f.ID)
		if i == 0 && (r.code != exitDone || !strings.Contains(r.stdout, "applied by 1 of 2 sidecars") || !strings.Contains(r.stdout, "must have stopped by")) {
			t.Errorf("secret delete with a sidecar that is stopped: %s, want exit 0, 1 of 2, and when the other must have stopped", r.summary())
		}
	}
	time.Sleep(time.Until(stopped.Add(1200 * time.Millisecond))) // the shipped lag limit is 1 s
	var asking sync.WaitGroup
	for _, f := range all {
		asking.Go(func() {
			if status, reason := p.verdict(f.Secret); status == 200 || status == 403 || status == 0 {
				t.Errorf("a deleted secret on a sidecar that was stopped = %d (%s), want 401 or 503", status, reason)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	p.signal(syscall.SIGCONT)
	asking.Wait()
	p.awaitFresh()
	for _, f := range all {
		p.answers(f.Secret, request, 401, "deleted")
	}
}

func (p *program) signal(signal syscall.Signal) {
	p.s.t.Helper()
	if err := p.process.Signal(signal); err != nil {
		p.s.t.Fatal(err)
	}
}

// With Redis down at its start a sidecar answers 503 to all, and what it should
// as soon as Redis is there.
func TestFaultsRedisDownAtStart(t *testing.T) {
	s := newShell(t, "--appendonly", "yes", "--appendfsync", "always")
	all := s.secrets(3)
	s.redis.Stop()
	begun := time.Now()
	g := s.launch(shipped)
	if took := time.Since(begun); took > pick(time.Second, 3*time.Second) {
		t.Errorf("without Redis the sidecar serves after %v, want 1 s at most", took)
	}
	r := g.record(all[0], all[1:2], all[2], 503)
	time.Sleep(pick(5*time.Second, 500*time.Millisecond))
	s.redis.Start()
	back := time.Now()
	g.await("be ready", func() bool { return g.servingState() == "SERVING" })
	t.Logf("ready %v after Redis", time.Since(back))
	g.warm(all...)
	if got := r.revoke("--wait 5s"); !strings.Contains(got.stdout, "applied by 1 of 1 sidecars") {
		t.Errorf("secret delete: %s, want applied by 1 of 1", got.summary())
	}
	time.Sleep(50 * time.Millisecond)
	r.finish()
	if r.asked["warm 503 (store_unavailable)"] == 0 {
		t.Errorf("answers = %v, want some 503: this test shows nothing", r.asked)
	}
}

// A sidecar whose socket file was removed goes on for those that are connected,
// and nobody else finds it: it is replaced, not mended.
func TestFaultsSocketRemoved(t *testing.T) {
	s := newShell(t)
	secret := s.create(permission)
	first := s.start(shipped)
	first.warm(secret)
	if err := os.Remove(first.socket); err != nil {
		t.Fatal(err)
	}
	first.answers(secret.Secret, request, 200, "granted")
	if c, err := net.Dial("unix", first.socket); err == nil {
		c.Close()
		t.Error("a removed socket can be connected to: this test shows nothing")
	}
	second := s.startOn(first.socket, "unix:"+socketDir(t)+"/ops.sock", shipped)
	first.ends(syscall.SIGTERM)
	if !first.state.Success() {
		t.Errorf("a sidecar without its socket file ended with %v, want exit status 0", first.state)
	}
	second.answers(secret.Secret, request, 200, "granted")
}
