//go:build compose

package deploy

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const engineStartsWithin = 30 * time.Second

// An engine is the Docker engine that DOCKER_HOST names.
type engine struct {
	pid int // of our own dockerd; 0 for an engine that was there before
}

// startEngine uses the engine that answers, and starts one where none does.
func startEngine(t *testing.T) *engine {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Fatalf("find docker: %v: run `apt-get install docker.io docker-compose`", err)
	}
	err := exec.CommandContext(t.Context(), "docker", "version").Run()
	if err == nil {
		return &engine{}
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		t.Fatalf("ask the engine at DOCKER_HOST %s: %v: correct or unset it", host, err)
	}
	if os.Geteuid() != 0 {
		t.Fatal("start dockerd: only root can: start a Docker engine, or run this as root")
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "sock"))
	e := &engine{pid: startDockerd(t, dir)}
	if err := e.within(raiseLoopback); err != nil {
		t.Fatalf("raise the loopback interface of dockerd's network: %v", err)
	}
	return e
}

// startDockerd returns the process id of a dockerd that answers. It runs in
// namespaces of its own: whatever it makes (bridges, firewall rules, mounts,
// processes) is gone with it, and a port it publishes is no port of this machine.
func startDockerd(t *testing.T, dir string) (pid int) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Fatalf("find dockerd: %v: run `apt-get install docker.io docker-compose`", err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	// containerd keeps sockets under /run whatever it is told, so that is its own too.
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && exec "$@"`, "sh",
		"dockerd", "--host", os.Getenv("DOCKER_HOST"), "--pidfile", filepath.Join(dir, "pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", "/run/docker")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig comes when the thread that started dockerd ends
		started <- cmd.Start()
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.Fatalf("start dockerd in namespaces of its own: %v", err)
	}
	t.Cleanup(func() { stop(t, cmd.Process, ended) })
	for deadline := time.Now().Add(engineStartsWithin); ; time.Sleep(100 * time.Millisecond) {
		if exec.CommandContext(t.Context(), "docker", "version").Run() == nil {
			return cmd.Process.Pid
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("dockerd does not answer after %v, saying:\n%s", engineStartsWithin, said)
		}
	}
}

// stop ends dockerd, in order if it can. What is left in its process namespace ends with it.
func stop(t *testing.T, dockerd *os.Process, ended <-chan error) {
	dockerd.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Errorf("dockerd has not stopped 15 s after SIGTERM")
		dockerd.Kill()
		<-ended
	}
}

// DialContext connects to a port of the engine's machine.
func (e *engine) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	dial := func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	}
	if e.pid == 0 {
		err = dial()
	} else {
		err = e.within(dial)
	}
	return conn, err
}

// within runs f in the network of our own dockerd.
func (e *engine) within(f func() error) error {
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with f, since no other goroutine may get it
		ended <- func() error {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", e.pid))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-ended
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// run returns what a command prints on stdout, and ends the test when it fails.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try is run for commands that may fail: the error holds what they print on stderr.
func try(t *testing.T, name string, args ...string) (string, error) {
	var out, said strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", cmd, err, out.String(), said.String())
	}
	return out.String(), nil
}
