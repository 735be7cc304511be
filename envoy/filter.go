package envoy

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FilterOptions are what a filter works with.
type FilterOptions struct {
	MaxBody  int64         // bytes of one body, unpacked too; 0: 8 MiB
	Memory   int64         // bytes held for all answers at one time, two or three for each of a body; 0: 128 MiB
	Lifetime time.Duration // of one answer in here; 0: 30 s, as long as envoy.yaml gives the upstream
	Log      *slog.Logger  // Required.
}

// Filter removes data from answers: Envoy's external processing service. It is
// safe for concurrent use.
type Filter struct {
	procv3.UnimplementedExternalProcessorServer
	Stats FilterStats

	o      FilterOptions
	memory budget
	logged rate.Sometimes // an upstream in trouble comes with every request
}

// NewFilter is a filter that works with o.
func NewFilter(o FilterOptions) *Filter {
	o.MaxBody = cmp.Or(o.MaxBody, 8<<20)
	o.Memory = cmp.Or(o.Memory, 128<<20)
	o.Lifetime = cmp.Or(o.Lifetime, 30*time.Second)
	return &Filter{o: o, memory: budget{limit: o.Memory}, logged: rate.Sometimes{First: 10, Interval: time.Second}}
}

// InFlight is how many bytes of answers are held at this moment.
func (f *Filter) InFlight() int64 { return f.memory.used.Load() }

// outcome is what became of one answer. The error is for operators.
type outcome struct {
	result Result
	err    error
}

// Process is one answer. Envoy has no timer in this mode, so the time ends
// here, whatever hangs: the return frees what still runs.
func (f *Filter) Process(s procv3.ExternalProcessor_ProcessServer) error {
	begun := time.Now()
	done := make(chan outcome, 1)
	go func() { done <- f.process(s) }()
	timer := time.NewTimer(f.o.Lifetime)
	defer timer.Stop()
	var o outcome
	select {
	case o = <-done:
	case <-timer.C:
		o = outcome{Late, status.Error(codes.DeadlineExceeded, "the answer took too long")}
	}
	f.Stats.count(o.result, time.Since(begun))
	switch o.result {
	case Filtered, Passed:
		return nil
	case Left, Late:
		return o.err
	}
	f.logged.Do(func() {
		f.o.Log.Warn("an answer was withheld", slog.String("result", o.result.String()), slog.Any("error", o.err))
	})
	return nil
}

// process filters one answer, or withholds it. Tried on 1.40: while Envoy holds
// the headers it takes an ImmediateResponse at any time, with our status, body
// and headers. Of a gRPC error it makes status_on_error, which cannot tell 502
// from 503. Where the stream simply ends, it would send the upstream's headers
// and no body, were it not for postern.unfiltered in envoy.yaml.
func (f *Filter) process(s procv3.ExternalProcessor_ProcessServer) outcome {
	o, result, err := f.filter(s)
	if err == nil {
		return outcome{result: result}
	}
	if s.Context().Err() != nil { // Envoy has left, as its client or upstream has
		return outcome{Left, status.FromContextError(s.Context().Err()).Err()}
	}
	result = resultOf(err)
	if sent := s.Send(withhold(result, o.safe)); sent != nil {
		return outcome{Left, sent}
	}
	return outcome{result, err}
}

// filter is the way of one answer. Nothing of it is sent on before all of it is
// clean.
func (f *Filter) filter(s procv3.ExternalProcessor_ProcessServer) (o order, result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", Broken, p, debug.Stack())
		}
	}()
	first, err := s.Recv()
	if err != nil {
		return o, Broken, err
	}
	o, h, err := begin(first)
	if err != nil {
		return o, Broken, err
	}
	if h.bodiless {
		return o, Passed, s.Send(h.response(noLength))
	}
	if err := h.refuse(o.media); err != nil {
		return o, Broken, err
	}
	body, trailers, err := f.hold(s, h)
	defer body.release()
	if err != nil {
		return o, Broken, err
	}
	clean, result, err := body.clean(h, o.paths)
	if err != nil {
		return o, Broken, err
	}
	return o, result, send(s, h, clean, trailers)
}

// begin reads what the gate said and what the upstream answers.
func begin(first *procv3.ProcessingRequest) (order, head, error) {
	o, err := readOrder(first)
	if err != nil {
		return order{}, head{}, err
	}
	h, err := readHead(first.GetResponseHeaders())
	return o, h, err
}

// hold reads a whole body and undoes its coding. The body is to be released,
// whatever the error.
func (f *Filter) hold(s procv3.ExternalProcessor_ProcessServer, h head) (b *body, trailers bool, err error) {
	packed, err := f.newBody(h.length)
	if err != nil {
		return packed, false, err
	}
	if trailers, err = receive(s, packed); err != nil || !h.packed() || len(packed.bytes) == 0 {
		return packed, trailers, err
	}
	defer packed.release()
	b, err = f.unpack(packed.bytes)
	return b, trailers, err
}
