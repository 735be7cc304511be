package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedCommand = regexp.MustCompile("(?m)(?:^|`|bin/|/|\t)postern ([a-z][^`\n]*)|`((?:key|catalog|merchant|secret|admin|audit) [a-z][^`\n]*)`")
	namedFlag    = regexp.MustCompile(`\s--([a-z0-9-]+)`)
)

// The program has each of its commands and flags that a page names.
func TestPagesNameCommands(t *testing.T) {
	t.Parallel()
	real, named := helped(), 0
	for _, pattern := range []string{"*.md", "deploy/*/*.md", "deploy/helm/*/*.md"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range namedCommand.FindAllStringSubmatch(string(text), -1) {
				if named++; !exists(m[1]+m[2], real) {
					t.Errorf("%s names postern %s: there is no such command, or it has no such flag", file, m[1]+m[2])
				}
			}
		}
	}
	if named < 50 {
		t.Errorf("the pages name %d commands, want the 50 or more there are", named)
	}
	for _, line := range []string{"secret destroy ID", "secret list --colour x", "secret"} {
		if exists(line, real) {
			t.Errorf("control: nothing is said of postern %s", line)
		}
	}
}

func exists(line string, real options) bool {
	cmd, _ := find(strings.Fields(line))
	if cmd == nil {
		return false
	}
	for _, m := range namedFlag.FindAllStringSubmatch(line, -1) {
		if _, has := real[cmd.line()][m[1]]; !has {
			return false
		}
	}
	return true
}
