package envoy_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

const (
	labelBody = `{"response":{"id":7,"order":{"tracking_number":"PP1","price":"15.95","products":[{"title":"T","price":29.0}]}}}`
	cleanBody = `{"response":{"id":7,"order":{"tracking_number":"PP1","products":[{"title":"T","price":29.0}]}}}`
	cost      = "15.95"
)

// api is an upstream that answers GET /api/3/orders/{n}/label as was said for n.
type api struct {
	address string
	mu      sync.Mutex // guards the rest
	answers map[string]http.HandlerFunc
	got     map[string]http.Header
}

func newAPI(t testing.TB) *api {
	a := &api{answers: map[string]http.HandlerFunc{}, got: map[string]http.Header{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := strings.Split(r.URL.Path, "/")[4]
		a.mu.Lock()
		answer := a.answers[n]
		a.got[n] = r.Header.Clone()
		a.mu.Unlock()
		answer(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	a.address = server.Listener.Addr().String()
	return a
}

// on says what the answer for n is.
func (a *api) on(n string, answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[n] = answer
}

func (a *api) received(n string) http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got[n]
}

// answers is a handler that answers with a status, a body and headers, which
// are names and values in turn.
func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func asJSON(body string) http.HandlerFunc {
	return answers(200, body, "Content-Type", "application/json")
}

func packed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

// ask asks through Envoy for the label n with a secret of w, and gives the
// answer; headers are names and values in turn.
func (w *world) ask(t *testing.T, proxy *envoyproc.Process, secret, method, n string, headers ...string) (*http.Response, string) {
	t.Helper()
	return w.send(t, proxy, secret, method, "/api/3/orders/"+n+"/label", headers...)
}

// send asks for any path likewise.
func (w *world) send(t *testing.T, proxy *envoyproc.Process, secret, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+proxy.Listen+path, nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+w.tokens[secret])
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true, Protocols: w.protocols},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
	response, err := client.Do(r)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s: read the body after %d bytes: %v", path, len(body), err)
	}
	return response, string(body)
}

// answerRow is one answer of the upstream, and what its client gets.
type answerRow struct {
	name   string
	answer http.HandlerFunc
	status int
	body   string // "": our own error
	result envoy.Result
}

var answerRows = []answerRow{
	{"label", asJSON(labelBody), 200, cleanBody, envoy.Filtered},
	{"vendor", answers(200, labelBody, "Content-Type", "application/vnd.api+json; charset=UTF-8"), 200, cleanBody, envoy.Filtered},
	{"nothing-to-remove", asJSON(`{"response":null}`), 200, `{"response":null}`, envoy.Filtered},
	{"created", answers(201, labelBody, "Content-Type", "application/json"), 201, cleanBody, envoy.Filtered},
	{"no-content", answers(204, ""), 204, "", envoy.Passed},
	{"empty", asJSON(""), 200, "", envoy.Passed},
	{"not-modified", answers(304, "", "ETag", `"a"`), 304, "", envoy.Passed},
	{"partial", answers(206, labelBody, "Content-Type", "application/json", "Content-Range", "bytes 0-9/10"), 502, "", envoy.Partial},
	{"gzip", answers(200, packed(labelBody), "Content-Type", "application/json", "Content-Encoding", "gzip"), 200, cleanBody, envoy.Filtered},
	{"gzip-broken", answers(200, packed(labelBody)[:40], "Content-Type", "application/json", "Content-Encoding", "gzip"), 502, "", envoy.Coding},
	{"gzip-bomb", answers(200, packed(strings.Repeat(" ", 9<<20)), "Content-Type", "application/json", "Content-Encoding", "gzip"), 502, "", envoy.TooLarge},
	{"br", answers(200, labelBody, "Content-Type", "application/json", "Content-Encoding", "br"), 502, "", envoy.Coding},
	{"gzip-twice", answers(200, packed(packed(labelBody)), "Content-Type", "application/json", "Content-Encoding", "gzip, gzip"), 502, "", envoy.Coding},
	{"gzip-unsaid", asJSON(packed(labelBody)), 502, "", envoy.Invalid},
	{"truncated", asJSON(labelBody[:80]), 502, "", envoy.Invalid},
	{"two-texts", asJSON(labelBody + labelBody), 502, "", envoy.Invalid},
	{"twice", asJSON(`{"response":{"order":{"price":1,"\u0070rice":` + cost + `}}}`), 502, "", envoy.Invalid},
	{"other-shape", asJSON(`{"response":[{"order":{"price":` + cost + `}}]}`), 502, "", envoy.Invalid},
	{"bom", asJSON("\ufeff" + labelBody), 502, "", envoy.Invalid},
	{"utf-16", answers(200, labelBody, "Content-Type", "application/json; charset=utf-16"), 502, "", envoy.MediaType},
	{"pdf", answers(200, "%PDF "+cost, "Content-Type", "application/pdf"), 502, "", envoy.MediaType},
	{"untyped", answers(200, labelBody, "Content-Type", ""), 502, "", envoy.MediaType},
	{"text", answers(200, labelBody, "Content-Type", "text/plain"), 502, "", envoy.MediaType},
	{"ndjson", answers(200, labelBody+"\n"+labelBody, "Content-Type", "application/x-ndjson"), 502, "", envoy.MediaType},
	{"events", answers(200, "data: "+labelBody+"\n\n", "Content-Type", "text/event-stream"), 502, "", envoy.MediaType},
	{"too-large", asJSON(`{"response":"` + strings.Repeat("x", 9<<20) + `"}`), 502, "", envoy.TooLarge},
	{"error-json", answers(422, labelBody, "Content-Type", "application/json"), 422, cleanBody, envoy.Filtered},
	{"error-html", answers(404, "<p>not here", "Content-Type", "text/html"), 404, "<p>not here", envoy.Passed},
	{"error-mislabelled", answers(500, " "+labelBody, "Content-Type", "text/plain"), 500, " " + cleanBody, envoy.Filtered},
	{"error-broken", answers(500, labelBody+"}", "Content-Type", "application/json"), 502, "", envoy.Invalid},
	{"error-events", answers(500, "data: "+labelBody+"\n\n", "Content-Type", "text/event-stream"), 502, "", envoy.MediaType},
	{"redirect", answers(302, "", "Location", "/elsewhere"), 302, "", envoy.Passed},
}

// TestFilteredAnswers runs answers of all kinds through real Envoy.
func TestFilteredAnswers(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	proxy := startProxy(t, w.serve(t), upstream)
	for _, tt := range answerRows {
		t.Run(tt.name, func(t *testing.T) {
			upstream.on(tt.name, tt.answer)
			before := w.gate.Filter.Stats.Results[tt.result].Load()
			response, body := w.ask(t, proxy, "label", "GET", tt.name)
			if response.StatusCode != tt.status || tt.status != 502 && body != tt.body {
				t.Errorf("got %d %.200s, want %d %s", response.StatusCode, body, tt.status, tt.body)
			}
			if tt.status == 502 {
				checkWithheld(t, response, body)
			}
			await(t, "it to be counted as "+tt.result.String(), func() bool { return w.gate.Filter.Stats.Results[tt.result].Load() == before+1 })
			// The control: with a secret that sees the price, it is the upstream's answer.
			upstream.on(tt.name+"-2", tt.answer)
			if response, _ := w.ask(t, proxy, "both", "GET", tt.name+"-2"); response.Header.Get("Retry-After") != "" || response.StatusCode == 502 {
				t.Errorf("unfiltered: got %d", response.StatusCode)
			}
		})
	}
	await(t, "all answers to be let go", func() bool { return w.gate.Filter.InFlight() == 0 })
}

// startProxy starts Envoy; edits are texts of envoy.yaml and what stands in
// their place, in turn. Checks may take longer than there: machines that run
// tests are slow.
func startProxy(t testing.TB, gate string, upstream *api, edits ...string) *envoyproc.Process {
	t.Helper()
	edits = append(slices.Clone(edits), "timeout: 0.25s # all tries", "timeout: 5s # all tries", "max_interval: 0.25s", "max_interval: 5s")
	edit := func(bootstrap string) string {
		for i := 0; i < len(edits); i += 2 {
			if strings.Count(bootstrap, edits[i]) != 1 {
				t.Fatalf("envoy.yaml holds %q %d times: want it once", edits[i], strings.Count(bootstrap, edits[i]))
			}
		}
		return strings.NewReplacer(edits...).Replace(bootstrap)
	}
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Gate: gate, Upstream: upstream.address, Edit: edit})
	must(t, err)
	t.Cleanup(func() { proxy.Stop() })
	return proxy
}

// checkWithheld checks an answer of the filter's own.
func checkWithheld(t *testing.T, r *http.Response, body string) {
	t.Helper()
	form := checkOurs(t, r, body)
	want := map[int][]string{502: {"response_withheld", ""}, 503: {"temporarily_unavailable", "1"}}[r.StatusCode]
	if got := []string{form["error"], r.Header.Get("Retry-After")}; !slices.Equal(got, want) || !strings.Contains(form["error_description"], "may have been carried out") {
		t.Errorf("got %s, retry-after %q, want %q", body, r.Header.Get("Retry-After"), want)
	}
}

// checkOurs checks what every error of ours is, the filter's and Envoy's.
func checkOurs(t *testing.T, r *http.Response, body string) (form map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &form); err != nil || len(form) != 2 || form["error"] == "" || form["error_description"] == "" {
		t.Errorf("got %d %.200s, want our JSON", r.StatusCode, body)
	}
	if types := r.Header["Content-Type"]; !slices.Equal(types, []string{"application/json"}) {
		t.Errorf("content-type %q, want application/json", types)
	}
	if r.StatusCode < 500 || strings.Contains(body+fmt.Sprint(r.Header), cost) {
		t.Errorf("got %d %s %v, want an error without the cost", r.StatusCode, body, r.Header)
	}
	return form
}
