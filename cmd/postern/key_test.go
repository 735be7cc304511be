package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyNew(t *testing.T) {
	s := newShell(t)
	made := s.read(s.keys)
	tests := []struct {
		name, line string
		code       int
		text       string // of stderr
	}{
		{"twice", "key new $KEYS", 1, "never overwritten: name another file"},
		{"over a directory", "key new $DIR", 1, "never overwritten"},
		{"in no directory", "key new $DIR/none/k.json", 1, "make key file: open " + s.dir + "/none/k.json"},
		{"if missing, and there", "key new --if-missing $KEYS", 0, ""},
		{"if missing, after the argument", "key new $DIR/k1.json --if-missing", 0, ""},
		{"longest prefix", "key new $DIR/k2.json --prefix live_ABCdef01234", 0, ""},
		{"prefix too long", "key new $DIR/bad.json --prefix live_ABCdef012345", 1, `prefix "live_ABCdef012345": use at most 16 of A-Z a-z 0-9 and _`},
		{"prefix with a dash", "key new $DIR/bad.json --prefix a-b", 1, `prefix "a-b": use at most 16`},
		{"prefix beyond ASCII", "key new $DIR/bad.json --prefix é", 1, `prefix "é": use at most 16`},
		{"no file", "key new", 2, "usage: postern key new FILE"},
		{"two files", "key new $DIR/bad.json $DIR/bad2.json", 2, "arguments: 2, want 1"},
	}
	for _, tt := range tests {
		s.ended(s.run(tt.line), tt.code, tt.text)
	}
	for _, name := range []string{"keys.json", "k1.json", "k2.json"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != 0o600 {
			t.Errorf("mode of %s = %v, want -rw-------", name, got)
		}
	}
	if got := s.read(s.keys); got != made {
		t.Errorf("key new changed a key file that was there:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "bad.json")); err == nil {
		t.Error("key new made a file although it refused")
	}
}

func TestKeyFileIsChecked(t *testing.T) {
	s := newShell(t)
	good := s.read(s.keys)
	key := good[strings.Index(good, "    {"):strings.LastIndex(good, "\n  ]")]
	tests := []struct{ name, text, want string }{
		{"empty", "", "it is not the JSON of a key file"},
		{"truncated", good[:len(good)/2], "it is not the JSON of a key file"},
		{"another file", document("/a: {}"), "it is not the JSON of a key file"},
		{"unknown member", strings.Replace(good, `"version"`, `"extra": 1, "version"`, 1), "it is not the JSON of a key file"},
		{"something behind it", good + "{}", "something follows the key file's JSON"},
		{"newer version", strings.Replace(good, `"version": 1`, `"version": 2`, 1), "its version is 2: this program reads version 1"},
		{"bad prefix", strings.Replace(good, `"prefix": ""`, `"prefix": "a b"`, 1), "its prefix is not at most 16"},
		{"no keys", `{"version": 1, "prefix": "", "keys": []}`, "it has no keys"},
		{"another id", strings.Replace(good, `"id": "`, `"id": "0`, 1), "is damaged or stands twice"},
		{"key twice", strings.Replace(good, key, key+",\n"+key, 1), "is damaged or stands twice"},
		{"short key", strings.Replace(good, `"key": "`, `"key": "AAAA`, 1), "a key has 35 bytes: want 32"},
	}
	for i, tt := range tests {
		s.vars["FILE"] = s.write(fmt.Sprintf("%d %s.json", i, tt.name), tt.text)
		for _, line := range []string{"key add $FILE", "key promote $FILE x", "key new --if-missing $FILE", "secret list --merchant m1 --key-file $FILE"} {
			s.refused(s.run(line), "key file "+s.vars["FILE"]+": ", tt.want)
		}
		if got := s.read(s.vars["FILE"]); got != tt.text {
			t.Errorf("%s: the damaged key file was changed:\n%s", tt.name, got)
		}
	}
}

func TestKeyFileMode(t *testing.T) {
	s := newShell(t)
	tests := []struct {
		mode os.FileMode
		code int
		text string // of stderr; "" demands silence
	}{
		{0o600, 0, ""},
		{0o400, 0, ""},
		{0o640, 0, ""},
		{0o440, 0, ""},
		{0o644, 0, "may be read by others (mode 0644): chmod 600 it"},
		{0o604, 0, "may be read by others (mode 0604): chmod 600 it"},
		{0o620, 1, "may be written by others (mode 0620): chmod 600 it, and make sure that its keys are still yours"},
		{0o602, 1, "may be written by others (mode 0602): chmod 600 it"},
		{0o666, 1, "may be written by others (mode 0666): chmod 600 it"},
	}
	for _, tt := range tests {
		if err := os.Chmod(s.keys, tt.mode); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"secret list --merchant m1", "key new --if-missing $KEYS", "key add $KEYS"} {
			if err := os.Chmod(s.keys, tt.mode); err != nil { // key add makes it 0600
				t.Fatal(err)
			}
			r := s.run(line)
			s.ended(r, tt.code, tt.text)
			if tt.text == "" && r.stderr != "" {
				t.Errorf("postern %s with mode %v: stderr = %q, want none", r.line, tt.mode, r.stderr)
			}
		}
	}
}

// A reader sees one whole key file or the next, and a link to one stays a link.
func TestKeyFileIsReplacedWhole(t *testing.T) {
	s := newShell(t)
	link := filepath.Join(s.dir, "link.json")
	if err := os.Symlink("keys.json", link); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			s.ok("key add", link)
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if _, err := readKeyring(s.keys, t.Errorf); err != nil {
			t.Fatalf("a reader found a key file that is not whole: %v", err)
		}
	}
	keys, err := readKeyring(s.keys, t.Errorf)
	if err != nil || len(keys.KeyIDs()) != 21 {
		t.Errorf("keys = %v, %v, want 21", keys, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link = %v, %v, want a link still", info, err)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files = %v, %v, want the key file and the link", files, err)
	}
}

// keyIDs runs a key command and returns the ids that it prints.
func (s *shell) keyIDs(line string, more ...string) []string {
	s.t.Helper()
	var form keyForm
	s.decode(s.ok(line, append(more, "--json")...), &form)
	return form.Keys
}

func TestKeyRotation(t *testing.T) {
	s := newShell(t)
	first := s.keyIDs("key new --if-missing $KEYS")[0]
	before := s.create("--permission getOrder")
	ids := s.keyIDs("key add $KEYS")
	if len(ids) != 2 || ids[0] != first {
		t.Fatalf("key add: keys = %v, want %s first and a new one", ids, first)
	}
	second := ids[1]
	s.vars["FIRST"], s.vars["SECOND"] = first, second
	s.refused(s.run("key promote $KEYS 12345678"), `there is no key "12345678"`, first, second)
	s.refused(s.run("key retire $KEYS 12345678"), `there is no key "12345678"`)
	s.refused(s.run("key retire $KEYS $FIRST"), "key "+first+" mints: promote another key first")
	s.ok("key retire $KEYS $SECOND") // nothing needs it yet
	s.vars["SECOND"] = s.keyIDs("key add $KEYS")[1]
	if got := s.keyIDs("key promote $KEYS $SECOND"); got[0] != s.vars["SECOND"] || got[1] != first {
		t.Errorf("key promote: keys = %v, want the second first", got)
	}
	after := s.create("--permission getOrder")
	for _, f := range []string{before.Secret, after.Secret} {
		s.decides(f, "GET /api/3/orders/1", "allow", "granted")
	}
	stored := s.dump()
	s.refused(s.run("key retire $KEYS $FIRST"), "key "+first+" is needed by 1 live secrets: rotate or delete them first")
	s.unchanged("key retire", stored)
	s.ok("secret delete", before.ID)
	s.decides(before.Secret, "GET /api/3/orders/1", "deny", "deleted")
	if got := s.keyIDs("key retire $KEYS $FIRST"); len(got) != 1 || got[0] != s.vars["SECOND"] {
		t.Errorf("key retire: keys = %v, want the second only", got)
	}
	s.decides(before.Secret, "GET /api/3/orders/1", "deny", "unknown")
	s.decides(after.Secret, "GET /api/3/orders/1", "allow", "granted")
}

func TestRetireLooksAtLiveSecretsOnly(t *testing.T) {
	s := newShell(t)
	s.vars["FIRST"] = s.keyIDs("key new --if-missing $KEYS")[0]
	gone := s.form("merchant create m1")
	s.create("--permission getOrder --expires 1ms")
	s.ok("secret delete", gone.ID)
	s.vars["SECOND"] = s.keyIDs("key add $KEYS")[1]
	s.ok("key promote $KEYS $SECOND")
	s.ok("key retire $KEYS $FIRST")
	if got := s.ok("secret show", s.form("merchant create m1").ID); !strings.Contains(got, "every endpoint") {
		t.Errorf("the new legacy secret = %s", got)
	}
	r := s.run("secret list --merchant m1")
	if r.stderr != "" {
		t.Errorf("secret list after key retire: stderr = %q, want none", r.stderr)
	}
}
