package cache

import (
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// A read that a change, or a gap, has raced is thrown away and done again.
func TestFillThatRacedIsThrownAway(t *testing.T) {
	k := keyOf(one.Digest)
	tests := []struct {
		name  string
		race  func(c *Secrets, n int) // during read number n, from 1
		reads int
		want  authz.Reason
	}{
		{"control: nothing", func(*Secrets, int) {}, 1, found},
		{"control: another changes", func(c *Secrets, _ int) { c.drop(key{9}) }, 1, found},
		{"it changes", func(c *Secrets, n int) { times(n < 2, func() { c.drop(k) }) }, 2, found},
		{"it changes twice", func(c *Secrets, n int) { times(n < 3, func() { c.drop(k) }) }, 3, found},
		{"it changes again and again", func(c *Secrets, _ int) { c.drop(k) }, maxRaces, authz.StoreUnavailable},
		{"a gap", func(c *Secrets, n int) { times(n < 2, c.fresh.gap) }, 2, found},
		{"it changes, and then so many that it is forgotten", func(c *Secrets, n int) {
			times(n < 2, func() {
				c.drop(k)
				for i := range keptChanges {
					c.drop(key{byte(i), byte(i >> 8), 1})
				}
			})
		}, 2, found},
	}
	for _, tt := range tests {
		for _, before := range []int{0, 1, keptChanges - 2, keptChanges - 1, keptChanges} { // changes
			c, n := New(nil, Options{LagLimit: time.Hour}), 0
			c.fresh.prove(time.Now())
			for i := range before {
				c.drop(key{byte(i), byte(i >> 8), 2})
			}
			secret, err := c.fill(t.Context(), one, func() (*authz.Secret, error) {
				n++
				tt.race(c, n)
				return read(one, string(rune('0'+n)))()
			})
			if n < tt.reads || n > tt.reads+1 || tt.reads == 1 && before < keptChanges-2 && n != 1 || authz.ReasonOf(err) != tt.want {
				t.Errorf("%s, %d changes before: reads = %d, %v, want %d, %v", tt.name, before, n, err, tt.reads, tt.want)
			}
			if tt.want == found && err == nil && secret.Merchant != string(rune('0'+n)) {
				t.Errorf("%s, %d changes before: found what read %s found, want read %d", tt.name, before, secret.Merchant, n)
			}
			if _, kept := c.cached(one); kept != (tt.want == found) {
				t.Errorf("%s, %d changes before: kept = %v", tt.name, before, kept)
			}
		}
	}
}

func times(yes bool, do func()) {
	if yes {
		do()
	}
}

// A tombstone that was seen outlives a record that is put back, as by a
// failover or a backup.
func TestTombstoneOutlivesRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l, secret := b.legacy("m")
		older, err := b.redis.Get(recordKey(l))
		if err != nil {
			t.Fatal(err)
		}
		c := b.confirmed(Options{MaxStale: time.Hour})
		want(t, "live", c, l, here, found)
		b.deletes(secret)
		if err := c.poll(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		tombstone(t, "deleted", c, l)
		b.put(recordKey(l), older)
		for _, what := range []string{"put back", "dropped", "after a gap", "after an hour"} {
			switch what {
			case "dropped":
				c.drop(keyOf(l.Digest))
			case "after a gap":
				c.fresh.gap()
			case "after an hour":
				time.Sleep(time.Hour)
			}
			tombstone(t, what, c, l)
		}
		b.redis.Del(recordKey(l))
		tombstone(t, "lost", c, l)
		b.put(recordKey(l), older)
		if got, err := b.cached(Options{}).Find(t.Context(), l, here); err != nil || !got.DeletedAt.IsZero() {
			t.Errorf("control: Find of one that has not seen the tombstone = %v, %v, want the record", got, err)
		}
	})
}
