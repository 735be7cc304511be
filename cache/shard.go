package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/postern/postern/authz"
)

// shardCount is how many locks the cache is spread over; a power of two.
const shardCount = 64

// entry is a secret as it was read.
type entry struct {
	secret *authz.Secret
	read   time.Time // when the read began
}

// fresh reports whether the entry may be used without asking the store.
func (e entry) fresh() bool { return time.Since(e.read) < freshFor }

// flight is one read that any number of requests wait for.
type flight struct {
	done   chan struct{} // closed when the fields below are set
	secret *authz.Secret
	err    error
}

type shard struct {
	mu      sync.Mutex // guards what follows; never held across I/O
	lru     *simplelru.LRU[authz.Digest, entry]
	flights map[authz.Digest]*flight
}

// newShard is a shard of a cache of this size, with room for uneven spreading.
func newShard(size int) shard {
	lru, err := simplelru.NewLRU[authz.Digest, entry](size/shardCount+size/shardCount/8+8, nil)
	if err != nil {
		panic(err) // only a size below 1 makes one
	}
	return shard{lru: lru, flights: map[authz.Digest]*flight{}}
}

func (s *shard) get(d authz.Digest) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Get(d)
}

// fill reads d and keeps what was read. Requests that come while a read is
// under way share it. A request that cannot wait any longer leaves the read to
// the others.
func (s *shard) fill(ctx context.Context, d authz.Digest, read func() (*authz.Secret, error)) (*authz.Secret, error) {
	s.mu.Lock()
	if e, ok := s.lru.Get(d); ok && e.fresh() { // of a read that ended since the caller looked
		s.mu.Unlock()
		return e.secret, nil
	}
	f, ok := s.flights[d]
	if !ok {
		f = &flight{done: make(chan struct{})}
		s.flights[d] = f
		go s.fly(d, f, read)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.secret, f.err
	case <-ctx.Done():
		return nil, authz.StoreUnavailable
	}
}

// fly does the read of a flight. A panic in it denies, and does not end the
// process: no record may turn every other secret away.
func (s *shard) fly(d authz.Digest, f *flight, read func() (*authz.Secret, error)) {
	begun := time.Now()
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("%w: panic: %v\n%s", authz.Internal, p, debug.Stack())
		}
		s.land(d, f, begun)
	}()
	f.secret, f.err = read()
}

// land keeps what a flight read and lets those that wait for it go on.
func (s *shard) land(d authz.Digest, f *flight, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err == nil {
		s.lru.Add(d, entry{secret: f.secret, read: begun})
	}
	delete(s.flights, d)
	close(f.done)
}

// len is how many secrets the shard keeps.
func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Len()
}
