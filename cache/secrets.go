// Package cache keeps near the gate what its requests need of the store: an
// LRU of secrets, one read for any number of requests that miss together, and
// how long an entry may be used when the store does not answer.
package cache

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// Options says how much is kept, and how long. Zero fields mean the defaults.
type Options struct {
	Size     int           // secrets kept; 0 means 100,000
	Timeout  time.Duration // of one look-up in the store; 0 means 50 ms
	LagLimit time.Duration // how long the log's last proof that nothing is unseen holds; 0 means 1 s

	// MaxStale is how long a secret is served while the store does not
	// answer, since it was last known to be true; 0 means not at all.
	MaxStale time.Duration

	UsageEvery time.Duration // how often uses are written, about; 0 means 30 s

	Name    string        // of the process, in its reports to the fleet; "" means one that no other has
	Catalog func() string // the hash of the catalog in use, for the same; nil means none
}

// Secrets finds secrets by their token's digest. It is safe for concurrent
// use.
type Secrets struct {
	Stats Stats

	store    *store.Store
	maxStale time.Duration
	timeout  time.Duration
	kept     kept
	unknown  unknowns
	breakers breakers
	trust    trust
	fresh    freshness
	follower follower
	usage    *usage
}

// New is an empty cache before a store. It is not Trusted before Look has seen
// the store.
func New(s *store.Store, o Options) *Secrets {
	if o.Catalog == nil {
		o.Catalog = func() string { return "" }
	}
	return &Secrets{
		store: s, maxStale: o.MaxStale, timeout: cmp.Or(o.Timeout, 50*time.Millisecond), unknown: newUnknowns(),
		fresh:    freshness{lagLimit: cmp.Or(o.LagLimit, time.Second)},
		follower: follower{name: cmp.Or(o.Name, rand.Text()), instance: rand.Text(), catalog: o.Catalog, applied: make(chan struct{}, 1)},
		kept:     newKept(cmp.Or(o.Size, 100_000)),
		usage:    newUsage(cmp.Or(o.UsageEvery, 30*time.Second)),
	}
}

// Keyring is the keyring in use.
func (c *Secrets) Keyring() *authz.Keyring { return c.store.Keyring() }

// Find finds the secret of a token, or its tombstone. client is the address
// that a flood of unknown tokens is held against; it may be invalid. The error
// holds an [authz.Reason]; it is authz.Unknown only where the store is trusted
// to know every secret. Where it waits for another's read it ends with ctx; its
// own read it takes to the end, some timeouts long at most.
func (c *Secrets) Find(ctx context.Context, t authz.Lookup, client netip.Addr) (*authz.Secret, error) {
	if t.Digest == (authz.Digest{}) {
		return nil, authz.Internal
	}
	e, ok := c.cached(t)
	if ok && c.fresh.covers(e, time.Now()) {
		c.Stats.Hits.Add(1)
		return e.secret, nil
	}
	if !ok && c.unknown.holds(t.Digest) {
		c.Stats.Refused.Add(1)
		return nil, authz.Unknown
	}
	secret, err := c.fill(ctx, t, func() (*authz.Secret, error) {
		if ok || t.Minted {
			return c.read(t, ok)
		}
		return c.readStranger(t, client)
	})
	if err != nil && ok && mayServeStale(authz.ReasonOf(err)) {
		now := time.Now()
		if old := age(c.fresh.lastTrue(e), now); old < c.maxStale && c.follower.counted(now, c.bound()) {
			c.Stats.stale(old)
			return e.secret, nil
		}
	}
	return secret, err
}

// cached is what is kept of a token's secret, however old. It is kept under
// the digest that the store has it under.
func (c *Secrets) cached(t authz.Lookup) (e entry, ok bool) {
	e, ok = c.kept.get(keyOf(t.Digest))
	for i := 0; !ok && i < len(t.Others); i++ {
		e, ok = c.kept.get(keyOf(t.Others[i]))
	}
	return e, ok
}

// mayServeStale reports whether a re-read failed for no fault of the secret. A
// secret that was there and is not any more was lost: deleted ones leave a
// tombstone.
func mayServeStale(r authz.Reason) bool {
	return r == authz.StoreUnavailable || r == authz.RecordMissing
}

// readStranger reads a secret whose token anyone can have invented, within the
// bounds on such reads. They are on reads and not on requests: what waits for
// a read that is under way costs nothing, and one that waits no more does not
// end it.
func (c *Secrets) readStranger(t authz.Lookup, client netip.Addr) (*authz.Secret, error) {
	if !c.unknown.enter(client, c.timeout) {
		c.Stats.Refused.Add(1)
		return nil, authz.Overloaded
	}
	defer c.unknown.leave()
	return c.read(t, false)
}

// read reads a secret from the store. seen tells that it was there before.
func (c *Secrets) read(t authz.Lookup, seen bool) (*authz.Secret, error) {
	breaker := c.breakers.of(c.store.Master(t.Digest.ID()))
	if !breaker.allow() {
		return nil, authz.StoreUnavailable
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	c.Stats.Reads.Add(1)
	secret, err := c.ask(ctx, t, seen)
	if err == nil && secret.DeletedAt.IsZero() && c.follower.disowned(time.Now()) {
		secret, err = nil, fmt.Errorf("%w: %w: %w", authz.StoreUnavailable, errDistrust, store.ErrUnfollowed)
	}
	switch reason := authz.ReasonOf(err); {
	case errors.Is(err, errDistrust): // it answered
		breaker.succeeded()
	case reason == authz.StoreUnavailable || reason == authz.Internal:
		c.Stats.ReadErrors.Add(1)
		breaker.failed()
	default:
		breaker.succeeded()
		c.remember(t, reason)
	}
	return secret, err
}

// ask asks the store for a secret, and believes that there is none only where
// it is to be trusted with that.
func (c *Secrets) ask(ctx context.Context, t authz.Lookup, seen bool) (*authz.Secret, error) {
	secret, err := c.store.Find(ctx, t)
	switch {
	case authz.ReasonOf(err) != authz.Unknown:
		return secret, err
	case seen:
		return nil, fmt.Errorf("read secret %s: %w", t.Digest.ID(), authz.RecordMissing)
	}
	return nil, c.believe(ctx)
}

// remember keeps for a moment that a read found no secret, and counts what
// should not be.
func (c *Secrets) remember(t authz.Lookup, reason authz.Reason) {
	switch reason {
	case authz.RecordMissing:
		c.Stats.Missing.Add(1)
	case authz.RecordInvalid:
		c.Stats.Invalid.Add(1)
	case authz.Unknown:
		c.unknown.add(t.Digest)
	}
}
