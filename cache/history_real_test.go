package cache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
)

// Histories on a real server that loses nothing, and that is stopped, killed
// and paused: eight at a time, and 200 in all with POSTERN_FAULTS=long.
func TestHistoriesOnRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	rounds := 1
	if os.Getenv("POSTERN_FAULTS") == "long" {
		rounds = 25
	}
	keys, err := authz.NewKeyring("test_")
	if err != nil {
		t.Fatal(err)
	}
	o := onServer{Server: storetest.Redis(t, "--appendonly", "yes", "--appendfsync", "always"), t: t, keys: keys}
	for round := range rounds {
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() { o.play(uint64(8*round + i)) })
		}
		group.Wait()
	}
}

// onServer plays histories on one server.
type onServer struct {
	*storetest.Server
	t    *testing.T
	keys *authz.Keyring
	busy sync.RWMutex // for writing while the server is not there
}

func (o *onServer) play(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	h := &history{
		name: fmt.Sprint("h", seed), random: random, calm: o.busy.RLocker(), client: o.connect, keys: o.keys, slack: time.Second,
		steps:   append([]step{{1, o.restart}, {2, o.pause}, {2, o.trim}}, anywhere...),
		options: Options{LagLimit: lagLimit, Timeout: 500 * time.Millisecond, MaxStale: time.Duration(random.IntN(4)) * time.Second},
	}
	h.play()
	if len(h.wrongs) > 0 {
		o.t.Errorf("history of seed %d:\n%s\n%s", seed, strings.Join(h.wrongs, "\n"), strings.Join(h.log, "\n"))
	}
}

func (o *onServer) connect() redis.UniversalClient {
	client, err := store.Connect(store.Options{URL: o.URL(), Timeout: 500 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	o.t.Cleanup(func() { client.Close() })
	return client
}

func (o *onServer) restart(h *history) {
	if !o.busy.TryLock() {
		return
	}
	defer o.busy.Unlock()
	h.write("redis restarts")
	o.Stop()
	time.Sleep(time.Duration(h.random.Int64N(int64(200 * time.Millisecond))))
	o.Start()
}

func (o *onServer) pause(h *history) {
	if !o.busy.TryLock() {
		return
	}
	defer o.busy.Unlock()
	h.write("redis is stopped for a while")
	o.Pause()
	time.Sleep(time.Duration(h.random.Int64N(int64(500 * time.Millisecond))))
	o.Resume()
}

func (o *onServer) trim(h *history) {
	if !o.busy.TryLock() {
		return
	}
	defer o.busy.Unlock()
	h.write("log trimmed")
	o.Do("XTRIM", "{postern}:log", "MAXLEN", h.random.IntN(4))
}
