package cache

import (
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

// befalls is what may befall the log, and whether changes may have been missed.
var befalls = []struct {
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
	{"control: the log is trimmed", func(d *drill) { d.server.Do("XTRIM", logKey, "MAXLEN", 0) }, false},
	{"the log is trimmed of what nobody saw", func(d *drill) {
		d.server.Do("EVAL", "redis.call('XADD', KEYS[1], '*', 'sequence', 1, 'secret', 'x') redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)", 1, logKey)
	}, true},
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

// Where changes may have been missed, everything is read again before use,
// once, and then confirmed again.
func TestGapMakesReadAgain(t *testing.T) {
	for _, tt := range befalls {
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
	id := d.good.Digest.ID()
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
