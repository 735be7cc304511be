package store

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var logBehaviours = []behaviour{
	{"the log numbers its entries", logs},
	{"a log without entries knows its last one", logsTrimmed},
	{"the log numbers entries of many writers", logsAtOnce},
	{"a read of the log waits for an entry", logsWhileRead},
	{"a deletion is announced when its tombstone stands", logsInOrder},
	{"entries of others do not end deleting", logsAfterOthers},
	{"a log that cannot grow fails a deletion", logsNothing},
	{"a log that is away", logsAway},
}

// head demands the log's head.
func (w *world) head() Entry {
	w.t.Helper()
	head, err := w.LogHead(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return head
}

// log demands the log's entries after a position.
func (w *world) log(after Position) []Entry {
	w.t.Helper()
	entries, err := w.ReadLog(w.t.Context(), after, time.Millisecond)
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}

func logs(t *testing.T, w *world) {
	if got := w.head(); got != (Entry{}) || len(w.log(Position{})) != 0 {
		t.Errorf("LogHead of an empty log = %+v, want none", got)
	}
	var want []Entry
	first := time.Now().UnixMilli() // numbers begin at the time: what was trimmed must not be taken for what comes after it
	for i, id := range []string{"a", "b", "a"} {
		at, err := w.announce(t.Context(), id, AllReplicas)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if head := w.head(); head.Sequence < first || head.Sequence > time.Now().UnixMilli()+1 {
				t.Errorf("the first number = %d, want the time, about %d", head.Sequence, first)
			}
			first = w.head().Sequence
		}
		want = append(want, Entry{Position: at, Sequence: first + int64(i), Secret: id})
	}
	if got := w.log(Position{}); !slices.Equal(got, want) || w.head() != want[2] {
		t.Errorf("the log = %v, its head %v, want %v", got, w.head(), want)
	}
	if got := w.log(want[0].Position); !slices.Equal(got, want[1:]) {
		t.Errorf("the log after its first entry = %v, want %v", got, want[1:])
	}
	if got := w.log(want[2].Position); len(got) != 0 {
		t.Errorf("the log after its last entry = %v, want none", got)
	}
}

func logsTrimmed(t *testing.T, w *world) {
	at, err := w.announce(t.Context(), "a", AllReplicas)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.XTrimMaxLen(t.Context(), logKey, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.head(), (Entry{Position: at, Trimmed: true}); got != want || len(w.log(Position{})) != 0 {
		t.Errorf("LogHead of a trimmed log = %+v, want %+v", got, want)
	}
	if err := w.client.Del(t.Context(), logKey).Err(); err != nil {
		t.Fatal(err)
	}
	if got := w.head(); got != (Entry{}) {
		t.Errorf("LogHead of a log that was deleted = %+v, want none", got)
	}
}

func TestPrevious(t *testing.T) {
	for at, want := range map[Position]Position{{5, 2}: {5, 1}, {5, 0}: {4, math.MaxUint64}, {}: {}} {
		if got := at.Previous(); got != want || want.Before(at) != (at != Position{}) {
			t.Errorf("%v.Previous() = %v, want %v", at, got, want)
		}
	}
}

func logsAtOnce(t *testing.T, w *world) {
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := w.announce(t.Context(), "a", AllReplicas); err != nil {
				t.Errorf("announce: %v", err)
			}
		})
	}
	all.Wait()
	entries := w.log(Position{})
	for i, e := range entries {
		if e.Sequence != entries[0].Sequence+int64(i) || i > 0 && !entries[i-1].Position.Before(e.Position) {
			t.Errorf("entry %d = %+v after %+v, want the next number and place", i, e, entries[max(i-1, 0)])
		}
	}
	if len(entries) != 20 {
		t.Errorf("entries = %d, want 20", len(entries))
	}
}

func logsWhileRead(t *testing.T, w *world) {
	begun := time.Now()
	if got, err := w.ReadLog(t.Context(), Position{}, 20*time.Millisecond); err != nil || len(got) != 0 || time.Since(begun) < 20*time.Millisecond {
		t.Errorf("ReadLog where nothing comes = %v, %v after %v, want none after 20ms", got, err, time.Since(begun))
	}
	read := make(chan []Entry, 1)
	go func() {
		entries, err := w.ReadLog(t.Context(), Position{}, patient/2)
		if err != nil {
			t.Errorf("ReadLog: %v", err)
		}
		read <- entries
	}()
	begun = time.Now()
	at, err := w.announce(t.Context(), "a", AllReplicas)
	if got := <-read; err != nil || !slices.Equal(got, []Entry{w.head()}) || got[0].Position != at || time.Since(begun) > patient/4 {
		t.Errorf("ReadLog = %v after %v, want what was announced (%v, %v) at once", got, time.Since(begun), at, err)
	}
}

// Whoever hears of a deletion reads the tombstone.
func logsInOrder(t *testing.T, w *world) {
	_, secret := w.made("m")
	reader := w.other(w.Keyring())
	heard := 0
	w.meddle(func(cmd redis.Cmder, next func() error) error {
		if slices.Contains(cmd.Args(), any(logKey)) {
			heard++
			if got, err := reader.Read(t.Context(), secret.ID); err != nil || got.DeletedAt.IsZero() {
				t.Errorf("Read before the log has it = %v, %v, want a tombstone", got, err)
			}
		}
		return next()
	})
	deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas)
	w.meddle(nil)
	if head := w.head(); err != nil || heard == 0 || head.Secret != secret.ID || head.Position != deletion.Announced {
		t.Errorf("Delete = %+v, %v, and the log's head %+v, want it to tell of %s", deletion, err, head, secret.ID)
	}
}

// Whatever stands last in the log, the next entry is one that can be followed.
func logsAfterOthers(t *testing.T, w *world) {
	for _, fields := range [][]string{
		{"x", "y"}, {"sequence", ""}, {"sequence", "text"}, {"sequence", "nan"}, {"sequence", "inf"}, {"sequence", "-5"},
		{"sequence", "1e300"}, {"sequence", "9223372036854775807"}, {"sequence", "1.5"}, {"secret", "x", "sequence", "7"},
	} {
		_, secret := w.made("m")
		forged := w.client.XAdd(t.Context(), &redis.XAddArgs{Stream: logKey, Values: fields})
		if err := forged.Err(); err != nil {
			t.Fatal(err)
		}
		deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas)
		got := w.head()
		if err != nil || got.Secret != secret.ID || got.Position != deletion.Announced || got.Sequence < 1 {
			t.Errorf("Delete after %q = %+v, %v, the log's head %+v, want it announced", fields, deletion, err, got)
		}
		next, err := w.announce(t.Context(), "a", AllReplicas)
		if head := w.head(); err != nil || head.Position != next || head.Sequence != got.Sequence+1 {
			t.Errorf("the entry after %+v = %+v, %v, want the next number", got, head, err)
		}
	}
}

// The deletion stands, and is not called done before the log has it.
func logsNothing(t *testing.T, w *world) {
	for _, spoil := range []func() error{
		func() error {
			last := Position{math.MaxUint64, math.MaxUint64}
			return w.client.XAdd(t.Context(), &redis.XAddArgs{Stream: logKey, ID: last.String(), Values: []string{"x", "y"}}).Err()
		},
		func() error { return w.client.Set(t.Context(), logKey, "text", 0).Err() },
	} {
		_, secret := w.made("m")
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas); err == nil || authz.ReasonOf(err).Decision() != authz.Fail || len(deletion.Tombstones) > 0 {
			t.Errorf("Delete without a log = %+v, %v, want an error that is no denial", deletion, err)
		}
		if got, err := w.Read(t.Context(), secret.ID); err != nil || got.DeletedAt.IsZero() {
			t.Errorf("Read = %v, %v, want a tombstone all the same", got, err)
		}
		w.client.Del(t.Context(), logKey)
		if deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil || w.head().Position != deletion.Announced {
			t.Errorf("control: Delete with a log = %+v, %v", deletion, err)
		}
		w.client.Del(t.Context(), logKey)
	}
}

func logsAway(t *testing.T, w *world) {
	w.meddle(crash(1, false))
	defer w.meddle(nil)
	_, head := w.LogHead(t.Context())
	_, read := w.ReadLog(t.Context(), Position{}, time.Millisecond)
	_, announced := w.announce(t.Context(), "a", 0)
	for _, err := range []error{head, read, announced} {
		if !errors.Is(err, authz.StoreUnavailable) {
			t.Errorf("a log that is away: %v, want %v", err, authz.StoreUnavailable)
		}
	}
}

func TestPosition(t *testing.T) {
	tests := []struct {
		id string
		ok bool
	}{
		{"0-0", true}, {"1-2", true}, {"18446744073709551615-18446744073709551615", true},
		{"", false}, {"1", false}, {"1-", false}, {"-1", false}, {"1-2-3", false}, {"a-b", false}, {"18446744073709551616-0", false}, {" 1-2", false},
	}
	for _, tt := range tests {
		got, err := parsePosition(tt.id)
		if (err == nil) != tt.ok || tt.ok && got.String() != tt.id {
			t.Errorf("parsePosition(%q) = %v, %v, want it read: %v", tt.id, got, err, tt.ok)
		}
	}
	order := []Position{{}, {0, 1}, {1, 0}, {1, 1}, {2, 0}}
	for i, p := range order {
		for j, q := range order {
			if got := p.Before(q); got != (i < j) {
				t.Errorf("%v before %v = %v, want %v", p, q, got, i < j)
			}
		}
	}
}
