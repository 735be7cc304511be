package envoyproc

import (
	"bytes"
	"sync"
)

const tailSize = 1 << 20

// tail keeps the last lines written to it, tailSize bytes or twice that: an
// Envoy that is kept running must not fill the memory. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailSize {
		_, whole, _ := bytes.Cut(t.buf[len(t.buf)-tailSize:], []byte("\n"))
		t.buf = bytes.Clone(whole)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
