//go:build compose

package deploy

import (
	"archive/tar"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// A standIn takes an official image's place where no registry is at hand. It has
// the official one's users, entrypoint and working folder, and this machine's programs.
type standIn struct {
	repository string
	config     []string // Dockerfile instructions
	fill       func(*rootfs)
}

var standIns = []standIn{
	{"redis", []string{
		`WORKDIR /data`, `VOLUME /data`, `ENTRYPOINT ["docker-entrypoint.sh"]`, `CMD ["redis-server"]`,
		`ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
	}, redisFiles},
	{"envoyproxy/envoy", []string{
		`EXPOSE 10000`, `ENTRYPOINT ["/docker-entrypoint.sh"]`, `CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]`,
		`ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
	}, envoyFiles},
	{"golang", []string{
		`WORKDIR /go`, `ENV GOPATH=/go`, `ENV GOTOOLCHAIN=local`, `ENV PATH=/go/bin:/usr/local/go/bin:/usr/bin:/bin`,
		`ENV GOPROXY=file:///proxy`, `ENV GOCACHE=/cache`, // in place of a network, and of minutes
	}, goFiles},
}

// makeStandIn makes an image that the engine lacks. The end of the test removes it.
func makeStandIn(t *testing.T, image string) {
	if exec.CommandContext(t.Context(), "docker", "image", "inspect", image).Run() == nil {
		return
	}
	repository, _, _ := strings.Cut(image, ":")
	i := slices.IndexFunc(standIns, func(s standIn) bool { return s.repository == repository })
	if i < 0 {
		t.Fatalf("there is no stand-in for %s: add one to standIns", image)
	}
	// By way of a file: a fault while it is written leaves no half image.
	file, err := os.Create(filepath.Join(t.TempDir(), "rootfs.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file.Name())
	r := &rootfs{t: t, tar: tar.NewWriter(file), seen: map[string]bool{}}
	standIns[i].fill(r)
	if err := errors.Join(r.tar.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	args := []string{"import"}
	for _, instruction := range standIns[i].config {
		args = append(args, "--change", instruction)
	}
	t.Cleanup(func() { exec.Command("docker", "image", "rm", image).Run() })
	run(t, "docker", append(args, file.Name(), image)...)
}

// redisFiles are redis-server and what the entrypoint needs, and, with cat, stat
// and timeout, what the test looks around with.
func redisFiles(r *rootfs) {
	r.users("redis:x:999:999::/data:/bin/sh")
	r.dir("data", 0o755, 999)
	r.copy("usr/local/bin/docker-entrypoint.sh", "testdata/standin/redis-entrypoint.sh", 0o755)
	r.copy("usr/local/bin/redis-server", "testdata/standin/redis-server.sh", 0o755)
	r.programs("redis-server", "redis-cli", "sh", "chown", "find", "id", "setpriv", "cat", "stat", "timeout")
}

func envoyFiles(r *rootfs) {
	r.users("envoy:x:101:101::/nonexistent:/usr/sbin/nologin")
	r.copy("docker-entrypoint.sh", "testdata/standin/envoy-entrypoint.sh", 0o755)
	bin, err := envoyproc.Find()
	if err != nil {
		r.t.Fatal(err)
	}
	r.program("usr/local/bin/envoy", bin)
	r.programs("bash", "sh", "chown", "id", "setpriv")
}

// goFiles are this machine's Go, the modules of go.mod as a module proxy, and
// what a build as the Dockerfile's leaves in its cache.
func goFiles(r *rootfs) {
	r.users()
	r.dir("tmp", 0o1777, 0)
	r.copy("etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt", 0o644)
	r.programs("sh", "mkdir", "dirname", "sort", "cat")
	goroot := strings.TrimSpace(run(r.t, "go", "env", "GOROOT"))
	r.tree("usr/local/go", goroot, func(path string, d fs.DirEntry) bool {
		unneeded := d.Name() == "testdata" || path == "api" || path == "test" || path == "src/cmd"
		return !unneeded && !strings.HasSuffix(path, "_test.go")
	})
	zips := moduleZips(r.t)
	cache := strings.TrimSpace(run(r.t, "go", "env", "GOMODCACHE"))
	r.tree("proxy", filepath.Join(cache, "cache", "download"), func(path string, d fs.DirEntry) bool {
		ext := filepath.Ext(path)
		return d.IsDir() && path != "sumdb" || ext == ".mod" || ext == ".info" || zips[filepath.Join(cache, "cache", "download", path)]
	})
	built, err := filepath.Abs("../.tools/compose-gocache") // kept: the next run compiles only what has changed
	if err != nil {
		r.t.Fatal(err)
	}
	for _, tags := range []string{"", "noadmin,grpcnotrace"} {
		run(r.t, "env", "GOCACHE="+built, "CGO_ENABLED=0",
			"go", "build", "-tags", tags, "-trimpath", "-buildvcs=false", "-o", os.DevNull, "../cmd/postern", "../cmd/demo/upstream")
	}
	r.tree("cache", built, func(string, fs.DirEntry) bool { return true })
}

// moduleZips are the files in the module cache that hold go.mod's modules. The
// ones that are not there yet are fetched.
func moduleZips(t *testing.T) map[string]bool {
	zips := map[string]bool{}
	modules := json.NewDecoder(strings.NewReader(run(t, "go", "mod", "download", "-json")))
	for {
		var m struct{ Zip string }
		if err := modules.Decode(&m); errors.Is(err, io.EOF) {
			return zips
		} else if err != nil {
			t.Fatal(err)
		}
		zips[m.Zip] = true
	}
}

// rootfs writes an image's files as a tar. Paths are without the leading slash.
type rootfs struct {
	t    *testing.T
	tar  *tar.Writer
	seen map[string]bool
}

func (r *rootfs) write(h *tar.Header, data []byte) {
	if r.seen[h.Name] {
		return
	}
	r.seen[h.Name] = true
	h.Size = int64(len(data))
	if err := r.tar.WriteHeader(h); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.tar.Write(data); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rootfs) dir(name string, mode int64, owner int) {
	r.write(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (r *rootfs) copy(name, from string, mode int64) {
	data, err := os.ReadFile(from)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

// users writes /etc/passwd and /etc/group: root, and each line, whose group has the user's name.
func (r *rootfs) users(lines ...string) {
	passwd, group := "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
	for _, line := range lines {
		field := strings.Split(line, ":")
		passwd += line + "\n"
		group += field[0] + ":x:" + field[3] + ":\n"
	}
	r.write(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte(passwd))
	r.write(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte(group))
}

// programs puts programs of this machine's PATH into /usr/bin, and sh into /bin too.
func (r *rootfs) programs(names ...string) {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			r.t.Fatalf("find %s, of which a stand-in image is made: %v", name, err)
		}
		r.program("usr/bin/"+name, path)
		if name == "sh" {
			r.program("bin/sh", path)
		}
	}
}

var library = regexp.MustCompile(`(?m)(/\S+) \(0x`) // in ldd's answer

// program copies an executable and the libraries that it needs.
func (r *rootfs) program(name, from string) {
	r.copy(name, from, 0o755)
	f, err := elf.Open(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) == 0 {
		return // static
	}
	for _, lib := range library.FindAllStringSubmatch(run(r.t, "ldd", from), -1) {
		r.copy(lib[1][1:], lib[1], 0o755)
	}
}

// tree copies the part of a folder that keep says. Keep is given paths below it.
func (r *rootfs) tree(name, from string, keep func(path string, d fs.DirEntry) bool) {
	err := fs.WalkDir(os.DirFS(from), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != "." && !keep(path, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		r.copy(name+"/"+path, filepath.Join(from, path), int64(info.Mode().Perm()))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}
