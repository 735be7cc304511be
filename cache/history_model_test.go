package cache

import (
	"fmt"
	"time"

	"github.com/postern/postern/authz"
)

// fact is what is true of a token: the model that answers are judged by.
type fact struct {
	name     string
	lookup   authz.Lookup
	live     time.Time // when its secret had been stored; zero: never
	doomed   bool      // its deletion has begun
	deleted  time.Time // when its deletion had been acknowledged
	shaken   bool      // the store crashed since it was made
	lost     bool      // it lost the record, or the tombstone
	memories map[*member]*memory
}

// memory is what one sidecar knows of a token.
type memory struct {
	read    time.Time // before its last read that found the secret
	applied time.Time // when it had applied the deletion, by its own word to the fleet
	gone    time.Time // when the fleet said of the deletion that it has stopped
	buried  time.Time // when it had answered that the secret is deleted
	sworn   bool      // the secret was there while it knew the store, which was emptied since
}

func (f *fact) of(m *member) *memory {
	if f.memories[m] == nil {
		f.memories[m] = &memory{}
	}
	return f.memories[m]
}

// answer is what a sidecar said of a token.
type answer struct {
	m        *member
	from, to time.Time
	secret   *authz.Secret
	err      error
	read     bool // the store was read for it
}

// after reports whether the question came after a moment that came to be.
func (a answer) after(moment time.Time, by time.Duration) bool {
	return !moment.IsZero() && a.from.After(moment.Add(by))
}

// judge says what is wrong with an answer, or "", and learns from it.
func (f *fact) judge(a answer) (wrong string) {
	k, reason := f.of(a.m), authz.ReasonOf(a.err)
	allowed := a.err == nil && a.secret.DeletedAt.IsZero()
	bound := a.m.maxStale + lagLimit + a.m.slack
	if f.shaken {
		bound += reportWithin + reportSlack
	}
	astray := a.m.loose() && !a.m.strayed().IsZero() && !a.after(a.m.strayed(), bound)
	switch {
	case allowed && f.live.IsZero():
		wrong = "is allowed, and was never made"
	case allowed && a.after(k.buried, 0):
		wrong = fmt.Sprintf("is allowed, %v after this sidecar said that it is deleted", a.from.Sub(k.buried))
	case allowed && !f.lost && !astray && a.after(k.applied, 0):
		wrong = fmt.Sprintf("is allowed, %v after this sidecar had applied its deletion", a.from.Sub(k.applied))
	case allowed && !f.lost && !astray && a.after(k.gone, 0) && !a.m.newlyAstray(a.from):
		wrong = fmt.Sprintf("is allowed, %v after the fleet said that this sidecar has stopped", a.from.Sub(k.gone))
	case allowed && !f.lost && !astray && a.after(f.deleted, bound):
		wrong = fmt.Sprintf("is allowed %v after its deletion", a.from.Sub(f.deleted))
	case reason == authz.Unknown && f.lookup.Minted:
		wrong = "is unknown, and was minted here"
	case reason == authz.Unknown && (k.sworn || !f.lost) && a.after(f.live, unknownLife+reportWithin+lookTimeout):
		wrong = "is unknown, and was made"
	case a.err != nil && !f.doomed && a.m.counted(a.to) && !k.read.IsZero() && a.to.Sub(k.read) < a.m.maxStale-a.m.slack:
		wrong = fmt.Sprintf("is refused for %v, %v after it was read", reason, a.to.Sub(k.read))
	case a.err == nil && !allowed && !f.doomed:
		wrong = "is deleted, and nobody deleted it"
	}
	switch {
	case allowed && a.read:
		k.read = a.from
	case a.err == nil && !allowed && k.buried.IsZero():
		k.buried = a.to
	}
	return wrong
}

// crash takes note of what the store lost. It must not be a deletion that a
// replica has taken.
func (f *fact) crash(record bool, tombstone bool, replicated bool) (wrong string) {
	f.shaken = true
	switch {
	case f.live.IsZero() || f.lost:
	case !f.deleted.IsZero() && !tombstone && replicated:
		wrong = "was deleted, and a failover brought it back"
	case f.doomed && !tombstone || !f.doomed && !record:
		f.lost = true
	}
	for _, k := range f.memories {
		k.sworn = false // what came back may be older than the emptying
	}
	return wrong
}
