package openapi

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

// FuzzLoad: nothing panics, what is refused is refused with problems, and what
// loads has clean templates and loads alike again.
func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*/*.*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("testdata holds no documents: %v", err)
	}
	for _, path := range append(seeds, "../../deploy/catalog.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		catalog, err := Load(slices.Clone(data))
		if err != nil {
			checkProblems(t, err)
			return
		}
		for _, e := range catalog.All() {
			checkEndpoint(t, e)
		}
		again, err := Load(data)
		if err != nil || again.Hash() != catalog.Hash() {
			t.Errorf("loaded again: %v", err)
		}
	})
}

func checkProblems(t *testing.T, err error) {
	problems, ok := errors.AsType[authz.Problems](err)
	if !ok || len(problems) == 0 {
		t.Fatalf("refused with %T: %v", err, err)
	}
	for i, p := range problems {
		if p.Line < 1 || p.Text == "" || p.Remedy == "" || i > 0 && p.Line < problems[i-1].Line {
			t.Errorf("problem %d of %d: %+v", i, len(problems), p)
		}
	}
}

func checkEndpoint(t *testing.T, e *authz.Endpoint) {
	if !slices.Contains(methodKeys, strings.ToLower(e.Method)) || e.Permission == "" || e.Operation == "" {
		t.Errorf("endpoint %+v", e)
	}
	if !strings.HasPrefix(e.Path, "/") || strings.ContainsAny(e.Path, "%*?#;\\ \t\r\n") {
		t.Errorf("path %q", e.Path)
	}
	segments := strings.Split(e.Path[1:], "/")
	for i, s := range segments {
		empty := s == "" && i < len(segments)-1
		if empty || s == "." || s == ".." || strings.Count(s, "{") > 1 || strings.Count(s, "{") != strings.Count(s, "}") {
			t.Errorf("path %q has the segment %q", e.Path, s)
		}
	}
}
