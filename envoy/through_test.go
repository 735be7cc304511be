package envoy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/envoy/envoyproc"
)

// TestThroughEnvoy runs the table through real Envoy on envoy.yaml.
func TestThroughEnvoy(t *testing.T) {
	w := newWorld(t)
	upstream := newRecorder(t)
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Gate: w.serve(t), Upstream: upstream.address})
	must(t, err)
	t.Cleanup(func() { proxy.Stop() })
	var sent []sentCase
	for _, c := range readCases(t, w) {
		if c.envoy == "n/a" {
			continue
		}
		response, body := c.send(t, proxy.Listen)
		c.checkAnswer(t, response, body, upstream.last())
		sent = append(sent, sentCase{c, response.Header.Get("X-Request-Id")})
	}
	checkAccessLog(t, proxy, sent, w)
}

type sentCase struct {
	testCase
	requestID string
}

// send sends the case as raw bytes, from the case's address: net/http would
// clean what it sends.
func (c testCase) send(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.client)}}
	conn, err := dialer.Dial("tcp", address)
	must(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\n", c.method, c.path)
	for host := range strings.SplitSeq(c.host, ",") {
		fmt.Fprintf(conn, "Host: %s\r\n", host)
	}
	if !c.none {
		fmt.Fprintf(conn, "Authorization: %s\r\n", c.authorization)
	}
	fmt.Fprint(conn, "X-Merchant-Id: evil\r\nX-Api-Secret-Id: evil\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nContent-Length: 0\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: c.method})
	if err != nil {
		t.Fatalf("%s: read the answer: %v", c.name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: read the body: %v", c.name, err)
	}
	return response, string(body)
}

// checkAnswer checks what the client and the upstream got.
func (c testCase) checkAnswer(t *testing.T, r *http.Response, body string, arrived *http.Request) {
	t.Helper()
	want := c.wantThroughEnvoy()
	if got := fmt.Sprint(r.StatusCode); got != want.status {
		t.Errorf("%s: %s %s = %s %s, want %s", c.name, c.method, c.path, got, body, want.status)
	}
	if r.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s: the answer has no x-request-id", c.name)
	}
	if _, scope, _ := strings.Cut(r.Header.Get("WWW-Authenticate"), `scope="`); strings.TrimSuffix(scope, `"`) != want.scope {
		t.Errorf("%s: scope = %q, want %q", c.name, scope, want.scope)
	}
	if want.status != "200" {
		c.checkDenial(t, r, body, arrived)
		return
	}
	if arrived == nil {
		t.Errorf("%s: the upstream got nothing", c.name)
		return
	}
	h := arrived.Header
	if len(h["X-Merchant-Id"]) != 1 || h.Get("X-Merchant-Id") != "m-1" || len(h["X-Api-Secret-Id"]) != 1 || len(h.Get("X-Api-Secret-Id")) != 32 {
		t.Errorf("%s: upstream got x-merchant-id %q and x-api-secret-id %q, want the gate's", c.name, h["X-Merchant-Id"], h["X-Api-Secret-Id"])
	}
	for _, name := range []string{"Authorization", "X-Http-Method-Override", "X-Original-Url"} {
		if len(h[name]) > 0 {
			t.Errorf("%s: upstream got %s %q, want none", c.name, name, h[name])
		}
	}
}

func (c testCase) checkDenial(t *testing.T, r *http.Response, body string, arrived *http.Request) {
	t.Helper()
	if arrived != nil {
		t.Errorf("%s: the upstream got %s %s, want nothing", c.name, arrived.Method, arrived.URL)
	}
	if c.method == "HEAD" {
		return
	}
	var form map[string]string
	if err := json.Unmarshal([]byte(body), &form); err != nil || form["error"] == "" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: body %q of type %q, want our JSON", c.name, body, r.Header.Get("Content-Type"))
	}
	if known := wire[c.wantThroughEnvoy().status].body; known != "" && form["error"] != known {
		t.Errorf("%s: error = %q, want %q", c.name, form["error"], known)
	}
	if retry := r.Header["Retry-After"]; (r.StatusCode == 503) != (len(retry) == 1) {
		t.Errorf("%s: status %d with retry-after %q, want one with 503 and none without", c.name, r.StatusCode, retry)
	}
}

// checkAccessLog finds each case's line by its request id.
func checkAccessLog(t *testing.T, proxy *envoyproc.Process, sent []sentCase, w *world) {
	t.Helper()
	lines := awaitLines(t, proxy, len(sent))
	for _, c := range sent {
		line, ok := lines[c.requestID]
		if !ok {
			t.Errorf("%s: no line in the access log", c.name)
			continue
		}
		reason, _ := line["reason"].(string)
		if want := c.wantThroughEnvoy().reason; reason != want {
			t.Errorf("%s: logged reason = %q, want %q", c.name, reason, want)
		}
		if known := reason == "granted" || reason == "not_granted" || reason == "expired"; known && (line["merchant_id"] != "m-1" || line["secret_id"] == nil) {
			t.Errorf("%s: logged %v, want the merchant and the secret", c.name, line)
		}
		if path, _ := line["path"].(string); strings.Contains(path, "?") {
			t.Errorf("%s: logged the path %q, want it without its query", c.name, path)
		}
	}
	for name, token := range w.tokens {
		if strings.Contains(proxy.AccessLog()+proxy.Stderr(), token) {
			t.Errorf("Envoy logged the token of %s", name)
		}
	}
}

// awaitLines waits for n lines of the access log, and gives them by request id.
func awaitLines(t *testing.T, proxy *envoyproc.Process, n int) map[string]map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); strings.Count(proxy.AccessLog(), "\n") < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the access log has %d lines: want %d", strings.Count(proxy.AccessLog(), "\n"), n)
		}
	}
	lines := map[string]map[string]any{}
	for text := range strings.Lines(proxy.AccessLog()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("access log line %q: %v", text, err)
		}
		id, _ := line["request_id"].(string)
		lines[id] = line
	}
	return lines
}

// recorder is an upstream that keeps the last request.
type recorder struct {
	address string
	mu      sync.Mutex // guards request
	request *http.Request
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.request = request
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"response":{}}`)
	}))
	t.Cleanup(server.Close)
	r.address = server.Listener.Addr().String()
	return r
}

// last is the request that came since the last call, or nil.
func (r *recorder) last() *http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	request := r.request
	r.request = nil
	return request
}
