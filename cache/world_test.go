package cache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
)

// Clients of two networks, and one of none.
var (
	here, there = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	nowhere     netip.Addr
)

// world is a store with keys. Its server is Redis, or stands in for it.
type world struct {
	t     testing.TB
	store *store.Store
	keys  *authz.Keyring
}

func newWorld(t testing.TB, client redis.UniversalClient) world {
	t.Helper()
	keys, err := authz.NewKeyring("test_")
	if err != nil {
		t.Fatal(err)
	}
	return world{t, store.New(client, keys), keys}
}

// onRedis is a world on a real server, and that server.
func onRedis(t testing.TB, args ...string) (world, *storetest.Server) {
	t.Helper()
	s := storetest.Redis(t, args...)
	client, err := store.Connect(store.Options{URL: s.URL(), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return newWorld(t, client), s
}

// cached is a cache that has looked at the store, and that the fleet counts.
// It follows nothing.
func (w world) cached(o Options) *Secrets {
	c := New(w.store, o)
	c.Look(w.t.Context())
	c.report(w.t.Context()) // where the store is no good, neither works
	return c
}

// confirmed is a cache that has also found the log's end: what it reads from
// now on is used without I/O for the lag limit.
func (w world) confirmed(o Options) *Secrets {
	w.t.Helper()
	c := w.cached(o)
	if err := c.Begin(w.t.Context()); err != nil || !c.Freshness().Confirmed {
		w.t.Fatalf("Begin = %v, freshness %+v, want it confirmed", err, c.Freshness())
	}
	return c
}

// legacy makes a merchant with its legacy secret.
func (w world) legacy(merchant string) (authz.Lookup, *authz.Secret) {
	w.t.Helper()
	token, secret, err := w.store.CreateLegacy(w.t.Context(), authz.Secret{Merchant: merchant, Unrestricted: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.lookup(token), secret
}

// imported stores a secret whose token was minted elsewhere.
func (w world) imported(merchant, text string) authz.Lookup {
	w.t.Helper()
	secret := authz.Secret{Merchant: merchant, Grants: []authz.Grant{{Permission: "get"}}}
	if _, err := w.store.Import(w.t.Context(), secret, sha256.Sum256([]byte(text))); err != nil {
		w.t.Fatal(err)
	}
	return w.stranger(text)
}

// lost is a token that was minted here, and of which the store knows nothing.
func (w world) lost() authz.Lookup {
	w.t.Helper()
	token, _, err := w.keys.Mint()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.lookup(token)
}

// stranger is a token that was minted elsewhere, if anywhere.
func (w world) stranger(text string) authz.Lookup {
	w.t.Helper()
	token, reason := authz.ParseToken(text)
	if reason != authz.Undecided {
		w.t.Fatalf("token %q is %v", text, reason)
	}
	return w.lookup(token)
}

func (w world) lookup(t authz.Token) authz.Lookup {
	w.t.Helper()
	l, reason := w.store.Keyring().Lookup(t)
	if reason != authz.Undecided {
		w.t.Fatalf("token is %v", reason)
	}
	return l
}

// name is what invented token number i says.
func name(i int) string { return fmt.Sprintf("invented-token-%08d", i) }

// want demands what a find came to: authz.Undecided where the secret was found.
func want(t testing.TB, what string, c *Secrets, l authz.Lookup, from netip.Addr, reason authz.Reason) {
	t.Helper()
	secret, err := c.Find(t.Context(), l, from)
	if got := authz.ReasonOf(err); got != reason || (secret == nil) != (err != nil) {
		t.Errorf("%s: Find = %v, %v, want reason %v", what, secret, err, reason)
	}
}

// found stands for Undecided where a table says what a find comes to.
const found = authz.Undecided

// bubble is a world in a synctest bubble, where time is exact and costs
// nothing. Its server stands in for Redis, which no bubble can hold.
type bubble struct {
	world
	redis *miniredis.Miniredis
	gets  atomic.Int64 // GETs that the server saw
	delay atomic.Int64 // nanoseconds that each takes
	fails atomic.Bool  // each is answered with an error
	down  atomic.Bool  // likewise every other command
	stuck atomic.Bool  // no command is answered
	busy  atomic.Int64 // GETs under way
	peak  atomic.Int64 // the most of them there ever were
}

// inBubble runs a test in a bubble. It fails, too, where the test leaves a
// goroutine behind.
func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{redis: miniredis.NewMiniRedis()}
		client := redis.NewClient(&redis.Options{
			Addr: "127.0.0.1:1", Dialer: func(context.Context, string, string) (net.Conn, error) { return b.redis.Dial() },
			PoolSize: 1000, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
		})
		defer b.redis.Close()
		defer client.Close()
		b.world = newWorld(t, client)
		if conn, err := b.redis.Dial(); err != nil { // the first one starts the server
			t.Fatal(err)
		} else {
			conn.Close()
		}
		b.redis.Server().SetPreHook(b.meet)
		test(t, b)
	})
}

// meet is what befalls a command before the server carries it out.
func (b *bubble) meet(peer *server.Peer, command string, _ ...string) bool {
	if b.stuck.Load() {
		time.Sleep(time.Hour)
	}
	switch {
	case command != "GET" && b.down.Load():
		return refuse(peer)
	case command == "INFO": // of which the server knows too little
		peer.WriteBulk("run_id:" + strings.Repeat("0", 40) + "\r\n")
		return true
	case command != "GET":
		return false
	}
	b.gets.Add(1)
	b.peak.Store(max(b.peak.Load(), b.busy.Add(1)))
	defer b.busy.Add(-1)
	time.Sleep(time.Duration(b.delay.Load()))
	return (b.fails.Load() || b.down.Load()) && refuse(peer)
}

func refuse(peer *server.Peer) bool {
	peer.WriteError("LOADING Redis is loading the dataset in memory")
	return true
}

// hang has the server answer nothing, or answer again.
func (b *bubble) hang(yes bool) {
	b.delay.Store(0)
	if yes {
		b.delay.Store(int64(time.Hour))
	}
}

// put gives a key a value, whatever it held.
func (b *bubble) put(key, value string) {
	b.redis.Del(key)
	if err := b.redis.Set(key, value); err != nil {
		b.t.Errorf("set %s: %v", key, err)
	}
}

// recordKey is the name of a secret's record.
func recordKey(l authz.Lookup) string { return "postern:secret:" + l.Digest.ID() }

// reads is how many GETs a real server carried out since RESETSTAT.
func reads(t testing.TB, s *storetest.Server) (n int) {
	t.Helper()
	stats := s.Do("INFO", "commandstats").(string)
	if _, rest, ok := strings.Cut(stats, "cmdstat_get:calls="); ok {
		if _, err := fmt.Sscan(rest[:strings.IndexByte(rest, ',')], &n); err != nil {
			t.Fatalf("read %q: %v", stats, err)
		}
	}
	return n
}

// leavesNothing demands that as many goroutines run at the test's end as now.
func leavesNothing(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Errorf("goroutines = %d, want %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
}
