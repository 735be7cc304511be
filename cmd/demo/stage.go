package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/postern/postern/envoy/envoyproc"
)

// The files in the stage's folder, by the names that the commands use.
const (
	keyFile     = "keys.json"
	catalogFile = "catalog.yaml"
	socketFile  = "gate.sock"
	gateLog     = "postern.log"
)

// stage is a folder, and the programs that run in it.
type stage struct {
	dir      string // holds the binaries too
	redis    string // 127.0.0.1:port, as all these
	upstream string
	ops      string
	envoy    *envoyproc.Process // nil before openGate

	ends []func() // in the order in which things began
}

// setStage builds the programs, copies the example catalog, and starts the store
// and the example API. The caller closes the stage.
func setStage(ctx context.Context) (*stage, error) {
	catalog, err := os.ReadFile("deploy/catalog.yaml")
	if err != nil {
		return nil, fmt.Errorf("read the example catalog: %w: run this in the repository's top folder", err)
	}
	dir, err := os.MkdirTemp("", "postern-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	s.atEnd(func() { os.RemoveAll(dir) })
	err = errors.Join(os.WriteFile(s.path(catalogFile), catalog, 0o644), s.build(ctx), s.startRedis())
	if err == nil {
		err = s.startUpstream(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) path(file string) string { return filepath.Join(s.dir, file) }

func (s *stage) atEnd(end func()) { s.ends = append(s.ends, end) }

// close ends what began, the last first.
func (s *stage) close() {
	for _, end := range slices.Backward(s.ends) {
		end()
	}
}

func (s *stage) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.dir+"/", "./cmd/postern", "./cmd/demo/upstream")
	cmd.Stderr = os.Stderr // what it downloads, the first time
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build ./cmd/postern and ./cmd/demo/upstream: %w", err)
	}
	return nil
}

func (s *stage) startRedis() error {
	redis, err := miniredis.Run()
	if err != nil {
		return fmt.Errorf("start the embedded Redis: %w", err)
	}
	s.atEnd(redis.Close)
	s.redis = redis.Addr()
	return nil
}

func (s *stage) startUpstream(ctx context.Context) (err error) {
	if s.upstream, err = freeAddress(); err != nil {
		return err
	}
	if err := s.background(ctx, "upstream.log", "upstream", "--listen", s.upstream); err != nil {
		return err
	}
	return await(ctx, "the example API to listen", func() error {
		conn, err := net.DialTimeout("tcp", s.upstream, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// serveArguments are those of the gate. The socket's folder is spelled out
// because Envoy runs in another.
func (s *stage) serveArguments() []string {
	return []string{"serve", "--listen", "unix:" + s.path(socketFile), "--ops", s.ops}
}

// openGate starts the gate and Envoy before it. The gate is not ready before the
// store holds something.
func (s *stage) openGate(ctx context.Context) (err error) {
	if s.ops, err = freeAddress(); err != nil {
		return err
	}
	if err := s.background(ctx, gateLog, "postern", s.serveArguments()...); err != nil {
		return err
	}
	s.envoy, err = envoyproc.Start(ctx, envoyproc.Options{Gate: "unix:" + s.path(socketFile), Upstream: s.upstream})
	if err != nil {
		return err
	}
	s.atEnd(func() { s.envoy.Stop() }) // keep says how Envoy ended, where that matters
	return nil
}

// background starts one of the built programs, which runs until the stage is
// closed or ctx ends.
func (s *stage) background(ctx context.Context, logFile, program string, args ...string) error {
	log, err := os.Create(s.path(logFile))
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own
	ctx, cancel := context.WithCancel(ctx)
	cmd := s.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("start %s: %w", program, err)
	}
	s.atEnd(func() {
		cancel()
		cmd.Wait()
	})
	return nil
}

// command is one of the built programs, to be run in the stage's folder with
// the environment that the story shows. It is told to end when ctx does, and
// made to 6 s later: the gate itself takes up to 5.
func (s *stage) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.path(program), args...)
	cmd.Dir = s.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "POSTERN_") })
	cmd.Env = append(cmd.Env, s.settings()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 6 * time.Second
	return cmd
}

// settings are the flags that every command shares.
func (s *stage) settings() []string {
	return []string{"POSTERN_REDIS=redis://" + s.redis, "POSTERN_KEY_FILE=" + keyFile, "POSTERN_CATALOG=" + catalogFile}
}

// logs are what the gate and Envoy have said; "" of one that was not started.
func (s *stage) logs() (gate, envoy string) {
	text, _ := os.ReadFile(s.path(gateLog))
	if s.envoy != nil {
		envoy = s.envoy.Stderr() + s.envoy.AccessLog()
	}
	return string(text), envoy
}

// awaitCatalog waits until the gate is ready with another catalog than before,
// and returns the hash of that.
func (s *stage) awaitCatalog(ctx context.Context, before string) (hash string, err error) {
	err = await(ctx, "the gate to be ready", func() error {
		resp, err := client.Get("http://" + s.ops + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var state struct {
			Ready    bool
			Catalog  string
			Problems []string
		}
		if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
			return err
		}
		if !state.Ready || state.Catalog == before {
			return fmt.Errorf("ready is %t, with catalog %s, and problems %q", state.Ready, state.Catalog, state.Problems)
		}
		hash = state.Catalog
		return nil
	})
	return hash, err
}

// freeAddress is an address that nothing listens on.
func freeAddress() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return lis.Addr().String(), lis.Close()
}

// await tries until try succeeds, for 20 s at most.
func await(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
