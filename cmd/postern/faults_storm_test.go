//go:build faults

package main

import (
	"strings"
	"sync"
	"testing"
)

// Sidecars that all start cold under load read each secret once each, however
// many requests for it come at once; and one hot secret costs one read.
func TestFaultsRestartStorm(t *testing.T) {
	s := newShell(t)
	sidecars, distinct, requests := pick(20, 4), pick(200, 25), pick(20, 8)
	all := s.secrets(distinct)
	s.ask("SLOWLOG", "RESET") // it holds every command
	var fleet []*gate
	for range sidecars {
		fleet = append(fleet, s.serve(shipped))
	}
	var storm sync.WaitGroup
	for _, g := range fleet {
		for range requests {
			storm.Go(func() {
				for _, f := range all {
					g.untilAllowed(f.Secret)
				}
			})
		}
	}
	storm.Wait()
	got := s.readsOf("postern:secret:")
	want := sidecars * distinct
	t.Logf("%d sidecars, %d secrets, %d requests each: %d reads", sidecars, distinct, requests, got)
	if got < want || float64(got) > 1.05*float64(want) {
		t.Errorf("reads = %d, want %d, and 5 %% more at most", got, want)
	}
	s.ask("SLOWLOG", "RESET")
	hot := s.create(permission)
	for _, g := range fleet {
		for range 16 {
			storm.Go(func() { g.untilAllowed(hot.Secret) })
		}
	}
	storm.Wait()
	if got := s.readsOf("postern:secret:" + hot.ID); got != sidecars {
		t.Errorf("reads of one hot secret by %d sidecars = %d, want one each", sidecars, got)
	}
}

// readsOf counts the reads of records whose keys begin with this.
func (s *shell) readsOf(key string) int {
	return strings.Count(s.ask("SLOWLOG", "GET", -1), "[get "+key)
}

// untilAllowed asks until a secret is allowed: on a busy machine a read may
// take too long.
func (g *gate) untilAllowed(token string) {
	for range 100 {
		if status, _ := g.verdict(token); status == 200 {
			return
		}
	}
	g.s.t.Error("a good secret is not allowed, 100 times over")
}
