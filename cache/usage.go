package cache

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

const (
	usageShards  = 64   // a power of two
	usageRoom    = 1024 // of a shard: pairs of a secret and an endpoint
	usageBacklog = 2 * usageShards * usageRoom
	usageChunk   = 128 // uses written at once
	usagePause   = 25 * time.Millisecond
	usageWithin  = 20 * time.Second // all of them
	usageAtEnd   = 2 * time.Second  // likewise, when the process ends
)

// usage is what the store has yet to be told of the use of secrets. A request
// costs one look-up and a few atomics; there is no I/O, and what is used again
// and again allocates nothing.
type usage struct {
	every  time.Duration
	shards [usageShards]usageShard

	backlog map[used]store.Use // taken, and not written yet; of the one goroutine that writes

	begun   time.Time    // what follows counts nanoseconds from here
	written atomic.Int64 // up to when all uses were written
	lost    atomic.Int64 // when the last one was that will not be; 0: none
}

type usageShard struct {
	mu   sync.RWMutex // guards what follows; never held across I/O
	uses map[pair]*Pair
	full bool // there was no room for one since they were last taken
}

// pair is a secret and an endpoint that it opened; nil: one in no catalog.
// Pointers are hashed faster than what they name. A secret that was read again
// makes another pair.
type pair struct {
	secret   *authz.Secret
	endpoint *authz.Endpoint
}

// used names what was used: by their ids.
type used struct{ secret, permission string }

func (p pair) used() used {
	if p.endpoint == nil {
		return used{p.secret.ID, authz.AnyPath}
	}
	return used{p.secret.ID, p.secret.PermissionOf(p.endpoint)}
}

// Pair is a secret and an endpoint that it opened of late: how often, since
// that was last taken to be written. It goes when it is not used any more.
type Pair struct {
	last  atomic.Int64 // seconds of Unix time
	count atomic.Int64

	Answer atomic.Value // what the caller has made for the two, to be kept as long as they
}

func newUsage(every time.Duration) *usage {
	u := &usage{every: every, begun: time.Now(), backlog: map[used]store.Use{}}
	for i := range u.shards {
		u.shards[i].uses = map[pair]*Pair{}
	}
	return u
}

// Used notes that a request was allowed by a secret; any other verdict is no
// use. What there is no room for is not noted, and counted. It returns what it
// is noted at: nil where nothing is, or at several places.
func (c *Secrets) Used(s *authz.Secret, v authz.Verdict, now time.Time) (noted *Pair) {
	if v.Reason.Decision() != authz.Allow {
		return nil
	}
	if len(v.Endpoints) == 0 {
		return c.note(pair{s, nil}, now.Unix())
	}
	for _, e := range v.Endpoints {
		noted = c.note(pair{s, e}, now.Unix())
	}
	if len(v.Endpoints) > 1 {
		return nil
	}
	return noted
}

func (c *Secrets) note(p pair, at int64) *Pair {
	s := c.usage.shard(p.secret.ID)
	used := s.add(p, at)
	if used == nil {
		used = s.insert(p, at)
	}
	if used == nil {
		c.loseUses(1)
	}
	return used
}

// loseUses counts uses that will not be written.
func (c *Secrets) loseUses(n int64) {
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

// add adds to a pair that is there; else it is nil.
func (s *usageShard) add(p pair, at int64) *Pair {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := s.uses[p]
	if u != nil {
		u.add(at)
	}
	return u
}

// insert adds a pair, if it is there or there is room; else it is nil.
func (s *usageShard) insert(p pair, at int64) *Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses[p]
	if u == nil && len(s.uses) >= usageRoom {
		s.full = true
		return nil
	}
	if u == nil {
		u = &Pair{}
		s.uses[p] = u
	}
	u.add(at)
	return u
}

func (u *Pair) add(at int64) {
	u.count.Add(1)
	raise(&u.last, at)
}

// take takes what was used. It forgets pairs that were not used since they were
// last taken; where there was no room, all: the others' turn comes.
func (s *usageShard) take() (taken []store.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, u := range s.uses {
		n := u.count.Swap(0)
		if n > 0 {
			what := p.used()
			taken = append(taken, store.Use{Secret: what.secret, Permission: what.permission, At: time.Unix(u.last.Load(), 0), Requests: n})
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
	for i := range c.usage.shards {
		for _, u := range c.usage.shards[i].take() {
			c.owe(u)
		}
	}
	owed := slices.Collect(maps.Values(c.usage.backlog)) // in no order: where time is short, it is not always the same ones that wait
	for chunk := range slices.Chunk(owed, usageChunk) {
		if ctx.Err() != nil || !c.writeUses(ctx, chunk) {
			return
		}
		if len(c.usage.backlog) > 0 {
			sleep(ctx, pause)
		}
	}
	if len(c.usage.backlog) == 0 {
		c.usage.written.Store(int64(begun))
	}
}

// owe adds a use to the backlog, if there is room.
func (c *Secrets) owe(u store.Use) {
	what := used{u.Secret, u.Permission}
	old, ok := c.usage.backlog[what]
	if !ok && len(c.usage.backlog) >= usageBacklog {
		c.loseUses(u.Requests)
		return
	}
	if old.At.After(u.At) {
		u.At = old.At
	}
	u.Requests += old.Requests
	c.usage.backlog[what] = u
}

// writeUses writes some uses of the backlog. It reports whether the store took
// any.
func (c *Secrets) writeUses(ctx context.Context, chunk []store.Use) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	failed, _ := c.store.WriteUses(ctx, chunk) // they are tried again
	for _, u := range chunk {
		if !slices.Contains(failed, u) {
			delete(c.usage.backlog, used{u.Secret, u.Permission})
			c.Stats.UsesWritten.Add(u.Requests)
		}
	}
	return len(failed) < len(chunk)
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
