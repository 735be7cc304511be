// Package trace sends spans of checks to an OpenTelemetry collector: children
// of the spans by which Envoy asked.
package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
)

// Bounds on what waits for a collector, and for how long.
const (
	room        = 2048 // spans that wait
	batchSize   = 512
	batchEvery  = time.Second     // a span waits for others
	sendWithin  = 5 * time.Second // a batch
	flushWithin = 2 * time.Second // all that is left at the end
)

// Options say where spans go, and from whom they come.
type Options struct {
	Endpoint *url.URL     // takes OTLP over HTTP. May hold credentials: they are not logged. Required.
	Name     string       // of this process among its like
	Version  string       // of the program
	Log      *slog.Logger // Required.
}

// Stats counts spans since the process began.
type Stats struct {
	Sent    atomic.Int64 // the collector has them
	Failed  atomic.Int64 // it did not take them, and they are gone
	Dropped atomic.Int64 // there was no room for them
}

// Exporter sends spans. No check waits for it: what finds no room is dropped,
// and so is what the collector does not take. It is safe for concurrent use.
type Exporter struct {
	Stats Stats

	o      Options
	queue  chan Span
	client *http.Client
	logged rate.Sometimes
}

// New is an exporter that sends while Run runs.
func New(o Options) *Exporter {
	return &Exporter{
		o: o, queue: make(chan Span, room), logged: rate.Sometimes{Interval: time.Minute},
		client: &http.Client{
			Timeout:       sendWithin,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // an error: it is set up wrong
		},
	}
}

// Add takes a span, or drops it.
func (e *Exporter) Add(s Span) {
	select {
	case e.queue <- s:
	default:
		e.Stats.Dropped.Add(1)
	}
}

// Run sends until ctx ends, and then what was taken before, for a moment.
func (e *Exporter) Run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushWithin, cancel) })()
	for {
		batch := e.gather(ctx)
		if len(batch) == 0 {
			return
		}
		e.export(sending, batch)
	}
}

// gather waits for a span, and for others that may go with it. It is empty
// where ctx has ended and none is left.
func (e *Exporter) gather(ctx context.Context) (batch []Span) {
	var due <-chan time.Time
	for len(batch) < batchSize {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) == 1 {
				due = time.After(batchEvery)
			}
		case <-due:
			return batch
		case <-ctx.Done():
			for len(batch) < batchSize && len(e.queue) > 0 {
				batch = append(batch, <-e.queue)
			}
			return batch
		}
	}
	return batch
}

// export sends a batch once: a collector that is away or busy must not make
// work.
func (e *Exporter) export(ctx context.Context, batch []Span) {
	err := e.send(ctx, batch)
	if err == nil {
		e.Stats.Sent.Add(int64(len(batch)))
		return
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // its own text has the URL, which may hold credentials
	}
	e.Stats.Failed.Add(int64(len(batch)))
	e.logged.Do(func() {
		e.o.Log.Warn("spans of traces are lost", slog.String("collector", e.o.Endpoint.Host), slog.Any("error", err),
			slog.Int64("failed", e.Stats.Failed.Load()), slog.Int64("dropped", e.Stats.Dropped.Load()))
	})
}

func (e *Exporter) send(ctx context.Context, batch []Span) error {
	body, err := proto.Marshal(e.o.request(batch))
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.o.Endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("User-Agent", "postern/"+e.o.Version)
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection serves again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", response.Status)
	}
	return nil
}
