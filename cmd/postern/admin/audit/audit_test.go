package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// written is a log of n entries.
func written(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	add(t, path, n)
	return path
}

func add(t *testing.T, path string, n int) {
	t.Helper()
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for i := range n {
		if err := log.Append(Entry{Time: time.Now(), Who: "ci", Action: "secret.create", Merchant: "m1", Detail: fmt.Sprint("entry ", i), Result: Done}); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever is done to any one of its lines is found (ASVS 16.4.2).
func TestVerifyFindsEveryChange(t *testing.T) {
	path := written(t, 60)
	if r, err := Verify([]string{path}); err != nil || r.Entries != 60 || !r.Anchored {
		t.Fatalf("Verify of a log as it was written = %+v, %v, want 60 entries, anchored", r, err)
	}
	whole := slices.Collect(bytes.Lines(read(t, path)))
	changes := map[string]func(lines [][]byte, i int) [][]byte{
		"edited":   func(l [][]byte, i int) [][]byte { l[i] = bytes.Replace(l[i], []byte("m1"), []byte("m2"), 1); return l },
		"deleted":  func(l [][]byte, i int) [][]byte { return slices.Delete(l, i, i+1) },
		"repeated": func(l [][]byte, i int) [][]byte { return slices.Insert(l, i, l[i]) },
		"moved":    func(l [][]byte, i int) [][]byte { j := (i + 1) % len(l); l[i], l[j] = l[j], l[i]; return l },
		"cut off":  func(l [][]byte, i int) [][]byte { return l[:i] },
		"cut": func(l [][]byte, i int) [][]byte {
			return append(l[:i:i], l[i][:len(l[i])/2])
		},
	}
	for name, change := range changes {
		missed := 0
		for i := range whole {
			write(t, path, bytes.Join(change(slices.Clone(whole), i), nil))
			r, err := Verify([]string{path})
			if err == nil && r.First == 1 { // a log without its first files begins later, and says so
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("of 60 logs in which one line was %s, %d verify", name, missed)
		}
	}
}

// A chain made anew after a change is seen by its head.
func TestRewrittenChainIsFound(t *testing.T) {
	path, other := written(t, 3), written(t, 3)
	write(t, path, read(t, other))
	if _, err := Verify([]string{path}); err == nil || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("Verify of a chain made anew = %v, want an error that says so", err)
	}
}

func TestOpenGoesOn(t *testing.T) {
	path := written(t, 3)
	add(t, path, 2)
	if r, err := Verify([]string{path}); err != nil || r.Entries != 5 {
		t.Errorf("Verify after a restart = %+v, %v, want 5 entries", r, err)
	}
	write(t, path, append(read(t, path), `{"seq":6,"time":"20`...)) // a power cut
	add(t, path, 1)
	if r, err := Verify([]string{path}); err != nil || r.Entries != 6 {
		t.Errorf("Verify after a power cut = %+v, %v, want 6 entries", r, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		spoil      func(path string)
	}{
		{"edited", "changed", func(p string) { write(t, p, bytes.Replace(read(t, p), []byte("m1"), []byte("m2"), 1)) }},
		{"cut off", "cut it off", func(p string) { text := read(t, p); write(t, p, text[:bytes.IndexByte(text, '\n')+1]) }},
		{"a folder", "directory", func(p string) { os.Remove(p); os.Mkdir(p, 0o700) }},
		{"not a log", "no line of an audit log", func(p string) { write(t, p, []byte("hello\n")) }},
		{"a spoiled head", "number and hash", func(p string) { write(t, headFile(p), []byte("hello\n")) }},
	}
	for _, tt := range tests {
		path := written(t, 3)
		tt.spoil(path)
		if log, err := Open(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open of a log that is %s = %v, want an error with %q", tt.name, err, tt.want)
			log.Close()
		}
	}
	path := written(t, 1)
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Open of an open log = %v, want an error", err)
	}
}

// A file that is put aside is begun anew, in the same chain.
func TestRotatedFile(t *testing.T) {
	path := written(t, 2)
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	os.Rename(path, path+".1")
	for range 2 {
		if err := log.Append(Entry{Result: Done}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Verify([]string{path + ".1", path}); err != nil || r.Entries != 4 {
		t.Errorf("Verify of both files = %+v, %v, want 4 entries", r, err)
	}
	if r, err := Verify([]string{path}); err != nil || r.First != 3 {
		t.Errorf("Verify of the newer file = %+v, %v, want one that begins at 3", r, err)
	}
	os.Rename(path, path+".2")
	log.Close()
	add(t, path, 1)
	if r, err := Verify([]string{path + ".1", path + ".2", path}); err != nil || r.Entries != 5 {
		t.Errorf("Verify after a restart between files = %+v, %v, want 5 entries", r, err)
	}
	if _, err := Verify([]string{path + ".1", path}); err == nil {
		t.Error("Verify with a file left out finds nothing")
	}
}

// Text that people chose stays within its line, and shows no control byte.
func FuzzLine(f *testing.F) {
	for _, text := range []string{"", "a\nb", "\x1b[31m", "\u2028", "</script>", "\xff", `","hash":"`, "\x7f", "\u0085"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		log := To(&out)
		if err := log.Append(Entry{Who: text, Detail: text, Change: map[string]string{"description": text}}); err != nil {
			t.Fatal(err)
		}
		if got := bytes.IndexFunc(bytes.TrimSuffix(out.Bytes(), []byte("\n")), func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }); got >= 0 {
			t.Errorf("the line of %q has a control character at %d:\n%s", text, got, out.Bytes())
		}
		if !json.Valid(out.Bytes()) {
			t.Errorf("the line of %q is no JSON:\n%s", text, out.Bytes())
		}
		head, _, err := verify(&out, Head{}, false)
		if err != nil || head != log.Head() {
			t.Errorf("the line of %q does not verify: %v", text, err)
		}
	})
}
