package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// A workflow, as far as it is checked.
type workflow struct {
	Name        string
	Permissions map[string]string
	Jobs        map[string]struct {
		Permissions map[string]string
		Timeout     int `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]string
		}
	}
}

func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %q (%v), want two or more", files, err)
	}
	for _, file := range files {
		for _, fault := range faultsOf(t, readText(t, file)) {
			t.Errorf("%s: %s", file, fault)
		}
	}
}

// The controls: each guard bites.
func TestWorkflowsGuards(t *testing.T) {
	ci := readText(t, "../.github/workflows/ci.yaml")
	for _, tt := range []struct{ name, old, new, want string }{
		{"by tag", "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "checkout@v7.0.1", "want a commit"},
		{"short commit", "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "checkout@3d3c42e5", "want a commit"},
		{"no version", " # v7.0.1", "", "want a commit"},
		{"may write", "permissions: {contents: read}", "permissions: {contents: write}", "want contents: read"},
		{"may all", "permissions: {contents: read}", "", "want contents: read"},
		{"other Go", "1.26.8", "1.26.7", "the Dockerfile"},
		{"no target", "make vuln", "make vulns", "no target"},
		{"keeps its token", "{persist-credentials: false}", "{}", "persist-credentials"},
		{"no shell", "run: make vuln", "run: make vuln; if", "cannot read"},
		{"endless", "timeout-minutes: 60", "", "no timeout"},
		{"not YAML", "on:", "on: [", "yaml"},
	} {
		text := strings.Replace(ci, tt.old, tt.new, 1)
		if text == ci {
			t.Fatalf("%s: ci.yaml does not hold %q", tt.name, tt.old)
		}
		if got := strings.Join(faultsOf(t, text), "\n"); !strings.Contains(got, tt.want) {
			t.Errorf("%s: faults %q, want %q", tt.name, got, tt.want)
		}
	}
}

var (
	usesLine   = regexp.MustCompile(`(?m)^\s*(?:- )?uses:.*$`)
	pinned     = regexp.MustCompile(`uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	makeTarget = regexp.MustCompile(`\bmake ([a-z-]+)`)
)

func faultsOf(t *testing.T, text string) (faults []string) {
	t.Helper()
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }
	var w workflow
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return []string{err.Error()}
	}
	if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
		fault("its permissions are %v, want contents: read alone; a job that needs more says so", w.Permissions)
	}
	uses := 0
	for name, job := range w.Jobs {
		if job.Timeout == 0 {
			fault("job %s has no timeout", name)
		}
		for _, step := range job.Steps {
			if step.Uses != "" {
				uses++
			}
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
				fault("job %s leaves its token in the clone: say persist-credentials: false", name)
			}
			if version := step.With["go-version"]; version != "" && !strings.Contains(readText(t, "Dockerfile"), "FROM golang:"+version+"-") {
				fault("job %s has Go %s, the Dockerfile another: one version gives the same bytes", name, version)
			}
			if err := checkShell(t, step.Run); err != nil {
				fault("job %s: the shell cannot read a step: %v", name, err)
			}
			for _, m := range makeTarget.FindAllStringSubmatch(step.Run, -1) {
				if !strings.Contains(readText(t, "../Makefile"), "\n"+m[1]+":") {
					fault("job %s runs make %s: the Makefile has no target of this name", name, m[1])
				}
			}
		}
	}
	lines := usesLine.FindAllString(text, -1)
	if len(lines) != uses {
		fault("%d steps use actions, and %d lines say so: write each as a line", uses, len(lines))
	}
	for _, line := range lines {
		if !pinned.MatchString(line) {
			fault("%q: want a commit of 40 digits, and behind it the version as a comment", strings.TrimSpace(line))
		}
	}
	return faults
}

// checkShell has the shell read a script, and not run it.
func checkShell(t *testing.T, script string) error {
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func readText(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
