package deploy

import (
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A program can be checked by whoever has its sources: one commit gives the
// same bytes in any folder.
func TestBuildIsReproducible(t *testing.T) {
	programs := map[string]string{}
	for _, folder := range []string{"here", "elsewhere/and/deeper"} {
		dir := filepath.Join(t.TempDir(), folder)
		cloneSources(t, dir)
		command(t, dir, "make", "build")
		programs[folder] = filepath.Join(dir, "bin", "postern")
	}
	if one, other := hashOf(t, programs["here"]), hashOf(t, programs["elsewhere/and/deeper"]); one != other {
		t.Errorf("make build gives %x in one folder and %x in another, want the same", one, other)
	}
	if got := command(t, ".", programs["here"], "version"); !strings.HasPrefix(got, "postern v0.1.0 (go1.") || strings.Contains(got, "unknown") || strings.Contains(got, "dirty") {
		t.Errorf("at the tag v0.1.0, postern version says %q, want the tag and its commit", got)
	}
}

// The control of the test above: a build that keeps its folder's path differs.
func TestBuildWithPathsIsNotReproducible(t *testing.T) {
	var hashes [2][32]byte
	for i := range hashes {
		dir := t.TempDir()
		cloneSources(t, dir)
		command(t, dir, "go", "build", "-buildvcs=false", "-o", "upstream", "./cmd/demo/upstream")
		hashes[i] = hashOf(t, filepath.Join(dir, "upstream"))
	}
	if hashes[0] == hashes[1] {
		t.Error("a build with paths gives the same bytes in two folders: this test cannot tell")
	}
}

// cloneSources fills dir with a repository of one commit, the sources as they
// are now, tagged v0.1.0. The commit is the same wherever it is made.
func cloneSources(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"authz", "cache", "cmd", "envoy"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("..", name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "Makefile", ".gitignore"} {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"init -q", "add .", "commit -q -m sources", "tag v0.1.0"} {
		command(t, dir, "git", strings.Fields(line)...)
	}
}

// command runs a program in a folder and returns what it prints.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	// One commit for equal sources, whatever this machine's git is set to, and make build's own words.
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@localhost", "GIT_AUTHOR_DATE=2026-11-26T00:00:00Z",
		"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@localhost", "GIT_COMMITTER_DATE=2026-11-26T00:00:00Z",
		"MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func hashOf(t *testing.T, file string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
