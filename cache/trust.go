package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

const lookTimeout = 500 * time.Millisecond

// State is what is known of the store.
type State uint8

// The states. Only Ready and Empty let secrets be found.
const (
	Unreached State = iota // the store has not answered yet
	Foreign                // the key file has no key of this store
	Empty                  // the store answers, and holds nothing yet
	Ready                  // the store is the one of the key file
)

// String is the state in words.
func (s State) String() string {
	switch s {
	case Foreign:
		return store.ErrForeign.Error()
	case Empty:
		return "the store is empty: no secret was ever made in it"
	case Ready:
		return "the store is ready"
	}
	return "the store has not answered yet"
}

// trust is how far the store's word is taken. Once its epoch was verified, the
// process stays ready: what goes wrong later is no reason to turn every good
// secret away.
type trust struct {
	mu    sync.Mutex // guards what follows
	state State
	epoch string // the first one seen; "" before
	last  error  // of the last look; nil where the store answered
}

// ErrReplaced says that the store is not the one that it was: State tells it
// until the first one is back.
var ErrReplaced = errors.New("the store's epoch is not the one this process first saw: the store was emptied or replaced")

// errDistrust marks a store that answers, and whose answer proves nothing.
var errDistrust = errors.New("the store's word is not taken")

// look reads the epoch. It returns what it makes of it, and not what another
// look, which may have begun earlier, makes of it meanwhile. What was read
// before the store was replaced must be read again.
func (c *Secrets) look(ctx context.Context) (State, error) {
	epoch, err := c.store.Epoch(ctx)
	t := &c.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state == Ready:
		if err == nil && epoch != t.epoch {
			err = ErrReplaced
			if !errors.Is(t.last, ErrReplaced) {
				c.follower.gaps.Add(1)
				c.fresh.gap()
			}
		}
	case errors.Is(err, store.ErrForeign):
		t.state = Foreign
	case err == nil && epoch == "":
		t.state = Empty
	case err == nil:
		t.state, t.epoch = Ready, epoch
	}
	t.last = err
	return t.state, err
}

// believe is what a nil of the store means for a token minted elsewhere:
// authz.Unknown while the store is the one that this process first saw, and its
// master the one that its replicas follow. The epoch is read after the nil.
func (c *Secrets) believe(ctx context.Context) error {
	state, err := c.look(ctx)
	switch {
	case authz.ReasonOf(err) == authz.StoreUnavailable:
		return err
	case err != nil:
		return fmt.Errorf("%w: %w: %w", authz.StoreUnavailable, errDistrust, err)
	case state != Ready:
		return fmt.Errorf("%w: %w: %v", authz.StoreUnavailable, errDistrust, state)
	case c.follower.severed(time.Now()):
		return fmt.Errorf("%w: %w: %w", authz.StoreUnavailable, errDistrust, store.ErrUnfollowed)
	}
	return authz.Unknown
}

func (t *trust) get() (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.last
}

// State is what is known of the store, and what was wrong with it at the last
// look, or nil.
func (c *Secrets) State() (State, error) { return c.trust.get() }

// Trusted reports whether secrets can be found: before that every answer is
// that the gate cannot know.
func (c *Secrets) Trusted() bool {
	state, _ := c.trust.get()
	return state == Empty || state == Ready
}

// Look looks at the store's epoch once, and takes half a second at most.
func (c *Secrets) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_, _ = c.look(ctx) // State tells it
}

// firstEpoch is the store's epoch as this process first saw it; "" before.
func (c *Secrets) firstEpoch() string {
	c.trust.mu.Lock()
	defer c.trust.mu.Unlock()
	return c.trust.epoch
}
