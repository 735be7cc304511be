package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store/storetest"
)

const exampleCatalog = "../../deploy/catalog.yaml"

// asProgram in the environment makes the test binary the program itself, for
// tests that need a process of its own.
const asProgram = "TEST_AS_POSTERN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// shell runs command lines of the program in this process, against a Redis and
// with a key file of its own. At the end it demands that no token was printed
// anywhere but in the answer of its creation, stored, or sent to Redis.
type shell struct {
	t     *testing.T
	redis *storetest.Server
	eyes  *redis.Client // on what Redis holds
	dir   string
	keys  string            // the key file
	env   map[string]string // of the command lines
	vars  map[string]string // what stands for $NAME in a command line

	mu     sync.Mutex // guards what follows
	said   []string   // all that was printed, logged, or told to an operator
	tokens map[string]int
}

// newShell is a shell with a fresh key file and an empty store, for a test that
// runs beside others. redisArgs are for redis-server.
func newShell(t *testing.T, redisArgs ...string) *shell {
	t.Helper()
	t.Parallel()
	s := &shell{
		t: t, dir: t.TempDir(), tokens: map[string]int{},
		redis: storetest.Redis(t, append(redisArgs, "--appendonly", "yes", "--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000000")...),
	}
	s.eyes = redis.NewClient(&redis.Options{Addr: s.redis.Addr, DisableIdentity: true})
	t.Cleanup(func() { s.eyes.Close() })
	s.keys = filepath.Join(s.dir, "keys.json")
	s.vars = map[string]string{"DIR": s.dir, "KEYS": s.keys, "REDIS": s.redis.URL(), "CATALOG": exampleCatalog}
	s.env = map[string]string{"POSTERN_REDIS": s.redis.URL(), "POSTERN_KEY_FILE": s.keys, "POSTERN_CATALOG": exampleCatalog}
	t.Cleanup(s.searchTokens)
	s.ok("key new $KEYS")
	return s
}

// result is what a command line did.
type result struct {
	line           string
	code           int
	stdout, stderr string
}

// run runs a command line: the words of line, in which $NAME stands for a
// variable of the shell, then more as it is.
func (s *shell) run(line string, more ...string) result {
	return s.runWith("", line, more...)
}

// runWith is run with something on stdin.
func (s *shell) runWith(stdin, line string, more ...string) result {
	args := s.words(line, more)
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	code := run(ctx, args, process{
		Getenv: func(name string) string { return s.env[name] },
		Stdin:  strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	s.heard(stdout.String(), stderr.String())
	return result{strings.Join(args, " "), code, stdout.String(), stderr.String()}
}

func (s *shell) words(line string, more []string) []string {
	return append(s.expand(strings.Fields(line)), more...)
}

// expand puts the shell's variables in the place of $NAME.
func (s *shell) expand(texts []string) []string {
	expanded := make([]string, len(texts))
	for i, text := range texts {
		expanded[i] = os.Expand(text, func(name string) string { return s.vars[name] })
	}
	return expanded
}

// ok runs a command line that must succeed, and returns its stdout.
func (s *shell) ok(line string, more ...string) string {
	s.t.Helper()
	r := s.run(line, more...)
	if r.code != exitDone {
		s.t.Fatalf("postern %s: exit %d, want 0; stderr:\n%s", r.line, r.code, r.stderr)
	}
	return r.stdout
}

// refused demands that a command line was refused with exit code 1, and that
// its stderr holds each of these texts.
func (s *shell) refused(r result, texts ...string) {
	s.t.Helper()
	s.ended(r, exitRefused, texts...)
}

func (s *shell) ended(r result, code int, texts ...string) {
	s.t.Helper()
	if r.code != code {
		s.t.Errorf("postern %s: exit %d, want %d; stderr:\n%s", r.line, r.code, code, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			s.t.Errorf("postern %s: stderr lacks %q:\n%s", r.line, text, r.stderr)
		}
	}
}

// form runs a command line that prints one secret, and returns it. A token in
// it is kept for searchTokens.
func (s *shell) form(line string, more ...string) authz.Form {
	s.t.Helper()
	var f authz.Form
	s.decode(s.ok(line, append(slices.Clone(more), "--json")...), &f)
	if f.Secret != "" {
		s.watch(f.Secret, 1)
	}
	return f
}

// create makes a restricted secret of merchant m1.
func (s *shell) create(line string, more ...string) authz.Form {
	s.t.Helper()
	return s.form("secret create --merchant m1 --description test "+line, more...)
}

// decode reads exactly one JSON document, with no unknown member.
func (s *shell) decode(stdout string, value any) {
	s.t.Helper()
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		s.t.Fatalf("stdout is no such JSON document: %v:\n%s", err, stdout)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		s.t.Fatalf("stdout holds more than one JSON document:\n%s", stdout)
	}
}

// heard keeps what came out of the program.
func (s *shell) heard(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, texts...)
}

// watch has searchTokens look for a token, which may have been printed n times.
func (s *shell) watch(token string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = n
}

// searchTokens looks for the middle of each token, which no redacted form shows.
func (s *shell) searchTokens() {
	stored := s.dump() + s.ask("SLOWLOG", "GET", -1)
	s.mu.Lock()
	defer s.mu.Unlock()
	said := strings.Join(s.said, "\n")
	for _, key := range regexp.MustCompile(`"key": "([^"]+)"`).FindAllStringSubmatch(s.read(s.keys), -1) {
		if strings.Contains(said+stored, key[1]) {
			s.t.Errorf("the key %s was printed, stored in Redis, or sent to it", key[1])
		}
	}
	for token, want := range s.tokens {
		middle := token[4 : len(token)-4]
		if got := strings.Count(said, middle); got != want {
			s.t.Errorf("token %s was printed %d times, want %d", token, got, want)
		}
		if strings.Contains(stored, middle) {
			s.t.Errorf("token %s was stored in Redis, or sent to it", token)
		}
	}
}

// dumpScript returns all that Redis holds, in an order that does not change.
const dumpScript = `
local keys, out = redis.call('KEYS', '*'), {}
table.sort(keys)
for _, key in ipairs(keys) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'string' then
    value = redis.call('GET', key)
  elseif kind == 'hash' then
    local flat, fields = redis.call('HGETALL', key), {}
    for i = 1, #flat, 2 do fields[#fields + 1] = flat[i] .. '=' .. flat[i + 1] end
    table.sort(fields)
    value = table.concat(fields, '\n')
  else
    value = redis.call('DUMP', key)
  end
  out[#out + 1] = key .. ' ' .. kind .. ' ' .. redis.call('PTTL', key) .. '\n' .. value
end
return table.concat(out, '\n')`

// dump is all that Redis holds.
func (s *shell) dump() string { return s.ask("EVAL", dumpScript, 0) }

// ask runs one command on Redis and returns its reply as text.
func (s *shell) ask(command ...any) string {
	s.t.Helper()
	reply, err := s.eyes.Do(context.Background(), command...).Result()
	if err != nil {
		s.t.Errorf("ask Redis for %v: %v", command[0], err)
	}
	return fmt.Sprint(reply)
}

// unchanged demands that the store is as it was when before was dumped.
func (s *shell) unchanged(what, before string) {
	s.t.Helper()
	if after := s.dump(); after != before {
		s.t.Errorf("postern %s changed the store; before:\n%s\nafter:\n%s", what, before, after)
	}
}

// write writes a file of the shell's directory and returns its name.
func (s *shell) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatalf("write %s: %v", name, err)
	}
	return file
}

func (s *shell) read(file string) string {
	s.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatalf("read a file of the test: %v", err)
	}
	return string(text)
}

// document is an OpenAPI document with these lines under paths.
func document(paths ...string) string {
	return "openapi: 3.1.0\ninfo: {title: Test, version: '1'}\npaths:\n  " + strings.Join(paths, "\n  ") + "\n"
}
