package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const runbookURL = "https://github.com/postern/postern/blob/main/deploy/runbooks/"

var (
	headings   = []string{"Symptom", "Impact", "Check", "Fix", "Undo"}
	headingRow = regexp.MustCompile(`(?m)^## (.*)$`)
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	pageLink   = regexp.MustCompile(`\]\(([^)]*)\)`)
)

func runbook(alert string) string { return filepath.Join("runbooks", alert+".md") }

// Each alert has its runbook and each runbook its alert, in one form.
func TestRunbooks(t *testing.T) {
	pages, err := filepath.Glob("runbooks/Postern*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		if got := r.Annotations["runbook_url"]; got != runbookURL+r.Alert+".md" {
			t.Errorf("%s: runbook_url is %q", r.Alert, got)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("%s: want a summary, a description, and the severity page or ticket", r.Alert)
		}
		checkRunbook(t, runbook(r.Alert))
		pages = slices.DeleteFunc(pages, func(page string) bool { return page == runbook(r.Alert) })
	}
	for _, page := range pages {
		t.Errorf("%s is the runbook of no alert", page)
	}
}

func checkRunbook(t *testing.T, page string) {
	t.Helper()
	text := readText(t, page)
	var got []string
	for _, m := range headingRow.FindAllStringSubmatch(text, -1) {
		got = append(got, m[1])
		if section(text, m[1]) == "" {
			t.Errorf("%s says nothing under %s", page, m[1])
		}
	}
	if !slices.Equal(got, headings) {
		t.Errorf("%s has the headings %v, want %v", page, got, headings)
	}
	if !shellBlock.MatchString(section(text, "Check")) {
		t.Errorf("%s has no commands under Check", page)
	}
	for _, m := range pageLink.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("runbooks", m[1])); err != nil {
			t.Errorf("%s links to %s: %v", page, m[1], err)
		}
	}
}

// section is the text under a heading.
func section(text, heading string) string {
	_, text, _ = strings.Cut(text, "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	return strings.TrimSpace(text)
}

// followRunbooks runs the checks of all scenes' runbooks, under their faults,
// and looks in what they print for what must be seen.
func followRunbooks(t *testing.T, all []*scene, p *prometheus) {
	bin := t.TempDir()
	program, err := filepath.Abs(all[0].program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, "postern")); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for _, s := range all {
		for alert, want := range s.shows {
			running.Go(func() {
				if out := s.follow(alert, "Check", bin, p); !strings.Contains(out, want) || strings.Contains(out, "not found") {
					t.Errorf("%s: the check of %s prints\n%s\nwant %q in it", s.name, alert, out, want)
				}
			})
		}
	}
	running.Wait()
}

// follow runs the commands under a heading of an alert's runbook, and returns
// all that they print.
func (s *scene) follow(alert, heading, bin string, p *prometheus) string {
	var commands strings.Builder
	for _, m := range shellBlock.FindAllStringSubmatch(section(readText(s.t, runbook(alert)), heading), -1) {
		commands.WriteString(m[1])
	}
	cmd := exec.CommandContext(s.t.Context(), "sh", "-uc", commands.String()) // -u: a variable that nobody sets is a fault
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "POSTERN_") }), s.env...)
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"), "POSTERN_JSON=false", "OPS="+s.ops)
	if p != nil {
		cmd.Env = append(cmd.Env, "PROMETHEUS=http://"+p.address)
	}
	if s.proxy != nil {
		cmd.Env = append(cmd.Env, "ENVOY="+s.proxy.Admin)
	}
	out, _ := cmd.CombinedOutput() // that grep finds nothing is a failure of the last command, and no more
	return string(out)
}

// Every alert's check is run under a fault.
func checkAllFollowed(t *testing.T, all []*scene, rules []rule) {
	t.Helper()
	for _, r := range rules {
		if r.Alert != "" && !slices.ContainsFunc(all, func(s *scene) bool { return s.shows[r.Alert] != "" }) {
			t.Errorf("no scene follows the runbook of %s", r.Alert)
		}
	}
}

// What the page on alerts shows is a configuration that Prometheus takes.
func TestScrapeConfig(t *testing.T) {
	_, text, _ := strings.Cut(readText(t, "alerts/README.md"), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	dir := t.TempDir()
	for file, text := range map[string]string{"prometheus.yml": text, "postern.yaml": readText(t, rulesFile)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := command(t, dir, "promtool", "check", "config", "prometheus.yml"); !strings.Contains(out, "rules found") || !strings.Contains(text, "scrape_configs") {
		t.Errorf("promtool check config says\n%s", out)
	}
}
