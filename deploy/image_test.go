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

// What a registry keeps and a node fetches, which is compressed, and what is on
// the node's disk then. Most of it is one program.
const mostFetched, mostOnDisk = 20 * megabyte, 33 * megabyte

// testImage checks what the gate's image weighs and holds.
func testImage(t *testing.T, p *project) {
	container := p.container("postern")
	image := strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.Image}}", container))
	onDisk, err := strconv.Atoi(strings.TrimSpace(run(t, "docker", "image", "inspect", "--format", "{{.Size}}", image)))
	if err != nil {
		t.Fatal(err)
	}
	fetched := fetchedSize(t, image)
	t.Logf("the image is %d bytes to fetch, and %d on disk", fetched, onDisk)
	if fetched > mostFetched || onDisk > mostOnDisk {
		t.Errorf("the image is %d bytes to fetch and %d on disk: want at most %d and %d", fetched, onDisk, mostFetched, mostOnDisk)
	}

	dir := t.TempDir()
	cloneSources(t, dir)
	command(t, dir, "make", "build", "RELEASE=", "COMMIT=")
	run(t, "docker", "cp", container+":/postern", filepath.Join(dir, "shipped"))
	if hashOf(t, filepath.Join(dir, "shipped")) != hashOf(t, filepath.Join(dir, "bin", "postern")) {
		t.Error("the image's /postern is not what make build makes, want the same bytes")
	}
	run(t, "docker", "cp", container+":/etc/ssl/certs/ca-certificates.crt", dir)
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
