package cache

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/postern/postern/authz"
)

// maxRaces is how often a read that raced a change is done again.
const maxRaces = 3

// key is a secret's id: the first bytes of its digest.
type key [16]byte

func keyOf(d authz.Digest) key { return key(d[:len(key{})]) }

// parseKey reads an id in hex.
func parseKey(id string) (k key, ok bool) {
	bytes, err := hex.DecodeString(id)
	if err != nil || len(bytes) != len(k) {
		return k, false
	}
	return key(bytes), true
}

// entry is a secret as it was read.
type entry struct {
	secret     *authz.Secret
	read       time.Time // when the read began
	generation uint64    // of the log's proofs, likewise
	jitter     int8      // spreads re-reads
}

// reread is how long after its read an entry is read again in any case.
func (e entry) reread() time.Duration {
	return rereadEvery + rereadEvery/10*time.Duration(e.jitter)/128
}

// flight is one read that any number of requests wait for.
type flight struct {
	done   chan struct{} // closed when the fields below are set
	secret *authz.Secret
	err    error
}

// kept are the secrets in memory, and the reads of others that are under way.
type kept struct {
	mu      sync.Mutex // guards what follows; never held across I/O
	lru     *simplelru.LRU[key, entry]
	flights map[key]*flight
}

func newKept(size int) kept {
	lru, err := simplelru.NewLRU[key, entry](size, nil)
	if err != nil {
		panic(err) // only a size below 1 makes one
	}
	return kept{lru: lru, flights: map[key]*flight{}}
}

func (s *kept) get(k key) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Get(k)
}

// fill reads a secret and keeps what was read. Requests that come while a read
// is under way share it, and wait no longer than they can. The one that reads
// does so to the end: others may wait for it, and the read has a bound of its
// own. It takes no goroutine for that, which would cost as much as the read.
func (c *Secrets) fill(ctx context.Context, t authz.Lookup, read func() (*authz.Secret, error)) (*authz.Secret, error) {
	k := keyOf(t.Digest)
	c.kept.mu.Lock()
	if e, ok := c.kept.lru.Get(k); ok && c.fresh.covers(e, time.Now()) { // of a read that ended since the caller looked
		c.kept.mu.Unlock()
		c.Stats.Hits.Add(1)
		return e.secret, nil
	}
	f, ok := c.kept.flights[k]
	if !ok {
		f = &flight{done: make(chan struct{})}
		c.kept.flights[k] = f
		c.kept.mu.Unlock()
		c.fly(k, f, read)
		return f.secret, f.err
	}
	c.kept.mu.Unlock()
	select {
	case <-f.done:
		return f.secret, f.err
	case <-ctx.Done():
		return nil, authz.StoreUnavailable
	}
}

// fly does the read of a flight, and lets those that wait for it go on. A
// panic in it denies, and does not end the process: no record may turn every
// other secret away.
func (c *Secrets) fly(k key, f *flight, read func() (*authz.Secret, error)) {
	defer func() {
		if p := recover(); p != nil {
			f.secret, f.err = nil, fmt.Errorf("%w: panic: %v\n%s", authz.Internal, p, debug.Stack())
		}
		c.kept.mu.Lock()
		defer c.kept.mu.Unlock()
		delete(c.kept.flights, k)
		close(f.done)
	}()
	f.secret, f.err = c.readUnraced(read)
}

// errRaced says that a secret changed again and again while it was read.
var errRaced = errors.New("the secret changed while it was read")

// readUnraced reads a secret and keeps it. A read that a change has raced is
// thrown away and done again.
func (c *Secrets) readUnraced(read func() (*authz.Secret, error)) (*authz.Secret, error) {
	for range maxRaces {
		m := c.fresh.mark()
		secret, err := read()
		if err != nil {
			return nil, err
		}
		if age(m.at, time.Now()) > c.timeout+c.fresh.lagLimit { // this process stood still: it is of before
			continue
		}
		if kept, ok := c.keep(secret, m); ok {
			return kept, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", authz.StoreUnavailable, errRaced)
}

// keep keeps a secret that was read since m, unless it has changed meanwhile.
// A tombstone that was seen once outlives any record.
func (c *Secrets) keep(secret *authz.Secret, m mark) (*authz.Secret, bool) {
	k, ok := parseKey(secret.ID)
	if !ok {
		return nil, false
	}
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	if c.fresh.void(m, k) {
		return nil, false
	}
	secret = lean(secret)
	if old, ok := c.kept.lru.Peek(k); ok && !old.secret.DeletedAt.IsZero() {
		secret = old.secret
	}
	c.kept.lru.Add(k, entry{secret: secret, read: m.at, generation: m.generation, jitter: int8(rand.IntN(256) - 128)})
	return secret, true
}

// lean is a secret without what no decision reads: a quarter of what it would
// cost to keep.
func lean(s *authz.Secret) *authz.Secret {
	kept := *s
	kept.Description, kept.Redacted, kept.Catalog = "", "", ""
	return &kept
}

// drop forgets a secret that has changed, and voids reads of it that are under
// way. A tombstone stays: it cannot change.
func (c *Secrets) drop(k key) {
	c.fresh.change(k)
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	if e, ok := c.kept.lru.Peek(k); ok && e.secret.DeletedAt.IsZero() {
		c.kept.lru.Remove(k)
	}
}

// len is how many secrets are in memory.
func (s *kept) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Len()
}
