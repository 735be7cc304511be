//go:build compose

package deploy

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A step is a command line of README.md that needs the project. Status is the
// HTTP status that its comment names, or 0.
type step struct {
	line   string
	status int
}

var (
	stepLine   = regexp.MustCompile(`(?m)^((?:docker compose|curl) .*?)(?: +# (.*))?$`)
	stepStatus = regexp.MustCompile(`\b[2-5][0-9][0-9]\b`)
	curlLine   = regexp.MustCompile(`^curl -i( -H "Authorization: Bearer \$SECRET")? http://127\.0\.0\.1:10000(/\S*)$`)
	shown      = regexp.MustCompile(`(?ms)^secret\t? *(\S+).*^id\t? *(\S+)`)
)

// readme holds the steps in their order.
func readme(t *testing.T) (steps []step) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range stepLine.FindAllStringSubmatch(string(text), -1) {
		status, _ := strconv.Atoi(stepStatus.FindString(m[2]))
		steps = append(steps, step{m[1], status})
	}
	return steps
}

// followReadme does what README.md tells its reader to do with the compose file,
// and checks that it gives what README.md says. It returns the two tokens that
// the reader sees; the second one has been deleted then.
func followReadme(p *project) (legacy, deleted string) {
	var id, path string
	var tokens []string
	for _, step := range readme(p.t) {
		if curl := curlLine.FindStringSubmatch(step.line); curl != nil {
			token := ""
			if curl[1] != "" {
				token = tokens[1]
			}
			if got := p.settled("GET", curl[2], token); got.status != step.status {
				p.t.Errorf("%s\ngives %d %s, want %d", step.line, got.status, got.body, step.status)
			}
			if step.status == 200 {
				path = curl[2]
			}
			continue
		}
		out := p.shell(strings.ReplaceAll(step.line, " ID", " "+id))
		if m := shown.FindStringSubmatch(out); m != nil {
			tokens, id = append(tokens, m[1]), m[2]
		} else if strings.Contains(step.line, "secret list") && (!strings.Contains(out, "**************") || !strings.Contains(out, id)) {
			p.t.Errorf("%s\nprints %q, want a redacted secret and the id %s", step.line, out, id)
		} else if step.status != 0 {
			p.await(step.status, "GET", path, tokens[1])
		}
	}
	if len(tokens) != 2 || path == "" {
		p.t.Fatalf("README.md shows %d secrets and asks for %q: want two, and a path that is answered by 200", len(tokens), path)
	}
	return tokens[0], tokens[1]
}

// shell runs a line with the compose that is installed here, and without a terminal.
func (p *project) shell(line string) string {
	p.t.Helper()
	function := `docker() { shift; if [ "$1" = exec ]; then shift; set -- exec -T "$@"; fi; command ` + strings.Join(p.compose, " ") + ` "$@"; }; `
	return run(p.t, "sh", "-c", function+line)
}
