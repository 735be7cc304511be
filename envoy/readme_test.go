package envoy

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

var (
	jsonError   = regexp.MustCompile(`"error":"(\w+)","error_description":"([^"]+)"`)
	yamlError   = regexp.MustCompile(`json_format: \{error: (\w+), error_description: "?([^"\n]+?)"?\}\n`)
	errorRow    = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `([^`]+)` \\| \\S.* \\|$")
	reasonRow   = regexp.MustCompile("(?m)^\\| `(allow|deny|error)` \\| (.*) \\|$")
	nameStatus  = regexp.MustCompile("`(\\w+)`|\\((\\d{3})\\)")
	resultsLine = regexp.MustCompile("(?s)An answer's `result` is (.*?)\\.\n")
)

// told is all that the gate and the shipped Envoys tell: errors with their
// descriptions, reasons with decision and status, and results.
func told(t *testing.T) (all []string) {
	add := func(pattern *regexp.Regexp, text string) {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1]+": "+strings.ReplaceAll(m[2], "%RESPONSE_CODE_DETAILS%", "…"))
		}
	}
	for _, r := range authz.Reasons() {
		denied := respond(authz.Verdict{Reason: r}, false)
		add(jsonError, denied.GetDeniedResponse().GetBody())
		decision := denied.GetDynamicMetadata().GetFields()["decision"].GetStringValue()
		all = append(all, fmt.Sprint(decision, " ", r, " ", int(denied.GetDeniedResponse().GetStatus().GetCode())))
	}
	for _, r := range Results() {
		all = append(all, "result "+r.String())
		for _, safe := range []bool{true, false} {
			add(jsonError, string(withhold(r, safe).GetImmediateResponse().GetBody()))
		}
	}
	walk := func(file string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(file) == ".yaml" {
			text, err := os.ReadFile(file)
			add(yamlError, string(text))
			return err
		}
		return err
	}
	for _, dir := range []string{".", "../deploy"} {
		if err := filepath.WalkDir(dir, walk); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// documented is what README.md says of the same. What it says twice is twice in it.
func documented(readme string) (all []string) {
	for _, m := range errorRow.FindAllStringSubmatch(readme, -1) {
		all = append(all, m[1]+": "+m[2])
	}
	for _, row := range reasonRow.FindAllStringSubmatch(readme, -1) {
		var status int
		for _, m := range slices.Backward(nameStatus.FindAllStringSubmatch(row[2], -1)) {
			if m[2] != "" {
				fmt.Sscan(m[2], &status)
			} else {
				all = append(all, fmt.Sprint(row[1], " ", m[1], " ", status))
			}
		}
	}
	for _, m := range nameStatus.FindAllStringSubmatch(resultsLine.FindString(readme), -1) {
		if m[1] != "result" {
			all = append(all, "result "+m[1])
		}
	}
	return all
}

// README.md has every error that a client may get, once, with what to do; every
// reason with its decision and status; every result of the filter; and no other.
func TestReadmeOnAnswers(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := told(t)
	for _, what := range difference(want, documented(string(readme))) {
		t.Error(what)
	}
	for _, plant := range [][3]string{
		{"| `invalid_api_secret` | `The API", "| `invalid_api_secret` | `This API", "invalid_api_secret: This API secret is not valid"},
		{"| `rate_limited` | `Too", "| `limited` | `Too", "rate_limited: Too many"},
		{"| correct what Envoy names |", "|  |", "invalid_request: "},
		{"| wait |", "| wait |\n| `server_error` | `The request could not be completed.` | x |", "server_error: "},
		{"`deleted`, `expired` (401)", "`deleted` (401); `expired` (403)", "deny expired 401"},
		{"`granted`, ", "", "allow granted 0"},
		{"`overloaded`, ", "`overloaded`, `tired`, ", "error tired 503"},
		{"`partial`, `media_type`, `coding`, `too_large` (", "`media_type`, `coding`, `too_large` (", "result partial"},
	} {
		altered := strings.Replace(string(readme), plant[0], plant[1], 1)
		if got := strings.Join(difference(want, documented(altered)), "\n"); !strings.Contains(got, plant[2]) {
			t.Errorf("control: with %q for %q the differences are %q, want %q", plant[1], plant[0], got, plant[2])
		}
	}
}

// difference is what the code or README.md has more often than the other.
func difference(code, readme []string) (all []string) {
	count := map[string]int{}
	for _, text := range code {
		count[text]++
	}
	for _, text := range readme {
		count[text]--
	}
	for _, text := range slices.Sorted(maps.Keys(count)) {
		switch n := count[text]; {
		case n > 0:
			all = append(all, text+": README.md lacks it")
		case n < 0:
			all = append(all, text+": README.md has it, or has it twice, and the code does not")
		}
	}
	return all
}
