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
	if _, err := c.trust.get(); errors.Is(err, errReplaced) {
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
	f := &c.follower
	f.mu.Lock()
	r := store.Report{
		Name: f.name, Catalog: f.catalog(), Epoch: c.firstEpoch(), RunID: f.master.RunID, Bound: c.bound() + reportSlack,
	}
	if f.begun && r.RunID != "" { // else nothing is applied yet
		r.Applied = f.cursor.String()
	}
	sent := time.Now()
	if !f.left.IsZero() && age(f.left, sent) < c.maxStale {
		r.Skipped = f.skipped.String()
	}
	fenced, before := f.fenced, f.master
	f.mu.Unlock()
	r.Unwritten, r.Lost = c.usage.ages()
	master, err := c.store.Report(ctx, r, fenced)
	f.mu.Lock()
	f.reportTrouble = err
	if master.RunID != "" {
		f.master, f.fenced = master, f.fenced || master.Replicas > 0
	}
	if err == nil {
		f.reported = sent
	}
	if err == nil || master.Followed && !errors.Is(err, store.ErrUnfollowed) { // full, say, and the master all the same
		f.followed = sent
	}
	f.mu.Unlock()
	if master.RunID != "" && before.RunID != master.RunID {
		f.beginAgain(c)
	}
	return err
}
