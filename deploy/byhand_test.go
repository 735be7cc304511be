package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var printedSecret = regexp.MustCompile(`(?m)^secret +(\S+)`)

// blocks are the shell blocks under a heading that hold a text.
func blocks(text, heading, holds string) (all string) {
	for _, m := range shellBlock.FindAllStringSubmatch(section(text, heading), -1) {
		if strings.Contains(m[1], holds) {
			all += m[1]
		}
	}
	return all
}

// What README.md says to do by hand works, with other addresses: the gate, an
// Envoy before it, and the management server.
func TestReadmeByHand(t *testing.T) {
	s, office := newStack(t), freeAddress(t)
	proxy, readme := s.envoy(nil), readText(t, "../README.md")
	script := blocks(readme, "Try it: 60 seconds", "bin/postern") + blocks(readme, "The management API and page", "bin/postern")
	for _, here := range [][2]string{{"redis://127.0.0.1:6379", s.redis.URL()}, {"unix:/run/postern/postern.sock", s.socket}, {"127.0.0.1:9102", s.ops}, {"127.0.0.1:9103", office}} {
		if !strings.Contains(script, here[0]) {
			t.Fatalf("README.md's commands by hand do not have %s:\n%s", here[0], script)
		}
		script = strings.ReplaceAll(script, here[0], here[1])
	}
	for link, to := range map[string]string{"bin/postern": s.program, "deploy": ".", "envoy": "../envoy"} {
		to, err := filepath.Abs(to)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(s.dir, link)), 0o700)
		}
		if err == nil {
			err = os.Symlink(to, filepath.Join(s.dir, link))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The program is built, and Envoy runs, on other ports. -e: each line must work.
	out := s.background("make() { :; }; envoy() { :; }\n" + script)
	for _, address := range []string{s.ops, office} {
		s.await("the one at "+address, func() bool { return exec.CommandContext(t.Context(), s.program, "health", address).Run() == nil })
	}
	secrets := printedSecret.FindAllStringSubmatch(readText(t, out), -1)
	if len(secrets) != 2 {
		t.Fatalf("README.md's commands show %d secrets, want two:\n%s", len(secrets), readText(t, out))
	}
	steps := checking.FindAllStringSubmatch(section(readme, "Try it: 60 seconds"), -1)
	if len(steps) != 3 {
		t.Errorf("README.md has %d requests to try, want three", len(steps))
	}
	for _, step := range steps {
		line := strings.Replace(step[1], "127.0.0.1:10000", proxy.Listen, 1)
		if got := curled(t, line, "SECRET="+secrets[1][1]); got != step[2] {
			t.Errorf("%s\ngives %s, want %s", line, got, step[2])
		}
	}
}

// background runs a script in the stack's folder until the test ends, and
// returns the file of what it prints.
func (s *stack) background(script string) (file string) {
	s.t.Helper()
	file = filepath.Join(s.dir, "printed")
	out, err := os.Create(file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the shell and all that it started
		cmd.Wait()
		if s.t.Failed() {
			s.t.Log(readText(s.t, file))
		}
	})
	return file
}
