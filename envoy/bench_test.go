package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern/postern/envoy"
)

// BenchmarkFilter measures what the filter adds to an answer, through real
// Envoy: the same request unfiltered, through an external processing service
// that sends back what it gets, and filtered, one after the other, so that what
// else the machine does falls on all alike.
func BenchmarkFilter(b *testing.B) {
	w, upstream := newWorld(b), newAPI(b)
	gate := w.serve(b)
	socket, edit := elsewhere(b)
	b.Cleanup(serveProcessor(b, socket, echo))
	ours, noop := startProxy(b, gate, upstream).Listen, startProxy(b, gate, upstream, edit...).Listen
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KB", 1 << 10}, {"100KB", 100 << 10}, {"2MB", 2 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			body := labelOf(size.bytes)
			upstream.on("PP1", asJSON(body))
			plain := &course{name: "plain", address: ours, token: w.tokens["both"], want: len(body)}
			b.ReportMetric(0, "ns/op") // of three requests: it says nothing
			run(b, plain,
				&course{name: "noop", address: noop, token: w.tokens["label"], want: len(body)},
				&course{name: "filter", address: ours, token: w.tokens["label"], want: len(body) - len(`"price":"15.95",`)})
		})
	}
}

// BenchmarkUnrestricted measures what secrets that see everything pay for the
// filter: nothing.
func BenchmarkUnrestricted(b *testing.B) {
	w, upstream := newWorld(b), newAPI(b)
	gate := w.serve(b)
	body := labelOf(1 << 10)
	upstream.on("PP1", asJSON(body))
	without := startProxy(b, gate, upstream, withoutFilter(b)...).Listen
	b.ReportMetric(0, "ns/op")
	run(b,
		&course{name: "without", address: without, token: w.tokens["legacy"], want: len(body)},
		&course{name: "with", address: startProxy(b, gate, upstream).Listen, token: w.tokens["legacy"], want: len(body)})
}

// withoutFilter is the edit that takes the filter and its lock out of
// envoy.yaml.
func withoutFilter(t testing.TB) []string {
	data, err := envoy.Bootstrap(envoy.Addresses{})
	must(t, err)
	bootstrap := string(data)
	begin, end := strings.Index(bootstrap, "          # The lock behind"), strings.Index(bootstrap, "          - name: envoy.filters.http.router")
	return []string{bootstrap[begin:end], ""}
}

// labelOf is a label of n bytes, with what a real one has most of: parcels.
func labelOf(n int) string {
	var b strings.Builder
	b.WriteString(`{"response":{"id":7,"order":{"tracking_number":"PP1","price":"15.95","parcels":[`)
	for i := 0; b.Len() < n-200; i++ {
		fmt.Fprintf(&b, `{"weight":1.25,"label_number":"L%07d","courier_data":{"product_code":"X","note":"a \"quoted\" note"}},`, i)
	}
	b.WriteString(`{"weight":1}],"padding":"`)
	return b.String() + strings.Repeat("x", max(0, n-b.Len()-5)) + `"}}}`
}

// course is one of the ways that are compared.
type course struct {
	name, address, token string
	want                 int // bytes of the answer
	took                 []time.Duration
}

// run sends b.N requests on each course in turn, after some to warm up, and
// reports the first course's times and what each other one adds.
func run(b *testing.B, courses ...*course) {
	const warm = 20
	client := http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1}}
	for i := range warm + b.N {
		for _, c := range courses {
			took := c.ask(b, &client)
			if i >= warm {
				c.took = append(c.took, took)
			}
		}
	}
	first := courses[0]
	for _, c := range courses {
		slices.Sort(c.took)
		for _, p := range []int{50, 99} {
			at, base := c.took[len(c.took)*p/100], first.took[len(c.took)*p/100]
			if c == first {
				b.ReportMetric(float64(at.Microseconds()), fmt.Sprintf("%s-p%d-µs", c.name, p))
			} else {
				b.ReportMetric(float64((at - base).Microseconds()), fmt.Sprintf("%s-adds-p%d-µs", c.name, p))
			}
		}
	}
}

func (c *course) ask(b *testing.B, client *http.Client) time.Duration {
	r, err := http.NewRequest("GET", "http://"+c.address+"/api/3/orders/PP1/label", nil)
	must(b, err)
	r.Header.Set("Authorization", "Bearer "+c.token)
	begun := time.Now()
	response, err := client.Do(r)
	must(b, err)
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if took := time.Since(begun); err == nil && n == int64(c.want) {
		return took
	}
	b.Fatalf("%s: got %d with %d bytes, %v: want %d bytes", c.name, response.StatusCode, n, err, c.want)
	return 0
}

// echo sends back what it gets, piece by piece, as the least that an external
// processing service can do.
func echo(_ *grpc.Server, s procStream) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		response := &procv3.ProcessingResponse{}
		part := m.GetResponseBody()
		if part == nil {
			response.Response = &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}
			response.DynamicMetadata, _ = structpb.NewStruct(map[string]any{"postern.filter": map[string]any{"clean": "yes"}})
		} else {
			response.Response = &procv3.ProcessingResponse_ResponseBody{ResponseBody: &procv3.BodyResponse{Response: &procv3.CommonResponse{
				BodyMutation: &procv3.BodyMutation{Mutation: &procv3.BodyMutation_StreamedResponse{
					StreamedResponse: &procv3.StreamedBodyResponse{Body: part.GetBody(), EndOfStream: part.GetEndOfStream()},
				}},
			}}}
		}
		if err := s.Send(response); err != nil || part.GetEndOfStream() {
			return err
		}
	}
}
