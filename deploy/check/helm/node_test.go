package helm

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// A node does with pods what a kubelet does, without containers: each has a folder for its root, with its volumes where it mounts them, and its
// command runs on this machine, as the user that it asks for where root runs the test. Ports are other ones, of 127.0.0.1.
type node struct {
	t       *testing.T
	dir     string
	all     objects
	secrets map[string]map[string]string // by name and key
	ports   map[string]string            // free ports in the place of the containers'
	pairs   []string                     // addresses, and what is in their places
}

func newNode(t *testing.T, all objects, secrets map[string]map[string]string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "node") // short: a socket's path has 107 bytes; and open to other users, as t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	if os.Getuid() != 0 {
		t.Log("not root: all runs as one user, so whether two of them share the socket and the files is not seen")
	}
	n := &node{t: t, dir: dir, all: all, secrets: secrets, ports: map[string]string{}}
	n.pairs = []string{"0.0.0.0", "127.0.0.1"}
	// As ":9102" in a pod, "LOCALHOST" is no loopback to the gate, which asks for TLS or --insecure there; and is nobody else's to reach.
	for _, p := range []string{"6379", "9000", "9102", "9103", "9901", "9903", "10000"} {
		n.ports[p] = freePort(t)
		n.pairs = append(n.pairs, "=:"+p, "=LOCALHOST:"+n.ports[p], "port_value: "+p+"}", "port_value: "+n.ports[p]+"}", "127.0.0.1/"+p, "127.0.0.1/"+n.ports[p])
	}
	n.pairs = append(n.pairs, "shop-postern-redis:6379", "127.0.0.1:"+n.ports["6379"])
	return n
}

// place is a text of a container's, such as an argument, with what its paths and addresses are here.
func (n *node) place(c core.Container, text string) string {
	pairs := n.pairs
	for _, m := range c.VolumeMounts {
		pairs = append(pairs, m.MountPath, filepath.Join(n.dir, c.Name, m.MountPath))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// mount makes the pod's volumes, and puts each where its containers look for it.
func (n *node) mount(name string, pod core.PodSpec) {
	n.t.Helper()
	for _, v := range pod.Volumes {
		dir := filepath.Join(n.dir, name, v.Name)
		n.fill(dir, pod, v)
		for _, c := range containers(pod) {
			for _, m := range c.VolumeMounts {
				if at := filepath.Join(n.dir, c.Name, m.MountPath); m.Name == v.Name {
					must(n.t, os.MkdirAll(filepath.Dir(at), 0o755))
					must(n.t, os.Symlink(dir, at))
				}
			}
		}
	}
}

func (n *node) fill(dir string, pod core.PodSpec, v core.Volume) {
	n.t.Helper()
	must(n.t, os.MkdirAll(dir, 0o755))
	group := int(*pod.SecurityContext.FSGroup)
	switch {
	case v.ConfigMap != nil:
		data := maps.Clone(get[*core.ConfigMap](n.t, n.all, "ConfigMap/"+v.ConfigMap.Name).Data)
		if text, ok := data["envoy.yaml"]; ok {
			data["envoy.yaml"] = n.place(pod.Containers[0], text)
		}
		n.files(dir, data, v.ConfigMap.Items, 0o644, group)
	case v.Secret != nil:
		mode := os.FileMode(0o644)
		if v.Secret.DefaultMode != nil {
			mode = os.FileMode(*v.Secret.DefaultMode)
		}
		n.files(dir, n.secrets[v.Secret.SecretName], v.Secret.Items, mode, group)
	default: // an emptyDir, or a claim
		must(n.t, os.Chmod(dir, 0o777))
		n.own(dir, group)
	}
}

// files writes the items of data, or all of them, and gives them to root and the pod's group.
func (n *node) files(dir string, data map[string]string, items []core.KeyToPath, mode os.FileMode, group int) {
	n.t.Helper()
	if items == nil {
		for key := range data {
			items = append(items, core.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		text, ok := data[item.Key]
		if !ok {
			n.t.Fatalf("%s: there is no key %s", dir, item.Key)
		}
		file := filepath.Join(dir, item.Path)
		must(n.t, os.WriteFile(file, []byte(text), 0o600))
		n.own(file, group)
		must(n.t, os.Chmod(file, mode))
	}
}

func (n *node) own(file string, group int) {
	if os.Getuid() == 0 {
		must(n.t, os.Chown(file, 0, group))
	}
}

// command is a container's, with args of ours behind its own.
func (n *node) command(pod core.PodSpec, c core.Container, bin string, args ...string) *exec.Cmd {
	n.t.Helper()
	env := map[string]string{}
	list := []string{"PATH=" + os.Getenv("PATH")}
	expand := func(s string) string {
		for name, value := range env {
			s = strings.ReplaceAll(s, "$("+name+")", value)
		}
		return n.place(c, s)
	}
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			ref := e.ValueFrom.SecretKeyRef
			ok := false
			if value, ok = n.secrets[ref.Name][ref.Key]; !ok {
				n.t.Fatalf("%s: Secret %s has no key %s", c.Name, ref.Name, ref.Key)
			}
		}
		env[e.Name] = expand(value)
		list = append(list, e.Name+"="+env[e.Name])
	}
	cmd := exec.Command(bin)
	for _, a := range args {
		cmd.Args = append(cmd.Args, expand(a))
	}
	cmd.Env, cmd.Dir = list, n.dir
	cmd.SysProcAttr = procAttr()
	if os.Getuid() == 0 {
		s := c.SecurityContext
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(*s.RunAsUser), Gid: uint32(*s.RunAsGroup), Groups: []uint32{uint32(*pod.SecurityContext.FSGroup)}}
	}
	return cmd
}

// A process ends with its test.
type process struct {
	stop func() // kills it, as a node's end would
	done chan struct{}
}

// start runs a command until the test ends. A test that failed shows what it said.
func (n *node) start(name string, cmd *exec.Cmd) *process {
	n.t.Helper()
	var out logged
	cmd.Stdout, cmd.Stderr = &out, &out
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel ends the process with the thread that started it
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // however it ended, its output says why
		}
	}()
	must(n.t, <-started)
	p.stop = func() { _ = cmd.Process.Kill(); <-p.done }
	n.t.Cleanup(func() {
		p.stop()
		if n.t.Failed() {
			n.t.Logf("%s said:\n%s", name, out.String())
		}
	})
	return p
}

type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// probe does once what a kubelet does again and again.
func (n *node) probe(c core.Container, p *core.Probe) error {
	var port string
	switch {
	case p.HTTPGet != nil:
		port = p.HTTPGet.Port.String()
	case p.TCPSocket != nil:
		port = p.TCPSocket.Port.String()
	}
	for _, have := range c.Ports {
		if have.Name == port {
			port = n.ports[fmt.Sprint(have.ContainerPort)]
		}
	}
	if p.TCPSocket != nil {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	status, body, err := ask(strings.ToLower(string(p.HTTPGet.Scheme)), port, p.HTTPGet.Path)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, body)
	}
	return err
}
