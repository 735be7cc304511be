package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	s := newShell(t)
	if text, want := s.ok("version"), "postern devel ("+runtime.Version()+", commit unknown)\n"; text != want {
		t.Errorf("version = %q, want %q", text, want)
	}
	got := s.members("version")
	if len(got) != 3 || got["version"] != "devel" || got["commit"] != "unknown" || got["go"] != runtime.Version() {
		t.Errorf("version --json = %v, want devel, unknown and %s", got, runtime.Version())
	}
}

// What make build and the image's build set comes first; go install sets
// nothing, and the Go command knows the module's version or the commit.
func TestDescribeBuild(t *testing.T) {
	stamped := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main:     debug.Module{Version: version},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "c0ffee"}, {Key: "vcs.modified", Value: modified}},
		}
	}
	tests := []struct {
		name, release, commit string
		info                  *debug.BuildInfo
		version, want         string
	}{
		{"nothing is known", "", "", nil, "devel", "unknown"},
		{"make build at a tag", "v0.1.0", "abc", stamped("(devel)", "false"), "v0.1.0", "abc"},
		{"make build between tags", "", "abc", nil, "devel", "abc"},
		{"go install MODULE@v0.1.0", "", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}}, "v0.1.0", "unknown"},
		{"go build in a clone", "", "", stamped("v0.1.1-0.20261126000000-c0ffee", "false"), "v0.1.1-0.20261126000000-c0ffee", "c0ffee"},
		{"go build of changed files", "", "", stamped("(devel)", "true"), "devel", "c0ffee-dirty"},
	}
	for _, tt := range tests {
		got := describeBuild(tt.release, tt.commit, tt.info)
		if got.Version != tt.version || got.Commit != tt.want || got.Go != runtime.Version() {
			t.Errorf("%s: %+v, want %s of %s", tt.name, got, tt.version, tt.want)
		}
	}
}
