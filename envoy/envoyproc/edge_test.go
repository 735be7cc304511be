package envoyproc

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	token = "Bearer tok-3n"
	query = "api_key=in-the-query"
)

// TestEdge holds envoy.yaml to what its comments say.
func TestEdge(t *testing.T) {
	gate, addr := startGate(t, map[string]answer{
		"/401":         always(deny(401, "deny", `{"gate":401}`, "www-authenticate", `Bearer realm="api"`)),
		"/403":         always(deny(403, "deny", `{"gate":403}`, "www-authenticate", `Bearer error="insufficient_scope"`)),
		"/403/bare":    always(bare(deny(403, "deny", `{"gate":403}`))),
		"/503":         always(deny(503, "error", `{"gate":503}`, "retry-after", "7")),
		"/503/failed":  always(fail(503, `{"gate":503}`, "retry-after", "7")),
		"/allow":       always(allow("x-merchant-id", "m-1", "x-api-secret-id", "s-1")),
		"/allow/plain": always(allow()),
		"/allow/other": always(allow("x-merchant-id", "m-1", "x-other", "1")),
		"/allow/path":  always(allow("x-merchant-id", "m-1", ":path", "/503")),
		"/hang":        hang,
		"/slow":        slow,
		"/restart":     unavailableOnce,
	})
	envoy := startEnvoy(t, Options{Gate: addr, Upstream: startUpstream(t)})

	t.Run("verdicts pass", func(t *testing.T) { testVerdictsPass(t, envoy) })
	t.Run("own errors", func(t *testing.T) { testOwnErrors(t, envoy) })
	t.Run("client's headers", func(t *testing.T) { testClientHeaders(t, envoy) })
	t.Run("what the gate is told", func(t *testing.T) { testGateIsTold(t, envoy, gate) })
	for path, checks := range map[string]int{"/restart": 2, "/slow": 1} {
		t.Run(path, func(t *testing.T) {
			resp, body := send(t, envoy, "GET", path, nil)
			if got := gate.askedFor(path).try; resp.StatusCode != 200 || got != checks {
				t.Errorf("got %d %s after %d checks, want 200 after %d", resp.StatusCode, body, got, checks)
			}
		})
	}
	for _, hidden := range []string{token, "tok-3n", query, "in-the-query"} {
		if strings.Contains(envoy.AccessLog(), hidden) {
			t.Errorf("the access log holds %q", hidden)
		}
	}
}

// A verdict's status, body and headers reach the client as the gate gave them,
// each header once, and the access log says what was decided.
func testVerdictsPass(t *testing.T, envoy *Process) {
	const jsonType = "application/json"
	for _, tt := range []struct {
		method, path, body string
		status             int
		header             http.Header
		decision, details  string
	}{
		{"GET", "/401", `{"gate":401}`, 401, http.Header{"Content-Type": {jsonType}, "Www-Authenticate": {`Bearer realm="api"`}}, "deny", "ext_authz_denied"},
		{"GET", "/403", `{"gate":403}`, 403, http.Header{"Content-Type": {jsonType}, "Www-Authenticate": {`Bearer error="insufficient_scope"`}}, "deny", "ext_authz_denied"},
		{"HEAD", "/403", ``, 403, http.Header{"Content-Type": {jsonType}, "Www-Authenticate": {`Bearer error="insufficient_scope"`}}, "deny", "ext_authz_denied"},
		{"GET", "/403/bare", `{"gate":403}`, 403, http.Header{"Content-Type": {jsonType}}, "", "ext_authz_denied"},
		{"GET", "/503", `{"gate":503}`, 503, http.Header{"Content-Type": {jsonType}, "Retry-After": {"7"}}, "error", "ext_authz_denied"},
		{"GET", "/503/failed", `{"gate":503}`, 503, http.Header{"Content-Type": {jsonType}, "Retry-After": {"7"}}, "error", "ext_authz_error"},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			resp, body := send(t, envoy, tt.method, tt.path, nil)
			if resp.StatusCode != tt.status || body != tt.body {
				t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.body)
			}
			line := logged(t, envoy, resp)
			for _, own := range []string{"X-Request-Id", "Content-Length", "Date", "Server"} {
				resp.Header.Del(own)
			}
			if !maps.EqualFunc(resp.Header, tt.header, slices.Equal) {
				t.Errorf("got headers %v, want %v", resp.Header, tt.header)
			}
			want := map[string]any{"method": tt.method, "path": tt.path, "status": float64(tt.status), "details": tt.details, "flags": "UAEX", "decision": nil}
			if tt.decision != "" {
				maps.Copy(want, map[string]any{"merchant_id": "m-1", "secret_id": "s-1", "endpoint": "orders.get", "decision": tt.decision, "reason": "for-" + tt.decision})
			}
			checkLine(t, line, want)
			if line["authz_us"] == nil {
				t.Error("the access log has no authz_us")
			}
		})
	}
}

// Whatever Envoy answers by itself is JSON in our shape with a request id that
// the access log holds too; and what the gate did not allow stays here.
func testOwnErrors(t *testing.T, envoy *Process) {
	for _, tt := range []struct {
		name, raw, error string
		status           int
		details          string
	}{
		{"late gate", "GET /hang HTTP/1.1", "temporarily_unavailable", 503, "ext_authz_error"},
		{"failing gate", "GET /nowhere HTTP/1.1", "temporarily_unavailable", 503, "ext_authz_error"},
		{"gate sets another header", "GET /allow/other HTTP/1.1\nx-merchant-id: evil", "server_error", 500, "ext_authz_invalid"},
		{"gate sets the path", "GET /allow/path HTTP/1.1", "server_error", 500, "ext_authz_invalid"},
		{"escaped slash", "GET /allow%2fplain HTTP/1.1", "invalid_request", 400, "path_normalization_failed"},
		{"underscore", "GET /allow HTTP/1.1\nx_merchant_id: evil", "invalid_request", 400, "http1.unexpected_underscore"},
		{"too many headers", "GET /allow HTTP/1.1" + strings.Repeat("\na: b", 100), "invalid_request", 431, "http1.too_many_headers"},
		{"headers too large", "GET /allow HTTP/1.1\na: " + strings.Repeat("b", 61<<10), "invalid_request", 431, "http1.headers_too_large"},
		{"HTTP/1.0", "GET /allow HTTP/1.0", "invalid_request", 426, "low_version"},
		{"no method", "FOO /allow HTTP/1.1", "invalid_request", 400, "http1.codec_error"},
		{"WebSocket", "GET /allow HTTP/1.1\nconnection: upgrade\nupgrade: websocket", "invalid_request", 403, "upgrade_failed"},
		{"CONNECT", "CONNECT api:443 HTTP/1.1", "invalid_request", 404, "route_not_found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := sendRaw(t, envoy, tt.raw)
			if resp.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d", resp.StatusCode, body, tt.status)
			}
			checkOwnError(t, resp, body, tt.error)
			checkLine(t, logged(t, envoy, resp), map[string]any{"status": float64(tt.status), "details": tt.details})
		})
	}
}

// checkOwnError wants JSON of two texts, and Retry-After where waiting helps.
func checkOwnError(t *testing.T, resp *http.Response, body, want string) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Errorf("read body %q: %v", body, err)
	}
	if len(got) != 2 || got["error"] != want || got["error_description"] == "" {
		t.Errorf("got body %s, want error %s and an error_description", body, want)
	}
	if got := resp.Header.Values("Content-Type"); !slices.Equal(got, []string{"application/json"}) {
		t.Errorf("got content-type %q, want application/json", got)
	}
	var retryAfter []string
	if want == "temporarily_unavailable" {
		retryAfter = []string{"1"}
	}
	if got := resp.Header.Values("Retry-After"); !slices.Equal(got, retryAfter) {
		t.Errorf("got retry-after %q, want %q", got, retryAfter)
	}
}

// What a client must not say does not reach the upstream, whether the gate sets
// it or not, over HTTP/1.1 and HTTP/2.
func testClientHeaders(t *testing.T, envoy *Process) {
	evil := http.Header{}
	for _, name := range []string{
		"X-Merchant-Id", "X-Api-Secret-Id", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Method",
		"X-Original-Url", "X-Original-Uri", "X-Rewrite-Url", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Envoy-Auth-Failure-Mode-Allowed",
		"X-Forwarded-Client-Cert", "X-Request-Id", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Original-Path", "X-Envoy-Internal",
	} {
		evil[name] = []string{"evil", "evil"}
	}
	for _, tt := range []struct {
		path             string
		merchant, secret []string
	}{
		{"/allow", []string{"m-1"}, []string{"s-1"}},
		{"/allow/plain", nil, nil},
	} {
		for version, client := range clients {
			t.Run(version+tt.path, func(t *testing.T) {
				evil.Del("Connection")
				if version == "HTTP/1.1" {
					evil.Set("Connection", "x-merchant-id") // to a careless proxy: drop what the gate sets
				}
				resp, body := sendBy(t, client, envoy, "POST", tt.path+"?"+query, evil)
				var got received
				if err := json.Unmarshal([]byte(body), &got); err != nil || resp.Proto != version {
					t.Fatalf("got %s %d %q: %v", resp.Proto, resp.StatusCode, body, err)
				}
				if strings.Contains(body, "evil") || got.Header["Authorization"] != nil {
					t.Errorf("the upstream received %+v", got)
				}
				if !slices.Equal(got.Header["X-Merchant-Id"], tt.merchant) || !slices.Equal(got.Header["X-Api-Secret-Id"], tt.secret) {
					t.Errorf("the upstream received %+v, want merchant %q, secret %q", got, tt.merchant, tt.secret)
				}
				for name := range resp.Header {
					if strings.HasPrefix(name, "X-Envoy") {
						t.Errorf("the client received %s", name)
					}
				}
				if got.Path != tt.path+"?"+query {
					t.Errorf("the upstream received path %s", got.Path)
				}
				checkLine(t, logged(t, envoy, resp), map[string]any{"path": tt.path, "status": 200.0, "decision": "allow", "client_ip": "127.0.0.1"})
			})
		}
	}
}

// The gate is sent the authorization header and no other, and how long it has;
// the client's address is its peer's, whatever it says.
func testGateIsTold(t *testing.T, envoy *Process, gate *gate) {
	resp, _ := send(t, envoy, "GET", "/allow/x/..//%70lain", http.Header{
		"X-Forwarded-For": {"203.0.113.9"}, "X-Client-Ip": {"203.0.113.9"}, "Cookie": {"c=1"},
	})
	got := gate.askedFor("/allow/plain")
	if want := map[string]string{"authorization": token}; !maps.Equal(got.http.GetHeaders(), want) {
		t.Errorf("the gate was sent headers %v, want %v", got.http.GetHeaders(), want)
	}
	for name, want := range map[string]string{"x-client-ip": "127.0.0.1", "x-request-id": resp.Header.Get("X-Request-Id")} {
		if v := got.meta.Get(name); !slices.Equal(v, []string{want}) {
			t.Errorf("the gate was sent metadata %s %q, want %q", name, v, want)
		}
	}
	if got.left <= 0 || got.left > 250*time.Millisecond {
		t.Errorf("the gate had %v to answer, want at most 250ms", got.left)
	}
	want := []string{":authority", "content-type", "x-client-ip", "x-envoy-expected-rq-timeout-ms", "x-request-id"}
	if sent := slices.Sorted(maps.Keys(got.meta)); !slices.Equal(sent, want) {
		t.Errorf("the gate was sent metadata %q, want %q", sent, want)
	}
}

func TestDeadNeighbour(t *testing.T) {
	_, allowing := startGate(t, map[string]answer{"/allow": always(allow())})
	missing := "unix:" + socketDir(t) + "/none.sock"
	for _, tt := range []struct {
		name     string
		opts     Options
		decision any
	}{
		{"gate", Options{Gate: missing, Upstream: startUpstream(t)}, nil},
		{"upstream", Options{Gate: allowing, Upstream: closedPort(t)}, "allow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			envoy := startEnvoy(t, tt.opts)
			resp, body := send(t, envoy, "GET", "/allow", nil)
			if resp.StatusCode != 503 {
				t.Errorf("got %d %s, want 503", resp.StatusCode, body)
			}
			checkOwnError(t, resp, body, "temporarily_unavailable")
			checkLine(t, logged(t, envoy, resp), map[string]any{"status": 503.0, "decision": tt.decision})
		})
	}
}
