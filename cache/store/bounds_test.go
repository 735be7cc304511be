package store

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/cache/store/storetest"
)

// bound is the Timeout of these tests; three times as much is allowed, for
// machines that are slow.
const bound = 200 * time.Millisecond

func TestTimeoutBoundsCommand(t *testing.T) {
	tests := []struct {
		name string
		at   func(t *testing.T) Options
	}{
		{"refused", func(*testing.T) Options { return Options{URL: "redis://127.0.0.1:1"} }},
		{"refused, cluster", func(*testing.T) Options { return Options{URL: "redis://127.0.0.1:1,127.0.0.1:2"} }},
		{"refused, Sentinel", func(*testing.T) Options { return Options{URL: "redis://127.0.0.1:1?master=m"} }},
		{"silent", func(t *testing.T) Options { return Options{URL: "redis://" + silent(t)} }},
		{"silent, TLS", func(t *testing.T) Options { return Options{URL: "rediss://" + silent(t)} }},
		{"silent, cluster", func(t *testing.T) Options { return Options{URL: "redis://" + silent(t) + "," + silent(t)} }},
		{"silent, Sentinel", func(t *testing.T) Options {
			return Options{URL: "redis://" + silent(t) + "," + silent(t) + "?master=m"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.at(t)
			o.Timeout = bound
			c := connect(t, o)
			fails(t, func() error { return c.Get(t.Context(), "key").Err() })
			fails(t, func() error { return c.Get(t.Context(), "key").Err() })
			fails(t, func() error {
				_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Get(t.Context(), "key").Err() })
				return err
			})
		})
	}
}

// fails demands an error of do within the bound.
func fails(t *testing.T, do func() error) {
	t.Helper()
	start := time.Now()
	err := do()
	if took := time.Since(start); err == nil || took > 3*bound {
		t.Errorf("error = %v after %v, want one within %v", err, took, 3*bound)
	}
}

// However long a command may take, a refusal is an answer.
func TestRefusalIsNotTriedAgain(t *testing.T) {
	for _, url := range []string{"redis://127.0.0.1:1", "redis://127.0.0.1:1?master=m"} {
		c := connect(t, Options{URL: url, Timeout: patient})
		start := time.Now()
		if err := c.Get(t.Context(), "key").Err(); err == nil || time.Since(start) > time.Second {
			t.Errorf("%s: error = %v after %v, want one at once", url, err, time.Since(start))
		}
	}
}

// silent is the address of a server that accepts and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // the kernel accepts; nobody reads
	return l.Addr().String()
}

// A server that is frozen under a client that was using it, and the control:
// with go-redis's own settings that takes over a second, although the context
// has ended.
func TestTimeoutBoundsFrozenServer(t *testing.T) {
	s := storetest.Redis(t)
	ours := connect(t, Options{URL: s.URL(), Timeout: bound})
	theirs := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	defer theirs.Close()
	useIt(t, ours)
	useIt(t, theirs)
	s.Pause()
	fails(t, func() error { return ours.Get(t.Context(), "key1").Err() })
	fails(t, func() error { return ours.Get(t.Context(), "key1").Err() })

	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- theirs.Get(ctx, "key1").Err() }()
	select {
	case err := <-answered:
		t.Errorf("go-redis's own settings answered in less than 1s with %v: this test shows nothing", err)
	case <-time.After(time.Second):
		s.Resume()
		<-answered
	}
	useIt(t, ours)
}

func TestRecoversAfterCrash(t *testing.T) {
	s := storetest.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	c := connect(t, Options{URL: s.URL(), Timeout: patient})
	useIt(t, c)
	s.Stop()
	for range 20 {
		fails(t, func() error { return c.Get(t.Context(), "key1").Err() })
	}
	s.Start()
	if got := s.Do("GET", "key1"); got != "1" {
		t.Errorf("GET key1 after the crash = %v, want the 1 of the append-only file", got)
	}
	deadline := time.Now().Add(2 * time.Second) // go-redis dials once a second
	for c.Get(t.Context(), "key1").Err() != nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	useIt(t, c)
}

// A blocking command brings its own deadline, and is cut short without one.
func TestDeadlineOfCallerStands(t *testing.T) {
	s := storetest.Redis(t)
	c := connect(t, Options{URL: s.URL(), Timeout: bound})
	block := &redis.XReadArgs{Streams: []string{"log", "0"}, Block: 2 * bound}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	start := time.Now()
	if err := c.XRead(ctx, block).Err(); !errors.Is(err, redis.Nil) || time.Since(start) < 2*bound {
		t.Errorf("XREAD with a deadline = %v after %v, want redis.Nil after %v", err, time.Since(start), 2*bound)
	}
	start = time.Now()
	if err := c.XRead(t.Context(), block).Err(); errors.Is(err, redis.Nil) || time.Since(start) < bound/2 {
		t.Errorf("XREAD without a deadline = %v after %v, want a timeout after %v", err, time.Since(start), bound)
	}
	short, cancel := context.WithTimeout(t.Context(), bound/10)
	defer cancel()
	start = time.Now()
	if err := c.XRead(short, block).Err(); err == nil || time.Since(start) > bound {
		t.Errorf("XREAD with a short deadline = %v after %v, want a timeout after %v", err, time.Since(start), bound/10)
	}
}

// lines counts what go-redis logs.
type lines struct{ n atomic.Int64 }

func (l *lines) Printf(context.Context, string, ...any) { l.n.Add(1) }

func TestConnectSilencesLog(t *testing.T) {
	log := &lines{}
	redis.SetLogger(log)
	loud := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer loud.Close()
	loud.Ping(t.Context())
	if log.n.Load() == 0 {
		t.Error("a failed dial is not logged before Connect: this test shows nothing")
	}
	c := connect(t, Options{URL: "redis://127.0.0.1:1"})
	before := log.n.Load()
	loud.Ping(t.Context())
	c.Ping(t.Context())
	if got := log.n.Load() - before; got != 0 {
		t.Errorf("lines that go-redis logs after Connect = %d, want 0", got)
	}
}
