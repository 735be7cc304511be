package cache

import (
	"sync"
	"time"
)

// After this many failures in a row the store is asked once in a while only.
const (
	breakerFailures = 3
	breakerProbe    = 100 * time.Millisecond
)

// breaker keeps requests from waiting for a store that does not answer.
type breaker struct {
	mu       sync.Mutex // guards what follows
	failures int        // in a row
	next     time.Time  // of the next probe, once there are enough failures
}

// breakers has a breaker for each master of the store, by address. Those of
// masters that left stay: a cluster has few.
type breakers struct{ all sync.Map }

func (b *breakers) of(master string) *breaker {
	one, ok := b.all.Load(master)
	if !ok {
		one, _ = b.all.LoadOrStore(master, &breaker{})
	}
	return one.(*breaker)
}

// allow reports whether the store may be asked now.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return true
	}
	now := time.Now()
	if now.Before(b.next) {
		return false
	}
	b.next = now.Add(breakerProbe)
	return true
}

func (b *breaker) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.next = time.Now().Add(breakerProbe)
}

func (b *breaker) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}
