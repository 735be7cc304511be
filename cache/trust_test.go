package cache

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

const epochKey = "postern:epoch"

func TestState(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.legacy("m")
		ours, _ := b.redis.Get(epochKey)
		b.redis.FlushAll()
		b.legacy("m")
		next, _ := b.redis.Get(epochKey)
		var (
			down    = func() { b.fails.Store(true) }
			empty   = func() { b.redis.FlushAll() }
			foreign = func() { b.put(epochKey, ours[:len(ours)-1]) }
			first   = func() { b.put(epochKey, ours) }
			second  = func() { b.put(epochKey, next) }
			list    = func() { b.redis.Del(epochKey); b.redis.Push(epochKey, ours) }
		)
		type step struct {
			name  string
			store func()
			want  State
			fault string // in what is wrong; "" where nothing is
		}
		tests := []struct {
			name  string
			steps []step
		}{
			{"from nothing to ready", []step{
				{"down", down, Unreached, "LOADING"}, {"empty", empty, Empty, ""}, {"begun", first, Ready, ""},
			}},
			{"foreign is no end", []step{
				{"foreign", foreign, Foreign, "key file has no key of this store"}, {"down", down, Foreign, "LOADING"},
				{"empty", empty, Empty, ""}, {"foreign again", foreign, Foreign, "key file"}, {"ours", second, Ready, ""},
			}},
			{"an epoch of another type", []step{{"list", list, Unreached, "WRONGTYPE"}, {"ours", first, Ready, ""}, {"list again", list, Ready, "WRONGTYPE"}}},
			{"never back from ready", []step{
				{"ours", first, Ready, ""}, {"down", down, Ready, "LOADING"}, {"up", first, Ready, ""},
				{"emptied", empty, Ready, "emptied or replaced"}, {"foreign", foreign, Ready, "key file"},
				{"replaced", second, Ready, "emptied or replaced"}, {"restored", first, Ready, ""},
			}},
		}
		for _, tt := range tests {
			c := New(b.store, Options{})
			if state, err := c.State(); state != Unreached || err != nil || c.Trusted() {
				t.Errorf("%s: before a look = %v, %v, trusted %v, want unreached and no trust", tt.name, state, err, c.Trusted())
			}
			for _, s := range tt.steps {
				b.fails.Store(false)
				s.store()
				c.Look(t.Context())
				state, err := c.State()
				if state != s.want || (err == nil) != (s.fault == "") || err != nil && !strings.Contains(err.Error(), s.fault) {
					t.Errorf("%s, %s: State = %v, %v, want %v and %q", tt.name, s.name, state, err, s.want, s.fault)
				}
				if trusted := s.want == Empty || s.want == Ready; c.Trusted() != trusted {
					t.Errorf("%s, %s: Trusted = %v, want %v", tt.name, s.name, c.Trusted(), trusted)
				}
			}
		}
	})
}

func TestStateInWords(t *testing.T) {
	words := map[string]bool{}
	for s := Unreached; s <= Ready+1; s++ {
		words[s.String()] = true
	}
	if len(words) != 4 || State(99).String() != Unreached.String() || Foreign.String() != store.ErrForeign.Error() {
		t.Errorf("the states in words = %v, want four, and no more for what is none", words)
	}
}

func TestLookIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.hang(true)
		c, begun := New(b.store, Options{}), time.Now()
		c.Look(t.Context())
		if state, err := c.State(); state != Unreached || !errors.Is(err, authz.StoreUnavailable) || time.Since(begun) != lookTimeout {
			t.Errorf("State of a store that hangs = %v, %v after %v, want %v after %v", state, err, time.Since(begun), Unreached, lookTimeout)
		}
	})
}

// What a nil of the store means for a token minted elsewhere. Only one row
// says unknown.
func TestBelievesNil(t *testing.T) {
	tests := []struct {
		name   string
		store  func(b *bubble) // before the first look
		later  func(b *bubble) // after it
		want   authz.Reason
		looked bool
	}{
		{"the store it first saw", begin, nil, authz.Unknown, true},
		{"not looked at before", begin, nil, authz.Unknown, false},
		{"empty", nil, nil, authz.StoreUnavailable, true},
		{"empty, then begun", nil, begin, authz.Unknown, true},
		{"another's", foreign, nil, authz.StoreUnavailable, true},
		{"another's from now on", begin, foreign, authz.StoreUnavailable, true},
		{"emptied", begin, flush, authz.StoreUnavailable, true},
		{"emptied and begun again", begin, func(b *bubble) { flush(b); begin(b) }, authz.StoreUnavailable, true},
		{"down", begin, func(b *bubble) { b.fails.Store(true) }, authz.StoreUnavailable, true},
		{"hangs", begin, func(b *bubble) { b.hang(true) }, authz.StoreUnavailable, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				c := New(b.store, Options{})
				if tt.store != nil {
					tt.store(b)
				}
				if tt.looked {
					c.Look(t.Context())
				}
				if tt.later != nil {
					tt.later(b)
				}
				want(t, "unknown token", c, b.stranger(name(1)), here, tt.want)
				want(t, "again", c, b.stranger(name(1)), here, tt.want)
			})
		})
	}
}

func begin(b *bubble)   { b.legacy("m") }
func flush(b *bubble)   { b.redis.FlushAll() }
func foreign(b *bubble) { b.put(epochKey, "{}\nother.key") }

// A good imported secret of a store that loses everything, while it is asked
// for, is never unknown.
func TestFlushNeverMakesUnknown(t *testing.T) {
	w, s := onRedis(t)
	var good []authz.Lookup
	for i := range 20 {
		good = append(good, w.imported("m", name(i)))
	}
	c := w.cached(Options{Timeout: 5 * time.Second})
	want(t, "control: a token that never was", c, w.stranger(name(99)), there, authz.Unknown)
	var all sync.WaitGroup
	for _, l := range good {
		all.Go(func() {
			for range 5 {
				for _, c := range []*Secrets{c, New(w.store, Options{Timeout: 5 * time.Second})} {
					if _, err := c.Find(t.Context(), l, here); err != nil && authz.ReasonOf(err).Decision() != authz.Fail {
						t.Errorf("Find of a good secret while the store is emptied: %v, want an error that is no denial", err)
					}
				}
			}
		})
	}
	s.Do("FLUSHALL")
	all.Wait()
	want(t, "emptied", c, w.stranger(name(100)), there, authz.StoreUnavailable)
}
