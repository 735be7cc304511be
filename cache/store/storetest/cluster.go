package storetest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// ClusterGroup is a Redis Cluster of three masters; each has a third of the
// slots.
type ClusterGroup struct {
	Nodes    [3]*Server // the masters at first
	Replicas []*Server  // of each, in the same order; none, if not asked for
}

// Cluster starts a cluster without replicas and returns when every node calls
// it whole. args go to each node, and are as for Redis.
func Cluster(t testing.TB, args ...string) *ClusterGroup {
	t.Helper()
	ca, g := newAuthority(t, args), &ClusterGroup{}
	for i := range g.Nodes {
		s := newNode(t, ca, args)
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1) // before it knows others
		s.meet(g.Nodes[:i])
		s.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		g.Nodes[i] = s
	}
	for _, s := range g.Nodes {
		s.awaitWhole(3)
	}
	return g
}

// ClusterWithReplicas starts a cluster whose masters have a replica each.
func ClusterWithReplicas(t testing.TB, args ...string) *ClusterGroup {
	t.Helper()
	args = append(slices.Clone(args), "--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no")
	g := Cluster(t, args...)
	for range g.Nodes {
		s := newNode(t, nil, args)
		s.meet(g.Nodes[:])
		g.Replicas = append(g.Replicas, s)
	}
	for i, s := range g.Replicas {
		s.awaitWhole(6)
		s.Do("CLUSTER", "REPLICATE", g.Nodes[i].Do("CLUSTER", "MYID"))
		s.awaitFollowing()
		g.Nodes[i].awaitFollowed()
	}
	return g
}

func newNode(t testing.TB, ca *authority, args []string) *Server {
	t.Helper()
	s := newServer(t, ca, args)
	_, bus, _ := net.SplitHostPort(freeAddr(t))
	s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000")
	s.Start()
	return s
}

func (s *Server) meet(others []*Server) {
	s.t.Helper()
	for _, known := range others {
		host, port, _ := net.SplitHostPort(known.Addr)
		s.Do("CLUSTER", "MEET", host, port, known.Do("CONFIG", "GET", "cluster-port").([]any)[1])
	}
}

func (s *Server) awaitWhole(nodes int) {
	s.t.Helper()
	s.await("join the cluster", func() bool {
		return s.says("CLUSTER INFO", "cluster_state:ok") && s.says("CLUSTER INFO", fmt.Sprint("cluster_known_nodes:", nodes))
	})
}

// awaitFollowing waits until a server has all that its master has.
func (s *Server) awaitFollowing() {
	s.t.Helper()
	s.await("follow its master", func() bool { return s.says("INFO replication", "master_link_status:up") })
}

// awaitFollowed waits until a master has a replica that follows it, so that it
// takes writes where it must have one.
func (s *Server) awaitFollowed() {
	s.t.Helper()
	s.await("be followed", func() bool {
		return s.says("INFO replication", "state=online") && !s.says("INFO replication", "min_slaves_good_slaves:0")
	})
}

// Failover kills the master of a third of the slots, and starts it again when
// its replica has taken over.
func (g *ClusterGroup) Failover(third int) {
	old, next := g.Nodes[third], g.Replicas[third]
	if !old.says("INFO replication", "role:master") {
		old, next = next, old
	}
	old.t.Helper()
	old.Stop()
	next.await("take over", func() bool {
		return next.says("INFO replication", "role:master") && next.says("CLUSTER INFO", "cluster_state:ok")
	})
	old.Start()
	old.awaitFollowing()
	next.awaitFollowed()
}

// URL names every node, in the form that store.Connect reads.
func (g *ClusterGroup) URL() string {
	addrs := make([]string, len(g.Nodes))
	for i, s := range g.Nodes {
		addrs[i] = s.Addr
	}
	return scheme(g.Nodes[0]) + credentials("", g.Nodes[0].password) + strings.Join(addrs, ",")
}

// Move gives the slot of key to another node, as a migration's last step does.
// The slot must hold no keys.
func (g *ClusterGroup) Move(key string, to *Server) {
	to.t.Helper()
	slot, id := to.Do("CLUSTER", "KEYSLOT", key), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "BUMPEPOCH") // so that no older claim to the slot wins
	to.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
	for _, s := range g.Nodes {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
	}
}
