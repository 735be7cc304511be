package cache

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// faults are what befalls a sidecar's commands.
type faults struct {
	cut  bool          // none arrives
	slow time.Duration // the most that the way to the store takes, and the way back
	deaf bool          // the log's push is lost: reads of it find nothing new
	mute bool          // reports are refused
	sick bool          // the server is loading
	hold chan struct{} // answers wait until it is closed; nil: they do not
}

// line is the connection of one client, as a hook.
type line struct {
	servers *servers                       // nil: the client's own
	reads   sync.Map                       // how often each record was read, by key
	tamper  func(redis.Cmder, error) error // what is made of an answer; nil: nothing
	taken   atomic.Int64                   // when a report was last taken, in nanoseconds of Unix time

	mu     sync.Mutex // guards what follows
	random *rand.Rand
	stuck  *node     // a master that is none any more; nil: the master
	astray time.Time // until when it last was stuck
	lost   time.Time // since when
	faults faults
}

func (l *line) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *line) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook carries a command to the store, and the answer back.
func (l *line) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f, way := l.next()
		if err := f.travel(ctx, way); err != nil {
			return err
		}
		do := next
		if l.servers != nil {
			do = l.do
		}
		err := f.carry(ctx, do, cmd)
		if f, way = l.next(); f != (faults{}) {
			if lost := f.travel(ctx, way); lost != nil {
				return lost
			}
		}
		if err == nil && cmd.Name() == "get" && argument(cmd, 1) != epochKey {
			l.count(argument(cmd, 1)).Add(1)
		}
		if err == nil && l.takes(cmd) {
			l.taken.Store(time.Now().UnixNano())
		}
		if l.tamper != nil {
			err = l.tamper(cmd, err)
		}
		return err
	}
}

// count is how often a record was read.
func (l *line) count(key string) *atomic.Int64 {
	n, _ := l.reads.LoadOrStore(key, new(atomic.Int64))
	return n.(*atomic.Int64)
}

// next is what befalls the next command, and how long one way takes.
func (l *line) next() (faults, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults, time.Duration(20_000 + l.random.Int64N(100_000+int64(l.faults.slow)))
}

// travel is one way of a command.
func (f faults) travel(ctx context.Context, way time.Duration) error {
	if f.cut {
		way = time.Hour
	}
	select {
	case <-time.After(way):
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.hold != nil {
		<-f.hold
	}
	return nil
}

// carry has a command carried out, or not.
func (f faults) carry(ctx context.Context, do redis.ProcessHook, cmd redis.Cmder) error {
	switch {
	case f.sick, f.mute && cmd.Name() == "evalsha":
		return errors.New("LOADING Redis is loading the dataset in memory")
	case f.deaf && cmd.Name() == "xread":
		return cmp.Or(f.travel(ctx, patience(cmd)), error(redis.Nil))
	}
	return do(ctx, cmd)
}

// do asks the server that the line leads to. A context may hold an operator's work to the
// server that it began on.
func (l *line) do(ctx context.Context, cmd redis.Cmder) error {
	l.mu.Lock()
	l.servers.mu.Lock()
	n, broken := l.servers.master, false
	if run, ok := ctx.Value(heldTo{}).(string); ok {
		broken = run != n.runID
	}
	l.servers.mu.Unlock()
	if l.stuck != nil {
		n = l.stuck
	}
	l.mu.Unlock()
	if broken {
		return errors.New("connection reset by peer")
	}
	return l.servers.do(ctx, n, cmd)
}

type heldTo struct{}

// strayed is the last moment at which the line led to an old master.
func (l *line) strayed() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck != nil {
		l.astray = time.Now()
	}
	return l.astray
}

// loose reports whether an old master may be believed: it was not told to take
// nothing for true without a replica.
func (l *line) loose() bool { return l.servers != nil && !l.servers.strict }

// takes reports whether a command that was carried out had the fleet come to
// know of the sidecar: where there are replicas, one of them too.
func (l *line) takes(cmd redis.Cmder) bool {
	if n, ok := cmd.(*redis.IntCmd); ok && cmd.Name() == "wait" {
		return n.Val() > 0
	}
	return cmd.Name() == "evalsha" && strings.HasSuffix(argument(cmd, 3), ":sidecars") && (l.servers == nil || !l.servers.replicated)
}

// counted reports whether the fleet counts the sidecar: only then may it serve
// what it cannot read again.
func (m *member) counted(now time.Time) bool {
	return now.Sub(time.Unix(0, m.taken.Load())) < m.maxStale+lagLimit+reportWithin-m.slack
}

// newlyAstray reports whether the line has led to an old master for so short a
// time that the sidecar may not have noticed, by then.
func (l *line) newlyAstray(by time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stuck != nil && by.Sub(l.lost) < reportWithin+reportSlack
}

// befall changes what befalls a line.
func (l *line) befall(do func(*line)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(l)
}

// newLine is a client's line, and the store as it sees it.
func newLine(s *servers, client redis.UniversalClient, keys *authz.Keyring, random *rand.Rand) (*line, *store.Store) {
	l := &line{servers: s, random: random}
	client.AddHook(l)
	return l, store.New(client, keys)
}

// unconnected is a client whose line never uses it.
func unconnected() redis.UniversalClient {
	return redis.NewClient(&redis.Options{
		Addr: "none", MaxRetries: -1, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// member is a sidecar of a history.
type member struct {
	*line
	name     string
	secrets  *Secrets
	maxStale time.Duration          // as the model has it
	slack    time.Duration          // for what real time may take
	epoch    atomic.Pointer[string] // see oneEpoch
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// start starts a sidecar as cmd/postern does.
func start(l *line, st *store.Store, o Options, tamper tamper) *member {
	m := &member{line: l, name: o.Name, maxStale: o.MaxStale}
	if tamper.options != nil {
		tamper.options(&o)
	}
	if tamper.answer != nil {
		m.tamper = func(cmd redis.Cmder, err error) error { return tamper.answer(m, cmd, err) }
	}
	m.secrets = New(st, o)
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.done.Go(func() {
		m.secrets.Look(ctx)
		_ = m.secrets.Begin(ctx) // Follow does it when the store is there
		m.done.Go(func() { m.secrets.Follow(ctx) })
		for ctx.Err() == nil {
			sleep(ctx, time.Second)
			m.secrets.Look(ctx)
		}
	})
	return m
}

// find asks for a token.
func (m *member) find(f *fact) answer {
	a := answer{m: m, from: time.Now()}
	reads := m.count(recordKey(f.lookup))
	before := reads.Load()
	a.secret, a.err = m.secrets.Find(context.Background(), f.lookup, here)
	a.to = time.Now()
	a.read = reads.Load() > before && !m.secrets.follower.disowned(a.to) // else what was read was not believed
	return a
}

// tamper turns a guard off: by what the sidecar is told.
type tamper struct {
	linger  time.Duration // how many times longer its histories are
	options func(*Options)
	answer  func(*member, redis.Cmder, error) error
}
