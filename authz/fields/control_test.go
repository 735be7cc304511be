package fields_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The control of TestRemoveGenerated: it fails for each Remove that is broken
// in one place.
func TestRemoveGeneratedControl(t *testing.T) {
	tests := []struct{ name, file, sound, broken string }{
		{"names are not unescaped", "scan.go", `if bytes.IndexByte(raw, '\\') < 0 {`, `if true {`},
		{"surrogate pairs are not joined", "scan.go", `pair != utf8.RuneError`, `false`},
		{"NUL in a name passes", "scan.go", `r == 0 || `, ``},
		{"control characters pass", "scan.go", `c < ' ' || `, ``},
		{"numbers start with zeros", "scan.go", `!s.optional('0') && `, ``},
		{"duplicates pass", "walk.go", `if w.seen {`, `if false {`},
		{"types on the path pass", "walk.go", `(w.path[depth].Kind == Member) != object`, `false`},
		{"scalars on the path pass", "walk.go", `len(wants) > 0 && c != 'n'`, `false`},
		{"[*] is the first only", "walk.go", `step.Kind == Elements || `, ``},
		{"a second want of a name is lost", "walk.go", "w.seen = true\n", "w.seen = true; return append(inner, want{path: w.path}), nil\n"},
		{"the comma before stays", "walk.go", `case kept:`, `case kept && false:`},
		{"the comma after stays", "walk.go", `case more:`, `case more && false:`},
		{"depth is not bounded", "walk.go", `depth == maxDepth`, `false`},
		{"what follows passes", "remove.go", `r.at < len(body)`, `false`},
		{"bad UTF-8 passes", "remove.go", `!utf8.Valid(body)`, `false`},
	}
	for _, tt := range tests {
		out, err := testBroken(t, tt.file, tt.sound, tt.broken)
		if err == nil || !strings.Contains(out, ": Remove(") {
			t.Errorf("%s: %v, want TestRemoveGenerated to fail:\n%s", tt.name, err, out)
		}
	}
}

// testBroken runs TestRemoveGenerated on this package with one place of its
// source another.
func testBroken(t *testing.T, file, sound, broken string) (string, error) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), sound); n != 1 {
		t.Fatalf("%s has %q %d times, want it once", file, sound, n)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	other, overlay := filepath.Join(t.TempDir(), file), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: other}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte(strings.Replace(string(source), sound, broken, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout", "1m", "-overlay", overlay, "-run", "^TestRemoveGenerated$", ".")
	out, err := command.CombinedOutput()
	return string(out), err
}
