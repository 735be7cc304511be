package cache

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rereadEvery is how often an entry is read again although nothing says that
// it has changed, give or take a tenth: a delete may have died before it was
// announced.
const rereadEvery = 5 * time.Minute

// keptChanges is how many changes are remembered for reads that are under way.
const keptChanges = 4096

// proof is what the change log has proved: of all that was read in a
// generation, and was not dropped since, nothing had changed at a moment. A
// gap in the log begins a new generation.
type proof struct {
	generation uint64
	at         time.Time // zero: not yet proved in this generation
}

// freshness is how far entries may be used without asking the store. Its zero
// value has proved nothing.
type freshness struct {
	lagLimit time.Duration
	last     atomic.Pointer[proof]

	mu      sync.Mutex           // guards what follows, and stores to last
	ended   map[uint64]time.Time // when each earlier generation was last proved
	count   uint64               // of changes seen
	changed map[key]uint64       // the last count at which each was among them
	dropped uint64               // the count up to which changed has forgotten all
}

func (f *freshness) proof() proof {
	if p := f.last.Load(); p != nil {
		return *p
	}
	return proof{}
}

// prove says that the log held nothing unseen at a moment.
func (f *freshness) prove(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last.Store(&proof{generation: f.proof().generation, at: at})
}

// gap says that changes may have been missed: whatever was read before must be
// read again.
func (f *freshness) gap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.proof()
	if f.ended == nil || len(f.ended) > keptChanges {
		f.ended = map[uint64]time.Time{}
	}
	f.ended[p.generation] = p.at
	f.last.Store(&proof{generation: p.generation + 1})
}

// change notes that a secret has changed: reads of it that began before are
// void.
func (f *freshness) change(k key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil || len(f.changed) >= keptChanges {
		f.changed, f.dropped = map[key]uint64{}, f.count
	}
	f.count++
	f.changed[k] = f.count
}

// mark is the moment that a read begins at.
type mark struct {
	at         time.Time
	count      uint64
	generation uint64
}

func (f *freshness) mark() mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return mark{at: time.Now(), count: f.count, generation: f.proof().generation}
}

// void reports whether a secret has changed since a read of it began, or may
// have.
func (f *freshness) void(m mark, k key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed[k] > m.count || f.dropped > m.count || f.proof().generation != m.generation
}

// confirmed reports whether the log has proved lately that nothing is unseen.
func (f *freshness) confirmed(now time.Time) bool { return f.recent(f.proof(), now) }

// recent reports whether a proof still holds.
func (f *freshness) recent(p proof, now time.Time) bool {
	return !p.at.IsZero() && age(p.at, now) < f.lagLimit
}

// covers reports whether an entry may be used without asking the store.
func (f *freshness) covers(e entry, now time.Time) bool {
	p := f.proof()
	return e.generation == p.generation && f.recent(p, now) && age(e.read, now) < e.reread()
}

// lastTrue is the last moment at which an entry was known to be true. The log
// says so for as long only as the entry need not be read again in any case.
func (f *freshness) lastTrue(e entry) time.Time {
	p := f.proof()
	at := p.at
	if e.generation != p.generation {
		f.mu.Lock()
		at = f.ended[e.generation]
		f.mu.Unlock()
	}
	switch {
	case !at.After(e.read):
		return e.read
	case age(e.read, at) < e.reread():
		return at
	}
	return e.read.Add(e.reread())
}

// age is how long ago a moment was. It is the longer of what the monotonic
// clock says, which stands still while a machine sleeps, and the wall clock,
// which may be set.
func age(at, now time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// Freshness is how far entries are used without asking the store.
type Freshness struct {
	Confirmed bool          // they are
	Lag       time.Duration // since the last proof that nothing was unseen; negative before the first one
	Gaps      int64         // times that changes may have been missed
	Unsafe    []string      // settings that can lose secrets or deletions, or confuse who counts them
	Trouble   error         // why it is not Confirmed, where that is known
}

// Freshness tells the state of this moment.
func (c *Secrets) Freshness() Freshness {
	now := time.Now()
	f := Freshness{Confirmed: c.fresh.confirmed(now), Lag: -time.Second, Gaps: c.follower.gaps.Load()}
	if p := c.fresh.proof(); !p.at.IsZero() {
		f.Lag = age(p.at, now)
	}
	c.follower.mu.Lock()
	defer c.follower.mu.Unlock()
	f.Unsafe = slices.Clone(c.follower.master.Unsafe)
	if shared := c.follower.shared; shared != "" {
		f.Unsafe = append(f.Unsafe, fmt.Sprintf("another sidecar has the name %s, so this one reports as %s: give each a --name of its own", shared, c.follower.name))
	}
	if !f.Confirmed {
		f.Trouble = errors.Join(c.follower.pollTrouble, c.follower.reportTrouble)
	}
	return f
}
