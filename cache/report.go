package cache

import (
	"context"
	"errors"
	"time"

	"github.com/postern/postern/cache/store"
)

const (
	reportEvery  = time.Second
	reportWithin = 3 * time.Second // without a report for so long, the fleet does not count us: nothing is proved
	reportSlack  = time.Second     // for what lies between a report and the fleet's look at it
)

// mayProve reports whether the fleet counts this sidecar, the master is one
// that its replicas follow, its log is followed from its end, and the store is
// the one that it was.
func (c *Secrets) mayProve(now time.Time) bool {
	if _, err := c.trust.get(); errors.Is(err, ErrReplaced) {
		return false
	}
	f := &c.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun && !f.reported.IsZero() && age(f.reported, now) < reportWithin
}

// bound is how long after its last report this sidecar may use a secret that
// it cannot read again.
func (c *Secrets) bound() time.Duration { return c.maxStale + c.fresh.lagLimit + reportWithin }

// counted reports whether the fleet still counts this sidecar: whoever deletes
// a secret waits for it, or is told by when it has stopped.
func (f *follower) counted(now time.Time, bound time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.reported.IsZero() && age(f.reported, now) < bound
}

// severed reports whether the master owes a proof that a replica follows it:
// another one may be the master, and know more. That it has no record of a
// secret is then not believed.
func (f *follower) severed(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fenced && age(f.followed, now) >= reportWithin
}

// disowned reports whether such a master was set to take nothing for true
// without a replica: no record that it has is then believed. One that was not
// set so is believed, or losing the only replica would stop everything.
func (f *follower) disowned(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.master.Strict && age(f.followed, now) >= reportWithin
}

// reportOn reports every second, and when changes were applied.
func (c *Secrets) reportOn(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, lookTimeout)
		c.report(bounded)
		cancel()
		select {
		case <-tick.C:
		case <-c.follower.applied:
		case <-ctx.Done():
			return
		}
	}
}

// report says how far this sidecar is, and learns what the master is. Another
// master than before may not know what that one did.
func (c *Secrets) report(ctx context.Context) error {
	if c.firstEpoch() == "" { // the store may have begun just now
		_, _ = c.look(ctx) // State tells it
	}
	sent := time.Now()
	r, fenced := c.compose(sent)
	master, err := c.store.Report(ctx, r, fenced)
	if c.follower.learn(master, err, sent) {
		c.follower.beginAgain(c)
	}
	return err
}

// compose is the report of this moment, and whether a replica must have it.
func (c *Secrets) compose(now time.Time) (r store.Report, fenced bool) {
	f := &c.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	r = store.Report{Name: f.name, Instance: f.instance, Anew: !f.named, Catalog: f.catalog(), Epoch: c.firstEpoch(), RunID: f.master.RunID, Bound: c.bound() + reportSlack}
	if f.begun && r.RunID != "" { // else nothing is applied yet
		r.Applied = f.cursor.String()
	}
	if !f.left.IsZero() && age(f.left, now) < c.maxStale {
		r.Skipped = f.skipped.String()
	}
	r.Unwritten, r.Lost = c.usage.ages()
	return r, f.fenced
}

// learn notes what the master said of itself and what became of the report that
// was sent then. It reports whether this is another master than before.
func (f *follower) learn(master store.Master, err error, sent time.Time) (another bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reportTrouble = err
	switch {
	case err == nil:
		f.reported, f.named = sent, true
	case errors.Is(err, store.ErrUnfollowed):
		f.named = true
	case errors.Is(err, store.ErrNameTaken): // by a successor, or by mistake: that we may still run must be known
		f.shared, f.name, f.named = f.name, f.name+"/"+f.instance[:6], false
		f.reportSoon()
	}
	if err == nil || master.Followed && !errors.Is(err, store.ErrUnfollowed) { // full, say, and the master all the same
		f.followed = sent
	}
	if master.RunID == "" {
		return false
	}
	another = master.RunID != f.master.RunID
	f.master, f.fenced = master, f.fenced || master.Replicas > 0
	return another
}
