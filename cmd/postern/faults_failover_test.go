//go:build faults

package main

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store/storetest"
)

// A master that was cut off answers readily, and knows nothing of what was
// deleted since. With min-replicas-to-write a sidecar that is cut off with it
// stops using deleted secrets within the bound all the same.
func TestFaultsSplitBrain(t *testing.T) {
	for _, tt := range []struct {
		name, wanted string // min-replicas-to-write
		status       int    // of a deleted secret, once the bound is over
	}{
		{"a strict master", "1", 503},
		{"control: a master that needs no replica", "0", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t)
			replica := s.replica()
			s.ask("CONFIG", "SET", "min-replicas-to-write", tt.wanted)
			warm, cold := s.create(permission), s.create(permission)
			g := s.serve(shipped + " --max-stale 1s --lag-limit 500ms")
			g.warm(warm)
			time.Sleep(1200 * time.Millisecond) // the gate's next report: it knows the replica
			replica.Do("REPLICAOF", "NO", "ONE")
			for _, f := range []authz.Form{warm, cold} {
				out := s.ok("secret delete --wait 10ms --redis redis://"+replica.Addr, f.ID)
				if !strings.Contains(out, "applied by 0 of 1 sidecars") || !strings.Contains(out, "must have stopped by") {
					t.Errorf("secret delete on the new master = %q, want 0 of 1, and by when it must have stopped", out)
				}
			}
			g.answers(warm.Secret, request, 200, "granted")
			time.Sleep(5500 * time.Millisecond) // 1 s + 500 ms + 4 s
			for _, f := range []authz.Form{warm, cold} {
				if status, reason := g.verdict(f.Secret); status != tt.status {
					t.Errorf("a deleted secret after the bound = %d (%s), want %d", status, reason, tt.status)
				}
			}
		})
	}
}

// replica is a second server that has all that the first has.
func (s *shell) replica() *storetest.Server {
	s.t.Helper()
	replica := storetest.Redis(s.t, "--appendonly", "yes")
	host, port, err := net.SplitHostPort(s.redis.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	replica.Do("REPLICAOF", host, port)
	for end := time.Now().Add(10 * time.Second); !strings.Contains(s.ask("INFO", "replication"), "state=online"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("the replica does not follow")
		}
	}
	return replica
}

// TestFaultsFailover kills masters, again and again, and lets their replicas
// take over, while secrets are deleted: what a delete said was done stays
// deleted on every sidecar, and what was never deleted is never denied.
func TestFaultsFailover(t *testing.T) {
	strict := []string{"--appendonly", "yes", "--min-replicas-to-write", "1"}
	t.Run("Sentinel", func(t *testing.T) {
		s := newShell(t)
		group := storetest.Sentinel(t, strict...)
		s.failOver(group.URL(), group.Kill)
	})
	t.Run("Cluster", func(t *testing.T) {
		s := newShell(t)
		group, next := storetest.ClusterWithReplicas(t, strict...), 0
		s.failOver(group.URL(), func() {
			group.Failover(next % len(group.Nodes))
			next++
		})
	})
}

// failOver deletes secrets while master after master fails.
func (s *shell) failOver(url string, fail func()) {
	s.t.Helper()
	s.env["POSTERN_REDIS"] = url
	rounds, each := pick(20, 2), pick(50, 9)
	keep := s.create(permission)
	g := s.serve(shipped)
	g.warm(keep)
	r := g.record(keep, []authz.Form{keep}, s.create(permission))
	var gone, left []authz.Form
	for range rounds {
		all := s.patiently(keep, each)
		for _, f := range all {
			g.await("allow "+f.ID, func() bool { status, _ := g.verdict(f.Secret); return status == 200 })
		}
		var failing sync.WaitGroup
		for i, f := range all {
			switch i {
			case len(all) / 3:
				failing.Go(fail)
			case len(all) * 2 / 3:
				failing.Wait()
			}
			if got := s.run("secret delete --wait 1s", f.ID); got.code == exitDone {
				gone = append(gone, f)
			} else {
				left = append(left, f)
			}
		}
		g.await("allow what was never deleted", func() bool { status, _ := g.verdict(keep.Secret); return status == 200 })
	}
	s.t.Logf("%d failovers, %d deletions done, %d not", rounds, len(gone), len(left))
	if len(gone) < rounds || len(left) == 0 {
		s.t.Error("want deletions that were done and ones that failed: this test shows little")
	}
	g.awaitFresh()
	fresh := s.serve(shipped) // one that has seen nothing
	s.patiently(keep, 1)      // the servers have settled
	for _, f := range left {  // deleting again finishes what was left, once a replica follows
		g.await("delete "+f.ID, func() bool { return s.run("secret delete --wait 5s", f.ID).code == exitDone })
	}
	for _, f := range append(gone, left...) {
		g.denies(f)
		fresh.denies(f)
	}
	r.finish()
}

// patiently makes n secrets like one that there is. After many failovers in a
// row it may take Sentinel a while to sort out who follows whom.
func (s *shell) patiently(like authz.Form, n int) (all []authz.Form) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); len(all) < n; {
		r := s.run("secret rotate --json", like.ID)
		switch {
		case r.code == exitDone:
			var f authz.Form
			s.decode(r.stdout, &f)
			s.watch(f.Secret, 1)
			all = append(all, f)
		case time.Now().After(end):
			s.t.Fatalf("no secret can be made: %s", r.summary())
		default:
			time.Sleep(100 * time.Millisecond)
		}
	}
	return all
}

// denies demands that a gate comes to deny a deleted secret, and never allows it.
func (g *gate) denies(f authz.Form) {
	g.s.t.Helper()
	g.await("deny "+f.ID, func() bool {
		status, reason := g.verdict(f.Secret)
		if status != 401 && status != 503 {
			g.s.t.Errorf("a deleted secret = %d (%s), want 401, or 503 at first", status, reason)
		}
		return reason == "deleted"
	})
}
