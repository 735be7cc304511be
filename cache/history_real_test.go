package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
)

// Short histories on a real server, which is stopped, killed and started
// again, and whose log is trimmed: 200 with POSTERN_FAULTS=long, else 5.
func TestHistoriesOnRedis(t *testing.T) {
	count := 5
	if os.Getenv("POSTERN_FAULTS") == "long" {
		count = 200
	}
	s := storetest.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	for seed := range uint64(count) {
		h := &real{history: history{random: rand.New(rand.NewPCG(seed, 1)), begun: time.Now()}, t: t, server: s}
		if wrongs := h.play(); len(wrongs) > 0 {
			t.Errorf("history of seed %d: %v", seed, wrongs)
		}
	}
}
