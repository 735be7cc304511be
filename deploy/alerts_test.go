package deploy

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// How long each part takes, of which a second is a minute to the rules: the
// longest wait of an alert is ten minutes.
const (
	calm   = 4 * time.Second
	broken = 16 * time.Second
	mended = 14 * time.Second
)

func TestRulesAreSound(t *testing.T) { command(t, ".", "promtool", "check", "rules", rulesFile) }

// TestAlerts causes every fault at the same time, each in a world of its own
// that one Prometheus scrapes. See replay_test.go for how the rules see it.
func TestAlerts(t *testing.T) {
	if testing.Short() {
		t.Skip("long: a minute of faults")
	}
	t.Parallel()
	all, rules := scenes(t), readRules(t)
	p, marks := play(t, all)
	tried := &trial{bites: map[string]bool{}}
	t.Run("replay", func(t *testing.T) {
		for i, s := range all {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				tried.scene(t, s, replay{samples: p.samples(s.name), begun: p.begun, marks: marks[i]}, rules)
			})
		}
		t.Run("clock set", func(t *testing.T) {
			t.Parallel()
			last := len(all) - 1 // the healthy one
			tried.clock(t, replay{samples: p.samples(all[last].name), begun: p.begun, marks: marks[last]})
		})
	})
	checkAllFollowed(t, all, rules)
	if !t.Failed() { // else it would only say the same again
		tried.checkAll(t, all, rules)
	}
}

// play lets all scenes break and be mended, and returns what must be firing when.
func play(t *testing.T, all []*scene) (*prometheus, [][]mark) {
	var targets []target
	for _, s := range all {
		targets = append(targets, s.targets()...)
	}
	p, marks := startPrometheus(t, targets), make([][]mark, len(all))
	note := func(firing func(s *scene) []string) {
		for i, s := range all {
			marks[i] = append(marks[i], mark{time.Now(), firing(s)})
		}
		time.Sleep(2 * scrapeEvery) // the scrape of this moment must not see what comes next
	}
	for _, s := range all {
		if !s.unasked {
			go s.traffic()
		}
	}
	p.awaitScrapes(len(targets))
	time.Sleep(calm)
	note(func(*scene) []string { return nil })
	begun := time.Now()
	for _, s := range all {
		s.breaks()
	}
	time.Sleep(time.Until(begun.Add(broken)))
	note(func(s *scene) []string { return s.firing })
	followRunbooks(t, all, p)
	for _, s := range all {
		if s.mends != nil {
			s.mends()
		}
	}
	time.Sleep(mended)
	note(func(s *scene) []string { return s.after })
	return p, marks
}

// A trial is what came of the replays.
type trial struct {
	mu    sync.Mutex      // guards bites
	bites map[string]bool // metrics that an alert misses under another name
}

func (c *trial) missed(metric string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bites[metric] = true
}

func (c *trial) isMissed(metric string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bites[metric]
}

// scene checks what fires, and that it does not where a metric that it reads has
// another name: so a rename in the gate's code cannot go unseen.
func (c *trial) scene(t *testing.T, s *scene, r replay, rules []rule) {
	if err := r.run(t, ""); err != nil {
		t.Error(err)
		return
	}
	read := map[string]bool{}
	for _, rule := range rules {
		if slices.Contains(s.firing, rule.name()) {
			for _, metric := range reads(rules, rule.Expr) {
				read[metric] = true
			}
		}
	}
	r.marks = r.marks[:2] // what comes after the fault takes time, and shows no more
	for metric := range read {
		if !c.isMissed(metric) && r.run(t, metric) != nil {
			c.missed(metric)
		}
	}
}

// clock tries the one fault that is not caused: to set the machine's clock would
// set everybody's. The real series gets the value that it would have.
func (c *trial) clock(t *testing.T, r replay) {
	r.samples = slices.Clone(r.samples)
	for i, s := range r.samples {
		if s.Metric["__name__"] != "postern_clock_set_seconds" {
			continue
		}
		s.Values = slices.Clone(s.Values)
		for j := range s.Values {
			if at := s.Values[j][0].(float64); at > float64(r.marks[1].at.Unix()-5) {
				s.Values[j][1] = "-3600"
			}
		}
		r.samples[i] = s
	}
	r.marks = slices.Clone(r.marks[:2])
	r.marks[1].firing = []string{"PosternClockSet"}
	const metric = "postern_clock_set_seconds"
	if err := r.run(t, ""); err != nil {
		t.Error(err)
	} else if r.run(t, metric) != nil {
		c.missed(metric)
	}
}

// checkAll checks that each alert fired, and that each metric of each was missed
// under another name.
func (c *trial) checkAll(t *testing.T, all []*scene, rules []rule) {
	t.Helper()
	fired := map[string]bool{"PosternClockSet": true}
	for _, s := range all {
		maps.Copy(fired, setOf(s.firing))
	}
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		if !fired[r.name()] {
			t.Errorf("no scene makes %s fire", r.name())
		}
		for _, metric := range reads(rules, r.Expr) {
			if !c.bites[metric] {
				t.Errorf("%s reads %s, and no scene misses it under another name", r.Alert, strings.TrimSpace(metric))
			}
		}
	}
}

func setOf(names []string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
}
