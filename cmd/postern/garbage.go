package main

import (
	"os"
	"runtime/debug"
)

// tuneGarbage collects garbage at five times what lives, where Go's default is
// twice: a check leaves some kilobytes of gRPC's, beside a small heap. Memory
// stays below a limit that holds all that may live and as much again; near it,
// garbage is collected as often as is needed. GOGC and GOMEMLIMIT, where they
// are set, say otherwise. secrets is how many are kept, held the bytes of
// answers.
func tuneGarbage(secrets int, held int64) {
	const base, secret = 128 << 20, 4 << 10 // bytes
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(base + int64(secrets)*secret + 2*held)
	}
}
