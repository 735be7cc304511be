package storetest

import (
	"net"
	"strings"
	"testing"
)

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// ClusterGroup is a Redis Cluster of three masters without replicas; each has a
// third of the slots.
type ClusterGroup struct {
	Nodes [3]*Server
}

// Cluster starts a cluster and returns when every node calls it whole. args go
// to each node, and are as for Redis.
func Cluster(t testing.TB, args ...string) *ClusterGroup {
	t.Helper()
	ca, g := newAuthority(t, args), &ClusterGroup{}
	for i := range g.Nodes {
		s := newServer(t, ca, args)
		_, bus, _ := net.SplitHostPort(freeAddr(t))
		s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000")
		s.Start()
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		s.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		for _, known := range g.Nodes[:i] {
			host, port, _ := net.SplitHostPort(known.Addr)
			s.Do("CLUSTER", "MEET", host, port, known.Do("CONFIG", "GET", "cluster-port").([]any)[1])
		}
		g.Nodes[i] = s
	}
	for _, s := range g.Nodes {
		s.await("join the cluster", func() bool {
			return s.says("CLUSTER INFO", "cluster_state:ok") && s.says("CLUSTER INFO", "cluster_known_nodes:3")
		})
	}
	return g
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
