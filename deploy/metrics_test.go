package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	ownName     = regexp.MustCompile(`\b(?:postern|envoy_http_ext|envoy_cluster)_[a-z_]+\b`)
	typeRow     = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	labelName   = regexp.MustCompile(`[{,](\w+)="`)
	metricsText = regexp.MustCompile(`(?ms)^Metrics, beside the Go runtime's: (.*?)\n\n`)
)

// The names of metrics in what is shipped are those that the processes have, and
// README's list is all that the gate has, with their labels.
func TestMetricNames(t *testing.T) {
	s := newScene(t, "names")
	s.proxy = s.envoy(nil)
	s.ask(s.token, label)
	own := s.metrics()
	_, proxys := get(t, s.proxy.Admin, "/stats/prometheus", "")
	exist := exposed(own)
	for name := range exposed(proxys) {
		exist[name] = true
	}
	for _, pattern := range []string{"../*.md", "alerts/*", "dashboards/*.json", "runbooks/*.md", "shadow/*.md", "traces/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			checkNames(t, file, readText(t, file), exist)
		}
	}
	list := metricsText.FindString(readText(t, "../README.md"))
	for _, fault := range unlike(list, own) {
		t.Error(fault)
	}
	for _, plant := range []string{"postern_ready", "{decision,reason}", "postern_up", "{file}"} { // the controls
		altered := strings.Replace(list, plant, "", 1)
		if plant == "postern_up" {
			altered = list + "`postern_up`"
		}
		if got := unlike(altered, own); len(got) == 0 {
			t.Errorf("README.md with or without %s: no difference is seen", plant)
		}
	}
	checkConventions(t, own)
}

// unlike are the differences between README.md's paragraph of metrics and an
// exposition, in names and labels.
func unlike(list, text string) (faults []string) {
	listed, has := map[string]string{}, map[string]string{}
	for _, m := range regexp.MustCompile("`(postern_\\w+)(?:{([^}]*)})?`").FindAllStringSubmatch(list, -1) {
		listed[m[1]] = "{" + m[2] + "}"
	}
	for _, row := range typeRow.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(row[1], "postern_") {
			continue
		}
		sample := regexp.MustCompile(`(?m)^` + row[1] + `\S* `).FindString(text)
		var labels []string
		for _, m := range labelName.FindAllStringSubmatch(sample, -1) {
			if m[1] != "le" {
				labels = append(labels, m[1])
			}
		}
		has[row[1]] = "{" + strings.Join(labels, ",") + "}"
	}
	for name := range listed {
		if has[name] == "" {
			faults = append(faults, "README.md lists the metric "+name+", which the gate does not have")
		}
	}
	for name, labels := range has {
		if listed[name] != labels {
			faults = append(faults, "the gate has "+name+labels+", README.md lists "+listed[name])
		}
	}
	return faults
}

// exposed are the names of the samples in an exposition.
func exposed(text string) map[string]bool {
	names := map[string]bool{}
	for _, row := range typeRow.FindAllStringSubmatch(text, -1) {
		names[row[1]] = true
		if row[2] == "histogram" {
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				names[row[1]+part] = true
			}
		}
	}
	return names
}

// A label of Envoy's, and what it counts only in shadow.
var otherNames = map[string]bool{"envoy_cluster_name": true, "envoy_postern_verdicts": true}

func checkNames(t *testing.T, file, text string, exist map[string]bool) {
	t.Helper()
	names := ownName.FindAllString(text, -1)
	for _, name := range names {
		if !exist[name] && !otherNames[name] && !strings.HasSuffix(name, "_") { // as where a regular expression goes on
			t.Errorf("%s names the metric %s, which does not exist", file, name)
		}
	}
}

// checkConventions holds the gate's metrics against Prometheus's own rules, and
// looks for what would make many series of one.
func checkConventions(t *testing.T, text string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	closed := map[string]bool{"decision": true, "reason": true, "result": true, "file": true, "hash": true, "version": true, "commit": true, "le": true}
	series := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "postern_") {
			continue
		}
		series++
		for _, m := range labelName.FindAllStringSubmatch(line, -1) {
			if !closed[m[1]] {
				t.Errorf("%s has the label %s: its values must be few, and this test must know it", strings.TrimSpace(line), m[1])
			}
		}
	}
	if series > 100 {
		t.Errorf("the gate has %d series of its own, want 100 at most", series)
	}
}
