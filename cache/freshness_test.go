package cache

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// spends demands how many GETs it takes to find a secret.
func (b *bubble) spends(what string, c *Secrets, l authz.Lookup, gets int64) {
	b.t.Helper()
	before := b.gets.Load()
	want(b.t, what, c, l, here, found)
	if got := b.gets.Load() - before; got != gets {
		b.t.Errorf("%s: GETs = %d, want %d", what, got, gets)
	}
}

// deletes deletes a secret.
func (w world) deletes(s *authz.Secret) store.Deletion {
	w.t.Helper()
	deletion, err := w.store.Delete(w.t.Context(), s.ID, store.AllReplicas)
	if err != nil {
		w.t.Fatal(err)
	}
	return deletion
}

// skew is a moment at which the wall clock says that this much more has passed
// than the monotonic clock does.
func skew(t time.Time, by time.Duration) time.Time {
	t = t.Add(by)
	(*struct {
		_         uint64
		monotonic int64
	})(unsafe.Pointer(&t)).monotonic -= int64(by)
	return t
}

func TestAgeIsOfTheLongerClock(t *testing.T) {
	at := time.Now()
	tests := []struct {
		name      string
		now       time.Time
		monotonic time.Duration // the control: what one of the clocks says
		want      time.Duration
	}{
		{"both go on", at.Add(time.Second), time.Second, time.Second},
		{"the wall clock is set forward", skew(at.Add(time.Second), time.Hour), time.Second, time.Hour + time.Second},
		{"the wall clock is set back", skew(at.Add(time.Second), -time.Hour), time.Second, time.Second},
		{"the machine slept", skew(at, time.Hour), 0, time.Hour},
	}
	for _, tt := range tests {
		if got := tt.now.Sub(at); got != tt.monotonic {
			t.Errorf("%s: the monotonic clock says %v, want %v: this test shows nothing", tt.name, got, tt.monotonic)
		}
		if got := age(at, tt.now); got != tt.want {
			t.Errorf("%s: age = %v, want %v", tt.name, got, tt.want)
		}
		f := freshness{lagLimit: time.Minute}
		f.prove(at)
		e, fresh := entry{read: at}, tt.want < time.Minute
		if f.confirmed(tt.now) != fresh || f.covers(e, tt.now) != fresh {
			t.Errorf("%s: confirmed, covers = %v, %v, want %v", tt.name, f.confirmed(tt.now), f.covers(e, tt.now), fresh)
		}
	}
}

// What was proved holds for the lag limit. A process that stood still, and let
// its log wait, does not answer from before that.
func TestProofHoldsForLagLimit(t *testing.T) {
	tests := []struct {
		name          string
		limit, paused time.Duration
		deleted       bool // what the find comes to
	}{
		{"control: not paused", time.Second, 0, false},
		{"almost too long", time.Second, time.Second - 1, false},
		{"too long", time.Second, time.Second, true},
		{"for an hour", time.Second, time.Hour, true},
		{"another limit", time.Minute, time.Minute - 1, false},
		{"another limit, too long", time.Minute, time.Minute, true},
		{"the default", 0, time.Second - 1, false},
		{"the default, too long", 0, time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				l, secret := b.legacy("m")
				c := b.confirmed(Options{LagLimit: tt.limit, MaxStale: time.Hour})
				b.spends("first", c, l, 1)
				b.spends("confirmed", c, l, 0)
				b.deletes(secret)
				time.Sleep(tt.paused)
				if got, err := c.Find(t.Context(), l, here); err != nil || got.DeletedAt.IsZero() == tt.deleted {
					t.Errorf("Find after a pause of %v = %+v, %v, want it deleted: %v", tt.paused, got, err, tt.deleted)
				}
				if f := c.Freshness(); f.Confirmed == tt.deleted || f.Lag != tt.paused {
					t.Errorf("Freshness after %v = %+v", tt.paused, f)
				}
			})
		})
	}
}

func TestNothingIsConfirmedBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, _ := b.legacy("m")
		c := b.cached(Options{})
		if f := c.Freshness(); f.Confirmed || f.Lag >= 0 || f.Gaps != 0 {
			t.Errorf("Freshness before Begin = %+v, want it not confirmed, and no lag known", f)
		}
		b.spends("first", c, l, 1)
		b.spends("second", c, l, 1)
		if err := c.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.spends("read before the log's end was found", c, l, 1)
		b.spends("read after it", c, l, 0)
		if f := c.Freshness(); !f.Confirmed || f.Gaps != 0 || f.Trouble != nil {
			t.Errorf("Freshness after Begin = %+v, want it confirmed, without a gap", f)
		}
	})
}

// An entry is read again after five minutes, give or take a tenth, although
// the log is confirmed all the time; and not all entries at once.
func TestRereadsWhatIsConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		begin(b)
		c := b.confirmed(Options{LagLimit: time.Hour})
		var all []authz.Lookup
		for i := range 100 {
			all = append(all, b.imported("m", name(i)))
			want(t, "first", c, all[i], here, found)
		}
		begun, again := time.Now(), []time.Duration{}
		for len(again) < len(all) && time.Since(begun) < 10*time.Minute {
			time.Sleep(time.Second)
			before := b.gets.Load()
			for _, l := range all {
				want(t, "later", c, l, here, found)
			}
			for range b.gets.Load() - before {
				again = append(again, time.Since(begun))
			}
		}
		if len(again) < len(all) || again[0] < 4*time.Minute+30*time.Second || again[99] > 5*time.Minute+31*time.Second {
			t.Fatalf("read again after %v, want 100 from 4m30s to 5m30s", again)
		}
		if spread := again[90] - again[10]; spread < 20*time.Second {
			t.Errorf("80 of 100 are read again within %v, want them spread over a minute", spread)
		}
	})
}

// follows has a cache follow the log, until stop is called.
func (b *bubble) follows(c *Secrets) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Follow(ctx)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

// How long an entry is served when it cannot be read again: since it was last
// known to be true, which the log says for as long as it could be followed.
func TestStaleSinceLastTrue(t *testing.T) {
	const stale = 5 * time.Minute
	const minute = time.Minute + 20*time.Millisecond // not as a read of the log ends
	tests := []struct {
		name     string
		followed time.Duration // the log, before the store goes down
		maxStale time.Duration
		want     bool // that it is served at all
	}{
		{"confirmed a moment ago", 0, stale, true},
		{"followed for a minute", minute, stale, true},
		{"strict", minute, 0, false},
		{"a short time", minute, 2 * time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				l, _ := b.legacy("m")
				c := b.confirmed(Options{MaxStale: tt.maxStale})
				unfollowed := b.cached(Options{MaxStale: tt.maxStale})
				want(t, "first", c, l, here, found)
				want(t, "first, not followed", unfollowed, l, here, found)
				read := time.Now()
				stop := b.follows(c)
				time.Sleep(tt.followed)
				b.down.Store(true)
				last := c.fresh.proof().at
				took(t, "confirmed still", c, l, found, 0)
				time.Sleep(time.Until(last.Add(time.Second)))
				if !tt.want {
					want(t, "strict", c, l, here, authz.StoreUnavailable)
					stop()
					return
				}
				want(t, "stale", c, l, here, found)
				if tt.followed >= tt.maxStale {
					want(t, "control: not followed", unfollowed, l, here, authz.StoreUnavailable)
				}
				time.Sleep(time.Until(last.Add(tt.maxStale - 1)))
				want(t, "the last moment", c, l, here, found)
				if got := time.Duration(c.Stats.Oldest.Load()); got != tt.maxStale-1 {
					t.Errorf("the oldest answer = %v, want %v", got, tt.maxStale-1)
				}
				if since := time.Since(read); since-tt.followed > tt.maxStale {
					t.Errorf("served for %v, want %v after %v", since, tt.maxStale, tt.followed)
				}
				time.Sleep(time.Nanosecond)
				want(t, "too long", c, l, here, authz.StoreUnavailable)
				stop()
			})
		})
	}
}

// A read that fails when an entry is due, while the log goes on, is no reason
// to turn a good secret away.
func TestFailedRereadIsStale(t *testing.T) {
	for _, maxStale := range []time.Duration{0, 5 * time.Minute} {
		inBubble(t, func(t *testing.T, b *bubble) {
			l, _ := b.legacy("m")
			c := b.confirmed(Options{MaxStale: maxStale})
			want(t, "first", c, l, here, found)
			e, _ := c.cached(l)
			b.fails.Store(true) // GETs only
			time.Sleep(time.Until(e.read.Add(e.reread() - 1)))
			c.fresh.prove(time.Now())
			b.spends("control: not due", c, l, 0)
			time.Sleep(time.Nanosecond)
			c.report(t.Context()) // the fleet counts it
			if maxStale == 0 {
				want(t, "due, strict", c, l, here, authz.StoreUnavailable)
				return
			}
			want(t, "due", c, l, here, found)
			time.Sleep(maxStale - 1)
			c.fresh.prove(time.Now())
			want(t, "due for as long as may be", c, l, here, found)
			time.Sleep(time.Nanosecond)
			want(t, "due for too long", c, l, here, authz.StoreUnavailable)
			if !c.Freshness().Confirmed {
				t.Error("the log is not confirmed: this test shows nothing")
			}
		})
	}
}

// However many generations there were, and changes, no more than so many are
// remembered.
func TestFreshnessIsBounded(t *testing.T) {
	var f freshness
	at := time.Now()
	f.prove(at)
	for i := range 3 * keptChanges {
		f.change(key{byte(i), byte(i >> 8)})
		f.gap()
	}
	if len(f.changed) > keptChanges || len(f.ended) > keptChanges+1 {
		t.Errorf("changes, generations kept = %d, %d, want %d at most", len(f.changed), len(f.ended), keptChanges)
	}
	reads := []time.Time{at.Add(-time.Minute), at, at.Add(time.Minute)}
	if slices.ContainsFunc(reads, func(read time.Time) bool { return f.lastTrue(entry{read: read}) != read }) {
		t.Error("an entry of a generation that is forgotten was last true at another time than it was read")
	}
}
