//go:build !race

package fields_test

import (
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/authz/fields"
)

// TestRemoveFast demands that a removal takes a third of what encoding/json does
// with the same answer at most. Both are measured in turn, in one run, by the
// fastest of seven times: a busy machine makes none faster.
func TestRemoveFast(t *testing.T) {
	for _, bb := range benchmarks {
		paths := parse(t, bb.path)
		var ours, theirs []time.Duration
		for range 7 {
			ours = append(ours, perRun(t, func() error { _, err := fields.Remove(bb.body, paths); return err }))
			theirs = append(theirs, perRun(t, func() error { _, err := recode(bb.body, paths[0]); return err }))
		}
		a, b := slices.Min(ours), slices.Min(theirs)
		t.Logf("%s: %v, encoding/json: %v", bb.name, a, b)
		if b < 3*a {
			t.Errorf("%s: %v, encoding/json: %v: want three times as fast at least", bb.name, a, b)
		}
	}
}

// perRun is what one run of f takes, on the mean of 5 ms or more.
func perRun(t *testing.T, f func() error) time.Duration {
	t.Helper()
	start, runs := time.Now(), 0
	for time.Since(start) < 5*time.Millisecond {
		if err := f(); err != nil {
			t.Fatal(err)
		}
		runs++
	}
	return time.Since(start) / time.Duration(runs)
}
