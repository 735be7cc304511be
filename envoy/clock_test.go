package envoy

import (
	"testing"
	"time"
	"unsafe"

	"github.com/postern/postern/authz"
)

// asSetBy is a moment as the machine would have told it, had its clock been set
// by this much since: a Time keeps whole seconds of the wall clock in its first
// word, from the 31st bit on, and the monotonic clock in its second.
func asSetBy(at time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&at)) -= uint64(int64(by/time.Second)) << 30
	return at
}

func TestClockSet(t *testing.T) {
	for _, by := range []time.Duration{0, time.Second, -time.Second, time.Hour, -time.Hour, -1000 * time.Hour} {
		now := time.Now()
		if got := clockSet(asSetBy(now.Add(-time.Minute), by), now); got != by {
			t.Errorf("clockSet = %v, want %v", got, by)
		}
	}
}

// A secret that had expired does not come to life again when the clock is set
// back; nor does one expire that had not.
func TestRevived(t *testing.T) {
	tests := []struct {
		name    string
		set     time.Duration // the clock, since the gate began
		expires time.Duration // from now, as the clock is
		want    bool
	}{
		{"control: the clock was not set", 0, 10 * time.Minute, false},
		{"set back, expired before that", -time.Hour, 59 * time.Minute, true},
		{"set back, just expired before that", -time.Hour, time.Hour - time.Second, true},
		{"set back, not yet expired before that", -time.Hour, 2 * time.Hour, false},
		{"set back by a little", -20 * time.Second, 10 * time.Second, false},
		{"set forward", time.Hour, 10 * time.Minute, false},
	}
	for _, tt := range tests {
		now := time.Now()
		g := &Gate{begun: asSetBy(now.Add(-time.Minute), tt.set)}
		if got := g.revived(&authz.Secret{ExpiresAt: now.Add(tt.expires).Round(0)}, now); got != tt.want {
			t.Errorf("%s: revived = %v, want %v", tt.name, got, tt.want)
		}
	}
	if (&Gate{begun: asSetBy(time.Now(), -time.Hour)}).revived(&authz.Secret{}, time.Now()) {
		t.Error("a secret that never expires is in doubt")
	}
}

// SetClockBack has the gate see what it would after the machine's clock was set
// back by this much.
func (g *Gate) SetClockBack(by time.Duration) { g.begun = asSetBy(g.begun, -by) }
