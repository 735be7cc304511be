package cache

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/authz"
)

func TestUnknownIsRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		begin(b)
		c := b.cached(Options{})
		l, before := b.stranger(name(1)), b.gets.Load()
		want(t, "first", c, l, here, authz.Unknown)
		if got := b.gets.Load() - before; got != 2 {
			t.Errorf("GETs of an unknown token = %d, want the record's and the epoch's", got)
		}
		time.Sleep(unknownLife - 1)
		want(t, "within 2 s, the store down", c, l, here, authz.Unknown)
		if got := b.gets.Load() - before; got != 2 {
			t.Errorf("GETs within 2 s = %d, want none more", got)
		}
		b.imported("m", name(1))
		time.Sleep(time.Nanosecond)
		want(t, "after 2 s", c, l, here, found)
	})
}

// A flood of invented tokens pushes out nothing good, and is not kept.
func TestFloodEvictsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		begin(b)
		c := b.confirmed(Options{Size: 64, LagLimit: time.Hour})
		var good []authz.Lookup
		for i := range 20 {
			l := b.imported("m", name(i))
			want(t, "good", c, l, there, found)
			good = append(good, l)
		}
		before := b.gets.Load()
		for i := range 100_000 {
			_, err := c.Find(t.Context(), b.stranger(name(1000+i)), here)
			if got := authz.ReasonOf(err); got != authz.Unknown && got != authz.Overloaded {
				t.Fatalf("Find of an invented token: %v, want unknown or overloaded", err)
			}
		}
		if got := b.gets.Load() - before; got != 2*missBurst {
			t.Errorf("GETs of the flood = %d, want %d", got, 2*missBurst)
		}
		if got := c.Stats.Refused.Load(); got != 100_000-missBurst {
			t.Errorf("refused = %d, want %d", got, 100_000-missBurst)
		}
		for i := range 2 * unknownSize {
			c.remember(b.stranger(name(1_000_000+i)), authz.Unknown)
		}
		if got := c.unknown.until.Len(); got != unknownSize {
			t.Errorf("unknown tokens kept = %d, want %d", got, unknownSize)
		}
		b.fails.Store(true)
		for _, l := range good {
			want(t, "good, after the flood", c, l, there, found)
		}
	})
}

// One network's flood is the trouble of that network.
func TestFloodSparesOtherNetworks(t *testing.T) {
	tests := []struct {
		name    string
		from    netip.Addr
		minted  authz.Reason
		strange authz.Reason
	}{
		{"the same address", here, found, authz.Overloaded},
		{"its network", netip.MustParseAddr("192.0.2.254"), found, authz.Overloaded},
		{"the same, mapped", netip.MustParseAddr("::ffff:192.0.2.1"), found, authz.Overloaded},
		{"another network", there, found, found},
		{"the network beside it", netip.MustParseAddr("192.0.3.1"), found, found},
		{"IPv6", netip.MustParseAddr("2001:db8::1"), found, found},
		{"no address", nowhere, found, found},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				minted, _ := b.legacy("m")
				strange := b.imported("m", name(1))
				c := b.cached(Options{})
				b.delay.Store(int64(time.Millisecond))
				for i := range 2 * missBurst {
					go c.Find(t.Context(), b.stranger(name(1000+i)), here)
				}
				time.Sleep(time.Millisecond / 2)
				if got := len(c.unknown.underWay); got != missesAtOnce {
					t.Errorf("reads of the flood under way = %d, want %d: this test shows nothing", got, missesAtOnce)
				}
				want(t, "minted", c, minted, tt.from, tt.minted)
				want(t, "imported", c, strange, tt.from, tt.strange)
				if b.peak.Load() > missesAtOnce+1 {
					t.Errorf("GETs at once = %d, want %d and the minted one's at most", b.peak.Load(), missesAtOnce)
				}
				time.Sleep(10 * time.Second)
				want(t, "imported, later", c, strange, tt.from, found)
			})
		})
	}
}

// Networks are /24 and /48, and an address that is not known is of one of its
// own. Each recovers at its rate.
func TestNetworks(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		u := newUnknowns()
		spend := func(from string, n int) (allowed int) {
			address, _ := netip.ParseAddr(from) // "" is no address
			for range n {
				if u.enter(address, time.Second) {
					u.leave()
					allowed++
				}
			}
			return allowed
		}
		tests := []struct {
			from string
			want int
		}{
			{"192.0.2.1", missBurst}, {"192.0.2.200", 0}, {"192.0.1.1", missBurst},
			{"2001:db8:0:1::1", missBurst}, {"2001:db8:0:ffff::9", 0}, {"2001:db8:1::1", missBurst},
			{"fe80::1%eth0", missBurst}, {"fe80::2%eth1", 0}, {"::ffff:192.0.2.3", 0},
			{"", missBurst}, {"", 0},
		}
		for _, tt := range tests {
			if got := spend(tt.from, 2*missBurst); got != tt.want {
				t.Errorf("reads at once for %q = %d, want %d", tt.from, got, tt.want)
			}
		}
		time.Sleep(time.Second)
		if got := spend("192.0.2.77", 2*missBurst); got != missRate {
			t.Errorf("reads a second later = %d, want %d", got, missRate)
		}
		for i := range 2 * networksKept {
			u.limiter(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
		}
		if got := u.networks.Len(); got != networksKept {
			t.Errorf("networks kept = %d, want %d", got, networksKept)
		}
	})
}

// A place that a read has taken is free when the read ends, and not when the
// one that asked for it goes.
func TestPlacesAreReturned(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		good := b.imported("m", name(1))
		c := b.cached(Options{})
		b.hang(true)
		for i := range 2 * missesAtOnce {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			go c.Find(ctx, b.stranger(name(1000+i)), here)
		}
		synctest.Wait()
		if places, gets := len(c.unknown.underWay), b.busy.Load(); places != missesAtOnce || gets != missesAtOnce {
			t.Errorf("places taken = %d, GETs under way = %d, want %d", places, gets, missesAtOnce)
		}
		if c.unknown.enter(there, 10*time.Millisecond) { // while none of the reads has timed out
			t.Error("control: there is a place while all are taken")
		}
		b.hang(false)
		time.Sleep(time.Second)
		if got := len(c.unknown.underWay); got != 0 {
			t.Errorf("places taken after all reads = %d, want 0", got)
		}
		want(t, "good", c, good, here, found)
	})
}

func TestPanicReturnsPlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		c := New(nil, Options{}) // whose reads panic
		var all sync.WaitGroup
		for i := range 2 * missesAtOnce {
			l := b.stranger(name(i))
			all.Go(func() { want(t, "imported", c, l, here, authz.Internal) })
			all.Go(func() { want(t, "imported, shared", c, l, here, authz.Internal) })
		}
		all.Go(func() { want(t, "minted", c, b.lost(), here, authz.Internal) })
		all.Wait()
		if got := len(c.unknown.underWay); got != 0 {
			t.Errorf("places taken after panics = %d, want 0", got)
		}
		if got := len(c.kept.flights); got != 0 {
			t.Errorf("reads under way = %d, want 0", got)
		}
	})
}
