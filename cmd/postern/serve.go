package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/sidecar"
)

func serve(c *call) error {
	storing := c.storeFlags()
	var o sidecar.Options
	c.flags.StringVar(&o.CatalogFile, "catalog", "", "`FILE` of the API's OpenAPI document; read again when it changes, and on SIGHUP")
	listen := c.list("listen", "`ADDR` for Envoy: unix:/path or host:port")
	c.flags.StringVar(&o.Ops, "ops", "", "`ADDR` of /metrics, /healthz and /readyz: host:port or unix:/path; none, if not given")
	binding := c.bindingFlags()
	c.flags.BoolVar(&o.ForwardSecret, "forward-secret", false, "let the authorization header go on to the upstream")
	c.flags.DurationVar(&o.DrainTimeout, "drain-timeout", 5*time.Second, "how long checks under way may take after SIGTERM")
	timeout := c.flags.Duration("redis-timeout", 50*time.Millisecond, "of one look-up in the store")
	size := c.flags.Int("cache-size", 100_000, "secrets kept in memory")
	stale := c.flags.Duration("max-stale", 5*time.Minute, "how long a secret is served while the store does not answer, since it was last known to be true; 0: not at all")
	lag := c.flags.Duration("lag-limit", time.Second, "how long the last proof that no change is unseen holds")
	usage := c.flags.Duration("usage-every", 30*time.Second, "how often uses of secrets are written to the store, about; 1m at most")
	maxBody := c.size("filter-max-body", 8<<20, "`SIZE` of the largest answer that data is removed from; a larger one is withheld")
	memory := c.size("filter-memory", 128<<20, "`SIZE` of all answers held at one time, about twice that of their bodies; more are withheld")
	c.flags.IntVar(&o.DecisionLog, "decision-log", 0, "decisions a second that are logged: `N` that allow, and N others; 0: none")
	traces := c.flags.String("trace-endpoint", "", "`URL` of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces: spans of checks go there; none, if not given")
	name := c.flags.String("name", "", "of this process among the sidecars; host and process, if not given")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.require("catalog", "redis", "key-file", "listen"); err != nil {
		return err
	}
	var err error
	if o.Binding, err = binding.options(); err != nil {
		return err
	}
	if *timeout <= 0 || *size <= 0 || *stale < 0 || *lag <= 0 || o.DrainTimeout < 0 || o.DecisionLog < 0 {
		return usagef("--redis-timeout, --cache-size and --lag-limit must be more than 0, --max-stale, --drain-timeout and --decision-log at least 0")
	}
	if *maxBody <= 0 || *memory/2 < *maxBody {
		return usagef("--filter-max-body must be more than 0, and --filter-memory at least twice that: an answer is held before and after")
	}
	if o.TraceEndpoint, err = traceEndpoint(*traces); err != nil {
		return err
	}
	o.FilterMaxBody, o.FilterMemory = int64(*maxBody), int64(*memory)
	if *usage <= 0 || *usage > time.Minute {
		return usagef("--usage-every %v: want more than 0, and 1m at most", *usage)
	}
	o.Listen, o.KeyFile = *listen, *storing.keyFile
	o.Cache = cache.Options{Size: *size, MaxStale: *stale, LagLimit: *lag, Timeout: *timeout, UsageEvery: *usage, Name: cmp.Or(*name, processName())}
	return c.serve(o, storing)
}

// serve wires the sidecar and runs it until the context ends.
func (c *call) serve(o sidecar.Options, storing storeFlags) error {
	log := c.logger()
	o.Log = log
	b := thisBuild()
	o.Version, o.Commit = b.Version, b.Commit
	o.ReadCatalog = readCatalog
	o.ReadKeyring = func(file string) (*authz.Keyring, error) {
		return readKeyring(file, func(format string, a ...any) { log.Warn(fmt.Sprintf(format, a...)) })
	}
	keys, err := o.ReadKeyring(o.KeyFile)
	if err != nil {
		return err
	}
	client, err := connect(storing, o.Cache.Timeout)
	if err != nil {
		return err
	}
	defer client.Close()
	o.Store, o.StoreName = store.New(client, keys), store.Redacted(*storing.redis)
	tuneGarbage(o.Cache.Size, o.FilterMemory)
	return sidecar.Run(c.ctx, o)
}

// traceEndpoint is the URL of a collector, or nil. It may hold credentials: no
// error repeats it.
func traceEndpoint(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, usagef("--trace-endpoint is no URL of a collector: write http://HOST:4318/v1/traces, or https:// (its text is not shown, as it may hold a password)")
	case strings.Trim(u.Path, "/") == "":
		return nil, usagef("--trace-endpoint has no path: collectors take spans at /v1/traces, so write http://HOST:4318/v1/traces")
	}
	return u, nil
}

func health(c *call) error {
	c.flags.Bool("json", false, "print one JSON document, as it does in any case")
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	client := sidecar.OpsClient(args[0])
	response, err := client.Get("http://sidecar/readyz")
	if err != nil { // less what net/http says of a URL that nobody gave
		return fmt.Errorf("ask %s: %w: name the --ops address of a process that runs", args[0], errors.Unwrap(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("ask %s: %w", args[0], err)
	}
	fmt.Fprintln(c.Stdout, strings.TrimSpace(string(body)))
	if response.StatusCode != http.StatusOK {
		return errDenied
	}
	return nil
}

// processName tells this process from all others.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:6])
}
