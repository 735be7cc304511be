package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// node is a Redis server of a history. Its replica stands for its disk where
// there is no replica.
type node struct {
	runID   string
	values  map[string]string
	hashes  map[string]map[string]string
	log     []redis.XMessage
	last    [2]int64 // the newest id that the log ever had
	next    [2]int64 // the id that the next entry must have; zero: the clock says
	skew    time.Duration
	replica *node         // nil on one that was cut off
	lagging bool          // the replica gets nothing
	pending []func(*node) // writes that it has not got
}

// write does a write, on the replica too.
func (n *node) write(do func(*node)) {
	do(n)
	switch {
	case n.replica == nil:
	case n.lagging:
		n.pending = append(n.pending, do)
	default:
		do(n.replica)
	}
}

func (n *node) now() time.Time { return time.Now().Add(n.skew) }

// servers are the Redis servers of a history: the master, and those that were.
type servers struct {
	mu         sync.Mutex // guards what follows, and the nodes
	master     *node
	replicated bool          // the replica is a server, and not the disk
	strict     bool          // min-replicas-to-write is set
	changed    chan struct{} // closed when a command may wait no longer
	runs       int
}

func newServers(replicated, strict bool) *servers {
	s := &servers{replicated: replicated, strict: replicated && strict, changed: make(chan struct{})}
	s.master = &node{values: map[string]string{}, hashes: map[string]map[string]string{}}
	s.run(s.master)
	return s
}

// run gives a node a run id of its own, and a replica that has all it has.
func (s *servers) run(n *node) {
	s.runs++
	n.runID, n.lagging, n.pending = fmt.Sprint("run", s.runs), false, nil
	n.replica = &node{values: maps.Clone(n.values), hashes: map[string]map[string]string{}, log: slices.Clone(n.log), last: n.last}
	for key, hash := range n.hashes {
		n.replica.hashes[key] = maps.Clone(hash)
	}
}

// fail has the replica, or what is on disk, replace the master, which answers
// on. collide gives the next change the place in the log of one that was lost.
func (s *servers) fail(skew time.Duration, collide bool) (old *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.master
	s.master, old.replica, old.lagging, old.pending = old.replica, nil, false, nil
	s.master.skew = skew
	if i := slices.IndexFunc(old.log, func(m redis.XMessage) bool { return later(streamID(m.ID), s.master.last) }); collide && i >= 0 {
		s.master.next = streamID(old.log[i].ID)
	}
	s.run(s.master)
	return old
}

// change changes the master.
func (s *servers) change(do func(*node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.master)
	s.wake()
}

func (s *servers) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// lag has the replica get nothing, or all.
func (s *servers) lag(yes bool) {
	s.change(func(n *node) {
		if n.lagging = yes; yes {
			return
		}
		for _, write := range n.pending {
			write(n.replica)
		}
		n.pending = nil
	})
}

// errBlocked says that a command waits.
var errBlocked = errors.New("the command waits")

// do carries a command out, as far as the store uses it.
func (s *servers) do(ctx context.Context, n *node, cmd redis.Cmder) error {
	end := time.After(patience(cmd))
	for {
		s.mu.Lock()
		err, changed := s.try(n, cmd), s.changed
		s.mu.Unlock()
		if err != errBlocked {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			if cmd.Name() == "xread" {
				return redis.Nil
			}
			return nil // WAIT: on no replica
		}
	}
}

// patience is how long a command waits.
func patience(cmd redis.Cmder) time.Duration {
	i := slices.Index(cmd.Args(), any("block")) + 1
	if cmd.Name() == "wait" {
		i = 2
	}
	millis, _ := strconv.Atoi(argument(cmd, i)) // no number where there is no such argument
	return time.Duration(millis) * time.Millisecond
}

func (s *servers) try(n *node, cmd redis.Cmder) error {
	if s.strict && n.replica == nil && slices.Contains([]string{"evalsha", "set", "setnx", "hdel"}, cmd.Name()) {
		return errors.New("NOREPLICAS Not enough good replicas to write.")
	}
	switch cmd := cmd.(type) {
	case *redis.XInfoStreamCmd:
		if n.last == [2]int64{} {
			return errors.New("ERR no such key")
		}
		cmd.SetVal(&redis.XInfoStream{LastGeneratedID: fmt.Sprintf("%d-%d", n.last[0], n.last[1])})
	case *redis.XMessageSliceCmd: // XREVRANGE, of one
		cmd.SetVal(slices.Clone(n.log[max(0, len(n.log)-1):]))
	case *redis.XStreamSliceCmd: // XREAD
		after := streamID(argument(cmd, len(cmd.Args())-1))
		i := slices.IndexFunc(n.log, func(m redis.XMessage) bool { return later(streamID(m.ID), after) })
		if i < 0 {
			return errBlocked
		}
		cmd.SetVal([]redis.XStream{{Messages: slices.Clone(n.log[i:])}})
	case *redis.Cmd: // EVALSHA
		s.eval(n, cmd)
	default:
		return s.tryPlain(n, cmd)
	}
	return nil
}

// tryPlain carries out a command on strings, hashes or the server.
func (s *servers) tryPlain(n *node, cmd redis.Cmder) error {
	key, value := argument(cmd, 1), argument(cmd, 2)
	switch cmd := cmd.(type) {
	case *redis.TimeCmd:
		cmd.SetVal(n.now())
	case *redis.MapStringStringCmd:
		cmd.SetVal(maps.Clone(n.hashes[key]))
	case *redis.BoolCmd: // SETNX
		_, there := n.values[key]
		if cmd.SetVal(!there); !there {
			n.write(func(n *node) { n.values[key] = value })
		}
	case *redis.StatusCmd: // SET
		before, there := n.values[key]
		n.write(func(n *node) { n.values[key] = value })
		switch {
		case argument(cmd, 3) != "get":
		case !there:
			return redis.Nil
		default:
			cmd.SetVal(before)
		}
	case *redis.IntCmd: // HDEL, WAIT
		switch {
		case cmd.Name() == "hdel":
			n.write(func(n *node) { delete(n.hashes[key], value) })
		case !s.replicated || n.replica == nil || n.lagging:
			return errBlocked
		}
		cmd.SetVal(1)
	case *redis.StringCmd: // INFO, GET, HGET
		if cmd.Name() == "hget" {
			stored, ok := n.hashes[key][value]
			if !ok {
				return redis.Nil
			}
			cmd.SetVal(stored)
			return nil
		}
		if cmd.Name() == "info" {
			cmd.SetVal(s.info(n))
			return nil
		}
		stored, ok := n.values[key]
		if !ok {
			return redis.Nil
		}
		cmd.SetVal(stored)
	default:
		return fmt.Errorf("ERR unknown command %s", cmd.Name())
	}
	return nil
}

func (s *servers) info(n *node) string {
	replicas, lag, strict := 0, 0, ""
	if s.replicated && n.replica != nil {
		replicas = 1
	}
	if n.lagging {
		lag = 9
	}
	if s.strict {
		strict = "min_slaves_good_slaves:0\r\n"
	}
	return fmt.Sprintf("run_id:%s\r\nconnected_slaves:%d\r\n%sslave0:state=online,lag=%d\r\n", n.runID, replicas, strict, lag)
}

// eval does what a script of the store does; its key tells which one it is.
func (s *servers) eval(n *node, cmd *redis.Cmd) {
	key, first, second := argument(cmd, 3), argument(cmd, 4), argument(cmd, 5)
	set := func(field, value string) {
		n.write(func(n *node) {
			if n.hashes[key] == nil {
				n.hashes[key] = map[string]string{}
			}
			n.hashes[key][field] = value
		})
	}
	switch {
	case strings.HasSuffix(key, ":log"):
		cmd.SetVal(s.append(n, first))
	case strings.HasSuffix(key, ":sidecars"):
		at := strconv.FormatInt(n.now().UnixMicro(), 10)
		set(first, at+" "+second)
		cmd.SetVal(at)
	default: // a merchant's list
		set(first, "")
		cmd.SetVal("ok")
	}
}

// argument is a word of a command.
func argument(cmd redis.Cmder, i int) string {
	if args := cmd.Args(); i < len(args) {
		if bytes, ok := args[i].([]byte); ok {
			return string(bytes)
		}
		return fmt.Sprint(args[i])
	}
	return ""
}
