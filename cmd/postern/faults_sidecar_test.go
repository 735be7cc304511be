//go:build faults

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"
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
	p.await("stand still", p.stands)
	stopped := time.Now()
	for i, f := range all {
		wait := "10ms"
		if i == 0 {
			wait = "2s"
		}
		r := s.run("secret delete --wait "+wait, f.ID)
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

// stands reports whether every thread of a program is stopped.
func (p *program) stands() bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.process.Pid))
	return err == nil && len(files) > 0 && !slices.ContainsFunc(files, func(file string) bool {
		stat, err := os.ReadFile(file)
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && !strings.HasPrefix(state, "T")
	})
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

// Settings of Redis that can lose secrets or deletions are told at the start, to
// probes and as a metric; that is no reason not to serve.
func TestFaultsUnsafeSettings(t *testing.T) {
	s := newShell(t)
	s.create(permission)
	if g := s.serve(""); g.metric("postern_store_unsafe") != 0 || len(g.readyz().Problems) > 0 {
		t.Errorf("control: with safe settings: %v", g.readyz().Problems)
	}
	s.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	s.ask("CONFIG", "SET", "appendonly", "no")
	g := s.serve("")
	told := []string{strings.Join(g.readyz().Problems, " ")}
	g.await("log it", func() bool { return strings.Contains(g.log.String(), "maxmemory-policy") })
	for _, text := range append(told, g.log.String()) {
		for _, want := range []string{"maxmemory-policy is allkeys-lru", "append-only"} {
			if !strings.Contains(text, want) {
				t.Errorf("told %q, want %q in it", text, want)
			}
		}
	}
	if r := g.readyz(); r.status != 200 || g.metric("postern_store_unsafe") != 2 {
		t.Errorf("readyz = %d, postern_store_unsafe %v, want 200 and 2", r.status, g.metric("postern_store_unsafe"))
	}
}

// A socket file that was removed is made again, for checks and for operators,
// while those that are connected go on; but not where another process has put
// its own there.
func TestFaultsSocketRemoved(t *testing.T) {
	s := newShell(t)
	secret := s.create(permission)
	first := s.start(shipped)
	first.warm(secret)
	ops := strings.TrimPrefix(first.ops, "unix:")
	removed := time.Now()
	for _, path := range []string{first.socket, ops} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := net.Dial("unix", first.socket); err == nil {
		c.Close()
		t.Error("a removed socket can be connected to: this test shows nothing")
	}
	first.answers(secret.Secret, request, 200, "granted")
	first.await("make its sockets again", func() bool { return connects(first.socket) && connects(ops) })
	if took := time.Since(removed); took > pick(time.Second, 3*time.Second) {
		t.Errorf("the sockets were made again after %v, want 1 s at most", took)
	}
	first.dial("unix:"+first.socket, insecure.NewCredentials())
	first.answers(secret.Secret, request, 200, "granted")
	if got := first.metric("postern_fresh"); got != 1 {
		t.Errorf("postern_fresh by the new socket = %v, want 1", got)
	}
	second := s.startOn(first.socket, "unix:"+socketDir(t)+"/ops.sock", shipped)
	first.ends(syscall.SIGTERM)
	if !first.state.Success() {
		t.Errorf("the first sidecar ended with %v, want exit status 0", first.state)
	}
	second.answers(secret.Secret, request, 200, "granted")
}

func connects(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		c.Close()
	}
	return err == nil
}
