package envoyproc

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

const asParent = "ENVOYPROC_TEST_PARENT"

// TestMain lets this binary be the parent that TestOrphanEnds kills.
func TestMain(m *testing.M) {
	if os.Getenv(asParent) == "" {
		os.Exit(m.Run())
	}
	p, err := Start(context.Background(), Options{Upstream: "127.0.0.1:9"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	endIdleThreads()
	fmt.Println(p.Listen)
	select {}
}

// endIdleThreads ends some threads of this process, as the runtime may: Envoy
// must outlive all but the one that holds it.
func endIdleThreads() {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			time.Sleep(time.Millisecond)
		})
	}
	wg.Wait()
}

func TestOrphanEnds(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	addr := lines.Text()
	if !listens(addr) {
		t.Errorf("Envoy does not listen on %q while its parent lives", addr)
	}
	parent.Process.Kill()
	parent.Wait()
	for range 100 {
		if !listens(addr) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("Envoy still listens on %s after its parent was killed", addr)
}
