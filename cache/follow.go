package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/cache/store"
)

const (
	logBlock     = 150 * time.Millisecond // a read of the log waits this long: one that waits for ever is blind while its slot moves
	logRetry     = 100 * time.Millisecond
	reportEvery  = time.Second
	reportWithin = 3 * time.Second // without a report for so long, the fleet does not count us: nothing is proved
	reportSlack  = time.Second     // for what lies between a report and the fleet's look at it
)

// follower follows the store's log of changes, and reports how far it is.
type follower struct {
	name    string
	catalog func() string // hash

	mu       sync.Mutex     // guards what follows
	cursor   store.Position // of the last entry applied
	sequence int64          // its number
	begun    bool           // cursor is where the log was found
	skipped  store.Position // up to here entries were not applied one by one
	left     time.Time      // when they were skipped; zero: never with anything kept
	reported time.Time      // when the last report was sent that was taken
	fenced   bool           // the master had a replica: it must have one that follows
	master   store.Master   // as of the last report

	pollTrouble, reportTrouble error // of the last ones; nil where they went well

	applied chan struct{} // asks for a report at once
	gaps    atomic.Int64
}

// Follow follows the store's changes until ctx ends, and writes uses of secrets.
// It reports to the fleet, and leaves it at the end.
func (c *Secrets) Follow(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { c.followLog(ctx) })
	group.Go(func() { c.reportOn(ctx) })
	group.Go(func() { c.writeUsage(ctx) })
	group.Wait()
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	c.store.Leave(leaving, c.follower.name) // where it fails, the report runs out by itself
}

// Begin reports and finds the log's end, so that what is read from then on can
// be used at once. It may fail: Follow then does the same in its time.
func (c *Secrets) Begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return errors.Join(c.report(ctx), c.poll(ctx, 0))
}

func (c *Secrets) followLog(ctx context.Context) {
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, logBlock+lookTimeout)
		err := c.poll(bounded, logBlock)
		cancel()
		if err != nil {
			sleep(ctx, logRetry)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// poll applies what is new in the log, waiting for it for block at most, and
// proves freshness where that was all.
func (c *Secrets) poll(ctx context.Context, block time.Duration) error {
	f := &c.follower
	err := f.begin(ctx, c)
	if err == nil && block > 0 {
		err = f.advance(ctx, c, block)
	}
	if err == nil {
		err = f.verify(ctx, c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pollTrouble = err
	return err
}

// begin finds the log's end, once: nothing read before it is kept.
func (f *follower) begin(ctx context.Context, c *Secrets) error {
	f.mu.Lock()
	begun := f.begun
	f.mu.Unlock()
	if begun {
		return nil
	}
	head, err := c.store.LogHead(ctx)
	if err == nil {
		f.jump(c, head)
	}
	return err
}

// jump goes to an entry of the log that does not follow the last one applied:
// whatever was read before must be read again.
func (f *follower) jump(c *Secrets, to store.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		f.gaps.Add(1)
	}
	f.cursor, f.sequence, f.begun = to.Position, to.Sequence, true
	c.fresh.gap()
	if c.Len() > 0 { // what is kept may be used while it cannot be read again
		f.skipped, f.left = to.Position, time.Now()
	}
}

// beginAgain begins with the log of another master: where it had not got all of
// the log before, other entries stand in the same places.
func (f *follower) beginAgain(c *Secrets) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		f.gaps.Add(1)
	}
	f.begun = false
	c.fresh.gap()
}

// advance applies the entries after the last one applied.
func (f *follower) advance(ctx context.Context, c *Secrets, block time.Duration) error {
	entries, err := c.store.ReadLog(ctx, f.at(), block)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f.apply(c, e)
	}
	if len(entries) > 0 {
		select {
		case f.applied <- struct{}{}:
		default: // a report is asked for already
		}
	}
	return nil
}

func (f *follower) at() store.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor
}

// apply drops what an entry says has changed. An entry carries no authority:
// whoever can write one makes a secret be read again, and no more.
func (f *follower) apply(c *Secrets, e store.Entry) {
	f.mu.Lock()
	follows := f.sequence > 0 && e.Sequence == f.sequence+1 // an empty log may have been emptied again since
	f.mu.Unlock()
	if !follows {
		f.jump(c, e)
	}
	if k, ok := parseKey(e.Secret); ok {
		c.drop(k)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor, f.sequence = e.Position, e.Sequence
}

// verify proves freshness where the log's head is the entry last applied. A
// head before that is another log's: of a master that had not got it all. An
// empty log may have been another one before, of which nothing was seen.
func (f *follower) verify(ctx context.Context, c *Secrets) error {
	asked := time.Now()
	head, err := c.store.LogHead(ctx)
	if err != nil {
		return err
	}
	at := f.at()
	switch {
	case head.Position.Before(at):
		f.jump(c, head)
	case head.Position == at && at != (store.Position{}) && c.mayProve(asked):
		c.fresh.prove(asked)
	}
	return nil
}

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
// another one may be the master, and know more.
func (f *follower) severed(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fenced && age(f.reported, now) >= reportWithin
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
	if err == nil {
		f.reported, f.master, f.fenced = sent, master, f.fenced || master.Replicas > 0
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if before.RunID != master.RunID {
		f.beginAgain(c)
	}
	return nil
}
