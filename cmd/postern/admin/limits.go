package admin

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits are how often something may be done.
type limits struct {
	signIns  *limiter // that fail, by address
	misses   *limiter // of the API's tokens that are not known, by address
	mints    *limiter // by who asks
	refusals *limiter // that the audit log is told of, by who asks, or from where
}

func newLimits() *limits {
	return &limits{
		signIns:  newLimiter(rate.Every(12*time.Second), 5),
		misses:   newLimiter(10, 100),
		mints:    newLimiter(20, 40),
		refusals: newLimiter(1, 100),
	}
}

// tooMany refuses what is done too often.
type tooMany struct{ wait time.Duration }

func (e tooMany) Error() string {
	return fmt.Sprintf("too many requests: try again in %d s", e.seconds())
}

func (e tooMany) seconds() int { return int(e.wait/time.Second) + 1 }

// maxKeys bounds the memory of a limiter.
const maxKeys = 10_000

// limiter limits by key. It is safe for concurrent use.
type limiter struct {
	every rate.Limit
	burst int

	mu    sync.Mutex // guards byKey
	byKey map[string]*rate.Limiter
}

func newLimiter(every rate.Limit, burst int) *limiter {
	return &limiter{every: every, burst: burst, byKey: map[string]*rate.Limiter{}}
}

// of is the limiter of a key. Where there are too many keys, those that have
// nothing to remember go, or all.
func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one, ok := l.byKey[key]; ok {
		return one
	}
	if len(l.byKey) >= maxKeys {
		for k, one := range l.byKey {
			if one.Tokens() >= float64(l.burst) {
				delete(l.byKey, k)
			}
		}
		if len(l.byKey) >= maxKeys {
			clear(l.byKey)
		}
	}
	one := rate.NewLimiter(l.every, l.burst)
	l.byKey[key] = one
	return one
}

// take counts one, or says how long to wait.
func (l *limiter) take(key string) time.Duration {
	if l.of(key).Allow() {
		return 0
	}
	return l.wait(key)
}

// wait says how long to wait before the next, 0 for not at all, and counts
// nothing.
func (l *limiter) wait(key string) time.Duration {
	missing := 1 - l.of(key).Tokens()
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.every) * float64(time.Second))
}
