package store

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options says where Redis is, and how long a command may take.
type Options struct {
	// URL has one of these forms, with rediss:// for TLS; the port is 6379, or
	// 26379 for Sentinel, where it is not given:
	//
	//	redis://[user:password@]HOST[:PORT][/DB]
	//	redis://[user:password@]A,B              Cluster, by some of its nodes
	//	redis://[user:password@]HOST?cluster=1   Cluster, by one
	//	redis://[user:password@]A,B[/DB]?master=NAME[&sentinel_username=U&sentinel_password=P]
	//
	// An IPv6 address is in brackets. What is not a letter or digit in a user
	// or password is percent-encoded; the user may be empty.
	URL string

	// CAFile names PEM certificates to trust beside the system's. It demands
	// rediss://; empty means none.
	CAFile string

	// Timeout bounds a command or pipeline whose context has no deadline, from
	// the call to the reply, dialling included; 0 means 50ms. A deadline of the
	// caller's stands in its place, and is what a blocking command needs.
	Timeout time.Duration

	// PoolSize is the number of connections per server; 0 means 8.
	PoolSize int
}

// Connect makes a client for o.URL: a single server, Cluster, or Sentinel's
// master. It does not wait for the server: a fault in o is its error, one in
// the server is the error of each command, and neither holds a password. All
// commands go to masters. None is tried again, except by Cluster, which follows
// the slots and repeats a command whose connection broke: what it wrote may have
// been written already. The caller closes the client.
func Connect(o Options) (redis.UniversalClient, error) {
	t, err := parseURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	if o.Timeout < 0 || o.PoolSize < 0 {
		return nil, fmt.Errorf("redis timeout is %v and pool size %d: want 0 or more", o.Timeout, o.PoolSize)
	}
	config, err := tlsConfig(t.tls, o.CAFile)
	if err != nil {
		return nil, err
	}
	silence()
	o.Timeout, o.PoolSize = cmp.Or(o.Timeout, 50*time.Millisecond), cmp.Or(o.PoolSize, 8)
	return t.client(o, config), nil
}

// client is a client with settings that bound each step; deadline bounds their
// sum. go-redis's own settings wait 5 s for a server that has stopped.
func (t target) client(o Options, config *tls.Config) redis.UniversalClient {
	bound := deadline(o.Timeout)
	u := &redis.UniversalOptions{
		Addrs: t.hosts, DB: t.db, Username: t.user, Password: t.password, TLSConfig: config,
		MasterName: t.master, SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPassword,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1, MaxRedirects: 3,
		PoolSize: o.PoolSize, MinIdleConns: min(2, o.PoolSize), PipelinePoolSize: -1,
		DisableIdentity: true, // Redis before 7.2 does not know CLIENT SETINFO
		// A feature of Redis Enterprise; others answer its handshake with an error.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var c redis.UniversalClient
	switch {
	case t.master != "":
		c = redis.NewFailoverClient(failover(u.Failover()))
	case t.cluster:
		nodes := redis.NewClusterClient(cluster(u.Cluster()))
		nodes.OnNewNode(func(node *redis.Client) { node.AddHook(bound) }) // for ForEachMaster
		c = nodes
	default:
		c = redis.NewClient(u.Simple())
	}
	c.AddHook(bound)
	return c
}

// failover adapts f to Sentinel. A dial there begins with asking a Sentinel for
// the master, and go-redis turns from one that hangs to the others only after
// two timeouts of one dial: so a dial may last four. It goes on after its
// command has given up, for the next one. Idle connections would be opened to
// each Sentinel too.
func failover(f *redis.FailoverOptions) *redis.FailoverOptions {
	f.DialTimeout, f.MinIdleConns = 4*f.DialTimeout, 0
	return f
}

// cluster adapts c to Cluster. Routing policies would make every command ask
// for COMMAND, which the user may not be allowed. A master that hangs or dies
// is noticed by reloading the slots, which go-redis does once a minute.
func cluster(c *redis.ClusterOptions) *redis.ClusterOptions {
	c.DisableRoutingPolicies, c.ClusterStateReloadInterval = true, 5*time.Second
	return c
}

// deadline is the hook that gives a context without a deadline one.
type deadline time.Duration

func (d deadline) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d deadline) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := d.bound(ctx)
		defer cancel()
		return next(ctx, cmd)
	}
}

func (d deadline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel := d.bound(ctx)
		defer cancel()
		return next(ctx, cmds)
	}
}

func (d deadline) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Duration(d))
}

// silence ends go-redis's own log, which belongs to the process and goes to
// stderr: one line for each failed dial, which an outage makes as many as there
// are requests. Each of those faults is also the error of a command.
func silence() { redis.SetLogger(&logging.VoidLogger{}) }

// tlsConfig is nil without TLS. ServerName stays empty: go-redis then has each
// node, as found by Sentinel or Cluster, prove the host that was dialled.
func tlsConfig(enabled bool, caFile string) (*tls.Config, error) {
	if !enabled {
		if caFile != "" {
			return nil, errors.New("a CA file is given, but the redis URL has no TLS: use rediss://")
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read redis CA file: %w", err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		return nil, fmt.Errorf("read the system's CA certificates: %w", err)
	}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read redis CA file %s: it holds no PEM certificate", caFile)
	}
	return config, nil
}

// Redacted is a redis URL without users and passwords, in its shortest form,
// for logs and errors; what does not parse is "(invalid redis URL)".
func Redacted(rawURL string) string {
	t, err := parseURL(rawURL)
	if err != nil {
		return "(invalid redis URL)"
	}
	return t.String()
}
