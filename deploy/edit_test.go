package deploy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var diffBlock = regexp.MustCompile("(?ms)^```diff\n(.*?)^```$")

// diffOf is the one diff that a page shows.
func diffOf(t *testing.T, page string) string {
	t.Helper()
	blocks := diffBlock.FindAllStringSubmatch(readText(t, page), -1)
	if len(blocks) != 1 {
		t.Fatalf("%s shows %d diffs, want one", page, len(blocks))
	}
	return blocks[0][1]
}

// apply applies a diff without line numbers: hunks that lines of @@ part, each
// of which must fit in one place.
func apply(text, diff string) (string, error) {
	for hunk := range strings.SplitSeq(diff, "@@\n") {
		var old, changed strings.Builder
		for line := range strings.Lines(hunk) {
			if line[0] != '+' {
				old.WriteString(line[1:])
			}
			if line[0] != '-' {
				changed.WriteString(line[1:])
			}
		}
		if n := strings.Count(text, old.String()); n != 1 {
			return "", fmt.Errorf("the diff's part\n%sfits in %d places of envoy.yaml, want one", hunk, n)
		}
		text = strings.Replace(text, old.String(), changed.String(), 1)
	}
	return text, nil
}

// edited is what a page makes of a bootstrap.
func edited(t *testing.T, page string) func(string) string {
	diff := diffOf(t, page)
	return func(bootstrap string) string {
		text, err := apply(bootstrap, diff)
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		return text
	}
}

// The rate limits' file is envoy.yaml and what their page shows. After a change
// of either, POSTERN_UPDATE=1 writes it anew.
func TestRateLimitsFile(t *testing.T) {
	const file = "rate-limits/envoy.yaml"
	want := "# envoy/envoy.yaml with rate limits: see README.md here. Do not edit: POSTERN_UPDATE=1 go test ./deploy makes it.\n" +
		edited(t, "rate-limits/README.md")(readText(t, "../envoy/envoy.yaml"))
	if os.Getenv("POSTERN_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if readText(t, file) != want {
		t.Errorf("deploy/%s is not envoy/envoy.yaml with the diff of its README.md: run POSTERN_UPDATE=1 go test ./deploy -run RateLimitsFile", file)
	}
}

func TestApplyRefuses(t *testing.T) {
	for diff, text := range map[string]string{" a\n+b\n": "a\na\n", " a\n-c\n": "a\nb\n"} {
		if got, err := apply(text, diff); err == nil {
			t.Errorf("%q on %q gives %q, want an error", diff, text, got)
		}
	}
}
