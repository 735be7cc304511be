package cache

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// guards are what keeps histories right, each with what turns it off: by what
// a sidecar is told, or by what it has forgotten when it is told.
var guards = []struct {
	name   string
	tamper tamper
}{
	{"a read that a change has raced is void", tamper{answer: forgetChanges}},
	{"a tombstone outlives an older record", tamper{answer: forgetTombstone}},
	{"the log's head is the entry last applied", tamper{answer: flatter}},
	{"the log's entries are numbered without a gap", tamper{answer: renumber}},
	{"another run of the master is another log", tamper{answer: sameRun}},
	{"MaxStale", tamper{options: func(o *Options) { o.MaxStale += time.Hour }}},
	{"a proof grows old", tamper{options: func(o *Options) { o.LagLimit = time.Hour }}},
	{"nil is believed under the first epoch only", tamper{answer: oneEpoch}},
	{"nil is believed of a master that replicas follow", tamper{answer: followed, linger: 3}},
	{"a record is believed of a strict master that replicas follow", tamper{answer: lenient, linger: 3}},
}

// TestGuards demands that every guard is needed: that histories go wrong
// without it.
func TestGuards(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			var wrong atomic.Pointer[string]
			histories(t, 1, 20_000, g.tamper, func(seed uint64, wrongs, _ []string) bool {
				text := strconv.FormatUint(seed, 10) + ": " + wrongs[0]
				wrong.Store(&text)
				return true
			})
			if wrong.Load() == nil {
				t.Fatal("no history goes wrong without it")
			}
			t.Logf("seed %s", *wrong.Load())
		})
	}
}

// forgetChanges has every read end as if nothing had changed since it began.
func forgetChanges(m *member, cmd redis.Cmder, err error) error {
	f := &m.secrets.fresh
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.changed)
	return err
}

// forgetTombstone has every read end as if no tombstone had been seen.
func forgetTombstone(m *member, cmd redis.Cmder, err error) error {
	if id, ok := strings.CutPrefix(argument(cmd, 1), "postern:secret:"); ok {
		k, _ := parseKey(id)
		s := &m.secrets.kept
		s.mu.Lock()
		defer s.mu.Unlock()
		if e, ok := s.lru.Peek(k); ok && !e.secret.DeletedAt.IsZero() {
			s.lru.Remove(k)
		}
	}
	return err
}

// flatter tells the entry last applied for the log's head.
func flatter(m *member, cmd redis.Cmder, err error) error {
	f := &m.secrets.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	if head, ok := cmd.(*redis.XMessageSliceCmd); ok && f.begun && err == nil {
		head.SetVal([]redis.XMessage{{ID: f.cursor.String(), Values: map[string]any{"sequence": strconv.FormatInt(f.sequence, 10)}}})
	}
	return err
}

// renumber numbers what the log tells as if it followed what was told before.
func renumber(m *member, cmd redis.Cmder, err error) error {
	f := &m.secrets.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	if read, ok := cmd.(*redis.XStreamSliceCmd); ok && err == nil {
		for i := range read.Val()[0].Messages {
			message := &read.Val()[0].Messages[i]
			message.Values = map[string]any{"sequence": strconv.FormatInt(f.sequence+int64(i)+1, 10), "secret": message.Values["secret"]}
		}
	}
	return err
}

// sameRun gives every master one run id.
func sameRun(_ *member, cmd redis.Cmder, err error) error {
	if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
		_, rest, _ := strings.Cut(info.Val(), "\r\n")
		info.SetVal("run_id:run\r\n" + rest)
	}
	return err
}

// oneEpoch tells a sidecar the epoch that it was told first, for ever.
func oneEpoch(m *member, cmd redis.Cmder, err error) error {
	get, ok := cmd.(*redis.StringCmd)
	if !ok || argument(cmd, 1) != epochKey || err != nil && err != redis.Nil {
		return err
	}
	if err == nil {
		m.epoch.CompareAndSwap(nil, new(get.Val()))
	}
	if first := m.epoch.Load(); first != nil {
		get.SetVal(*first)
		return nil
	}
	return err
}

// followed says of every master that a replica follows it.
func followed(_ *member, cmd redis.Cmder, err error) error {
	if wait, ok := cmd.(*redis.IntCmd); ok && cmd.Name() == "wait" && err == nil {
		wait.SetVal(1)
	}
	return err
}

// lenient says of every master that it needs no replica.
func lenient(_ *member, cmd redis.Cmder, err error) error {
	if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
		info.SetVal(strings.Replace(info.Val(), "min_slaves_good_slaves", "other", 1))
	}
	return err
}
