package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/cache/store/storetest"
)

// awkward holds what a URL must escape, and what a configuration file must.
const awkward = `p@/?#%&+:"' w`

// patient is a Timeout that a busy machine does not exceed.
const patient = 5 * time.Second

func connect(t *testing.T, o Options) redis.UniversalClient {
	t.Helper()
	c, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	return c
}

// useIt writes and reads keys of many slots, one by one and in a pipeline.
func useIt(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	ctx, pipe := t.Context(), c.Pipeline()
	for i := range 300 {
		key := fmt.Sprint("key", i)
		if err := c.Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(ctx, key).Int(); got != i || err != nil {
			t.Fatalf("Get(%s) = %d, %v, want %d", key, got, err, i)
		}
		pipe.Get(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestConnectSingle(t *testing.T) {
	open := storetest.Redis(t)
	locked := storetest.Redis(t, "--requirepass", awkward, "--user", "ann", "on", ">"+awkward, "~key*", "+@all")
	secure := storetest.Redis(t, storetest.TLS, "--requirepass", awkward)
	tests := []struct {
		name, url, caFile, user string
	}{
		{"open", open.URL(), "", "default"},
		{"password", locked.URL(), "", "default"},
		{"user", locked.URLAs("ann", awkward), "", "ann"},
		{"TLS", secure.URL(), secure.CAFile, "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, Options{URL: tt.url, CAFile: tt.caFile, Timeout: patient})
			useIt(t, c)
			if got, err := c.Do(t.Context(), "ACL", "WHOAMI").Text(); got != tt.user || err != nil {
				t.Errorf("ACL WHOAMI = %q, %v, want %q", got, err, tt.user)
			}
		})
	}
	if err := connect(t, Options{URL: open.URL() + "/3", Timeout: patient}).Set(t.Context(), "third", 1, 0).Err(); err != nil {
		t.Error(err)
	}
	if got := open.Do("EXISTS", "third"); got != int64(0) {
		t.Errorf("keys of database 3 in database 0 = %v, want 0", got)
	}
}

func TestConnectSentinel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
	}{
		{"open", nil},
		{"TLS and passwords", []string{storetest.TLS, "--requirepass", awkward}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := storetest.Sentinel(t, tt.args...)
			c := connect(t, Options{URL: g.URL(), CAFile: g.Data[0].CAFile, Timeout: 300 * time.Millisecond})
			useIt(t, c)
			next := g.Failover()
			awaitWrite(t, c, next)
			next.Pause() // a partition: nothing says that it is gone
			awaitWrite(t, c, g.AwaitMaster(next))
		})
	}
}

// awaitWrite demands that commands soon reach the master, and no other server.
func awaitWrite(t *testing.T, c redis.UniversalClient, master *storetest.Server) {
	t.Helper()
	want := fmt.Sprint("written to ", master.Addr)
	deadline := time.Now().Add(patient)
	for {
		err := c.Set(t.Context(), "key", want, 0).Err()
		if err == nil && master.Do("GET", "key") == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no command reached the master in %v: %v", patient, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Each Sentinel in turn hangs, so also the one that the client had chosen.
func TestConnectLeavesHungSentinel(t *testing.T) {
	t.Parallel()
	g := storetest.Sentinel(t)
	c := connect(t, Options{URL: g.URL(), Timeout: 300 * time.Millisecond})
	useIt(t, c)
	for _, s := range g.Sentinels {
		s.Pause()
		g.Data[0].Do("CLIENT", "KILL", "TYPE", "normal") // so that the client dials again
		awaitWrite(t, c, g.Data[0])
		s.Resume()
	}
}

func TestConnectCluster(t *testing.T) {
	t.Parallel()
	g := storetest.Cluster(t)
	for _, url := range []string{g.URL(), g.Nodes[1].URL() + "?cluster=1"} {
		c := connect(t, Options{URL: url, Timeout: patient})
		useIt(t, c)
		for _, s := range g.Nodes {
			if got := s.Do("DBSIZE").(int64); got < 50 {
				t.Errorf("keys on %s = %d of 300 through %s, want 50 or more", s.Addr, got, url)
			}
			if stats := fmt.Sprint(s.Do("INFO", "commandstats")); strings.Contains(stats, "cmdstat_command:") {
				t.Error("the client ran COMMAND, which its user may not be allowed")
			}
			s.Do("FLUSHALL")
		}
		for _, s := range g.Nodes { // two of them do not have the slot that the client knows
			g.Move("key", s)
			if err := c.Set(t.Context(), "key", s.Addr, 0).Err(); err != nil || s.Do("GET", "key") != s.Addr {
				t.Errorf("Set on a slot that has moved = %v, want the new node to have it", err)
			}
			s.Do("FLUSHALL")
		}
	}
}

func TestConnectClusterSecure(t *testing.T) {
	t.Parallel()
	g := storetest.Cluster(t, storetest.TLS, "--requirepass", awkward)
	useIt(t, connect(t, Options{URL: g.URL(), CAFile: g.Nodes[0].CAFile, Timeout: patient}))
}

func TestConnectNamesFault(t *testing.T) {
	locked := storetest.Redis(t, "--requirepass", "right")
	secure := storetest.Redis(t, storetest.TLS, "--requirepass", "right")
	_, port, _ := strings.Cut(secure.Addr, ":")
	tests := []struct {
		name, url, caFile, want string
	}{
		{"wrong password", locked.URLAs("", "hunter2"), "", "WRONGPASS"},
		{"unknown user", locked.URLAs("ann", "hunter2"), "", "WRONGPASS"},
		{"no password", locked.URLAs("", ""), "", "NOAUTH"},
		{"TLS, wrong password", secure.URLAs("", "hunter2"), secure.CAFile, "WRONGPASS"},
		{"TLS, unknown authority", secure.URLAs("", "hunter2"), "", "unknown authority"},
		{"TLS, another host's certificate", "rediss://:hunter2@localhost:" + port, secure.CAFile, "localhost"},
		{"nobody listens", "redis://:hunter2@127.0.0.1:1", "", "connection refused"},
	}
	for _, tt := range tests {
		err := connect(t, Options{URL: tt.url, CAFile: tt.caFile, Timeout: patient}).Get(t.Context(), "key").Err()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: error %q quotes the password", tt.name, err)
		}
	}
}

func TestConnectRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"bad URL", Options{URL: "redis://:hunter2@"}, "parse redis URL: host 1 is not a host"},
		{"negative timeout", Options{URL: "redis://:hunter2@h", Timeout: -1}, "timeout is -1ns"},
		{"negative pool", Options{URL: "redis://:hunter2@h", PoolSize: -1}, "pool size -1"},
		{"CA file without TLS", Options{URL: "redis://:hunter2@h", CAFile: empty}, "use rediss://"},
		{"missing CA file", Options{URL: "rediss://:hunter2@h", CAFile: empty + ".gone"}, "empty.pem.gone: no such file"},
		{"CA file without certificate", Options{URL: "rediss://:hunter2@h", CAFile: empty}, "holds no PEM certificate"},
	}
	for _, tt := range tests {
		_, err := Connect(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: error = %v, want one with %q and no password", tt.name, err, tt.want)
		}
	}
}
