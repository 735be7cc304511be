package cache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

const lagLimit = time.Second

// history is a random history of a store and its sidecars.
type history struct {
	random  *rand.Rand
	name    string
	servers *servers // nil: real ones
	client  func() redis.UniversalClient
	steps   []step
	slack   time.Duration
	keys    *authz.Keyring
	admin   *store.Store
	options Options
	tamper  tamper
	calm    sync.Locker // held at the end, while all must be well; nil: nobody else disturbs
	members []*member
	started int
	work    sync.WaitGroup // what goes on beside

	mu      sync.Mutex // guards what follows, and all that is in facts
	steady  bool       // Redis's clock never moved
	emptied bool
	facts   []*fact
	wrongs  []string
	log     []string
	begun   time.Time
}

// simulate plays the history of a seed in a bubble, and returns what went wrong
// in it, and its log.
func simulate(seed uint64, keys *authz.Keyring, tamper tamper) (wrongs, log []string) {
	random := rand.New(rand.NewPCG(seed, 0))
	h := &history{
		random: random, servers: newServers(random.IntN(3) > 0, random.IntN(3) > 0), client: unconnected, keys: keys, tamper: tamper, steps: steps, steady: true,
		options: Options{Size: 100, LagLimit: lagLimit, MaxStale: []time.Duration{0, 2 * time.Second, 4 * time.Second}[random.IntN(3)]},
	}
	h.play()
	return h.wrongs, h.log
}

func (h *history) play() {
	h.begun = time.Now()
	_, h.admin = newLine(h.servers, h.client(), h.keys, h.fork())
	for range 2 + h.random.IntN(2) {
		h.join()
	}
	for range 4 {
		h.create()
	}
	h.invent()
	for range 30 {
		h.step()
		time.Sleep(time.Duration(h.random.Int64N(int64(pauses[h.random.IntN(len(pauses))]))) * (1 + h.tamper.linger))
	}
	h.settle()
	for _, m := range h.members {
		m.stop()
	}
	h.work.Wait()
	for _, m := range h.members {
		m.done.Wait()
	}
}

// pauses are the most that lies between one step and the next.
var pauses = []time.Duration{time.Millisecond, 30 * time.Millisecond, 200 * time.Millisecond, time.Second}

// steps are what may happen next, by weight.
var steps = append([]step{
	{4, (*history).lag}, {4, (*history).crash}, {3, (*history).trim}, {2, (*history).clock}, {1, (*history).flush},
}, anywhere...)

// anywhere are the steps that need no servers of ours.
var anywhere = []step{
	{30, (*history).ask}, {12, (*history).askAll}, {10, (*history).remove}, {8, (*history).race}, {6, (*history).create}, {4, (*history).rotate},
	{8, (*history).befall}, {8, (*history).heal}, {3, (*history).restart},
}

type step struct {
	weight int
	do     func(*history)
}

func (h *history) step() {
	total := 0
	for _, s := range h.steps {
		total += s.weight
	}
	n := h.random.IntN(total)
	for _, s := range h.steps {
		if n -= s.weight; n < 0 {
			s.do(h)
			return
		}
	}
}

func (h *history) fork() *rand.Rand { return rand.New(rand.NewPCG(h.random.Uint64(), 0)) }

func (h *history) some() *member { return h.members[h.random.IntN(len(h.members))] }

// pick is a token that ok holds for, or nil.
func (h *history) pick(ok func(*fact) bool) *fact {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*fact
	for _, f := range h.facts {
		if ok(f) {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[h.random.IntN(len(all))]
}

func anything(*fact) bool { return true }

func standing(f *fact) bool { return !f.live.IsZero() && !f.doomed && !f.lost }

// note logs what happens.
func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf("%9.4f  ", time.Since(h.begun).Seconds())+fmt.Sprintf(format, args...))
}

// write is note for one who does not hold mu.
func (h *history) write(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(format, args...)
}

func (h *history) wrong(text string) {
	if text != "" {
		h.wrongs = append(h.wrongs, text)
		h.note("WRONG: %s", text)
	}
}

// histories plays the histories of these seeds, two at a time, until stop
// says that it has seen enough of what went wrong.
func histories(t *testing.T, first, count uint64, tamper tamper, stop func(seed uint64, wrongs, log []string) bool) {
	t.Helper()
	keys, err := authz.NewKeyring("test_")
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Uint64
	var done atomic.Bool
	t.Run("", func(t *testing.T) {
		for range 2 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for !done.Load() {
					seed := next.Add(1) - 1
					if seed >= count {
						return
					}
					synctest.Test(t, func(*testing.T) {
						wrongs, log := simulate(first+seed, keys, tamper)
						if len(wrongs) > 0 && stop(first+seed, wrongs, log) {
							done.Store(true)
						}
					})
				}
			})
		}
	})
}

// POSTERN_FAULTS=long plays 100,000 histories. POSTERN_SEED plays one, and
// tells all that happens in it.
func TestHistories(t *testing.T) {
	first, count := uint64(1), uint64(300)
	if os.Getenv("POSTERN_FAULTS") == "long" {
		count = 100_000
	}
	if text := os.Getenv("POSTERN_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("POSTERN_SEED: %v", err)
		}
		first, count = seed, 1
	}
	var failed atomic.Int64
	histories(t, first, count, tamper{}, func(seed uint64, wrongs, log []string) bool {
		t.Errorf("history of seed %d (play it alone with POSTERN_SEED=%d):\n%s", seed, seed, strings.Join(wrongs, "\n"))
		if count == 1 {
			t.Log(strings.Join(log, "\n"))
		}
		return failed.Add(1) >= 10
	})
	t.Logf("%d histories from seed %d, %d of them wrong", count, first, failed.Load())
}
