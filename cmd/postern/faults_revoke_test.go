//go:build faults

package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// revocation measures how long after the start of a delete every sidecar
// denies.
func (m *measures) revocation(t *testing.T) {
	s := newShell(t)
	fleet := s.fleet(pick(5, 3), "")
	all := s.warmSecrets(fleet, pick(1000, 40))
	var took times
	for _, f := range all {
		took = append(took, s.revoke(fleet, f)...)
	}
	name := fmt.Sprintf("revoke to denied, %d revocations x %d sidecars: ", len(all), len(fleet))
	m.note(name+"p50", took.at(0.5))
	m.add(t, name+"p99", took.at(0.99), 50*time.Millisecond, 500*time.Millisecond)
	m.note(name+"max", took.at(1))
}

// pushLost measures the same where no sidecar hears of the delete from the read
// of the log that waits for it: as that is cut off, or as its connection is
// dead and does not show it.
func (m *measures) pushLost(t *testing.T) {
	s := newShell(t)
	n := pick(50, 4)
	fleet := s.fleet(pick(5, 2), "")
	var cut times
	for _, f := range s.warmSecrets(fleet, n) {
		s.cutWaitingReads()
		cut = append(cut, s.revoke(fleet, f)...)
		s.awaitAllFresh(fleet)
	}
	m.add(t, "revoke to denied, waiting reads cut off: max", cut.at(1), 2*time.Second, 4*time.Second)
	if cut.at(1) < 50*time.Millisecond {
		t.Errorf("waiting reads were cut off, and yet all was denied within %v: this test shows nothing", cut.at(1))
	}
	for _, p := range fleet {
		p.endsAtOnce()
	}
	s.ask("DEL", "{postern}:sidecars") // those that were killed count no more
	n = pick(20, 2)
	strait := newStrait(t, s.redis.Addr)
	behind := s.fleet(pick(5, 2), "--redis redis://"+strait.addr)
	var dead times
	for _, f := range s.warmSecrets(behind, n) {
		strait.does(muteOld(time.Now()))
		dead = append(dead, s.revoke(behind, f)...)
		s.awaitAllFresh(behind)
	}
	m.add(t, "revoke to denied, all connections dead in silence: max", dead.at(1), 2*time.Second, 4*time.Second)
	if dead.at(1) < 100*time.Millisecond {
		t.Errorf("all connections were dead, and yet all was denied within %v: this test shows nothing", dead.at(1))
	}
}

// fleet starts n sidecars, each a process.
func (s *shell) fleet(n int, flags string) (fleet []*program) {
	s.t.Helper()
	for range n {
		fleet = append(fleet, s.start(shipped+" "+flags))
	}
	return fleet
}

// warmSecrets makes n secrets that every sidecar of a fleet knows.
func (s *shell) warmSecrets(fleet []*program, n int) []authz.Form {
	s.t.Helper()
	all := s.secrets(n)
	for _, p := range fleet {
		p.warm(all...)
	}
	return all
}

func (s *shell) awaitAllFresh(fleet []*program) {
	s.t.Helper()
	for _, p := range fleet {
		p.awaitFresh()
	}
}

// revoke deletes a secret, and returns how long after its start each sidecar
// denied. It demands that the command names them all, and that none allows what
// it is asked after that.
func (s *shell) revoke(fleet []*program, f authz.Form) times {
	s.t.Helper()
	took := make(times, len(fleet))
	var promised atomic.Pointer[time.Time]
	var asking sync.WaitGroup
	begun := time.Now()
	for i, p := range fleet {
		asking.Go(func() {
			p.untilDenied(f, &promised)
			took[i] = time.Since(begun)
		})
	}
	r := s.run("secret delete --wait 10s", f.ID)
	end := time.Now()
	promised.Store(&end)
	if want := fmt.Sprintf("applied by %d of %d sidecars", len(fleet), len(fleet)); r.code != exitDone || !strings.Contains(r.stdout, want) {
		s.t.Errorf("secret delete = exit %d, %q, %q, want 0 and %q", r.code, r.stdout, r.stderr, want)
	}
	asking.Wait()
	return took
}

// untilDenied asks about a secret until it is known to be deleted, 10 s at most.
// Where the log has said that it changed and it cannot be read, it is 503.
func (p *program) untilDenied(f authz.Form, promised *atomic.Pointer[time.Time]) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		asked := time.Now()
		switch status, reason := p.verdict(f.Secret); {
		case status == 401 && reason == "deleted":
			return
		case status != 200 && status != 503:
			p.s.t.Errorf("a secret while it is deleted = %d (%s), want 200, 503 or 401 (deleted)", status, reason)
		case status == 200 && promised.Load() != nil && asked.After(*promised.Load()):
			p.s.t.Errorf("secret %s was allowed %v after its delete said that all have applied it", f.ID, asked.Sub(*promised.Load()))
		}
	}
	p.s.t.Errorf("secret %s is not denied within 10 s", f.ID)
}

// cutWaitingReads cuts off every read of the log that waits for an entry.
func (s *shell) cutWaitingReads() {
	s.t.Helper()
	for client := range strings.Lines(s.ask("CLIENT", "LIST")) {
		if id, rest, _ := strings.Cut(strings.TrimPrefix(client, "id="), " "); strings.Contains(rest, " cmd=xread ") {
			s.eyes.Do(s.t.Context(), "CLIENT", "KILL", "ID", id) // it may have ended meanwhile
		}
	}
}

// endsAtOnce kills a program that is no more needed.
func (p *program) endsAtOnce() { _ = p.process.Kill(); <-p.done }
