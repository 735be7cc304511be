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
		command(t, dir, "make", "build", "build-sidecar")
		programs[folder] = filepath.Join(dir, "bin", "postern")
	}
	for _, suffix := range []string{"", "-sidecar"} {
		if one, other := hashOf(t, programs["here"]+suffix), hashOf(t, programs["elsewhere/and/deeper"]+suffix); one != other {
			t.Errorf("make gives a postern%s of %x in one folder and of %x in another, want the same", suffix, one, other)
		}
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

// The sidecar's build has no management server: neither the command nor what
// only that links, whose absence is what makes it small.
func TestSidecarHasNoAdmin(t *testing.T) {
	tags := map[string]string{"whole": "", "sidecar": "noadmin,grpcnotrace"}
	for build, want := range map[string]bool{"whole": true, "sidecar": false} {
		linked := command(t, ".", "go", "list", "-deps", "-tags", tags[build], "../cmd/postern")
		for _, name := range []string{"html/template", "text/template", "github.com/coreos/go-oidc/v3/oidc", "github.com/postern/postern/cmd/postern/admin"} {
			if got := strings.Contains(linked, name+"\n"); got != want {
				t.Errorf("the %s build links %s: %t, want %t", build, name, got, want)
			}
		}
	}
	program := filepath.Join(t.TempDir(), "postern")
	command(t, ".", "go", "build", "-buildvcs=false", "-tags", tags["sidecar"], "-o", program, "../cmd/postern")
	for _, args := range [][]string{{"admin"}, {"admin", "token", "new"}} {
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "without the management server") {
			t.Errorf("the sidecar's postern %v says %q (%v), want an error that says why", args, out, err)
		}
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
