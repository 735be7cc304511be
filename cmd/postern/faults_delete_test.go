//go:build faults

package main

import (
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/cache/store/storetest"
)

// A sidecar that cannot be reached is named, with the moment by which it must
// have stopped using what was deleted; one that ended well is not counted.
func TestFaultsUnreachableSidecar(t *testing.T) {
	s := newShell(t)
	all := s.secrets(3)
	if out := s.ok("secret delete", all[0].ID); !strings.Contains(out, "no sidecar runs") {
		t.Errorf("secret delete without a sidecar = %q", out)
	}
	s.serve("--name here").awaitFresh()
	ended := s.serve("--name ended")
	ended.awaitFresh()
	dead := s.start("--name dead --max-stale 10m --lag-limit 2s")
	dead.awaitFresh()
	ended.ends()
	dead.endsAtOnce()
	begun := time.Now()
	out := s.ok("secret delete --wait 300ms", all[1].ID)
	form := regexp.MustCompile(`^secret ` + all[1].ID + ` is deleted
applied by 1 of 2 sidecars in (\d+) ms
dead has not said so: it was last heard of at (\S+), and must have stopped by (\S+)
$`).FindStringSubmatch(out)
	if form == nil {
		t.Fatalf("secret delete with a dead sidecar = %q", out)
	}
	seen, by := moment(t, form[2]), moment(t, form[3])
	// The bound: --max-stale, --lag-limit, and 4 s that a report may be late by.
	if got := by.Sub(seen); got != 10*time.Minute+2*time.Second+4*time.Second {
		t.Errorf("it must have stopped %v after it was heard of, want 10m6s", got)
	}
	if age := begun.Sub(seen); age < -time.Second || age > 5*time.Second {
		t.Errorf("it was last heard of %v before, want a moment", age)
	}
	var document struct {
		Sidecars struct {
			Applied, Known int
			Late           []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(s.ok("secret delete --json --wait 10ms", all[2].ID)), &document); err != nil {
		t.Fatal(err)
	}
	if got := document.Sidecars; got.Known != 2 || len(got.Late) == 0 || got.Late[0].Name != "dead" {
		t.Errorf("secret delete --json: sidecars = %+v, want dead among those that are late", got)
	}
}

// Two sidecars by one name are counted as two, and say so: the one that is cut off
// must not hide behind the other.
func TestFaultsSharedName(t *testing.T) {
	s := newShell(t)
	secret := s.create(permission)
	strait := newStrait(t, s.redis.Addr)
	first := s.serve("--name gate --redis redis://" + strait.addr)
	first.warm(secret)
	second := s.serve("--name gate")
	second.warm(secret)
	first.await("see that its name is shared", func() bool {
		return strings.Contains(strings.Join(first.readyz().Problems, " "), "another sidecar has the name gate") && first.metric("postern_store_unsafe") == 1
	})
	first.await("report again", func() bool { return first.metric("postern_fresh") == 1 })
	strait.does(mute)
	if out := s.ok("secret delete --wait 300ms", secret.ID); !strings.Contains(out, "applied by 1 of 2 sidecars") || !strings.Contains(out, "gate/") {
		t.Errorf("secret delete with one of two cut off = %q, want 1 of 2, and the other named", out)
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A deletion that a replica has not got is not said to be done: a failover
// could bring the secret back. Deleting again, with the replica there, is.
func TestFaultsReplicaDoesNotFollow(t *testing.T) {
	s := newShell(t)
	secret := s.create(permission)
	replica := storetest.Redis(t)
	host, port, err := net.SplitHostPort(s.redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	replica.Do("REPLICAOF", host, port)
	g := s.serve("")
	g.warm(secret)
	g.await("see the replica", func() bool { return strings.Contains(s.ask("INFO", "replication"), "state=online") })
	time.Sleep(1200 * time.Millisecond) // the gate's next report: from now on it wants a replica that follows
	replica.Pause()
	s.refused(s.run("secret delete", secret.ID), secret.ID, "is deleted, but a failover could bring it back", "0 of 1", "mend the replicas, then delete it again")
	g.await("deny it all the same", func() bool { status, _ := g.verdict(secret.Secret); return status == 401 })
	g.await("not vouch for a master without a replica that follows", func() bool { return g.metric("postern_fresh") == 0 })
	s.ok("secret delete --replicas 0", secret.ID)
	replica.Resume()
	if out := s.ok("secret delete", secret.ID); !strings.Contains(out, "applied by 1 of 1 sidecars") {
		t.Errorf("secret delete again = %q, want applied by 1 of 1", out)
	}
	s.refused(s.run("secret delete --replicas 2", secret.ID), "1 of 2")
	g.awaitFresh()
}
