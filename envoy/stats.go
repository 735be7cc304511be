package envoy

import (
	"sync/atomic"
	"time"

	"github.com/postern/postern/authz"
)

// Buckets are the upper bounds of the check durations that Stats counts.
var Buckets = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
}

// Stats counts checks since the process began.
type Stats struct {
	Reasons  [authz.Internal + 1]atomic.Int64 // by reason; Undecided counts as Internal
	Nanos    atomic.Int64                     // spent in checks
	Duration [len(Buckets) + 1]atomic.Int64   // checks by duration: each counts in the first bucket that holds it
}

func (s *Stats) count(r authz.Reason, d time.Duration) {
	if r == authz.Undecided {
		r = authz.Internal
	}
	s.Reasons[r].Add(1)
	s.Nanos.Add(int64(d))
	i := 0
	for i < len(Buckets) && d > Buckets[i] {
		i++
	}
	s.Duration[i].Add(1)
}
