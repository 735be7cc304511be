package envoy

import (
	"log/slog"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// Checks that wait for the store end in another order than they begin in. That
// must not buy lines beyond the limit.
func TestDecisionLogLimitsSlowChecks(t *testing.T) {
	const perSecond, seconds = 100, 3
	l := NewDecisionLog(slog.New(slog.DiscardHandler), perSecond)
	now := time.Now()
	for range seconds * 1000 { // a quick one and a slow one each millisecond
		now = now.Add(time.Millisecond)
		for _, took := range []time.Duration{10 * time.Microsecond, 50 * time.Millisecond} {
			l.add(authz.Verdict{Reason: authz.Granted}, now.Add(-took), took)
		}
	}
	if got, least, most := len(l.lines), seconds*perSecond, (seconds+1)*perSecond+1; got < least || got > most {
		t.Errorf("lines = %d in %d s, want %d to %d", got, seconds, least, most)
	}
}
