package cache

import (
	"sync/atomic"
	"time"
)

// Stats counts what the cache did since the process began.
type Stats struct {
	Hits       atomic.Int64 // answered without I/O
	Reads      atomic.Int64 // of the store
	ReadErrors atomic.Int64 // that the store did not answer
	Stale      atomic.Int64 // answers from an entry that could not be read again
	Oldest     atomic.Int64 // the longest that such an entry had not been known to be true, in nanoseconds
	Missing    atomic.Int64 // reads of a secret that was minted here and is not there
	Invalid    atomic.Int64 // reads of a record that cannot be used
	Refused    atomic.Int64 // look-ups of unknown tokens that were not made

	UsesWritten atomic.Int64 // uses of secrets that the store was told of
	UsesDropped atomic.Int64 // those that it will not be told of
}

// Len is how many secrets are kept.
func (c *Secrets) Len() int { return c.kept.len() }

// stale counts an answer from an entry that was last known to be true this
// long ago.
func (s *Stats) stale(old time.Duration) {
	s.Stale.Add(1)
	for {
		oldest := s.Oldest.Load()
		if int64(old) <= oldest || s.Oldest.CompareAndSwap(oldest, int64(old)) {
			return
		}
	}
}
