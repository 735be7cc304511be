package reload

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file is read again when it differs from the one in use and has stood still
// for one look: half a file is not read, nor one that is away.
func TestFileChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	f := NewFile("test", path, nil)
	steps := []struct {
		name string
		do   func()
		want bool
	}{
		{"as it was", func() {}, false},
		{"half written", func() { write("tw") }, false},
		{"written on", func() { write("two-") }, false},
		{"still, for one look", func() {}, true},
		{"still, and not yet in use", func() {}, true},
		{"in use", func() { f.inUse, _ = os.Stat(path) }, false},
		{"away", func() { os.Remove(path) }, false},
		{"still away: no longer on its way", func() {}, true},
		{"another one", func() { write("two-") }, false},
		{"another one, still", func() {}, true},
		{"in use, too", func() { f.inUse, _ = os.Stat(path) }, false},
		{"touched", func() { os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)) }, false},
		{"touched, still", func() {}, true},
	}
	for _, step := range steps {
		step.do()
		if got := f.changed(); got != step.want {
			t.Errorf("%s: changed = %v, want %v", step.name, got, step.want)
		}
	}
}

// A file that is away when the watch begins is read when it comes.
func TestFileAppears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := NewFile("test", path, nil)
	if f.changed() {
		t.Error("a file that is away has changed")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f.changed() || !f.changed() {
		t.Error("changed, of a file that came = true at the first look or false at the second, want false, then true")
	}
}
