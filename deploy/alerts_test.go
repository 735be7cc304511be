package deploy

import (
	"slices"
	"testing"
	"time"
)

// How long each part takes, of which a second is a minute to the rules: the
// longest for of an alert is ten minutes.
const (
	calm   = 4 * time.Second
	broken = 16 * time.Second
	mended = 14 * time.Second
)

// TestAlerts causes every fault at the same time, each in a world of its own
// that one Prometheus scrapes. See replay_test.go for how the rules see it.
func TestAlerts(t *testing.T) {
	all := scenes(t)
	var targets []target
	for _, s := range all {
		targets = append(targets, s.targets()...)
	}
	p := startPrometheus(t, targets)
	for _, s := range all {
		if !s.unasked {
			go s.traffic()
		}
	}
	marks := make([][]mark, len(all))
	note := func(firing func(s *scene) []string) {
		for i, s := range all {
			marks[i] = append(marks[i], mark{time.Now(), firing(s)})
		}
		time.Sleep(2 * scrapeEvery) // the scrape of this moment must not see what comes next
	}
	p.awaitScrapes(len(targets))
	time.Sleep(calm)
	note(func(*scene) []string { return nil })
	begun := time.Now()
	for _, s := range all {
		s.breaks()
	}
	t.Logf("causing all took %v", time.Since(begun))
	time.Sleep(time.Until(begun.Add(broken)))
	note(func(s *scene) []string { return s.firing })
	for _, s := range all {
		s.followRunbooks(p)
	}
	begun = time.Now()
	for _, s := range all {
		if s.mends != nil {
			s.mends()
		}
	}
	time.Sleep(time.Until(begun.Add(mended)))
	note(func(s *scene) []string { return s.after })
	bites := map[string]bool{}
	rules := readRules(t)
	for i, s := range all {
		t.Run(s.name, func(t *testing.T) {
			r := replay{samples: p.samples(s.name), begun: p.begun, marks: marks[i]}
			if err := r.run(t, ""); err != nil {
				t.Error(err)
				return
			}
			for _, metric := range s.metricsRead(rules) {
				bites[metric] = bites[metric] || r.run(t, metric) != nil
			}
		})
	}
	checkAllTried(t, all, rules, bites)
}

// metricsRead are what the alerts of the scene read.
func (s *scene) metricsRead(rules []rule) (names []string) {
	for _, r := range rules {
		if slices.Contains(s.firing, r.name()) {
			names = append(names, reads(rules, r.Expr)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkAllTried checks that each alert fired, and that each metric of each was
// missed when it had another name.
func checkAllTried(t *testing.T, all []*scene, rules []rule, bites map[string]bool) {
	t.Helper()
	for _, r := range rules {
		if r.Alert == "" || r.Alert == "PosternClockSet" { // see TestClockAlert
			continue
		}
		if !slices.ContainsFunc(all, func(s *scene) bool { return slices.Contains(s.firing, r.name()) }) {
			t.Errorf("no scene makes %s fire", r.name())
		}
		for _, metric := range reads(rules, r.Expr) {
			if !bites[metric] {
				t.Errorf("%s reads %s, and no scene misses it under another name", r.Alert, metric)
			}
		}
	}
}
