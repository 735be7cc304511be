package deploy

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

const rulesFile = "alerts/postern.yaml"

// How the rules are tried. A real Prometheus scrapes the real processes twice a
// second, before a real fault, under it and after it. What it got is given to
// promtool, which is Prometheus's own engine, with the shipped rule file, byte
// for byte. The one thing that is not as it was is the time between two scrapes:
// half a second stands for the half minute that it is in operation. So a second
// of the test is a minute of the rules, and 20 s do for windows of hours; of 3d
// the rules see all that there is. Gauges of seconds hold what the processes said.
const (
	replayed = 30 * time.Second
	speed    = int(replayed / scrapeEvery)
)

// A rule is one of the rule file.
type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

// name is an alert's, with the window that tells it from its siblings.
func (r rule) name() string {
	if window := r.Labels["window"]; window != "" {
		return r.Alert + "/" + window
	}
	return r.Alert
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(readText(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

var (
	metricName = regexp.MustCompile(`\b(?:postern|envoy)_[a-z_]+\b|\bup\b`)
	recordName = regexp.MustCompile(`\bpostern:[a-z_]+:[a-z0-9_]+\b`)
)

// reads are the metrics that an expression reads, by way of recorded ones too.
func reads(rules []rule, expression string) []string {
	names := map[string]bool{}
	for _, name := range metricName.FindAllString(labelMatchers.ReplaceAllString(expression, ""), -1) {
		names[name] = true
	}
	for _, recorded := range recordName.FindAllString(expression, -1) {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.Record == recorded })
		if i < 0 {
			names[recorded+" (recorded by no rule)"] = true
			continue
		}
		for _, name := range reads(rules, rules[i].Expr) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

var labelMatchers = regexp.MustCompile(`\{[^}]*\}`)

// A replay is what was scraped, and when the rules are looked at.
type replay struct {
	samples []series
	begun   time.Time
	marks   []mark
}

// A mark is a moment, and the alerts that must be firing then: these and no others.
type mark struct {
	at     time.Time
	firing []string
}

// run reports how what fires differs; nil: it does not. Samples of the metric
// renamed are given under another name.
func (r replay) run(t *testing.T, renamed string) error {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var inputs, expectations []any
	for _, s := range r.samples {
		inputs = append(inputs, map[string]string{"series": s.name(renamed), "values": r.values(s)})
	}
	for _, m := range r.marks {
		at := (time.Duration(r.slot(m.at)) * replayed).String()
		expectations = append(expectations, m.expectation(at))
		for _, alert := range m.firing {
			expectations = append(expectations, labelled(t, alert, at))
		}
	}
	file := filepath.Join(t.TempDir(), "test.json")
	writeJSON(t, file, map[string]any{
		"rule_files": []string{rules}, "evaluation_interval": replayed.String(),
		"tests": []any{map[string]any{"interval": replayed.String(), "input_series": inputs, "promql_expr_test": expectations}},
	})
	out, err := exec.CommandContext(t.Context(), "promtool", "test", "rules", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("promtool test rules: %w\n%s", err, out)
	}
	return nil
}

// expectation is that these alerts fire and no others.
func (m mark) expectation(at string) map[string]any {
	samples := []any{}
	for _, name := range m.firing {
		alert, window, _ := strings.Cut(name, "/")
		labels := fmt.Sprintf(`{alertname=%q}`, alert)
		if window != "" {
			labels = fmt.Sprintf(`{alertname=%q, window=%q}`, alert, window)
		}
		samples = append(samples, map[string]any{"labels": labels, "value": 1})
	}
	return map[string]any{
		"expr":      `group by (alertname, window) (ALERTS{alertstate="firing"})`,
		"eval_time": at, "exp_samples": samples,
	}
}

var usedLabel = regexp.MustCompile(`\$labels\.(\w+)`)

// labelled is the expectation that an alert has the labels that its own text
// names: Prometheus writes nothing where there is none.
func labelled(t *testing.T, alert, at string) map[string]any {
	t.Helper()
	rules := readRules(t)
	one := rules[slices.IndexFunc(rules, func(r rule) bool { return r.name() == alert })]
	matchers := fmt.Sprintf(`alertstate="firing", alertname=%q, window=%q`, one.Alert, one.Labels["window"])
	for _, text := range one.Annotations {
		for _, m := range usedLabel.FindAllStringSubmatch(text, -1) {
			matchers += fmt.Sprintf(`, %s!=""`, m[1])
		}
	}
	return map[string]any{
		"expr": "group(ALERTS{" + matchers + "})", "eval_time": at,
		"exp_samples": []any{map[string]any{"labels": "{}", "value": 1}},
	}
}

// slot is the scrape that a moment belongs to.
func (r replay) slot(at time.Time) int { return int(at.Sub(r.begun) / scrapeEvery) }

// values are the samples of a series in promtool's notation. Where its target
// was scraped and did not have it, Prometheus marks it stale, which its API does
// not tell: that is put back. Where no scrape took place, there is nothing.
func (r replay) values(s series) string {
	scraped := r.slots(r.upOf(s))
	own := r.slots(s)
	var values []string
	began := false
	for i := range r.slot(r.marks[len(r.marks)-1].at) + 1 {
		value, found := own[i]
		_, was := scraped[i]
		switch {
		case found:
			values, began = append(values, value), true
		case was && began:
			values, began = append(values, "stale"), false
		default:
			values = append(values, "_")
		}
	}
	return strings.Join(values, " ")
}

// upOf is the series that says when the target of another was scraped.
func (r replay) upOf(s series) series {
	for _, up := range r.samples {
		if up.Metric["__name__"] == "up" && up.Metric["instance"] == s.Metric["instance"] {
			return up
		}
	}
	return series{}
}

func (r replay) slots(s series) map[int]string {
	slots := map[int]string{}
	for _, sample := range s.Values {
		at := time.UnixMilli(int64(sample[0].(float64) * 1000))
		value, _ := strconv.ParseFloat(sample[1].(string), 64)
		slots[r.slot(at)] = strconv.FormatFloat(value, 'f', -1, 64)
	}
	return slots
}
