package envoy

import (
	"errors"
	"time"

	"github.com/postern/postern/authz"
)

// ClockTolerance is how far the machine's clock may be set without a word.
const ClockTolerance = 30 * time.Second

// errClock says why a secret with an expiry is not allowed. A restart takes the
// clock as it is.
var errClock = errors.New("the machine's clock was set back, and the secret had expired before: set the clock right, or restart if it is")

// ClockSet is how far the machine's clock was set since the process began:
// forward, also by sleep, or back where it is below zero.
func (g *Gate) ClockSet() time.Duration { return clockSet(g.begun, time.Now()) }

// clockSet is what the wall clock has done between two moments more than the
// monotonic one.
func clockSet(begun, now time.Time) time.Duration {
	return now.Round(0).Sub(begun.Round(0)) - now.Sub(begun)
}

// revived reports whether a secret had expired, and has not any more, as the
// clock was set back: which of the two is true, the gate cannot know.
func (g *Gate) revived(s *authz.Secret, now time.Time) bool {
	back := -clockSet(g.begun, now)
	return back > ClockTolerance && !s.ExpiresAt.IsZero() && !now.Add(back).Before(s.ExpiresAt)
}
