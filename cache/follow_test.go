package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
)

// A deletion is applied when the log tells of it, with no request's help, and
// the fleet hears of that.
func TestDeletedIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, secret := b.legacy("m")
		other, _ := b.legacy("other")
		c, deaf := b.confirmed(Options{Name: "a"}), b.confirmed(Options{Name: "deaf", LagLimit: time.Hour})
		stop := b.follows(c)
		defer stop()
		for _, c := range []*Secrets{c, deaf} {
			want(t, "live", c, l, here, found)
			want(t, "the other", c, other, here, found)
		}
		deletion := b.deletes(secret)
		time.Sleep(logBlock)
		tombstone(t, "deleted", c, l)
		if got, err := deaf.Find(t.Context(), l, here); err != nil || !got.DeletedAt.IsZero() {
			t.Errorf("control: Find of one that does not follow = %v, %v, want the secret as it was", got, err)
		}
		b.spends("the other", c, other, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		applied, late, err := b.store.AwaitApplied(ctx, deletion.Announced)
		if err != nil || len(applied) != 1 || applied[0].Name != "a" || len(late) != 1 || late[0].Name != "deaf" {
			t.Errorf("AwaitApplied = %v, %v, %v, want the one that follows, and the other late", applied, late, err)
		}
	})
}

// A read that was under way when its secret was deleted is not kept.
func TestDeletedWhileRead(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, secret := b.legacy("m")
		c := b.confirmed(Options{})
		stop := b.follows(c)
		defer stop()
		n := 0
		got, err := c.fill(t.Context(), l, func() (*authz.Secret, error) {
			old, err := b.store.Read(t.Context(), secret.ID)
			if n++; n == 1 {
				b.deletes(secret)
				time.Sleep(logBlock) // the answer is slow
			}
			return old, err
		})
		if err != nil || got.DeletedAt.IsZero() || n != 2 {
			t.Errorf("fill = %v, %v after %d reads, want the tombstone after 2", got, err, n)
		}
		tombstone(t, "later", c, l)
	})
}

// A master that had replicas, and has none that follows, proves nothing: it
// may have been cut off, and another one taken its place.
func TestUnfollowedMasterConfirmsNothing(t *testing.T) {
	tests := []struct {
		name string
		lose func(master, replica *storetest.Server)
		want bool // that secrets are confirmed still
	}{
		{"control: it follows", func(_, _ *storetest.Server) {}, true},
		{"it stops", func(_, replica *storetest.Server) { replica.Stop() }, false},
		{"it stands still", func(_, replica *storetest.Server) { replica.Pause() }, false},
		{"it leaves", func(_, replica *storetest.Server) { replica.Do("REPLICAOF", "NO", "ONE") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, master := onRedis(t, "--repl-diskless-sync-delay", "0")
			replica := storetest.Redis(t)
			host, port, _ := strings.Cut(master.Addr, ":")
			replica.Do("REPLICAOF", host, port)
			await(t, "follow", func() bool { return strings.Contains(replica.Do("INFO", "replication").(string), "link_status:up") })
			l, _ := w.legacy("m")
			c := w.cached(Options{MaxStale: time.Hour})
			await(t, "be confirmed", func() bool { return c.Begin(t.Context()) == nil && c.Freshness().Confirmed })
			want(t, "before", c, l, here, found)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); c.Follow(ctx) }()
			tt.lose(master, replica)
			time.Sleep(reportWithin + 2*time.Second)
			f := c.Freshness()
			if f.Confirmed != tt.want || (f.Trouble == nil) != tt.want || !tt.want && !errors.Is(f.Trouble, store.ErrUnfollowed) {
				t.Errorf("Freshness = %+v, want it confirmed: %v, or else %v", f, tt.want, store.ErrUnfollowed)
			}
			want(t, "in any case", c, l, here, found)
			cancel()
			<-done
		})
	}
}

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not %s in 10s", what)
		}
	}
}

// Without reports the fleet does not count us, so nothing is proved, and it is
// told why.
func TestUnreportedConfirmsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, _ := b.legacy("m")
		c := b.confirmed(Options{})
		stop := b.follows(c)
		b.put(fleetKey, "text")
		time.Sleep(reportWithin + time.Second)
		for range 10 {
			if f := c.Freshness(); f.Confirmed || f.Trouble == nil {
				t.Errorf("Freshness without reports = %+v, want it not confirmed, and why", f)
			}
			b.spends("without reports", c, l, 1)
			time.Sleep(logBlock)
		}
		b.redis.Del(fleetKey)
		time.Sleep(2 * reportEvery)
		if f := c.Freshness(); !f.Confirmed || f.Trouble != nil {
			t.Errorf("control: Freshness with reports = %+v, want it confirmed", f)
		}
		stop()
	})
}

// The fleet counts a sidecar until it leaves; and one that was killed until it
// must have stopped.
func TestLeavesFleet(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		begin(b)
		const maxStale = time.Minute
		begun := time.Now()
		killed := b.confirmed(Options{Name: "killed", MaxStale: maxStale, Catalog: func() string { return "hash" }})
		c := b.confirmed(Options{Name: "clean"})
		stop := b.follows(c)
		time.Sleep(10 * time.Second)
		fleet := func() (names []string) {
			all, _, err := b.store.Fleet(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				names = append(names, s.Name+" "+s.Catalog)
			}
			return names
		}
		if got := fmt.Sprint(fleet()); got != "[clean  killed hash]" {
			t.Errorf("the fleet = %s, want both", got)
		}
		stop()
		if got := fleet(); len(got) != 1 {
			t.Errorf("the fleet that one has left = %v, want the one that was killed", got)
		}
		bound := maxStale + killed.fresh.lagLimit + reportWithin + reportSlack
		time.Sleep(time.Until(begun.Add(bound - time.Millisecond)))
		if got := fleet(); len(got) != 1 {
			t.Errorf("the fleet %v after the report = %v, want the one that was killed", bound-time.Millisecond, got)
		}
		time.Sleep(time.Millisecond)
		if got := fleet(); len(got) != 0 {
			t.Errorf("the fleet %v after the report = %v, want none", bound, got)
		}
	})
}

// A cache that finds no store follows it as soon as it is there.
func TestFollowsWhenStoreComes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, secret := b.legacy("m")
		b.down.Store(true)
		c := b.cached(Options{})
		if err := c.Begin(t.Context()); !errors.Is(err, authz.StoreUnavailable) {
			t.Errorf("Begin without a store = %v, want %v", err, authz.StoreUnavailable)
		}
		stop := b.follows(c)
		defer stop()
		time.Sleep(time.Minute)
		if f := c.Freshness(); f.Confirmed || f.Trouble == nil {
			t.Errorf("Freshness without a store = %+v, want it not confirmed, and why", f)
		}
		b.down.Store(false)
		c.Look(t.Context())
		time.Sleep(2 * reportEvery)
		b.spends("first", c, l, 1)
		b.spends("second", c, l, 0)
		b.deletes(secret)
		time.Sleep(logBlock)
		tombstone(t, "deleted", c, l)
	})
}
