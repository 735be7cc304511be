package access

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParseRole(t *testing.T) {
	for _, text := range []string{"operator", "viewer", "merchant:m-1"} {
		if r, err := ParseRole(text); err != nil || r.String() != text {
			t.Errorf("ParseRole(%q) = %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "Operator", "merchant", "merchant:", "merchant:a/b", "operator:x", "viewer:", "merchant:..", "root"} {
		if r, err := ParseRole(text); err == nil {
			t.Errorf("ParseRole(%q) = %v, want an error", text, r)
		}
	}
}

// What each role may: the zero role may nothing.
func TestRoles(t *testing.T) {
	tests := []struct {
		role                         Role
		sees, changes, others, makes bool // a's things; b's
	}{
		{Role{}, false, false, false, false},
		{Viewer, true, false, true, false},
		{Merchant("a"), true, true, false, false},
		{Operator, true, true, true, true},
	}
	for _, tt := range tests {
		if got := []bool{tt.role.Sees("a"), tt.role.Changes("a"), tt.role.Sees("b"), tt.role.Changes("b")}; fmt.Sprint(got) != fmt.Sprint([]bool{tt.sees, tt.changes, tt.others, tt.makes}) {
			t.Errorf("role %q sees and changes a, b: %v, want %v", tt.role, got, tt)
		}
	}
}

func added(t *testing.T, path, name string, role Role, expires time.Time) string {
	t.Helper()
	text, err := AddToken(path, name, role, expires, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A token file holds no token, is its owner's alone, and is believed as it is
// now: a token ends when it expires or is taken out.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	a := added(t, path, "a", Merchant("m"), time.Time{})
	b := added(t, path, "b", Operator, time.Now().Add(time.Hour))
	text, _ := os.ReadFile(path)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 || strings.Contains(string(text), a[20:]) || strings.Contains(string(text), b[20:]) {
		t.Errorf("the file has mode %v, %v, and holds\n%s\nwant 0600 and no token", info.Mode(), err, text)
	}
	if len(a) != len(TokenPrefix)+43 || a == b {
		t.Errorf("tokens are %q and %q, want 256 random bits each", a, b)
	}
	tokens, err := NewTokens(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g := Guard{Tokens: tokens}
	now := time.Now()
	if id, err := g.Identify(t.Context(), a, now); err != nil || id.Name != "a" || id.Role != Merchant("m") {
		t.Errorf("Identify = %+v, %v, want a of merchant m", id, err)
	}
	for _, text := range []string{"", a[:len(a)-1], a + "A", strings.ToLower(a), "a", strings.Repeat("x", 1<<20), "a.b.c"} {
		if id, err := g.Identify(t.Context(), text, now); !errors.Is(err, ErrUnknown) {
			t.Errorf("Identify(%.50q) = %+v, %v, want unknown", text, id, err)
		}
	}
	if _, err := g.Identify(t.Context(), b, now.Add(2*time.Hour)); !errors.Is(err, ErrUnknown) {
		t.Errorf("Identify of an expired token = %v, want unknown", err)
	}
	c := added(t, path, "c", Viewer, time.Time{})
	if id, err := g.Identify(t.Context(), c, now); err != nil || id.Role != Viewer {
		t.Errorf("Identify of a token added since = %+v, %v", id, err)
	}
	// While the file cannot be read nobody is recognised, and that is no
	// statement about the token.
	os.WriteFile(path, []byte(`{"tokens":[{`), 0o600)
	if _, err := g.Identify(t.Context(), a, now); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Identify with half a file = %v, want unavailable", err)
	}
	os.WriteFile(path, text, 0o600)
	if _, err := g.Identify(t.Context(), a, now); err != nil {
		t.Errorf("Identify with the file mended = %v", err)
	}
	if _, err := g.Identify(t.Context(), c, now); !errors.Is(err, ErrUnknown) {
		t.Errorf("Identify of a token that was taken out = %v, want unknown", err)
	}
	os.Chmod(path, 0o622)
	if _, err := g.Identify(t.Context(), a, now); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Identify with a file that others may write = %v, want unavailable", err)
	}
}

func TestTokenFileRefused(t *testing.T) {
	dir := t.TempDir()
	digest := strings.Repeat("0", 64)
	for text, want := range map[string]string{
		``:                "EOF",
		`{}`:              "no live token",
		`{"tokens":[]}`:   "no live token",
		`{"tokenz":[]}`:   "unknown field",
		`{"tokens":[{}]}`: "token 1",
		`{"tokens":[{"name":"a","role":"root","sha256":"` + digest + `"}]}`:                                       `role "root"`,
		`{"tokens":[{"name":"a b","role":"viewer","sha256":"` + digest + `"}]}`:                                   "name",
		`{"tokens":[{"name":"a","role":"viewer","sha256":"00"}]}`:                                                 "64 hexadecimal digits",
		`{"tokens":[{"name":"a","role":"viewer","sha256":"` + digest + `","expires_at":"2020-01-01T00:00:00Z"}]}`: "no live token",
	} {
		path := filepath.Join(dir, "tokens.json")
		os.WriteFile(path, []byte(text), 0o600)
		if _, err := NewTokens(path, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewTokens of %s = %v, want an error with %q", text, err, want)
		}
	}
	if _, err := NewTokens(filepath.Join(dir, "none"), time.Now()); err == nil || !strings.Contains(err.Error(), "admin token new") {
		t.Errorf("NewTokens without a file = %v, want the way to make one", err)
	}
}

// While one token takes another's place there are two of one name.
func TestTokensOfOneName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	old, next := added(t, path, "ci", Operator, time.Time{}), added(t, path, "ci", Operator, time.Time{})
	tokens, err := NewTokens(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{old, next} {
		if id, err := (Guard{Tokens: tokens}).Identify(t.Context(), text, time.Now()); err != nil || id.Name != "ci" {
			t.Errorf("Identify = %+v, %v, want ci", id, err)
		}
	}
}

// Tokens that are added at once are all there.
func TestTokensAddedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() { AddToken(path, fmt.Sprint("t", i), Viewer, time.Time{}, time.Now()) })
	}
	group.Wait()
	if _, all, err := readFile(path); err != nil || len(all) != 20 {
		t.Errorf("after 20 at once the file has %d tokens, %v, want 20", len(all), err)
	}
}
