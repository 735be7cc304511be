package cache

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/authz"
)

// Two endpoints, of which the catalog has moved one to another permission
// since they were granted.
var usageCatalog, grantedCatalog = compile("moved"), compile("get")

func compile(permission string) *authz.Catalog {
	c, err := authz.Compile([]authz.Operation{
		{ID: "get", Permission: permission, Method: "GET", Path: "/orders/{n}"},
		{ID: "put", Method: "PUT", Path: "/orders/{n}"},
	})
	if err != nil {
		panic(err)
	}
	return c
}

// granted is a secret number i with both endpoints, as they were.
func granted(i int) *authz.Secret {
	s := authz.Secret{ID: fmt.Sprintf("%016x%016x", uint64(i)*0x9e3779b97f4a7c15, i), Merchant: "m"}
	for _, p := range grantedCatalog.Permissions {
		s.Grants = append(s.Grants, authz.NewGrant(&p, nil))
	}
	return authz.NewSecret(s)
}

// use has a secret used now.
func use(c *Secrets, s *authz.Secret, method, path string) authz.Verdict {
	v := s.Authorize(usageCatalog.Resolve(authz.Request{Method: method, Path: path}), time.Now())
	c.Used(s, v, time.Now())
	return v
}

// used is what the store knows.
func (w world) used(s *authz.Secret) authz.Usage {
	w.t.Helper()
	all, err := w.store.Usage(w.t.Context(), s.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[s.ID]
}

func writeAll(t *testing.T, c *Secrets) { c.flushUsage(t.Context(), 0) }

// counted demands what became of uses.
func counted(t *testing.T, what string, c *Secrets, written, dropped int64) {
	t.Helper()
	if got := [2]int64{c.Stats.UsesWritten.Load(), c.Stats.UsesDropped.Load()}; got != [2]int64{written, dropped} {
		t.Errorf("%s: uses written and dropped = %v, want %d and %d", what, got, written, dropped)
	}
}

// Allowed requests are uses, of the permission that was granted; a legacy
// secret's of the permission that the catalog has, if it has one.
func TestUsed(t *testing.T) {
	w, _ := onRedis(t)
	c := New(w.store, Options{})
	s, legacy := granted(1), authz.NewSecret(authz.Secret{ID: fmt.Sprintf("%032x", 2), Unrestricted: true})
	for range 3 {
		use(c, s, "GET", "/orders/1")
	}
	for _, path := range []string{"/orders/1", "/elsewhere"} {
		use(c, legacy, "GET", path)
	}
	writeAll(t, c)
	counted(t, "five requests", c, 5, 0)
	for _, tt := range []struct {
		secret   *authz.Secret
		want     []string
		requests int64
	}{{s, []string{"get"}, 3}, {legacy, []string{"moved", authz.AnyPath}, 2}} {
		u := w.used(tt.secret)
		if u.Requests != tt.requests || len(u.Permissions) != len(tt.want) {
			t.Errorf("usage = %+v, want %d requests of %v", u, tt.requests, tt.want)
		}
		for _, permission := range tt.want {
			if time.Since(u.Permissions[permission]) > 2*time.Minute {
				t.Errorf("usage = %+v, want %s used just now", u, permission)
			}
		}
	}
}

func TestDenialsAreNoUse(t *testing.T) {
	w, _ := onRedis(t)
	c, s := New(w.store, Options{}), granted(1)
	for _, r := range authz.Reasons() {
		if r.Decision() != authz.Allow {
			c.Used(s, authz.Verdict{Reason: r, SecretID: s.ID, Endpoints: usageCatalog.All()}, time.Now())
		}
	}
	c.Used(nil, authz.Verdict{}, time.Now())
	writeAll(t, c)
	if u := w.used(s); len(u.Permissions) != 0 {
		t.Errorf("usage after denials = %+v, want none", u)
	}
	use(c, s, "PUT", "/orders/1")
	writeAll(t, c)
	if u := w.used(s); u.Permissions["put"].IsZero() || u.Requests != 1 {
		t.Errorf("control: usage after an allow = %+v, want it there", u)
	}
}

// While the store is away, uses are kept as far as there is room, with the
// minute that they had. What there is no room for is lost, and counted.
func TestUsageWhileTheStoreIsAway(t *testing.T) {
	const room = usageShards * usageRoom
	w, server := onRedis(t)
	c, s := New(w.store, Options{}), granted(0)
	use(c, s, "GET", "/orders/1")
	server.Stop()
	writeAll(t, c)
	counted(t, "the store is away", c, 0, 0)
	before, n := c.usage.written.Load(), 1
	if _, lost := c.usage.ages(); lost != 0 {
		t.Errorf("lost = %v ago, want never", lost)
	}
	for flood, want := range []int{1 + room, usageBacklog, usageBacklog} { // kept after each
		for range room + room/4 {
			use(c, granted(n), "GET", "/orders/1")
			n++
		}
		writeAll(t, c)
		if kept := n - int(c.Stats.UsesDropped.Load()); kept != len(c.usage.backlog) || kept > want || kept < want*95/100 {
			t.Errorf("after %d floods: of %d secrets, %d are not lost, and %d kept, want about %d", flood+1, n, kept, len(c.usage.backlog), want)
		}
	}
	if _, lost := c.usage.ages(); lost <= 0 || c.usage.written.Load() != before {
		t.Errorf("lost = %v ago, written until %v, want some time, and as before", lost, c.usage.written.Load())
	}
	dropped := c.Stats.UsesDropped.Load()
	server.Start()
	await(t, "find the store again", func() bool { writeAll(t, c); return len(c.usage.backlog) == 0 })
	counted(t, "the store is back", c, int64(n)-dropped, dropped)
	if u := w.used(s); u.Requests != 1 || u.Permissions["get"].IsZero() {
		t.Errorf("usage of before the outage = %+v, want one request", u)
	}
	if len(c.usage.backlog) != 0 || c.usage.written.Load() == before {
		t.Error("uses do not count as written that were")
	}
	use(c, granted(n), "GET", "/orders/1")
	writeAll(t, c)
	counted(t, "there is room again", c, int64(n)+1-dropped, dropped)
}

// An outage adds up what was used in it: the last minute, and all requests.
func TestUsageOfAnOutage(t *testing.T) {
	w, server := onRedis(t)
	c := New(w.store, Options{})
	server.Pause()
	for range 3 { // a secret that is read again is another one in memory
		use(c, granted(1), "GET", "/orders/1")
		writeAll(t, c)
	}
	server.Resume()
	if len(c.usage.backlog) != 1 {
		t.Errorf("backlog of one secret = %v, want one use", c.usage.backlog)
	}
	writeAll(t, c)
	// What a server that hangs has been sent it may carry out later.
	if got := w.used(granted(1)).Requests; got < 3 || got > 9 {
		t.Errorf("requests = %d, want 3, or some more", got)
	}
	if len(c.usage.backlog) != 0 || c.Stats.UsesWritten.Load() != 3 {
		t.Errorf("backlog = %v, written = %d, want none, 3", c.usage.backlog, c.Stats.UsesWritten.Load())
	}
}

// What is not used any more is forgotten; what is used is kept in its place.
func TestUsageForgets(t *testing.T) {
	w, _ := onRedis(t)
	c := New(w.store, Options{})
	kept := func() (n int) {
		for i := range c.usage.shards {
			n += len(c.usage.shards[i].uses)
		}
		return n
	}
	for i := range 100 {
		use(c, granted(i), "GET", "/orders/1")
	}
	again := granted(100)
	use(c, again, "GET", "/orders/1")
	for round, want := range []int{101, 1, 1, 0} {
		writeAll(t, c)
		if got := kept(); got != want {
			t.Errorf("flush %d: pairs kept = %d, want %d", round, got, want)
		}
		if round < 2 {
			use(c, again, "GET", "/orders/1")
		}
	}
}

// Uses are written within one and a half times the interval, and at the end.
func TestUsageInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.legacy("m") // else there is no store to confirm
		c, s := b.confirmed(Options{UsageEvery: 30 * time.Second, Name: "a"}), granted(1)
		stop := b.follows(c)
		use(c, s, "GET", "/orders/1")
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if u := b.used(s); len(u.Permissions) != 0 {
			t.Errorf("usage after 14 s = %+v, want none yet", u)
		}
		time.Sleep(32 * time.Second)
		if u := b.used(s); len(u.Permissions) != 1 {
			t.Errorf("usage after 46 s = %+v, want one permission", u)
		}
		fleet, now, err := b.store.Fleet(t.Context())
		if err != nil || len(fleet) != 1 || now.Sub(fleet[0].WrittenTo()) > 47*time.Second || fleet[0].Unwritten <= 0 || fleet[0].Lost != 0 {
			t.Errorf("fleet = %+v, %v, want one that has written all until 47 s ago", fleet, err)
		}
		use(c, s, "PUT", "/orders/1")
		stop()
		if u := b.used(s); len(u.Permissions) != 2 {
			t.Errorf("usage after the end = %+v, want two permissions", u)
		}
	})
}

// At the end of the process a store that hangs is not waited for.
func TestUsageAtTheEndIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.legacy("m")
		c := b.confirmed(Options{})
		stop := b.follows(c)
		for i := range 5000 {
			use(c, granted(i), "GET", "/orders/1")
		}
		b.stuck.Store(true)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took < lookTimeout || took > usageAtEnd+2*lookTimeout {
			t.Errorf("the end took %v, want %v at most", took, usageAtEnd+2*lookTimeout)
		}
	})
}

func TestUsedAtOnce(t *testing.T) {
	w, _ := onRedis(t)
	c := New(w.store, Options{})
	const each = 2000
	var secrets []*authz.Secret
	for i := range 50 {
		secrets = append(secrets, granted(i))
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range each {
				use(c, secrets[i%50], "GET", "/orders/1")
			}
		})
	}
	for range 5 {
		writeAll(t, c)
	}
	all.Wait()
	writeAll(t, c)
	counted(t, "from eight at once", c, 8*each, 0)
	var n int64
	for i := range secrets {
		n += w.used(secrets[i]).Requests
	}
	if n != 8*each {
		t.Errorf("requests = %d, want %d", n, 8*each)
	}
}
