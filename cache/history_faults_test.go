package cache

import (
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// befall has a fault befall a sidecar.
func (h *history) befall() {
	m, slow := h.some(), []time.Duration{10 * time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond}[h.random.IntN(3)]
	what := h.random.IntN(6)
	m.befall(func(l *line) {
		f := &l.faults
		switch what {
		case 0:
			f.cut = true
		case 1:
			f.slow = slow
		case 2:
			f.deaf = true
		case 3:
			f.mute = true
		case 4:
			f.sick = true
		case 5:
			if f.hold == nil {
				f.hold = make(chan struct{})
			}
		}
		h.write("%s: fault %s", m.name, [...]string{"cut", "slow", "deaf", "mute", "sick", "stopped"}[what])
	})
}

// heal mends a sidecar's line. One that was left with an old master finds the
// new one.
func (h *history) heal() { h.mend(h.some()) }

func (h *history) mend(m *member) {
	m.strayed()
	m.befall(func(l *line) {
		if l.faults.hold != nil {
			close(l.faults.hold)
		}
		l.faults, l.stuck = faults{}, nil
	})
	h.write("%s: mended", m.name)
}

// restart ends a sidecar, in order or not, and starts another.
func (h *history) restart() {
	i := h.random.IntN(len(h.members))
	m := h.members[i]
	if killed := h.random.IntN(2) == 0; killed {
		m.befall(func(l *line) { l.faults.cut = true })
	}
	m.stop()
	h.work.Go(m.done.Wait)
	h.mu.Lock()
	h.members = slices.Delete(slices.Clone(h.members), i, i+1)
	h.note("%s ends", m.name)
	h.mu.Unlock()
	m.befall(func(l *line) {
		if l.faults.hold != nil {
			close(l.faults.hold)
			l.faults.hold = nil
		}
	})
	h.join()
}

// lag has the replica, or the disk, fall behind, or catch up.
func (h *history) lag() {
	yes := h.random.IntN(2) == 0
	h.servers.lag(yes)
	h.write("replica lags: %v", yes)
}

// crash ends the master; its replica takes over, or it starts again with what
// is on disk. Some sidecars stay with the old one.
func (h *history) crash() {
	skew, collide := time.Duration(0), h.random.IntN(2) == 0
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.random.IntN(2) == 0 {
		skew = time.Duration(h.random.Int64N(int64(4*time.Second))) - 2*time.Second
		h.steady = false
	}
	old := h.servers.fail(skew, collide)
	h.note("crash: skew %v, collide %v", skew, collide)
	for _, m := range h.members {
		m.befall(func(l *line) {
			if h.servers.replicated && h.random.IntN(2) == 0 && l.stuck == nil {
				l.stuck, l.lost = old, time.Now()
				h.note("%s stays with the old master", m.name)
			}
		})
	}
	h.servers.change(func(n *node) {
		for _, f := range h.facts {
			record, ok := n.values[recordKey(f.lookup)]
			h.wrong(f.crash(ok, strings.Contains(record, "deleted_at"), h.servers.replicated))
		}
	})
}

// trim takes the oldest entries from the log, or all.
func (h *history) trim() {
	keep := h.random.IntN(4)
	h.servers.change(func(n *node) {
		n.write(func(n *node) { n.log = slices.Clone(n.log[max(0, len(n.log)-keep):]) })
	})
	h.write("log trimmed to %d", keep)
}

// clock sets Redis's clock.
func (h *history) clock() {
	skew := time.Duration(h.random.Int64N(int64(20*time.Second))) - 10*time.Second
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steady = false
	h.servers.change(func(n *node) { n.skew = skew })
	h.note("clock of Redis is off by %v", skew)
}

// flush empties the store.
func (h *history) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.facts {
		for _, m := range h.members {
			if state, _ := m.secrets.State(); state == Ready && standing(f) {
				f.of(m).sworn = true
			}
		}
		f.lost = f.lost || !f.live.IsZero()
	}
	h.servers.change(func(n *node) {
		n.write(func(n *node) {
			n.values, n.hashes, n.log, n.last = map[string]string{}, map[string]map[string]string{}, []redis.XMessage{}, [2]int64{}
		})
	})
	h.emptied, h.steady = true, false // who had reported is forgotten too
	h.note("flush")
}
