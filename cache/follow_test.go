package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
)

const (
	logKey   = "{postern}:log"
	fleetKey = "{postern}:sidecars"
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

// drill is a cache that has followed a real log for a while.
type drill struct {
	world
	server *storetest.Server
	good   authz.Lookup
	c      *Secrets
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	w, s := onRedis(t, "--appendonly", "yes") // for a restart
	d := &drill{world: w, server: s}
	d.good, _ = d.legacy("m")
	d.deleteAnother()
	d.deleteAnother()
	d.c = d.confirmed(Options{LagLimit: time.Hour, Timeout: 5 * time.Second})
	d.deleteAnother()
	d.settle()
	d.finds("first", 1)
	d.finds("second", 0)
	return d
}

func (d *drill) deleteAnother() {
	d.t.Helper()
	_, secret := d.legacy(fmt.Sprint("another-", time.Now().UnixNano()))
	d.deletes(secret)
}

// settle does what Follow and Look do in some seconds, without their time.
func (d *drill) settle() {
	d.t.Helper()
	for i := 0; i < 2 || i < 8 && !d.c.Freshness().Confirmed; i++ {
		d.c.Look(d.t.Context())
		_ = d.c.report(d.t.Context()) // Freshness tells it
		_ = d.c.poll(d.t.Context(), time.Millisecond)
	}
}

// finds demands how many GETs it takes to find the good secret.
func (d *drill) finds(what string, gets int) {
	d.t.Helper()
	d.server.Do("CONFIG", "RESETSTAT")
	want(d.t, what, d.c, d.good, here, found)
	if got := reads(d.t, d.server); got != gets {
		d.t.Errorf("%s: GETs = %d, want %d", what, got, gets)
	}
}

// place is the log's newest entry.
func (d *drill) place() store.Entry {
	d.t.Helper()
	head, err := d.store.LogHead(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return head
}

// Where changes may have been missed, everything is read again before use,
// once, and then confirmed again.
func TestGapMakesReadAgain(t *testing.T) {
	tests := []struct {
		name   string
		befall func(d *drill)
		gap    bool
	}{
		{"control: nothing", func(*drill) {}, false},
		{"control: the log goes on", func(d *drill) { d.deleteAnother(); d.deleteAnother() }, false},
		{"an entry is left out", func(d *drill) {
			d.deleteAnother()
			d.server.Do("XDEL", logKey, d.place().Position.String())
			d.server.Do("XADD", logKey, "*", "sequence", d.place().Sequence+2, "secret", "x")
		}, true},
		{"the log is trimmed", func(d *drill) { d.server.Do("XTRIM", logKey, "MAXLEN", 0) }, true},
		{"the log is trimmed, and goes on", func(d *drill) {
			d.deleteAnother()
			d.server.Do("XTRIM", logKey, "MAXLEN", 0)
			d.deleteAnother()
		}, true},
		{"the log is trimmed behind our back", func(d *drill) {
			d.deleteAnother()
			d.deleteAnother()
			d.server.Do("XTRIM", logKey, "MAXLEN", 1)
		}, true},
		{"the log is deleted", func(d *drill) { d.server.Do("DEL", logKey) }, true},
		{"the log is deleted, and goes on", func(d *drill) { d.server.Do("DEL", logKey); d.deleteAnother() }, true},
		{"the log goes back", func(d *drill) {
			head := d.place()
			d.server.Do("DEL", logKey)
			d.server.Do("XADD", logKey, "1-1", "sequence", head.Sequence+1, "secret", "x")
		}, true},
		{"the log is another's, and further", func(d *drill) {
			d.server.Do("DEL", logKey)
			d.server.Do("XADD", logKey, "*", "sequence", d.c.follower.sequence, "secret", "x")
		}, true},
		{"another server", func(d *drill) { d.server.Stop(); d.server.Start() }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, gaps := newDrill(t), 0
			if tt.gap {
				gaps = 1
			}
			tt.befall(d)
			d.settle()
			d.finds("after it", gaps)
			if d.place() == (store.Entry{}) { // which proves nothing
				d.finds("and again", 1)
				d.deleteAnother()
				d.settle()
				d.finds("as it goes on", 1)
			}
			if f := d.c.Freshness(); !f.Confirmed || (f.Gaps > 0) != tt.gap || f.Trouble != nil {
				t.Errorf("Freshness = %+v, want it confirmed, and a gap: %v", f, tt.gap)
			}
			d.finds("and then", 0)
		})
	}
}

// A store that is another one proves nothing for as long as it is there.
func TestOtherEpochConfirmsNothing(t *testing.T) {
	for _, asked := range []bool{false, true} { // a request meets the other epoch before Look does
		d := newDrill(t)
		ours := d.server.Do("GET", epochKey)
		d.server.Do("DEL", epochKey, fleetKey)
		d.legacy("begins anew")
		if asked {
			want(t, "unknown token", d.c, d.stranger(name(1)), there, authz.StoreUnavailable)
		}
		d.settle()
		d.finds("in another epoch", 1)
		d.finds("in another epoch, again", 1)
		if f := d.c.Freshness(); f.Confirmed && f.Gaps == 0 {
			t.Errorf("Freshness in another epoch = %+v, want a gap", f)
		}
		d.server.Do("SET", epochKey, ours)
		d.settle()
		d.finds("in ours again", 0)
		if f := d.c.Freshness(); !f.Confirmed || f.Gaps != 1 {
			t.Errorf("Freshness in our epoch again = %+v, want it confirmed, after one gap", f)
		}
	}
}

// Entries carry no authority: whoever can write the log makes secrets be read
// again, and no more. A deletion after them is applied all the same.
func TestForgedEntriesKillNothing(t *testing.T) {
	d := newDrill(t)
	id := d.good.Digests[0].ID()
	flood := func(fields ...any) {
		pipe := redis.NewClient(&redis.Options{Addr: d.server.Addr}).Pipeline()
		for i := range 2000 {
			pipe.Do(t.Context(), append([]any{"XADD", logKey, "*"}, append(fields, "n", i)...)...)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		forge func()
	}{
		{"control: nothing", func() {}},
		{"no fields of ours", func() { d.server.Do("XADD", logKey, "*", "x", "y") }},
		{"no secret", func() { d.server.Do("XADD", logKey, "*", "sequence", d.place().Sequence+1) }},
		{"names the secret", func() {
			d.server.Do("XADD", logKey, "*", "sequence", d.place().Sequence+1, "secret", id)
		}},
		{"names it, out of turn", func() { d.server.Do("XADD", logKey, "*", "sequence", 1, "secret", id) }},
		{"no id", func() { d.server.Do("XADD", logKey, "*", "sequence", d.place().Sequence+1, "secret", id+"00") }},
		{"binary", func() {
			d.server.Do("XADD", logKey, "*", "sequence", "\x00\xff", "secret", strings.Repeat("\x00\n", 1000))
		}},
		{"huge number", func() { d.server.Do("XADD", logKey, "*", "sequence", "9223372036854775807", "secret", id) }},
		{"negative number", func() { d.server.Do("XADD", logKey, "*", "sequence", "-1", "secret", id) }},
		{"a flood", func() { flood("sequence", "0", "secret", id) }},
		{"a flood of garbage", func() { flood("x", "y") }},
		{"a far place", func() { d.server.Do("XADD", logKey, "9999999999999-0", "sequence", d.place().Sequence+1, "secret", id) }},
		{"the last place there is", func() {
			d.server.Do("XADD", logKey, "18446744073709551615-18446744073709551615", "sequence", "1", "secret", id)
		}},
	}
	for _, tt := range tests {
		tt.forge()
		want(t, tt.name, d.c, d.good, here, found)
		d.settle()
		want(t, tt.name+", applied", d.c, d.good, here, found)
		if f := d.c.Freshness(); !f.Confirmed {
			t.Errorf("%s: Freshness = %+v, want it confirmed again", tt.name, f)
		}
		d.finds(tt.name+", in the end", 0)
	}
	d.server.Do("DEL", logKey) // nothing can be added after the last place
	secret, err := d.c.Find(t.Context(), d.good, here)
	if err != nil {
		t.Fatal(err)
	}
	d.deletes(secret)
	d.settle()
	tombstone(t, "control: deleted", d.c, d.good)
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
