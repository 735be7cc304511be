// Package storetest starts real Redis servers for tests: one server, Sentinel
// with a master and a replica, and Cluster. They listen on free ports of
// 127.0.0.1, keep their files in the test's temporary directory, and end with
// the test. A missing redis-server fails the test.
package storetest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience bounds every wait for a server; a healthy one takes milliseconds.
const patience = 20 * time.Second

// Server is one redis-server process. Its methods end the test on failure.
type Server struct {
	Addr   string // host:port, the same for the server's whole life
	Dir    string // the server's files and its log, kept across Stop and Start
	CAFile string // PEM certificate that vouches for the server; empty without TLS

	t        testing.TB
	args     []string
	password string
	tls      *tls.Config
	paused   bool
	process  *os.Process   // nil while stopped
	done     chan struct{} // closed when process has ended
}

// Redis starts a server that persists nothing. args are TLS and redis-server's
// own arguments, which override what is set here: `"--requirepass", "pw"`,
// `"--appendonly", "yes"`, `"--user", "ann", "on", ">pw", "~*", "+@all"`.
func Redis(t testing.TB, args ...string) *Server {
	t.Helper()
	s := newServer(t, newAuthority(t, args), args)
	s.Start()
	return s
}

// newServer is a server that is not yet started. A nil ca means no TLS.
func newServer(t testing.TB, ca *authority, args []string) *Server {
	t.Helper()
	s := &Server{t: t, Addr: freeAddr(t), Dir: t.TempDir(), password: password(args)}
	_, port, _ := net.SplitHostPort(s.Addr)
	s.args = []string{"--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--appendonly", "no"}
	if ca == nil {
		s.args = append(s.args, "--port", port)
	} else {
		s.CAFile, s.tls = ca.file, ca.client
		s.args = append(append(s.args, "--port", "0", "--tls-port", port), ca.args...)
	}
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == TLS })
	s.args = append(s.args, args...)
	t.Cleanup(s.Stop)
	return s
}

// password is what follows --requirepass.
func password(args []string) string {
	if i := slices.Index(args, "--requirepass"); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// URL is where the server is, with the password of --requirepass, in the form
// that store.Connect reads.
func (s *Server) URL() string { return s.URLAs("", s.password) }

// URLAs is URL with other credentials. An empty password means none.
func (s *Server) URLAs(user, password string) string {
	return scheme(s) + credentials(user, password) + s.Addr
}

func scheme(s *Server) string {
	if s.tls != nil {
		return "rediss://"
	}
	return "redis://"
}

func credentials(user, password string) string {
	if password == "" {
		return ""
	}
	return url.UserPassword(user, password).String() + "@"
}

// Start starts the server, again after Stop, on the same port and directory,
// and returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatalf("find redis-server: %v: apt-get install redis-server, or put version 7 or later on PATH", err)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatalf("open the log of redis-server: %v", err)
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command(path, s.args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, dieWithParent()
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start redis-server: %v", err)
	}
	s.process, s.done, s.paused = cmd.Process, make(chan struct{}), false
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // however it ended, its log says why
	}()
	s.await("listen", func() bool { return !free(s.Addr) })
	s.await("answer", func() bool { return s.says("PING", "PONG") })
}

// Stop kills the server (SIGKILL), as a crash would. Stopping twice does nothing.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill() // it may have ended by itself
	<-s.done
	s.process = nil
}

// Pause freezes the server (SIGSTOP): the kernel still accepts connections for
// it, and nothing answers.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
}

// Resume ends Pause.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.paused = sig == syscall.SIGSTOP
	if s.process == nil {
		s.t.Fatalf("send %v to redis-server on %s: it is stopped", sig, s.Addr)
	}
	if err := s.process.Signal(sig); err != nil {
		s.t.Fatalf("send %v to redis-server on %s: %v", sig, s.Addr, err)
	}
}

// Do runs one command and returns its reply as go-redis decodes RESP2; nil is
// nil, an error reply ends the test.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	reply, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("run %v on %s: %v", args, s.Addr, err)
	}
	return reply
}

// try runs one command on a connection of its own, which no earlier Stop or
// Pause can have hurt.
func (s *Server) try(args ...any) (any, error) {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, Password: s.password, TLSConfig: s.tls, Protocol: 2,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 1, DisableIdentity: true})
	defer c.Close()
	reply, err := c.Do(s.t.Context(), args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return reply, err
}

// says reports whether the reply to a command, given as words, holds text.
func (s *Server) says(command, text string) bool {
	words := strings.Fields(command)
	args := make([]any, len(words))
	for i, word := range words {
		args[i] = word
	}
	reply, err := s.try(args...)
	return err == nil && strings.Contains(fmt.Sprint(reply), text)
}

// up reports whether the server is neither stopped nor paused.
func (s *Server) up() bool { return s.process != nil && !s.paused }

// await polls until ok. Where that does not come, or the server ends first, it
// ends the test with the server's log.
func (s *Server) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if s.running() && time.Now().Before(end) {
			continue
		}
		log, _ := os.ReadFile(s.logFile())
		s.t.Fatalf("redis-server on %s does not %s; its log:\n%s", s.Addr, what, log)
	}
}

func (s *Server) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "redis.log") }

// freeAddr is an address of 127.0.0.1 on which nobody listens. It is below the
// ports that outgoing connections take, so that a stopped server finds it free.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if free(addr) {
			return addr
		}
	}
	t.Fatal("find a free port of 127.0.0.1 from 10000 to 29999: none of 100 tried")
	return ""
}

// free reports whether nobody listens on addr.
func free(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return true
	}
	c.Close()
	return false
}
