package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var masterBehaviours = []behaviour{
	{"a master tells what it is", inspects},
	{"a deletion on too few replicas is not done", deletesUnfollowed},
	{"a deletion waits for a replica that stands still", deletesOnStill},
	{"a master that must be followed and is not", reportsUnfollowed},
}

func inspects(t *testing.T, w *world) {
	master, err := w.Report(t.Context(), Report{Name: "a", Bound: time.Hour}, false)
	if err != nil || len(master.RunID) != 40 || master.Replicas != len(w.replicas) {
		t.Errorf("master = %+v, %v, want a run id and %d replicas", master, err, len(w.replicas))
	}
	again, err := w.Report(t.Context(), Report{Name: "b", Bound: time.Hour}, false)
	if err != nil || again.RunID != master.RunID {
		t.Errorf("master again = %+v, %v, want %s", again, err, master.RunID)
	}
	unfollowed := "min-replicas-to-write"
	tests := []struct {
		policy, append, follow string   // maxmemory-policy, appendonly, min-replicas-to-write
		want                   []string // each in what is unsafe
	}{
		{"noeviction", "yes", "1", nil},
		{"noeviction", "no", "1", []string{"append-only"}},
		{"allkeys-lru", "yes", "1", []string{"maxmemory-policy is allkeys-lru"}},
		{"volatile-ttl", "no", "1", []string{"volatile-ttl", "append-only"}},
		{"noeviction", "yes", "0", []string{unfollowed}},
		{"noeviction", "no", "0", []string{"append-only", unfollowed}}, // as it was
	}
	for _, tt := range tests {
		if len(w.replicas) == 0 { // there is none to want
			tt.follow, tt.want = "0", slices.DeleteFunc(tt.want, func(text string) bool { return text == unfollowed })
		}
		for _, s := range w.masters {
			s.Do("CONFIG", "SET", "maxmemory-policy", tt.policy)
			s.Do("CONFIG", "SET", "appendonly", tt.append)
			s.Do("CONFIG", "SET", "min-replicas-to-write", tt.follow)
		}
		master, err := w.Report(t.Context(), Report{Name: "a", Bound: time.Hour}, false)
		if got := strings.Join(master.Unsafe, "\n"); err != nil || len(master.Unsafe) != len(tt.want) || !containsAll(got, tt.want) {
			t.Errorf("with %+v: unsafe %q, %v, want %q", tt, got, err, tt.want)
		}
		if want := tt.follow == "1"; master.Strict != want || master.Followed != (len(w.replicas) > 0) {
			t.Errorf("with %+v: master = %+v, want it strict: %v, and followed by a replica", tt, master, want)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// soon is a context in which a wait for replicas is short.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func deletesUnfollowed(t *testing.T, w *world) {
	n := len(w.replicas)
	tests := []struct {
		replicas int
		done     bool
	}{{AllReplicas, true}, {0, true}, {n, true}, {n + 1, false}, {n + 5, false}}
	for i, tt := range tests {
		merchant := fmt.Sprint("m-", i)
		_, secret := w.made(merchant)
		ctx := t.Context()
		if !tt.done {
			ctx = soon(t)
		}
		deletion, err := w.Delete(ctx, secret.ID, tt.replicas)
		if tt.done != (err == nil) || !tt.done && (!errors.Is(err, ErrUnfollowed) || !strings.Contains(err.Error(), "could bring it back")) {
			t.Errorf("Delete on %d replicas, where %d are = %+v, %v, want it done: %v", tt.replicas, n, deletion, err, tt.done)
		}
		if got, err := w.Read(t.Context(), secret.ID); err != nil || got.DeletedAt.IsZero() {
			t.Errorf("Read = %v, %v, want a tombstone in any case", got, err)
		}
		_, other := w.made(merchant)
		if !tt.done {
			ctx = soon(t)
		}
		if _, err := w.DeleteMerchant(ctx, merchant, tt.replicas); tt.done != (err == nil) || !tt.done && !errors.Is(err, ErrUnfollowed) {
			t.Errorf("DeleteMerchant with %s on %d replicas = %v, want it done: %v", other.ID, tt.replicas, err, tt.done)
		}
	}
}

// A replica that stands still is one that the master knows. A second try must
// not succeed because there was nothing left to write.
func deletesOnStill(t *testing.T, w *world) {
	for i, replica := range w.replicas {
		_, secret := w.made("m")
		replica.Pause()
		for _, replicas := range []int{AllReplicas, i + 1, AllReplicas} {
			if _, err := w.Delete(soon(t), secret.ID, replicas); !errors.Is(err, ErrUnfollowed) {
				t.Errorf("Delete on %d replicas, one of which stands still = %v, want %v", replicas, err, ErrUnfollowed)
			}
		}
		if _, err := w.Delete(t.Context(), secret.ID, i); err != nil {
			t.Errorf("Delete on the %d replicas that do not = %v", i, err)
		}
		replica.Resume()
		waits := 0 // the record's master and the log's may be two
		w.meddle(func(cmd redis.Cmder, next func() error) error {
			if cmd.Name() == "wait" {
				waits++
			}
			return next()
		})
		if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil || waits != 2 {
			t.Errorf("control: Delete when it goes on = %v after %d waits, want one for the record and one for the log", err, waits)
		}
		w.meddle(nil)
	}
}

// A report that no replica took is stored all the same: whoever sent it lives.
func reportsUnfollowed(t *testing.T, w *world) {
	r := Report{Name: "a", Bound: time.Hour}
	if _, err := w.Report(soon(t), r, true); (err == nil) != (len(w.replicas) > 0) || err != nil && !errors.Is(err, ErrUnfollowed) {
		t.Errorf("Report to a master that must be followed, and is by %d = %v", len(w.replicas), err)
	}
	w.same("the fleet", w.fleet(), []string{"a"})
	for _, replica := range w.replicas {
		replica.Pause()
		for _, fenced := range []bool{false, true} {
			if _, err := w.Report(soon(t), r, fenced); !errors.Is(err, ErrUnfollowed) {
				t.Errorf("Report to a master whose replica stands still, fenced %v = %v, want %v", fenced, err, ErrUnfollowed)
			}
		}
		replica.Resume()
		if _, err := w.Report(t.Context(), r, true); err != nil {
			t.Errorf("control: Report when it goes on = %v", err)
		}
	}
}
