// Package envoyproc runs a real Envoy on the shipped bootstrap, for the demo,
// the tests and the benchmarks.
package envoyproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/postern/postern/envoy"
)

const (
	readyWithin = 20 * time.Second // a loaded machine takes a few
	stopWithin  = 3 * time.Second  // from SIGTERM to SIGKILL
)

// Options are an Envoy's two neighbours, as in envoy.Addresses. Its own two
// addresses are free ports of 127.0.0.1.
type Options struct {
	Gate     string
	Upstream string

	Edit func(bootstrap string) string // changes the bootstrap, for tests; nil: as it ships
}

// Process is a running Envoy. Its methods are safe for concurrent use.
type Process struct {
	Listen string // 127.0.0.1:port for requests
	Admin  string // 127.0.0.1:port of the admin interface

	cancel         context.CancelFunc
	dir            string
	stdout, stderr tail
	done           chan struct{}
	died           error // written before done is closed
}

// Start returns once Envoy answers requests. Envoy runs until Stop, until ctx
// ends, or (on Linux) until this process does, whichever is first. The error of
// an Envoy that does not start holds what it said.
func Start(ctx context.Context, opts Options) (*Process, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	bootstrap, err := envoy.Bootstrap(envoy.Addresses{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Gate: opts.Gate, Upstream: opts.Upstream,
	})
	if err != nil {
		return nil, err
	}
	if opts.Edit != nil {
		bootstrap = []byte(opts.Edit(string(bootstrap)))
	}
	p, err := launch(ctx, bin, bootstrap)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	if err := p.awaitReady(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, errors.Join(err, p.Stop()))
	}
	return p, nil
}

func launch(ctx context.Context, bin string, bootstrap []byte) (*Process, error) {
	dir, err := os.MkdirTemp("", "envoy-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(config, bootstrap, 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{cancel: cancel, dir: dir, done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, bin,
		"--config-path", config,
		"--admin-address-path", p.adminFile(),
		"--concurrency", "2",
		"--reject-unknown-dynamic-fields", // as it does with static ones; else what is misspelt by xDS is skipped
		"--disable-hot-restart",           // it claims shared memory, which two Envoys on one machine would fight for
		"--log-level", "warn",
		"--file-flush-interval-msec", "50", // of the access log; 10 s by default
	)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	cmd.SysProcAttr = procAttr()
	started := make(chan error)
	go p.run(ctx, cmd, started)
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// run starts Envoy and waits for its end on one thread, which it keeps: the
// signal of procAttr comes when the thread that started Envoy ends, and the Go
// runtime ends idle threads as it likes.
func (p *Process) run(ctx context.Context, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // else the thread ends too, and with it whatever else it has started
	defer close(p.done)
	defer os.RemoveAll(p.dir)
	defer p.cancel()
	err := cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = cmd.Wait() // says no more than its state
	if ctx.Err() == nil {
		p.died = fmt.Errorf("envoy ended by itself (%s), saying:\n%s", cmd.ProcessState, p.Stderr())
	}
}

// Stop ends Envoy and waits for its end. The error is that of an Envoy that had
// ended by itself before. Stop may be called again.
func (p *Process) Stop() error {
	p.cancel()
	<-p.done
	return p.died
}

// Done is closed when Envoy has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// AccessLog is what Envoy has logged of requests: a JSON object per line, the
// last megabyte. A request's line comes up to 50 ms after its answer.
func (p *Process) AccessLog() string { return p.stdout.String() }

// Stderr is what Envoy has said of itself, the last megabyte.
func (p *Process) Stderr() string { return p.stderr.String() }

func (p *Process) adminFile() string { return filepath.Join(p.dir, "admin") }
