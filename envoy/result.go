package envoy

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Result says what became of an answer in the filter: a closed set, for logs
// and metrics. As an error it says why an answer is withheld. The zero Result
// is Broken and withholds.
type Result uint8

// Every result. Of those that withhold, Memory, Late and Broken are 503 where
// the request may be sent again; all else is 502: the same answer would come
// again, or the request do again what it did.
const (
	Broken      Result = iota // a panic, or a message out of turn
	Filtered                  // what had to go went
	Passed                    // no body, or one that is no JSON and may pass
	Unannounced               // Envoy did not say what must go, or works in another mode
	Partial                   // a part of a body (206)
	MediaType                 // a body that cannot be filtered
	Coding                    // a content coding that is not undone, or is broken
	TooLarge                  // a body over the limit
	Invalid                   // no JSON, or not of the form that the catalog says
	Memory                    // too much is held already
	Late                      // it took too long
	Left                      // Envoy ended it, as its client or upstream did
)

var results = [...]struct {
	name   string
	status int // of the answer to the client where the upstream's is withheld
}{
	Broken:      {"internal", http.StatusServiceUnavailable},
	Filtered:    {"filtered", 0},
	Passed:      {"passed", 0},
	Unannounced: {"unannounced", http.StatusBadGateway},
	Partial:     {"partial", http.StatusBadGateway},
	MediaType:   {"media_type", http.StatusBadGateway},
	Coding:      {"coding", http.StatusBadGateway},
	TooLarge:    {"too_large", http.StatusBadGateway},
	Invalid:     {"invalid", http.StatusBadGateway},
	Memory:      {"memory", http.StatusServiceUnavailable},
	Late:        {"late", http.StatusServiceUnavailable},
	Left:        {"left", 0},
}

// Results lists every result.
func Results() []Result {
	all := make([]Result, len(results))
	for i := range all {
		all[i] = Result(i)
	}
	return all
}

// String is the result's name in logs and metrics.
func (r Result) String() string { return results[r].name }

// Error is the result's name.
func (r Result) Error() string { return r.String() }

// resultOf finds the result in an error, or is Broken.
func resultOf(err error) Result {
	if r, ok := errors.AsType[Result](err); ok {
		return r
	}
	return Broken
}

// FilterStats counts answers since the process began.
type FilterStats struct {
	Results [len(results)]atomic.Int64
	Nanos   atomic.Int64 // spent in the filter, waiting for the upstream included
}

func (s *FilterStats) count(r Result, d time.Duration) {
	s.Results[r].Add(1)
	s.Nanos.Add(int64(d))
}

// The bodies of what is sent in the place of an answer. They hold nothing of
// it. The upstream has acted by then.
const (
	bodyWithheld = `{"error":"response_withheld","error_description":"The request may have been carried out, but its response holds data that this API secret may not see and could not be freed of it"}`
	bodyBusy     = `{"error":"temporarily_unavailable","error_description":"The request may have been carried out, but its response could not be freed right now of data that this API secret may not see"}`
)

// said is metadata that the filter leaves for envoy.yaml and the access log:
// that an answer is clean, or why it is withheld.
func said(name, value string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"postern.filter": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{name: structpb.NewStringValue(value)}}),
	}}
}

// withhold is sent in the place of an answer; safe as in order.
func withhold(r Result, safe bool) *procv3.ProcessingResponse {
	headers := []*corev3.HeaderValueOption{rawHeader("content-type", "application/json"), rawHeader("cache-control", "no-store")}
	status, body := http.StatusBadGateway, bodyWithheld
	if safe && results[r].status == http.StatusServiceUnavailable {
		status, body = http.StatusServiceUnavailable, bodyBusy
		headers = append(headers, rawHeader("retry-after", "1"))
	}
	return &procv3.ProcessingResponse{
		Response: &procv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &procv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: &procv3.HeaderMutation{SetHeaders: headers},
			Body:    []byte(body),
			Details: "postern_" + r.String(),
		}},
		DynamicMetadata: said("withheld", r.String()),
	}
}

// rawHeader sets a field in the form that external processing knows.
func rawHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
