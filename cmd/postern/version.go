package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by make build, and by the image's build, with -ldflags -X. A program that
// go install made has what the Go command knows instead.
var release, commit string

// build is what a program says of its own origin.
type build struct {
	Version string `json:"version"` // a tag's name, or devel
	Commit  string `json:"commit"`  // with -dirty where files differed from it; or unknown
	Go      string `json:"go"`
}

func version(c *call) error {
	asJSON := c.jsonFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	b := thisBuild()
	if *asJSON {
		return c.printJSON(b)
	}
	fmt.Fprintf(c.Stdout, "postern %s (%s, commit %s)\n", b.Version, b.Go, b.Commit)
	return nil
}

func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(release, commit, info)
}

// describeBuild takes from info, which may be nil, what was not set.
func describeBuild(release, commit string, info *debug.BuildInfo) build {
	b := build{Version: release, Commit: commit, Go: runtime.Version()}
	if info != nil {
		if installed := info.Main.Version; installed != "(devel)" {
			b.Version = cmp.Or(b.Version, installed)
		}
		b.Commit = cmp.Or(b.Commit, revision(info.Settings))
	}
	b.Version, b.Commit = cmp.Or(b.Version, "devel"), cmp.Or(b.Commit, "unknown")
	return b
}

// revision is the commit that the Go command saw, or nothing.
func revision(settings []debug.BuildSetting) string {
	values := map[string]string{}
	for _, s := range settings {
		values[s.Key] = s.Value
	}
	at := values["vcs.revision"]
	if at != "" && values["vcs.modified"] == "true" {
		at += "-dirty"
	}
	return at
}
