//go:build compose

package deploy

import (
	"compress/gzip"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const megabyte = 1_000_000

// testImage checks what the images weigh and hold: what a registry keeps and a
// node fetches, which is compressed, and what is on the node's disk then.
func testImage(t *testing.T, p *project) {
	built := t.TempDir()
	cloneSources(t, built)
	command(t, built, "make", "build", "build-sidecar", "RELEASE=", "COMMIT=")
	for _, tt := range []struct {
		service, program string
		fetched, onDisk  int // at most
	}{
		{"postern", "postern-sidecar", 10 * megabyte, 20 * megabyte}, // beside every Envoy
		{"admin", "postern", 20 * megabyte, 35 * megabyte},
	} {
		t.Run(tt.program, func(t *testing.T) {
			container := p.with(t).container(tt.service)
			image := strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.Image}}", container))
			onDisk, err := strconv.Atoi(strings.TrimSpace(run(t, "docker", "image", "inspect", "--format", "{{.Size}}", image)))
			if err != nil {
				t.Fatal(err)
			}
			fetched := fetchedSize(t, image)
			t.Logf("the image is %d bytes to fetch, and %d on disk", fetched, onDisk)
			if fetched > tt.fetched || onDisk > tt.onDisk {
				t.Errorf("the image is %d bytes to fetch and %d on disk: want at most %d and %d", fetched, onDisk, tt.fetched, tt.onDisk)
			}
			shipped := filepath.Join(t.TempDir(), "postern")
			run(t, "docker", "cp", container+":/postern", shipped)
			if hashOf(t, shipped) != hashOf(t, filepath.Join(built, "bin", tt.program)) {
				t.Errorf("the image's /postern is not the %s that make builds, want the same bytes", tt.program)
			}
			for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/licenses.txt"} {
				run(t, "docker", "cp", container+":"+file, t.TempDir())
			}
		})
	}
}

// fetchedSize is the size of the image's layers, compressed as registries keep them.
func fetchedSize(t *testing.T, image string) int {
	save := exec.CommandContext(t.Context(), "docker", "save", image)
	layers, err := save.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	var size counter
	packed := gzip.NewWriter(&size)
	if _, err := io.Copy(packed, layers); err != nil {
		t.Fatal(err)
	}
	if err := save.Wait(); err != nil {
		t.Fatal(err)
	}
	packed.Close()
	return int(size)
}

// counter counts the bytes written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
