package storetest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// masterName is the name under which Sentinel watches the master.
const masterName = "main"

// SentinelGroup is a master, its replica, and three Sentinels of which two
// must agree. With --requirepass, the Sentinels have that password too.
type SentinelGroup struct {
	Data      [2]*Server // the master at first, and its replica
	Sentinels [3]*Server
}

// Sentinel starts a group whose Sentinels know each other and the replica, so
// that it can fail over at once. args go to the master and the replica, and
// are as for Redis.
func Sentinel(t testing.TB, args ...string) *SentinelGroup {
	t.Helper()
	ca := newAuthority(t, args)
	args = append(slices.Clone(args), "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	if pass := password(args); pass != "" {
		args = append(args, "--masterauth", pass)
	}
	g := &SentinelGroup{}
	for i := range g.Data {
		g.Data[i] = newServer(t, ca, args)
		g.Data[i].Start()
	}
	host, port, _ := net.SplitHostPort(g.Data[0].Addr)
	g.Data[1].Do("REPLICAOF", host, port)
	g.Data[1].awaitFollowing()
	g.Data[0].awaitFollowed()
	g.startSentinels(t, ca, args)
	return g
}

// startSentinels gives each Sentinel what it would else take seconds to learn.
func (g *SentinelGroup) startSentinels(t testing.TB, ca *authority, args []string) {
	t.Helper()
	for i := range g.Sentinels {
		g.Sentinels[i] = newServer(t, ca, []string{"--sentinel"})
		g.Sentinels[i].password = password(args)
	}
	for i, s := range g.Sentinels {
		conf := filepath.Join(s.Dir, "sentinel.conf") // Sentinel rewrites it
		if err := os.WriteFile(conf, []byte(g.config(i)), 0o600); err != nil {
			t.Fatalf("write the configuration of Sentinel: %v", err)
		}
		s.args = slices.Insert(s.args, 0, conf)
		s.Start()
	}
	for _, s := range g.Sentinels {
		s.await("reach its quorum", func() bool { _, err := s.try("SENTINEL", "CKQUORUM", masterName); return err == nil })
	}
}

// config is the configuration of Sentinel i.
func (g *SentinelGroup) config(i int) string {
	var b strings.Builder
	host, port, _ := net.SplitHostPort(g.Data[0].Addr)
	fmt.Fprintf(&b, "sentinel myid %040d\nsentinel monitor %s %s %s 2\n", i+1, masterName, host, port)
	fmt.Fprintf(&b, "sentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 4000\n", masterName, masterName)
	if pass := g.Data[0].password; pass != "" {
		fmt.Fprintf(&b, "requirepass %q\nsentinel sentinel-pass %q\nsentinel auth-pass %s %q\n", pass, pass, masterName, pass)
	}
	host, port, _ = net.SplitHostPort(g.Data[1].Addr)
	fmt.Fprintf(&b, "sentinel known-replica %s %s %s\n", masterName, host, port)
	for j, s := range g.Sentinels {
		if host, port, _ = net.SplitHostPort(s.Addr); j != i {
			fmt.Fprintf(&b, "sentinel known-sentinel %s %s %s %040d\n", masterName, host, port, j+1)
		}
	}
	return b.String()
}

// URL names the three Sentinels and the master, in the form that store.Connect
// reads.
func (g *SentinelGroup) URL() string {
	first, addrs := g.Sentinels[0], make([]string, len(g.Sentinels))
	for i, s := range g.Sentinels {
		addrs[i] = s.Addr
	}
	u := scheme(first) + credentials("", first.password) + strings.Join(addrs, ",") + "?master=" + masterName
	if first.password != "" {
		u += "&sentinel_password=" + strings.ReplaceAll(url.QueryEscape(first.password), "+", "%20")
	}
	return u
}

// Failover has the replica replace the running master, which becomes its
// replica, and returns the new master when every Sentinel names it.
func (g *SentinelGroup) Failover() *Server {
	old := g.AwaitMaster(nil)
	old.t.Helper()
	g.live()[0].Do("SENTINEL", "FAILOVER", masterName)
	return g.AwaitMaster(old)
}

// Kill kills the master, and starts it again as a replica when the other has
// taken over.
func (g *SentinelGroup) Kill() {
	old := g.AwaitMaster(nil)
	old.t.Helper()
	old.Stop()
	next := g.AwaitMaster(old)
	old.Start()
	host, port, _ := net.SplitHostPort(next.Addr)
	old.Do("REPLICAOF", host, port) // Sentinel does so too, after a while
	old.awaitFollowing()
	next.awaitFollowed()
}

// AwaitMaster waits until every Sentinel that runs names one and the same
// server, other than old, which calls itself a master, and returns it. After
// old was stopped or paused that takes some two seconds.
func (g *SentinelGroup) AwaitMaster(old *Server) *Server {
	s := g.live()[0]
	s.t.Helper()
	var master *Server
	s.await("agree on a master", func() bool {
		master = g.named()
		return master != nil && master != old && master.up() && master.says("INFO replication", "role:master")
	})
	return master
}

// named is the server that all running Sentinels name as the master, or nil.
func (g *SentinelGroup) named() *Server {
	var addr string
	for _, s := range g.live() {
		reply, _ := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).([]any)
		if len(reply) != 2 {
			return nil
		}
		next := fmt.Sprintf("%v:%v", reply...)
		if addr != "" && next != addr {
			return nil
		}
		addr = next
	}
	for _, s := range g.Data {
		if s.Addr == addr {
			return s
		}
	}
	return nil
}

func (g *SentinelGroup) live() []*Server {
	return slices.DeleteFunc(slices.Clone(g.Sentinels[:]), func(s *Server) bool { return !s.up() })
}
