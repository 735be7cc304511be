//go:build faults

package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern/postern/authz"
)

// answersWithin is the longest that an answer may take: Envoy waits no longer.
// Beside other tests, under the race detector, the machine itself is slower.
var answersWithin = pick(250*time.Millisecond, 1500*time.Millisecond)

// recorder asks a gate on and on, as different clients would, and keeps what
// must never be answered, whatever the store does.
type recorder struct {
	gate *gate
	warm authz.Form   // always allowed
	cold []authz.Form // allowed, or 503
	doom authz.Form   // deleted meanwhile

	stop    chan struct{}
	clients sync.WaitGroup

	mu         sync.Mutex // guards what follows
	promised   time.Time  // when a delete of doom had said that all have applied it; zero: not yet
	asked      map[string]int
	violations []string
}

// record starts a recorder. What is warm may be answered with these statuses
// beside 200.
func (g *gate) record(warm authz.Form, cold []authz.Form, doom authz.Form, may ...int) *recorder {
	r := &recorder{gate: g, warm: warm, cold: cold, doom: doom, stop: make(chan struct{}), asked: map[string]int{}}
	n := 0
	for _, ask := range []func(){
		func() { r.expect("warm", r.warm.Secret, append(may, 200)...) },
		func() { r.expect("cold", r.cold[n%len(r.cold)].Secret, 200, 503); n++ },
		func() { r.expect("doomed", r.doom.Secret, 200, 401, 503) },
		func() { r.expect("foreign", fmt.Sprintf("a.token.of.nobody.%d", time.Now().UnixNano()), 401, 503) },
		func() { r.expect("mistyped", mistyped(r.warm.Secret), 401, 503) },
	} {
		r.clients.Go(func() {
			for !r.ended() {
				ask()
			}
		})
	}
	return r
}

// mistyped is a token but for its last byte.
func mistyped(token string) string {
	last := len(token) - 1
	if token[last] == 'A' {
		return token[:last] + "B"
	}
	return token[:last] + "A"
}

func (r *recorder) ended() bool {
	select {
	case <-r.stop:
		return true
	case <-time.After(pick(5*time.Millisecond, 15*time.Millisecond)):
		return false
	}
}

// expect asks about a token and keeps an answer that is none of these.
func (r *recorder) expect(role, token string, statuses ...int) {
	begun := time.Now()
	status, reason := r.gate.verdict(token)
	took := time.Since(begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[fmt.Sprintf("%s %d (%s)", role, status, reason)]++
	good := slices.Contains(statuses, status)
	if role == "doomed" && status == 200 && !r.promised.IsZero() && begun.After(r.promised) {
		good = false
	}
	if !good || took > answersWithin {
		r.violations = append(r.violations, fmt.Sprintf("%s: %d (%s) after %v", role, status, reason, took))
	}
}

// revoke deletes the doomed secret. Where that says that every sidecar has
// applied it, no later check of it may be allowed.
func (r *recorder) revoke(flags string) result {
	s := r.gate.s
	result := s.run("secret delete "+flags, r.doom.ID)
	if result.code == exitDone && strings.Contains(result.stdout, "applied by 1 of 1 sidecars") {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.promised.IsZero() {
			r.promised = time.Now()
		}
	}
	return result
}

// finish ends the recorder and reports what it has seen.
func (r *recorder) finish() {
	t := r.gate.s.t
	t.Helper()
	close(r.stop)
	r.clients.Wait()
	for _, role := range []string{"warm", "cold", "doomed", "foreign", "mistyped"} {
		if !strings.Contains(fmt.Sprint(r.asked), role) {
			t.Errorf("answers = %v, want some of %s", r.asked, role)
		}
	}
	for i, v := range r.violations {
		if i == 10 {
			t.Errorf("and %d more", len(r.violations)-10)
			break
		}
		t.Errorf("never to be answered: %s", v)
	}
	t.Logf("answers: %v", r.asked)
}
