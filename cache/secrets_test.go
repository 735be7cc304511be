package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

func TestHitMakesNoIO(t *testing.T) {
	w, s := onRedis(t)
	minted, secret := w.legacy("m")
	imported := w.imported("m", name(1))
	c := w.confirmed(Options{LagLimit: time.Minute})
	s.Do("CONFIG", "RESETSTAT")
	want(t, "minted, first", c, minted, here, found)
	want(t, "imported, first", c, imported, here, found)
	if got := reads(t, s); got != 2 {
		t.Fatalf("GETs of two misses = %d, want 2: the count shows nothing", got)
	}
	s.Stop()
	for range 100 {
		got, err := c.Find(t.Context(), minted, here)
		if err != nil || got.ID != secret.ID || got.Merchant != "m" || !got.Unrestricted {
			t.Fatalf("Find of a secret that is kept, with no server = %+v, %v, want that of merchant m", got, err)
		}
		want(t, "imported, kept, with no server", c, imported, here, found)
	}
	if hits, reads := c.Stats.Hits.Load(), c.Stats.Reads.Load(); hits != 200 || reads != 2 || c.Len() != 2 {
		t.Errorf("hits, reads, kept = %d, %d, %d, want 200, 2, 2", hits, reads, c.Len())
	}
}

// However many ask for one secret at once, also more than may read at once,
// and than one network may read in a second.
func TestMissesOfOneSecretReadOnce(t *testing.T) {
	leavesNothing(t)
	w, s := onRedis(t)
	minted, _ := w.legacy("m")
	tests := []struct {
		name string
		l    authz.Lookup
	}{{"minted", minted}, {"imported", w.imported("m", name(1))}}
	for _, tt := range tests {
		for range 5 {
			c := w.confirmed(Options{Timeout: 5 * time.Second, LagLimit: time.Minute})
			s.Do("CONFIG", "RESETSTAT")
			start := make(chan struct{})
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					<-start
					want(t, tt.name, c, tt.l, here, found)
				})
			}
			close(start)
			all.Wait()
			if got := reads(t, s); got != 1 {
				t.Errorf("%s: GETs of 1,000 misses at once = %d, want 1", tt.name, got)
			}
		}
	}
}

// A cache that does not follow the log reads before each use.
func TestUnconfirmedReadsEachTime(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, secret := b.legacy("m")
		c := b.cached(Options{MaxStale: time.Hour})
		want(t, "first", c, l, here, found)
		before := b.gets.Load()
		want(t, "second", c, l, here, found)
		want(t, "third", c, l, here, found)
		if got := b.gets.Load() - before; got != 2 {
			t.Errorf("GETs of two more finds = %d, want 2", got)
		}
		if _, err := b.store.Delete(t.Context(), secret.ID, store.AllReplicas); err != nil {
			t.Fatal(err)
		}
		tombstone(t, "deleted", c, l)
		b.hang(true)
		time.Sleep(time.Minute)
		tombstone(t, "deleted, in an outage", c, l)
	})
}

// tombstone demands that a find comes to a tombstone.
func tombstone(t *testing.T, what string, c *Secrets, l authz.Lookup) {
	t.Helper()
	if got, err := c.Find(t.Context(), l, here); err != nil || got.DeletedAt.IsZero() {
		t.Errorf("%s: Find = %v, %v, want a tombstone", what, got, err)
	}
}

func TestServesStale(t *testing.T) {
	var (
		breaks = func(b *bubble, l authz.Lookup) { b.fails.Store(true) }
		hangs  = func(b *bubble, l authz.Lookup) { b.hang(true) }
		loses  = func(b *bubble, l authz.Lookup) { b.redis.Del(recordKey(l)) }
		flush  = func(b *bubble, l authz.Lookup) { b.redis.FlushAll() }
		spoils = func(b *bubble, l authz.Lookup) { b.put(recordKey(l), "spoilt") }
		list   = func(b *bubble, l authz.Lookup) { b.redis.Del(recordKey(l)); b.redis.Push(recordKey(l), "item") }
	)
	tests := []struct {
		name     string
		fault    func(*bubble, authz.Lookup)
		maxStale time.Duration
		after    time.Duration // the read
		want     authz.Reason
		cold     authz.Reason // the control: the same without an entry
	}{
		{"store fails", breaks, time.Minute, 30 * time.Second, found, authz.StoreUnavailable},
		{"store hangs", hangs, time.Minute, 30 * time.Second, found, authz.StoreUnavailable},
		{"record lost", loses, time.Minute, 30 * time.Second, found, authz.RecordMissing},
		{"store emptied", flush, time.Minute, 30 * time.Second, found, authz.RecordMissing},
		{"last moment", breaks, time.Minute, time.Minute - 1, found, authz.StoreUnavailable},
		{"store fails for too long", breaks, time.Minute, time.Minute, authz.StoreUnavailable, authz.StoreUnavailable},
		{"record lost too long ago", loses, time.Minute, time.Minute, authz.RecordMissing, authz.RecordMissing},
		{"strict", breaks, 0, 0, authz.StoreUnavailable, authz.StoreUnavailable},
		{"strict, hangs", hangs, 0, 0, authz.StoreUnavailable, authz.StoreUnavailable},
		{"strict, lost", loses, 0, 0, authz.RecordMissing, authz.RecordMissing},
		{"record spoilt", spoils, time.Hour, 10 * time.Second, authz.RecordInvalid, authz.RecordInvalid},
		{"record of another type", list, time.Hour, 10 * time.Second, authz.RecordInvalid, authz.RecordInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				l, _ := b.legacy("m")
				warm, cold := b.cached(Options{MaxStale: tt.maxStale}), b.cached(Options{MaxStale: tt.maxStale})
				want(t, "before the fault", warm, l, here, found)
				tt.fault(b, l)
				time.Sleep(tt.after)
				want(t, "with an entry", warm, l, here, tt.want)
				want(t, "with an entry, again", warm, l, here, tt.want)
				want(t, "without an entry", cold, l, here, tt.cold)
				if got, stale := warm.Stats.Stale.Load(), tt.want == found; (got > 0) != stale {
					t.Errorf("stale answers counted = %d, want some: %v", got, stale)
				}
			})
		})
	}
}

// An imported secret that was there and is not any more was lost, not unknown.
func TestLostImportedIsStale(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.imported("m", name(1))
		warm, cold := b.cached(Options{MaxStale: time.Minute}), b.cached(Options{MaxStale: time.Minute})
		want(t, "before", warm, l, here, found)
		b.redis.Del(recordKey(l))
		time.Sleep(30 * time.Second)
		want(t, "lost", warm, l, here, found)
		want(t, "lost, without an entry", cold, l, here, authz.Unknown)
		time.Sleep(30 * time.Second)
		want(t, "lost too long ago", warm, l, here, authz.RecordMissing)
		if got := warm.Stats.Missing.Load(); got != 2 {
			t.Errorf("missing records counted = %d, want 2", got)
		}
	})
}

// A token that was minted here and is not there was lost, whatever the store
// looks like: never unknown.
func TestLostMinted(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.lost()
		c := b.cached(Options{})
		want(t, "empty store", c, l, here, authz.RecordMissing)
		b.legacy("m")
		c.Look(t.Context())
		want(t, "ready store", c, l, here, authz.RecordMissing)
		want(t, "not looked at", New(b.store, Options{}), l, here, authz.RecordMissing)
		b.redis.FlushAll()
		want(t, "emptied store", c, l, here, authz.RecordMissing)
		_, err := c.Find(t.Context(), l, here)
		if id := l.Digest.ID(); authz.RecordMissing.Decision() != authz.Fail || !strings.Contains(err.Error(), id) {
			t.Errorf("error = %q, decision %v, want one with id %s, and Fail", err, authz.RecordMissing.Decision(), id)
		}
		if got := c.Stats.Missing.Load(); got != 4 {
			t.Errorf("missing records counted = %d, want 4", got)
		}
	})
}

// A record that cannot be used costs its own secret only, and is used as soon
// as it is good again.
func TestInvalidRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, _ := b.legacy("m")
		other, _ := b.legacy("other")
		c := b.cached(Options{MaxStale: time.Hour})
		good, _ := b.redis.Get(recordKey(l))
		b.put(recordKey(l), strings.Replace(good, `"unrestricted":true`, `"unrestricted":1234`, 1))
		want(t, "spoilt", c, l, here, authz.RecordInvalid)
		want(t, "the other", c, other, here, found)
		b.put(recordKey(l), good)
		want(t, "good again", c, l, here, found)
		if got := c.Stats.Invalid.Load(); got != 1 {
			t.Errorf("invalid records counted = %d, want 1", got)
		}
	})
}

// A read has its own time, whoever waits for it: the one that reads stays, and
// one that cannot wait for it leaves the others.
func TestCancelLeavesOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		for _, l := range []authz.Lookup{b.imported("m", name(1)), first(b.legacy("m"))} {
			c := b.cached(Options{})
			b.delay.Store(int64(30 * time.Millisecond))
			begun, before := time.Now(), b.gets.Load()
			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			find := func(who string, wanted error, after time.Duration) {
				_, err := c.Find(short, l, here)
				if took := time.Since(begun); !errors.Is(err, wanted) || took != after {
					t.Errorf("Find for 10 ms, by %s = %v after %v, want %v after %v", who, err, took, wanted, after)
				}
			}
			go find("the one that reads", nil, 30*time.Millisecond)
			synctest.Wait()
			go find("another", authz.StoreUnavailable, 10*time.Millisecond)
			time.Sleep(5 * time.Millisecond)
			want(t, "a third", c, l, here, found)
			if took, gets := time.Since(begun), b.gets.Load()-before; took != 30*time.Millisecond || gets != 1 {
				t.Errorf("the third took %v, and all %d GETs, want 30ms and 1", took, gets)
			}
			cancel()
			synctest.Wait()
			b.delay.Store(0)
		}
	})
}

func first(l authz.Lookup, _ *authz.Secret) authz.Lookup { return l }

// With a new key, imported secrets are looked for under both.
func TestFindsImportedUnderOlderKey(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.imported("m", name(1))
		minted, _ := b.legacy("m")
		c := b.cached(Options{})
		next, err := b.keys.Add()
		if err == nil {
			next, err = next.Promote(next.KeyIDs()[1])
		}
		if err != nil {
			t.Fatal(err)
		}
		b.store.SetKeyring(next)
		want(t, "imported", c, b.stranger(name(1)), here, found)
		want(t, "unknown", c, b.stranger(name(2)), here, authz.Unknown)
		want(t, "minted", c, minted, here, found)
		want(t, "no digest", c, authz.Lookup{}, here, authz.Internal)
	})
}
