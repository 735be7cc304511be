package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// ErrUnfollowed says that too few replicas have a write.
var ErrUnfollowed = errors.New("too few replicas have the write")

// Master is what a master says of itself.
type Master struct {
	RunID    string // of the process: another one after a restart or a failover
	Replicas int    // that are connected
	Followed bool   // one of them has said so a moment ago
	Unsafe   []string

	// Strict tells that what it has counts for nothing while no replica
	// follows it: its min-replicas-to-write says so, or it is itself a replica
	// whose master is away.
	Strict bool
}

// master is a client of the master that keeps a key.
func (s *Store) master(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.client.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		master, err := c.MasterForKey(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("find the master of %s: %w", key, unavailable(err))
		}
		return master, nil
	}
	return nil, fmt.Errorf("find the master of %s: client of type %T: %w", key, s.client, authz.Internal)
}

// Master names the master that keeps a secret, for telling the masters of a
// Cluster apart: "" where there is only one, or where it is not known.
func (s *Store) Master(id string) string {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // it is known, or not: no reading of slots
	defer cancel()
	master, err := cluster.MasterForKey(ctx, secretKey(id))
	if err != nil {
		return ""
	}
	return master.Options().Addr
}

// pinned lets do work on one connection to the master that keeps a key: WAIT
// counts the writes of its own connection only.
func (s *Store) pinned(ctx context.Context, key string, do func(*redis.Conn) error) error {
	master, err := s.master(ctx, key)
	if err != nil {
		return err
	}
	c := master.Conn()
	defer c.Close()
	return do(c)
}

// awaitReplicas waits until n replicas have what the connection wrote, for
// what is left of ctx's time less a margin, and a second at most.
func awaitReplicas(ctx context.Context, c *redis.Conn, n int) error {
	if n == 0 {
		return nil
	}
	patience := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	got, err := c.Wait(ctx, n, max(patience, time.Millisecond)).Result()
	if err != nil {
		return fmt.Errorf("wait for replicas: %w", unavailable(err))
	}
	if int(got) < n {
		return fmt.Errorf("%w: %d of %d", ErrUnfollowed, got, n)
	}
	return nil
}

// awaitAsked waits for as many replicas as asked, or AllReplicas.
func awaitAsked(ctx context.Context, c *redis.Conn, replicas int) error {
	if replicas == AllReplicas {
		m, err := inspect(ctx, c)
		if err != nil {
			return err
		}
		replicas = m.Replicas
	}
	return awaitReplicas(ctx, c, replicas)
}

// inspect asks a master what it is, and what of its settings is unsafe.
func inspect(ctx context.Context, c *redis.Conn) (Master, error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return Master{}, fmt.Errorf("ask the master what it is: %w", unavailable(err))
	}
	info := map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		info[name] = value
	}
	return readInfo(info), nil
}

// readInfo reads INFO. min_slaves_good_slaves is there where
// min-replicas-to-write is set, and slave0 and so on for each replica.
func readInfo(info map[string]string) Master {
	_, strict := info["min_slaves_good_slaves"]
	m := Master{RunID: info["run_id"], Strict: strict || info["master_link_status"] == "down"}
	m.Replicas, _ = strconv.Atoi(info["connected_slaves"])
	for i := range m.Replicas {
		replica := strings.Split(info[fmt.Sprint("slave", i)], ",")
		heard := slices.Contains(replica, "lag=0") || slices.Contains(replica, "lag=1") // seconds ago
		m.Followed = m.Followed || heard && slices.Contains(replica, "state=online")
	}
	if m.Replicas > 0 && !strict && info["redis_mode"] != "cluster" {
		m.Unsafe = append(m.Unsafe, "Redis has replicas and no min-replicas-to-write: a master that is cut off from them goes on as if it were one, "+
			"and brings deleted secrets back to whom it reaches; set it to 1")
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" && policy != "" {
		m.Unsafe = append(m.Unsafe, fmt.Sprintf("Redis's maxmemory-policy is %s: it may drop secrets and deletions; set noeviction", policy))
	}
	if info["aof_enabled"] == "0" {
		m.Unsafe = append(m.Unsafe, "Redis keeps no append-only file: a restart loses secrets and deletions; set appendonly yes")
	}
	return m
}

// time is Redis's time, on the master that keeps the fleet.
func (s *Store) time(ctx context.Context) (now time.Time, err error) {
	master, err := s.master(ctx, fleetKey)
	if err != nil {
		return now, err
	}
	now, err = master.Time(ctx).Result()
	if err != nil {
		return now, fmt.Errorf("ask Redis for the time: %w", unavailable(err))
	}
	return now.UTC(), nil
}
