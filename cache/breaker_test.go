package cache

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/authz"
)

// took demands how long a find takes, beside what it comes to.
func took(t *testing.T, what string, c *Secrets, l authz.Lookup, reason authz.Reason, exactly time.Duration) {
	t.Helper()
	begun := time.Now()
	want(t, what, c, l, here, reason)
	if got := time.Since(begun); got != exactly {
		t.Errorf("%s took %v, want %v", what, got, exactly)
	}
}

func TestHangingStore(t *testing.T) {
	const timeout = 50 * time.Millisecond
	inBubble(t, func(t *testing.T, b *bubble) {
		warm, _ := b.legacy("warm")
		cold, _ := b.legacy("cold")
		c := b.cached(Options{MaxStale: time.Hour})
		want(t, "healthy", c, warm, here, found)
		b.hang(true)
		took(t, "first failure", c, warm, found, timeout)
		took(t, "second failure", c, cold, authz.StoreUnavailable, timeout)
		took(t, "third failure", c, cold, authz.StoreUnavailable, timeout)
		before := b.gets.Load()
		for range 100 {
			took(t, "cold, between probes", c, cold, authz.StoreUnavailable, 0)
			took(t, "warm, between probes", c, warm, found, 0)
		}
		time.Sleep(breakerProbe - 1)
		took(t, "just before a probe", c, cold, authz.StoreUnavailable, 0)
		if got := b.gets.Load() - before; got != 0 {
			t.Errorf("GETs between probes = %d, want 0", got)
		}
		time.Sleep(time.Nanosecond)
		took(t, "the probe", c, cold, authz.StoreUnavailable, timeout)
		took(t, "after it", c, cold, authz.StoreUnavailable, 0)
		b.hang(false)
		took(t, "healthy, before a probe", c, cold, authz.StoreUnavailable, 0)
		time.Sleep(breakerProbe)
		took(t, "recovered", c, cold, found, 0)
		took(t, "warm, recovered", c, warm, found, 0)
		want(t, "another, recovered", c, b.lost(), here, authz.RecordMissing)
		if got := b.gets.Load() - before; got != 4 {
			t.Errorf("GETs since = %d, want the failed probe, the good one, and 2", got)
		}
	})
}

// Of many that ask at once, one probes.
func TestProbesAreSingle(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		c := b.cached(Options{})
		b.hang(true)
		for range breakerFailures {
			want(t, "failure", c, b.lost(), here, authz.StoreUnavailable)
		}
		before := b.gets.Load()
		for range 10 {
			time.Sleep(breakerProbe)
			var all sync.WaitGroup
			for range 100 {
				l := b.lost()
				all.Go(func() { want(t, "at a probe", c, l, here, authz.StoreUnavailable) })
			}
			all.Wait()
			synctest.Wait()
		}
		if got := b.gets.Load() - before; got != 10 {
			t.Errorf("GETs of 10 probes = %d, want 10", got)
		}
	})
}

// Answers that are no help are answers all the same: they keep nobody from the
// store.
func TestBreakerHearsAnswers(t *testing.T) {
	tests := []struct {
		name  string
		store func(b *bubble) authz.Lookup // is asked for
		want  authz.Reason
		then  authz.Reason // for a good secret
	}{
		{"record missing", func(b *bubble) authz.Lookup { return b.lost() }, authz.RecordMissing, found},
		{"record invalid", func(b *bubble) authz.Lookup {
			l := b.lost()
			b.put(recordKey(l), "spoilt")
			return l
		}, authz.RecordInvalid, found},
		{"unknown", func(b *bubble) authz.Lookup { return b.stranger(name(1)) }, authz.Unknown, found},
		{"unknown in a store with another epoch", func(b *bubble) authz.Lookup {
			b.redis.Del(epochKey)
			b.redis.Del("{postern}:sidecars") // which would keep a new store from being made
			b.legacy("another")
			return b.stranger(name(1))
		}, authz.StoreUnavailable, found},
		{"unknown in a store of others", func(b *bubble) authz.Lookup {
			foreign(b)
			return b.stranger(name(1))
		}, authz.StoreUnavailable, found},
		{"control: errors", func(b *bubble) authz.Lookup {
			b.fails.Store(true)
			return b.lost()
		}, authz.StoreUnavailable, authz.StoreUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				good, _ := b.legacy("m")
				c := b.cached(Options{})
				bad := tt.store(b)
				for range 2 * breakerFailures {
					want(t, "bad", c, bad, here, tt.want)
				}
				b.fails.Store(false)
				want(t, "good", c, good, here, tt.then)
			})
		})
	}
}

// The same on a real server that is frozen, where the time is not exact.
func TestFrozenServer(t *testing.T) {
	leavesNothing(t)
	w, s := onRedis(t)
	warm, _ := w.legacy("warm")
	cold, _ := w.legacy("cold")
	c := w.cached(Options{MaxStale: time.Hour})
	want(t, "healthy", c, warm, here, found)
	s.Pause()
	begun := time.Now()
	for range breakerFailures {
		want(t, "cold, frozen", c, cold, here, authz.StoreUnavailable)
	}
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() { want(t, "cold, frozen, at once", c, cold, here, authz.StoreUnavailable) })
		all.Go(func() { want(t, "warm, frozen", c, warm, here, found) })
	}
	all.Wait()
	if got := time.Since(begun); got > 2*time.Second {
		t.Errorf("2,003 finds took %v, want at most three timeouts of 50ms and a probe's", got)
	}
	s.Resume()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := c.Find(t.Context(), cold, here)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Find in 5s after the server went on: %v", err)
		}
	}
}
