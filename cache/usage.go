package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

const (
	usageShards = 64   // a power of two
	usageRoom   = 1024 // of a shard: pairs of a secret and a permission
	usageChunk  = 128  // pairs written at once
	usagePause  = 25 * time.Millisecond
	usageWithin = 20 * time.Second // all of them
	usageAtEnd  = 2 * time.Second  // likewise, when the process ends
)

// usage is what the store has yet to be told of the use of secrets. A request
// costs two map look-ups and a few atomics; there is no I/O, and what is used
// again and again allocates nothing.
type usage struct {
	every  time.Duration
	shards [usageShards]usageShard

	begun   time.Time    // what follows counts nanoseconds from here
	written atomic.Int64 // up to when all uses were written
	lost    atomic.Int64 // when the last one was that will not be; 0: none
}

type usageShard struct {
	mu   sync.RWMutex // guards what follows; never held across I/O
	uses map[pair]*uses
	full bool // there was no room for one since they were last taken
}

type pair struct{ secret, permission string }

// uses of a pair since they were last taken.
type uses struct {
	last  atomic.Int64 // seconds of Unix time
	count atomic.Int64
}

func newUsage(every time.Duration) *usage {
	u := &usage{every: every, begun: time.Now()}
	for i := range u.shards {
		u.shards[i].uses = map[pair]*uses{}
	}
	return u
}

// Used notes that a request was allowed by a secret; any other verdict is no
// use. What there is no room for is not noted, and counted.
func (c *Secrets) Used(s *authz.Secret, v authz.Verdict, now time.Time) {
	if v.Reason.Decision() != authz.Allow {
		return
	}
	if len(v.Endpoints) == 0 {
		c.note(pair{s.ID, authz.AnyPath}, now.Unix(), 1)
	}
	for _, e := range v.Endpoints {
		c.note(pair{s.ID, s.PermissionOf(e)}, now.Unix(), 1)
	}
}

// note adds n uses, the last one at a moment in seconds.
func (c *Secrets) note(p pair, at, n int64) {
	s := c.usage.shard(p.secret)
	if !s.add(p, at, n) && !s.insert(p, at, n) {
		c.lose(n)
	}
}

// lose counts uses that are lost.
func (c *Secrets) lose(n int64) {
	c.Stats.UsesDropped.Add(n)
	c.usage.lost.Store(int64(time.Since(c.usage.begun)))
}

// shard is that of a secret, by the first six bits of its id.
func (u *usage) shard(id string) *usageShard {
	if len(id) < 2 {
		return &u.shards[0]
	}
	return &u.shards[(digit(id[0])<<2|digit(id[1])>>2)%usageShards]
}

// digit is the value of a hexadecimal digit.
func digit(b byte) byte { return b&15 + 9*(b>>6) }

// add reports whether the pair was there to add to.
func (s *usageShard) add(p pair, at, n int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := s.uses[p]
	if u == nil {
		return false
	}
	u.add(at, n)
	return true
}

// insert adds a pair, if it is there or there is room.
func (s *usageShard) insert(p pair, at, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses[p]
	if u == nil && len(s.uses) >= usageRoom {
		s.full = true
		return false
	}
	if u == nil {
		u = &uses{}
		s.uses[p] = u
	}
	u.add(at, n)
	return true
}

func (u *uses) add(at, n int64) {
	u.count.Add(n)
	for {
		last := u.last.Load()
		if at <= last || u.last.CompareAndSwap(last, at) {
			return
		}
	}
}

// take appends what was used. It forgets pairs that were not used since they
// were last taken; where there was no room, all: the others' turn comes.
func (s *usageShard) take(taken []store.Use) []store.Use {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, u := range s.uses {
		n := u.count.Swap(0)
		if n > 0 {
			taken = append(taken, store.Use{Secret: p.secret, Permission: p.permission, At: time.Unix(u.last.Load(), 0), Requests: n})
		}
		if n == 0 || s.full {
			delete(s.uses, p)
		}
	}
	s.full = false
	return taken
}

// writeUsage writes uses until ctx ends, and then what is left.
func (c *Secrets) writeUsage(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, c.usage.every/2+rand.N(c.usage.every)) // not all sidecars at once
		if ctx.Err() == nil {
			within, cancel := context.WithTimeout(ctx, usageWithin)
			c.flushUsage(within, usagePause)
			cancel()
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), usageAtEnd)
	defer cancel()
	c.flushUsage(within, 0)
}

// flushUsage writes all uses there are, in chunks, on one connection at a time
// and with pauses: the store has more to do. What it cannot write it keeps for
// the next time, as far as there is room.
func (c *Secrets) flushUsage(ctx context.Context, pause time.Duration) {
	begun := time.Since(c.usage.begun)
	var taken, failed []store.Use
	for i := range c.usage.shards {
		taken = c.usage.shards[i].take(taken)
	}
	rand.Shuffle(len(taken), func(i, j int) { taken[i], taken[j] = taken[j], taken[i] }) // where time is short, it is not always the same ones that wait
	for len(taken) > 0 && ctx.Err() == nil {
		chunk := taken[:min(usageChunk, len(taken))]
		left := c.writeUses(ctx, chunk)
		taken, failed = taken[len(chunk):], append(failed, left...)
		if len(left) == len(chunk) {
			break // the store is away
		}
		if len(taken) > 0 {
			sleep(ctx, pause)
		}
	}
	failed = append(failed, taken...)
	for _, u := range failed {
		c.note(pair{u.Secret, u.Permission}, u.At.Unix(), u.Requests)
	}
	if len(failed) == 0 {
		c.usage.written.Store(int64(begun))
	}
}

// writeUses writes some uses, and returns those that it could not.
func (c *Secrets) writeUses(ctx context.Context, uses []store.Use) []store.Use {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	failed, _ := c.store.WriteUses(ctx, uses) // what failed is tried again
	c.Stats.UsesWritten.Add(requests(uses) - requests(failed))
	return failed
}

func requests(uses []store.Use) (n int64) {
	for _, u := range uses {
		n += u.Requests
	}
	return n
}

// ages says how long ago the oldest use may have been that is not written, and
// the last one that was lost; 0 where none was.
func (u *usage) ages() (unwritten, lost time.Duration) {
	now := time.Since(u.begun)
	if at := u.lost.Load(); at > 0 {
		lost = max(now-time.Duration(at), 1)
	}
	return max(now-time.Duration(u.written.Load()), 1), lost
}
