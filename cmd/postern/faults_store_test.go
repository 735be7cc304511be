//go:build faults

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// fault is some trouble with the store.
type fault struct {
	name       string
	begin, end func(*trial)      // a nil end: it lasts
	bites      func(*trial) bool // the control: that the gate feels it
	anonymous  bool              // the gate has no password
}

// trial is a gate behind a strait to Redis, and someone at Redis's console.
type trial struct {
	*shell
	*gate
	strait  *strait
	console *redis.Conn // is there before the fault
	second  *redis.Client
	cold    []authz.Form // for the control
	foreign []string     // good tokens, minted elsewhere, that the gate has not seen
}

// TestFaultsOfStore has each fault befall a gate that a recorder watches.
func TestFaultsOfStore(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { newTrial(t, f).run(f) })
	}
}

var faults = []fault{
	{name: "slow by 20 ms", begin: harmful(slow(20 * time.Millisecond)), end: harmful(pass), bites: coldIsSlow(20 * time.Millisecond)},
	{name: "slow by 100 ms", begin: harmful(slow(100 * time.Millisecond)), end: harmful(pass), bites: coldFails},
	{name: "slow by 500 ms", begin: harmful(slow(500 * time.Millisecond)), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "slow by 5 s", begin: harmful(slow(5 * time.Second)), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "accepts, never answers", begin: harmful(mute), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "resets in mid-reply", begin: harmful(reset), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "garbage", begin: harmful(says("\x00\xff{}\r\n\r\n$9999999999\r\n")), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "half a bulk string", begin: harmful(says("$100\r\nabc")), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "nil to all", begin: harmful(says("$-1\r\n")), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "every reply twice", begin: harmful(twice), end: harmful(pass), bites: unfresh},
	{name: "CLUSTERDOWN", begin: harmful(says("-CLUSTERDOWN The cluster is down\r\n")), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "TRYAGAIN", begin: harmful(says("-TRYAGAIN Multiple keys request during rehashing of slot\r\n")), end: harmful(pass), bites: both(coldFails, unfresh)},
	{name: "CLIENT PAUSE", begin: asks("CLIENT", "PAUSE", pick(8000, 1500)), end: func(*trial) {}, bites: both(coldFails, unfresh)},
	{name: "out of memory", begin: asks("CONFIG", "SET", "maxmemory", 1), end: asks("CONFIG", "SET", "maxmemory", 0), bites: both(createFails("OOM"), unfresh)},
	{name: "READONLY", begin: asks("REPLICAOF", "127.0.0.1", 1), end: asks("REPLICAOF", "NO", "ONE"), bites: both(createFails("READONLY"), unfresh)},
	{name: "MASTERDOWN", begin: asksAll([]any{"CONFIG", "SET", "replica-serve-stale-data", "no"}, []any{"REPLICAOF", "127.0.0.1", 1}),
		end: asks("REPLICAOF", "NO", "ONE"), bites: both(coldFails, unfresh)},
	{name: "NOAUTH", begin: asksAll([]any{"CONFIG", "SET", "requirepass", "hunter2"}, kickAll), end: asks("CONFIG", "SET", "requirepass", ""),
		bites: both(coldFails, unfresh), anonymous: true},
	{name: "WRONGPASS", begin: asksAll([]any{"ACL", "SETUSER", "gate", "resetpass", ">other"}, kickAll), end: asks("ACL", "SETUSER", "gate", "resetpass", ">pw"),
		bites: both(coldFails, unfresh)},
	{name: "NOPERM", begin: asks("ACL", "SETUSER", "gate", "-@all"), end: asks("ACL", "SETUSER", "gate", "+@all"), bites: both(coldFails, unfresh)},
	{name: "max clients", begin: asksAll([]any{"CONFIG", "SET", "maxclients", 1}, kickAll), end: asks("CONFIG", "SET", "maxclients", 10_000), bites: both(coldFails, unfresh)},
	{name: "BUSY", begin: func(tr *trial) { go tr.second.Do(context.Background(), "EVAL", "while true do end", 0) }, end: asks("SCRIPT", "KILL"), bites: both(coldFails, unfresh)},
	{name: "LOADING", begin: (*trial).load, end: func(*trial) {}, bites: both(coldFails, unfresh)},
	{name: "SIGSTOP", begin: func(tr *trial) { tr.redis.Pause() }, end: func(tr *trial) { tr.redis.Resume() }, bites: both(coldFails, unfresh)},
	{name: "FLUSHALL", begin: asks("FLUSHALL"), bites: coldFails},
	{name: "log trimmed of what nobody saw", begin: asks("EVAL", "redis.call('XADD', KEYS[1], '*', 'sequence', 1) return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)", 1, "{postern}:log"),
		end: func(*trial) {}, bites: gap},
	{name: "log gone", begin: asks("DEL", "{postern}:log"), end: func(*trial) {}, bites: gap},
	{name: "log of another type", begin: asksAll([]any{"DEL", "{postern}:log"}, []any{"SET", "{postern}:log", "x"}), end: asks("DEL", "{postern}:log"), bites: unfresh},
	{name: "fleet of another type", begin: asksAll([]any{"DEL", "{postern}:sidecars"}, []any{"SET", "{postern}:sidecars", "x"}), end: (*trial).forgetFleet, bites: unfresh},
}

var kickAll = []any{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}

func newTrial(t *testing.T, f fault) *trial {
	s := newShell(t, "--user", "gate", "on", ">pw", "~*", "+@all", "--enable-debug-command", "yes",
		"--busy-reply-threshold", "50", "--loading-process-events-interval-bytes", "1024")
	tr := &trial{shell: s, strait: newStrait(t, s.redis.Addr)}
	tr.second = redis.NewClient(&redis.Options{Addr: s.redis.Addr, DisableIdentity: true, MaxRetries: -1, ReadTimeout: time.Minute})
	t.Cleanup(func() { tr.second.Close() })
	tr.console = tr.second.Conn()
	tr.say([]any{"PING"})
	tr.cold = s.secrets(12)
	for i := range 5 {
		token := fmt.Sprintf("partner.token.of.somebody.%d", i)
		tr.foreign = append(tr.foreign, token)
		if got := s.runWith(token, "secret import --merchant m1 --description test --token-stdin "+permission); got.code != exitDone {
			t.Fatalf("secret import: %s", got.summary())
		}
	}
	s.ok("secret delete", s.create(permission).ID) // so that the log is not empty
	url := "redis://gate:pw@" + tr.strait.addr
	if f.anonymous {
		url = "redis://" + tr.strait.addr
	}
	tr.gate = s.serve(shipped + pick("", " --lag-limit 500ms") + " --redis " + url)
	return tr
}

// run has the fault begin and end while a recorder watches.
func (tr *trial) run(f fault) {
	tr.t.Helper()
	all := tr.secrets(6)
	warm, doom, coldOnes := all[0], all[1], all[2:]
	tr.warm(warm, doom)
	r := tr.record(warm, coldOnes, doom)
	f.begin(tr)
	tr.await("feel the fault", func() bool { return f.bites(tr) })
	tr.keepsPromises()
	deleted := make(chan result, 1)
	go func() { deleted <- r.revoke("--wait 200ms") }()
	time.Sleep(pick(5*time.Second, 300*time.Millisecond))
	tr.keepsPromises()
	if f.end != nil {
		f.end(tr)
	}
	tr.t.Logf("secret delete during the fault: %s", (<-deleted).summary())
	if f.end != nil {
		tr.recovers(r)
	}
	r.finish()
}

// keepsPromises demands what no trouble with the store may change: that the
// gate stays ready, and denies no good secret, of whatever origin.
func (tr *trial) keepsPromises() {
	tr.t.Helper()
	if r, health := tr.readyz(), tr.servingState(); r.status != 200 || !r.Ready || health != "SERVING" {
		tr.t.Errorf("readyz = %d %v, gRPC health = %s, want 200 and SERVING", r.status, r.Problems, health)
	}
	for _, token := range tr.foreign {
		if status, reason := tr.verdict(token); status != 200 && status != 503 {
			tr.t.Errorf("an imported secret = %d (%s), want 200 or 503", status, reason)
		}
	}
}

// recovers demands that all is as before the fault.
func (tr *trial) recovers(r *recorder) {
	tr.t.Helper()
	begun := time.Now()
	tr.await("allow what is cold", func() bool { return !coldFails(tr) })
	tr.t.Logf("recovered after %v", time.Since(begun))
	if got := r.revoke("--wait 5s"); got.code != exitDone || !strings.Contains(got.stdout, "applied by 1 of 1 sidecars") {
		tr.t.Errorf("secret delete after the fault: %s, want exit 0, applied by 1 of 1", got.summary())
	}
	tr.awaitFresh()                   // now: a log that was emptied proves nothing before its next entry
	time.Sleep(50 * time.Millisecond) // for the recorder
}

func (r result) summary() string { return fmt.Sprintf("exit %d, %q, %q", r.code, r.stdout, r.stderr) }

// say runs a command at the console.
func (tr *trial) say(command []any) {
	tr.t.Helper()
	if err := tr.console.Do(context.Background(), command...).Err(); err != nil {
		tr.t.Fatalf("ask Redis for %v: %v", command, err)
	}
}

func harmful(h harm) func(*trial) { return func(tr *trial) { tr.strait.does(h) } }

func asks(command ...any) func(*trial) { return asksAll(command) }

func asksAll(commands ...[]any) func(*trial) {
	return func(tr *trial) {
		for _, command := range commands {
			tr.say(command)
		}
	}
}

// forgetFleet forgets the sidecars, and waits for the next report: before that a
// delete finds none.
func (tr *trial) forgetFleet() {
	tr.say([]any{"DEL", "{postern}:sidecars"})
	tr.await("report", func() bool { return tr.second.HLen(context.Background(), "{postern}:sidecars").Val() == 1 })
}

// load has Redis load its data again, some three seconds long.
func (tr *trial) load() {
	for i := range 60 {
		tr.say([]any{"SET", fmt.Sprint("ballast:", i), strings.Repeat("x", 3000)})
	}
	tr.say([]any{"CONFIG", "SET", "rdbcompression", "no"})
	tr.say([]any{"CONFIG", "SET", "key-load-delay", 40_000})
	go tr.second.Do(context.Background(), "DEBUG", "RELOAD")
}

func both(one, other func(*trial) bool) func(*trial) bool {
	return func(tr *trial) bool { return one(tr) && other(tr) }
}

// coldFails reports whether what the gate does not know is 503.
func coldFails(tr *trial) bool {
	status, _ := tr.verdict(tr.cold[0].Secret)
	if status == 200 && len(tr.cold) > 1 {
		tr.cold = tr.cold[1:]
	}
	return status == 503
}

func coldIsSlow(by time.Duration) func(*trial) bool {
	return func(tr *trial) bool {
		begun := time.Now()
		status, _ := tr.verdict(tr.cold[0].Secret)
		tr.cold = tr.cold[1:]
		return status == 200 && time.Since(begun) >= by
	}
}

func unfresh(tr *trial) bool { return tr.metric("postern_fresh") == 0 }

func gap(tr *trial) bool { return tr.metric("postern_log_gaps_total") > 0 }

func createFails(why string) func(*trial) bool {
	return func(tr *trial) bool {
		r := tr.shell.run("secret create --merchant m1 --description test " + permission)
		return r.code == exitRefused && strings.Contains(r.stderr, why)
	}
}
