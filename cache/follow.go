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
	logBlock = 150 * time.Millisecond // a read of the log waits this long: one that waits for ever is blind while its slot moves
	logRetry = 100 * time.Millisecond
)

// errNoLog says why nothing is proved.
var errNoLog = errors.New("the store has no log of changes, so secrets are read again before use: creating or deleting a secret begins it anew")

// follower follows the store's log of changes, and reports how far it is.
type follower struct {
	catalog  func() string // hash
	instance string

	mu       sync.Mutex // guards what follows
	name     string
	named    bool           // a report by that name was stored
	shared   string         // the name that another process has too; "": none
	cursor   store.Position // of the last entry applied
	sequence int64          // its number
	begun    bool           // cursor is where the log was found
	skipped  store.Position // up to here entries were not applied one by one
	left     time.Time      // when they were skipped; zero: never with anything kept
	reported time.Time      // when the last report was sent that was taken
	fenced   bool           // the master had a replica: it must have one that follows
	followed time.Time      // when it last had, or needed none
	master   store.Master   // as it last said of itself

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
	c.Leave(ctx)
}

// Leave takes this sidecar off the fleet's list, also after ctx has ended. Call
// it where Follow will not be called: Follow leaves by itself.
func (c *Secrets) Leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	c.follower.mu.Lock()
	name := c.follower.name
	c.follower.mu.Unlock()
	c.store.Leave(ctx, name, c.follower.instance) // where it fails, the report runs out by itself
}

// Begin reports and finds the log's end, so that what is read from then on can
// be used at once. It may fail: Follow then does the same in its time.
func (c *Secrets) Begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return errors.Join(c.report(ctx), c.poll(ctx, 0))
}

func (c *Secrets) followLog(ctx context.Context) {
	failed := false
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, logBlock+lookTimeout)
		err := c.poll(bounded, logBlock)
		cancel()
		if err == nil && failed { // what waits for a report need not wait for the next one
			c.follower.reportSoon()
		}
		if failed = err != nil; failed {
			sleep(ctx, logRetry)
		}
	}
}

// reportSoon asks for a report at once.
func (f *follower) reportSoon() {
	select {
	case f.applied <- struct{}{}:
	default: // it is asked for already
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
		f.jump(c, head, head.Position)
	}
	return err
}

// jump goes to an entry of the log that does not follow the last one applied:
// whatever was read before must be read again. unseen is the place up to which
// entries may not have been applied.
func (f *follower) jump(c *Secrets, to store.Entry, unseen store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		f.gaps.Add(1)
	}
	f.cursor, f.sequence, f.begun = to.Position, to.Sequence, true
	c.fresh.gap()
	if c.Len() > 0 { // what is kept may be used while it cannot be read again
		f.skipped, f.left = unseen, time.Now()
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
		f.reportSoon()
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
	if k, ok := parseKey(e.Secret); ok { // before anything can say that it is applied
		c.drop(k)
	}
	f.mu.Lock()
	follows := f.sequence > 0 && e.Sequence == f.sequence+1 // an empty log may have been emptied again since
	f.mu.Unlock()
	if !follows {
		f.jump(c, e, e.Position.Previous())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor, f.sequence = e.Position, e.Sequence
}

// verify proves freshness where the log's head is the entry last applied. A
// head before that is another log's: of a master that had not got it all. One
// that was trimmed away will never be read. Where there is no log there may
// have been another one before, of which nothing was seen.
func (f *follower) verify(ctx context.Context, c *Secrets) error {
	asked := time.Now()
	head, err := c.store.LogHead(ctx)
	if err != nil {
		return err
	}
	at := f.at()
	switch {
	case head == (store.Entry{}) && at == (store.Position{}) && c.firstEpoch() != "":
		return errNoLog
	case head.Position.Before(at), head.Trimmed && at.Before(head.Position):
		f.jump(c, head, head.Position)
	case head.Position == at && at != (store.Position{}) && c.mayProve(asked):
		c.fresh.prove(asked)
	}
	return nil
}
