package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern/postern/envoy"
)

// TestGeneratedAnswersDoNotLeak sends generated answers through Envoy: the cost
// never arrives, and all else does.
func TestGeneratedAnswersDoNotLeak(t *testing.T) {
	const marker = "9007199254740993" // of cost only, past 2^53
	w, upstream := newWorld(t), newAPI(t)
	proxy := startProxy(t, w.serve(t), upstream)
	random := rand.New(rand.NewPCG(1, 2))
	filtered := 0
	for i := range 300 {
		g := generator{random: random, cost: marker}
		body, clean := g.label()
		if i%5 == 4 { // spoilt: what is not JSON may not pass
			body = body[:random.IntN(len(body))]
		}
		upstream.on("PP1", asJSON(body))
		response, got := w.ask(t, proxy, "label", "GET", "PP1")
		switch {
		case strings.Contains(got, marker):
			t.Fatalf("the cost arrived: of %s came %s", body, got)
		case i%5 == 4 && body != "":
			checkWithheld(t, response, got)
		case body != "" && got != clean:
			t.Fatalf("of %s came %d %s, want %s", body, response.StatusCode, got, clean)
		default:
			filtered++
		}
		if _, got := w.ask(t, proxy, "both", "GET", "PP1"); i < 10 && got != body {
			t.Fatalf("unfiltered: of %s came %s", body, got)
		}
	}
	if filtered < 240 {
		t.Errorf("%d answers were filtered, want 240", filtered)
	}
	await(t, "them to be counted", func() bool { return w.gate.Filter.Stats.Results[envoy.Filtered].Load() == 240 })
}

// generator makes labels, with their cost and without.
type generator struct {
	random *rand.Rand
	cost   string
}

// label is an answer, and the same without $.response.order.price.
func (g generator) label() (body, clean string) {
	before, after := g.members(), g.members()
	name := []string{`"price"`, `"\u0070rice"`, `"pric\u0065"`}[g.random.IntN(3)]
	value := []string{g.cost, `"` + g.cost + `"`, `{"amount":` + g.cost + `}`, `[` + g.cost + `]`, `-` + g.cost + `.0e-3`}[g.random.IntN(5)]
	member := name + g.space() + ":" + g.space() + value
	head, tail := `{"id":7,"response":{`+g.members()+`,"order":{`, `}},"z":[`+g.value(2)+`]}`
	switch g.random.IntN(3) {
	case 0:
		return head + member + "," + after + tail, head + after + tail
	case 1:
		return head + before + "," + member + "," + after + tail, head + before + "," + after + tail
	}
	return head + before + "," + member + tail, head + before + tail
}

func (g generator) space() string { return []string{"", "", " ", "\n\t", "\r\n  "}[g.random.IntN(5)] }

func (g generator) members() string {
	var all []string
	for i := range 1 + g.random.IntN(4) {
		name, _ := json.Marshal(fmt.Sprint([]string{"prices", "Price", "naïve", "名", "a.b", `q"t`, "response", "order", ""}[g.random.IntN(9)], i))
		all = append(all, string(name)+":"+g.space()+g.value(3))
	}
	return strings.Join(all, ","+g.space())
}

func (g generator) value(depth int) string {
	switch k := g.random.IntN(8); {
	case k == 0 && depth > 0:
		return "{" + g.members() + "}"
	case k == 1 && depth > 0:
		return "[" + g.value(depth-1) + "," + g.space() + `{"price":29.0}` + "]"
	case k == 2:
		return `"\ud83d\ude00 \\ \" } , 15"`
	case k == 3:
		return "18446744073709551617"
	}
	return []string{"null", "true", `""`, "1.50", "1e400", `"é"`}[g.random.IntN(6)]
}

// tape is a stream of messages from Envoy, and what is sent back on it.
type tape struct {
	procStream
	messages []*procv3.ProcessingRequest
	sent     []*procv3.ProcessingResponse
}

func (s *tape) Context() context.Context { return context.Background() }

func (s *tape) Recv() (*procv3.ProcessingRequest, error) {
	if len(s.messages) == 0 {
		return nil, io.EOF
	}
	m := s.messages[0]
	s.messages = s.messages[1:]
	return m, nil
}

func (s *tape) Send(m *procv3.ProcessingResponse) error {
	s.sent = append(s.sent, m)
	return nil
}

// answer is what the client would get: a status of our own, or 0 and a body.
func (s *tape) answer() (status int, body string) {
	for _, m := range s.sent {
		if i := m.GetImmediateResponse(); i != nil {
			return int(i.GetStatus().GetCode()), string(i.GetBody())
		}
		body += string(m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetBody())
	}
	return 0, body
}

// FuzzFilter gives the filter any headers and body, the body in pieces. What
// comes out is the body without the price as a decoder sees it, a body that is
// no JSON where that may pass, or an error of ours.
func FuzzFilter(f *testing.F) {
	f.Add(200, "application/json", "", []byte(labelBody), uint8(3))
	f.Add(200, "application/json; charset=utf-8", "gzip", []byte(packed(labelBody)), uint8(200))
	f.Add(500, "text/html", "", []byte("<p>"), uint8(1))
	f.Add(200, "application/pdf", "x-gzip", []byte(packed("%PDF")), uint8(9))
	f.Add(404, "text/plain", "identity", []byte(" [{\"price\":1}]"), uint8(2))
	f.Add(206, "multipart/byteranges; boundary=a", "br", []byte(""), uint8(0))
	metadata, err := structpb.NewStruct(map[string]any{"filter": "required", "filter_paths": []any{"$.response.order.price", "$[*].price"}, "filter_media": []any{"application/pdf"}})
	must(f, err)
	f.Fuzz(func(t *testing.T, status int, mediaType, coding string, body []byte, piece uint8) {
		filter := envoy.NewFilter(envoy.FilterOptions{MaxBody: 1 << 16, Memory: 1 << 18, Log: slog.New(slog.DiscardHandler)})
		s := &tape{messages: messages(status, mediaType, coding, body, int(piece)+1)}
		s.messages[0].MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.ext_authz": metadata}}
		if err := filter.Process(s); err != nil || filter.InFlight() != 0 {
			t.Fatalf("got the error %v, and %d bytes held", err, filter.InFlight())
		}
		ours, got := s.answer()
		if ours != 0 && ours != 502 && ours != 503 {
			t.Errorf("got the status %d", ours)
		}
		if ours == 0 && priced(got) {
			t.Errorf("of %q came %q", body, got)
		}
	})
}

// priced reports whether a decoder finds a member that was to go.
func priced(body string) bool {
	var text any
	if json.Unmarshal([]byte(body), &text) != nil {
		return false
	}
	object, _ := text.(map[string]any)
	response, _ := object["response"].(map[string]any)
	order, _ := response["order"].(map[string]any)
	_, found := order["price"]
	list, _ := text.([]any)
	for _, element := range list {
		member, _ := element.(map[string]any)
		_, there := member["price"]
		found = found || there
	}
	return found
}

// messages are an answer as Envoy sends it.
func messages(status int, mediaType, coding string, body []byte, piece int) []*procv3.ProcessingRequest {
	headers := &corev3.HeaderMap{}
	for name, value := range map[string]string{":status": strconv.Itoa(status), "content-type": mediaType, "content-encoding": coding} {
		if value != "" {
			headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
	all := []*procv3.ProcessingRequest{{
		Request:        &procv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &procv3.HttpHeaders{Headers: headers}},
		ProtocolConfig: &procv3.ProtocolConfiguration{ResponseBodyMode: modev3.ProcessingMode_FULL_DUPLEX_STREAMED},
	}}
	for end := false; !end; {
		part := body[:min(piece, len(body))]
		body = body[len(part):]
		end = len(body) == 0
		all = append(all, &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseBody{ResponseBody: &procv3.HttpBody{Body: part, EndOfStream: end}}})
	}
	return all
}
