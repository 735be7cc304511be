//go:build hostile

package envoy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// mutated are the functions that decide: matcher, credential parser, grant
// check, verdict mapping. "" is what stands outside of functions.
var mutated = map[string][]string{
	"authz/match.go":    {"match", "mistaken", "resolve", "mostSpecific", "beats", "Resolve", "matches", "child", "add"},
	"authz/template.go": {"holds", "isValue", "wellFormed", "literal", "plain", "matches", "templateKey"},
	"authz/token.go":    {"ParseToken", "ParseBearer", "Reveal"},
	"authz/keyring.go":  {"Lookup", "Ours", "ImportedDigests"},
	"authz/secret.go":   {"covers", "NewSecret", "NewGrantIndex", "Secret", "granted", "NewGrant", "oneHost", "Authorize", "refuse", "open", "grant", "removals", "appendNew"},
	"authz/verdict.go":  {"", "Decision", "String", "Permissions", "ReasonOf"},
	"envoy/decode.go":   {"decodeCheck", "next", "only", "attributes", "extension", "http", "headers", "header", "isAuthorization", "entry", "text", "readMessage", "headerValue"},
	"envoy/request.go":  {"parse", "clientAddress"},
	"envoy/response.go": {"respond", "allow", "unauthenticated", "forbidden", "deny", "header", "facts", "dynamicMetadata"},
}

// switchFile lets the environment choose one mutant of a program that holds
// them all.
const switchFile = `package %s

import (
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv("POSTERN_MUTANT"))

func mutant[T any](id int, original, changed func() T) T {
	if id == mutantOn {
		return changed()
	}
	return original()
}
`

// TestMutants demands that tests see 95 of 100 changes to what decides, and
// that those they do not see are in testdata/survivors.txt, with the reason why
// they change nothing.
func TestMutants(t *testing.T) {
	mutants, overlay := mutate(t)
	dir := t.TempDir()
	programs := map[string]string{}
	for _, name := range []string{"authz", "envoy"} {
		programs[name] = filepath.Join(dir, name+".test")
		out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", programs[name], "../"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s with its mutants: %v\n%s", name, err, out)
		}
		if !passes(t, programs[name], name, 0) {
			t.Fatalf("control: the tests of %s fail without a mutant", name)
		}
	}
	excused := readSurvivors(t)
	survived, inOwn := 0, 0
	for _, m := range mutants {
		own := passes(t, programs[m.room], m.room, m.id)
		if own {
			inOwn++
		}
		if own && m.room == "authz" {
			own = passes(t, programs["envoy"], "envoy", m.id)
		}
		if !own {
			continue
		}
		survived++
		if i := slices.Index(excused, m.String()); i < 0 {
			t.Errorf("no test sees %s", m)
		} else {
			excused = slices.Delete(excused, i, i+1)
		}
	}
	for _, s := range excused {
		t.Errorf("testdata/survivors.txt excuses a mutant that is seen, or is none: %s", s)
	}
	if killed := len(mutants) - survived; killed*100 < 95*len(mutants) || len(mutants) < 250 {
		t.Errorf("%d of %d mutants were killed, want 95 of 100, and 250", killed, len(mutants))
	}
	t.Logf("%d mutants: %d killed by the tests of their package, %d by the corpus, %d survived",
		len(mutants), len(mutants)-inOwn, inOwn-survived, survived)
}

// passes runs the tests of a package with a mutant on.
func passes(t *testing.T, program, room string, id int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	only := map[string]string{
		"authz": "^(Test|Fuzz)",
		"envoy": "^(TestCheck|TestDecision|TestDecode.*|TestHostileAlone|TestDenyBody.*|TestCredentialFields|TestEmptyMessages.*|TestFilterAnnounced|FuzzParse|TestAlikeBodies|TestMetadata|TestFilteredVerdict|TestForwardSecret|TestCheckAllocates)$",
	}[room]
	cmd := exec.CommandContext(ctx, program, "-test.run", only, "-test.skip", "^(TestArrows|TestDifferentialFindsPlanted)$", "-test.failfast", "-test.timeout", "50s")
	cmd.Dir = filepath.Join("..", room)
	cmd.Env = append(os.Environ(), fmt.Sprint("POSTERN_MUTANT=", id), "POSTERN_DIFFERENTIAL=20000")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd.Run() == nil
}

// mutate writes the mutated files, and an overlay that puts them in place.
func mutate(t *testing.T) (all []mutation, overlay string) {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	put := func(file, text string) {
		original, err := filepath.Abs(filepath.Join("..", file))
		must(t, err)
		replace[original] = filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		must(t, os.WriteFile(replace[original], []byte(text), 0o600))
	}
	for _, room := range []string{"authz", "envoy"} {
		put(room+"/mutant_switch.go", fmt.Sprintf(switchFile, room))
	}
	for _, file := range slices.Sorted(maps.Keys(mutated)) {
		m := mutator{file: file, room: filepath.Dir(file), next: len(all) + 1, functions: mutated[file]}
		put(file, m.run(t))
		all = append(all, m.found...)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	overlay = filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(overlay, text, 0o600))
	return all, overlay
}

// readSurvivors reads the mutants that nothing can see. A line is a mutant,
// ` # ` and the reason.
func readSurvivors(t *testing.T) (all []string) {
	t.Helper()
	data, err := os.ReadFile("testdata/survivors.txt")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		m, why, ok := strings.Cut(line, " # ")
		if !ok || why == "" {
			t.Fatalf("survivor %q has no reason", line)
		}
		all = append(all, strings.TrimSpace(m))
	}
	return all
}
