package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc/credentials/insecure"
)

// program is a sidecar in a process of its own.
type program struct {
	gate
	process *os.Process
	done    chan struct{} // closed when it has ended
	state   *os.ProcessState
}

// start starts a program that is ready, on sockets of its own.
func (s *shell) start(flags string) *program {
	s.t.Helper()
	dir := socketDir(s.t)
	return s.startOn(dir+"/gate.sock", "unix:"+dir+"/ops.sock", flags)
}

// startOn starts a program on a socket, and returns when it is ready.
func (s *shell) startOn(socket, ops, flags string) *program {
	s.t.Helper()
	p := &program{gate: gate{s: s, socket: socket, ops: ops, log: &buffer{}}, done: make(chan struct{})}
	command := exec.Command(os.Args[0], s.words(serveLine+"--listen unix:"+socket+" --ops "+ops+" "+flags, nil)...)
	command.Env = append(os.Environ(), asProgram+"=1")
	for name, value := range s.env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Stdout, command.Stderr = p.log, p.log
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.process = command.Process
	go func() {
		defer close(p.done)
		_ = command.Wait() // its state says how it ended
		p.state = command.ProcessState
	}()
	s.t.Cleanup(func() {
		p.ends(syscall.SIGKILL)
		p.heardLog()
	})
	p.dial("unix:"+socket, insecure.NewCredentials())
	p.awaitReady()
	return p
}

// ends sends a signal, and waits for the end.
func (p *program) ends(signal syscall.Signal) {
	_ = p.process.Signal(signal) // it may have ended by itself
	<-p.done
}

func (p *program) hangUp() {
	p.s.t.Helper()
	if err := p.process.Signal(syscall.SIGHUP); err != nil {
		p.s.t.Fatal(err)
	}
}

// load sends checks without a pause until it is told to end, and counts them.
type load struct{ sent, failed atomic.Int64 }

func (l *load) run(ctx context.Context, g *gate, token string) {
	for ctx.Err() == nil {
		a, err := g.ask(token, "GET /api/3/orders/1/label")
		l.sent.Add(1)
		if err != nil || a.status != 200 {
			l.failed.Add(1)
			g.s.t.Logf("a check failed: %+v, %v", a, err)
		}
	}
}

// A second process on the same socket takes over, without a request that fails.
func TestTakeover(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	first := s.start("")
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var l load
	var clients sync.WaitGroup
	for range 3 {
		g := first.gate
		g.dial("unix:"+first.socket, insecure.NewCredentials())
		clients.Go(func() { l.run(ctx, &g, secret.Secret) })
	}
	sent := func(n int64) func() bool {
		return func() bool { return l.sent.Load() >= n }
	}
	first.await("answer", sent(200))
	second := s.startOn(first.socket, "unix:"+socketDir(t)+"/ops.sock", "")
	second.await("answer", sent(l.sent.Load()+200))
	first.ends(syscall.SIGTERM)
	if !first.state.Success() {
		t.Errorf("the first process ended with %v, want exit status 0; its log:\n%s", first.state, first.log)
	}
	second.await("answer", sent(l.sent.Load()+200))
	end()
	clients.Wait()
	if l.failed.Load() != 0 {
		t.Errorf("of %d checks %d failed, want none", l.sent.Load(), l.failed.Load())
	}
	if _, text := second.get("/metrics"); !strings.Contains(text, `postern_checks_total{decision="allow",reason="granted"} `) || strings.Contains(text, `reason="granted"} 0`) {
		t.Error("the second process answered no checks: this test shows nothing")
	}
}

// A socket that a killed process left does not stop a start.
func TestStaleSocket(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	first := s.start("")
	first.ends(syscall.SIGKILL)
	if _, err := os.Stat(first.socket); err != nil {
		t.Fatalf("a killed process left no socket: %v: this test shows nothing", err)
	}
	second := s.startOn(first.socket, first.ops, "")
	second.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
}

// A process that cannot start takes nothing from one that runs.
func TestNoTakeoverByOneThatFails(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	g := s.serve("")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	for _, line := range []string{
		"serve --listen unix:" + g.socket + " --ops " + busy,
		"serve --listen unix:" + g.socket + " --listen " + busy + " --ops " + g.ops,
		"serve --listen unix:" + g.socket + " --listen unix:" + s.keys + " --ops " + g.ops,
		"serve --listen unix:" + g.socket + " --listen unix:" + g.socket + " --ops " + g.ops,
		"serve --listen unix:" + g.socket + " --ops " + g.ops + " --tls-cert " + s.keys + " --tls-key " + s.keys,
	} {
		before := s.sockets(g)
		s.ended(s.brief(line), exitRefused)
		if after := s.sockets(g); !slices.EqualFunc(before, after, os.SameFile) {
			t.Errorf("postern %s: the sockets are others than before", line)
		}
		g.dial("unix:"+g.socket, insecure.NewCredentials())
		g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
		g.readyz()
	}
}

// sockets are the files of a gate's directory.
func (s *shell) sockets(g *gate) (all []os.FileInfo) {
	s.t.Helper()
	entries, err := os.ReadDir(strings.TrimSuffix(g.socket, "/gate.sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, info)
	}
	return all
}
